"""The task of classifiers: what is said of an image, and where the network looks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small_tasks import learning

from capsule_inspection.models.classifier import build_custom_resnet, build_timm
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.losses import ClassificationLoss
from capsule_inspection.tasks.classification.lightning_module import ClassificationTask, MaskLoss
from capsule_inspection.tasks.schedulers import plateau
from capsule_inspection.tasks.smoothing import SmoothedFigure
from capsule_inspection.types import Batch


def make_task(kind: str = "custom_resnet") -> ClassificationTask:
    torch.manual_seed(0)
    if kind == "no map":
        built = build_timm(name="test_vit", num_classes=3, weights="none", image_size=(32, 48))
    else:
        built = build_custom_resnet(num_classes=3, weights="none", depths=[1, 1], width=8)
    return ClassificationTask(
        built.network, loss=ClassificationLoss(), num_classes=3, learning=learning()
    ).eval()


def make_batch(*, masks: bool = True) -> Batch:
    """A good image, a defect with a mask, one without, one whose mask lies on padding."""
    mask = torch.zeros(4, 32, 48, dtype=torch.uint8)
    if masks:
        mask[1, 4:9, 10:20] = 2
        mask[3, 0, 0] = 1
    valid = torch.ones(4, 32, 48, dtype=torch.bool)
    valid[:, :2] = False
    return Batch(
        image=torch.randn(4, 3, 32, 48, generator=torch.Generator().manual_seed(1)),
        mask=mask,
        label=torch.tensor([0, 2, 1, 1]),
        index=torch.tensor([5, 7, 9, 11]),
        valid=valid,
    )


def test_the_smoothed_course_begins_anew_where_epochs_begin_to_count() -> None:
    task = make_task()
    task.learning = replace(task.learning, smoothing=0.5, judged_from=2)
    task.smoothed = SmoothedFigure(0.5)
    logged: list[float] = []
    task.log_epoch = lambda figures, bar=(): logged.append(figures["val/loss_smoothed"])
    for epoch, value in enumerate([8.0, 4.0, 2.0, 1.0]):
        task._trainer = SimpleNamespace(
            current_epoch=epoch, check_val_every_n_epoch=1, training=True
        )
        task.finish_validation({"val/loss": value})
    assert logged == pytest.approx([8, (8 + 2 * 4) / 3, 2, (2 + 2 * 1) / 3])


def test_a_rate_that_waits_for_a_better_figure_goes_on_waiting_after_a_resume() -> None:
    def begun() -> tuple[ClassificationTask, torch.optim.Optimizer]:
        task = make_task()
        schedule = partial(plateau, factor=0.1, patience=1, min_lr=0.0)
        task.learning = replace(task.learning, schedule=schedule)
        task.log_epoch = lambda figures, bar=(): None
        task._trainer = SimpleNamespace(
            estimated_stepping_batches=4,
            current_epoch=0,
            check_val_every_n_epoch=1,
            training=True,
        )
        return task, task.configure_optimizers()

    stopped, _ = begun()
    for value in (1.0, 2.0):
        stopped.finish_validation({"val/loss": value})
    checkpoint: dict = {}
    stopped.on_save_checkpoint(checkpoint)
    resumed, optimizer = begun()
    resumed.on_load_checkpoint(checkpoint)
    resumed.on_train_start()
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.02)
    resumed.finish_validation({"val/loss": 2.0})
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.002)


def test_defects_with_a_mask_are_explained_by_their_true_class_where_wanted() -> None:
    task = make_task()
    with torch.inference_mode():
        plain = task.predict_step(make_batch(), 0)
        task.explains = True
        found = task.predict_step(make_batch(), 0)
    assert set(plain) == {"index", "label", "probabilities", "score"}
    assert found["explained"].tolist() == [7]
    expected = explain(task.network, make_batch()["image"][1:2], torch.tensor([2]))
    torch.testing.assert_close(found["explanation"], expected.half())
    assert found["index"].tolist() == [5, 7, 9, 11]


@pytest.mark.parametrize("kind", ["no masks", "no map"])
def test_where_there_is_nothing_to_explain_no_image_is(kind: str) -> None:
    task = make_task(kind)
    task.explains = True
    with torch.inference_mode():
        found = task.predict_step(make_batch(masks=kind == "no map"), 0)
    assert (found["explained"].shape, found["explained"].dtype) == ((0,), torch.int64)
    assert (found["explanation"].shape, found["explanation"].dtype) == ((0, 32, 48), torch.float16)


def test_masks_teach_each_place_and_images_without_one_teach_nothing() -> None:
    taught = MaskLoss(torch.nn.CrossEntropyLoss(), weight=2.0)
    places = torch.randn(3, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(3, 8, 12, dtype=torch.uint8)
    mask[1, 3, 7] = 2  # one pixel of a place of 2 by 2 is enough
    label = torch.tensor([0, 2, 1])  # the last has a defect, and no mask
    wanted = torch.zeros(2, 4, 6, dtype=torch.long)
    wanted[1, 1, 3] = 2
    torch.testing.assert_close(taught(places, mask, label), 2 * F.cross_entropy(places[:2], wanted))
    nothing = taught(places.requires_grad_(), mask[2:].expand(3, -1, -1), torch.tensor([1, 1, 1]))
    assert nothing.item() == 0
    nothing.backward()
    assert not places.grad.any()
