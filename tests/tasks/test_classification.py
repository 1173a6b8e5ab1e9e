"""The LightningModule of classification, its inference model, and what its adapter decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from small_tasks import optimization

from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.factory import build_custom_resnet, build_timm
from capsule_inspection.models.losses.classification import ClassificationLoss
from capsule_inspection.models.losses.segmentation import SegmentationLoss
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.classification.adapter import logit_offset, natural_counts
from capsule_inspection.tasks.classification.inference_model import ClassificationInferenceModel
from capsule_inspection.tasks.classification.lightning_module import ClassificationModule, MaskLoss
from capsule_inspection.tasks.optimization import EMAMetric, plateau_schedule
from capsule_inspection.types import ConfigurationError, DataError, DataIndex, Sample

PLAIN = {"cross_entropy": 1.0}


def make_task(name: str = "custom_resnet") -> ClassificationModule:
    torch.manual_seed(0)
    if name == "no map":
        built = build_timm(name="test_vit", num_classes=3, weights="none", image_size=(32, 48))
    else:
        built = build_custom_resnet(num_classes=3, weights="none", depths=[1, 1], width=8)
    return ClassificationModule(
        built.model, loss=ClassificationLoss(), num_classes=3, optimization=optimization()
    ).eval()


def test_the_moving_average_starts_anew_at_the_epoch_of_selection() -> None:
    task = make_task()
    task.optimization = replace(task.optimization, smoothing=0.5, select_from_epoch=2)
    task.monitor_average = EMAMetric(0.5)
    logged: list[float] = []
    task.log_epoch = lambda metrics, prog_bar=(): logged.append(metrics["val/loss_smoothed"])
    for epoch, value in enumerate([8.0, 4.0, 2.0, 1.0]):
        task._trainer = SimpleNamespace(
            current_epoch=epoch, check_val_every_n_epoch=1, training=True
        )
        task.log_validation({"val/loss": value})
    assert logged == pytest.approx([8, (8 + 2 * 4) / 3, 2, (2 + 2 * 1) / 3])


def trainer_of(max_steps: int) -> SimpleNamespace:
    """A trainer with 8 batches and 4 steps in an epoch."""
    loop = SimpleNamespace(max_steps=max_steps)
    return SimpleNamespace(
        fit_loop=SimpleNamespace(setup_data=lambda: None, epoch_loop=loop),
        num_training_batches=8,
        accumulate_grad_batches=2,
        check_val_every_n_epoch=1,
        max_steps=max_steps,
        estimated_stepping_batches=4,
        current_epoch=0,
        training=True,
    )


def steps_of(max_steps: int) -> int:
    """The last step of such a training."""
    task = make_task()
    task._trainer = trainer_of(max_steps)
    task._total_steps()
    return task._trainer.fit_loop.epoch_loop.max_steps


def test_a_training_ends_with_a_validation() -> None:
    assert [steps_of(most) for most in (-1, 4, 7, 8)] == [-1, 4, 4, 8]
    with pytest.raises(ConfigurationError, match=r"max_steps=3: the first .* after 4 steps"):
        steps_of(3)


def test_a_plateau_schedule_keeps_its_patience_over_a_resume() -> None:
    def begun() -> tuple[ClassificationModule, torch.optim.Optimizer]:
        task = make_task()
        schedule = partial(plateau_schedule, factor=0.1, patience=1, min_lr=0.0)
        task.optimization = replace(task.optimization, schedule=schedule)
        task.log_epoch = lambda metrics, prog_bar=(): None
        task._trainer = trainer_of(-1)
        return task, task.configure_optimizers()

    stopped, _ = begun()
    for value in (1.0, 2.0):
        stopped.log_validation({"val/loss": value})
    checkpoint: dict = {}
    stopped.on_save_checkpoint(checkpoint)
    resumed, optimizer = begun()
    resumed.on_load_checkpoint(checkpoint)
    resumed.on_train_start()
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.02)
    resumed.log_validation({"val/loss": 2.0})
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.002)


@pytest.mark.parametrize("name", ["custom_resnet", "no map"])
def test_explanations_are_those_of_the_normalised_image(name: str) -> None:
    network = make_task(name).network
    model = ClassificationInferenceModel(
        network, channels_last=False, scaling=TemperatureScaling()
    ).eval()
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8, generator=generator)
    label = torch.tensor([2, 1])
    with torch.inference_mode():
        found = model.explain(image, label)
    if name == "no map":
        assert found is None
    else:
        torch.testing.assert_close(found, explain(network, model.normalize(image), label))


def test_the_mask_loss_is_of_each_position_and_zero_for_images_without_a_mask() -> None:
    mask_loss = MaskLoss(SegmentationLoss(PLAIN, class_weights=torch.ones(3)), weight=2.0)
    places = torch.randn(3, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(3, 8, 12, dtype=torch.uint8)
    mask[1, 3, 7] = 2  # one pixel of a place of 2 by 2 is enough
    label = torch.tensor([0, 2, 1])  # the last has a defect, and no mask
    wanted = torch.zeros(2, 4, 6, dtype=torch.long)
    wanted[1, 1, 3] = 2
    torch.testing.assert_close(
        mask_loss(places, mask, label), 2 * F.cross_entropy(places[:2], wanted)
    )
    nothing = mask_loss(
        places.requires_grad_(), mask[2:].expand(3, -1, -1), torch.tensor([1, 1, 1])
    )
    assert nothing.item() == 0
    nothing.backward()
    assert places.grad is not None
    assert not places.grad.any()


def test_the_mask_loss_ignores_places_without_a_defect_and_with_an_ignored_pixel() -> None:
    mask_loss = MaskLoss(SegmentationLoss(PLAIN, class_weights=torch.ones(3)), weight=1.0)
    places = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()
    mask, ignored = torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0] = 1
    ignored[0, 0, 1] = ignored[0, 0, 2] = True  # in the place of the defect, and in its neighbour
    loss = mask_loss(places, mask, torch.tensor([1]), ignored)
    counted = torch.stack([places[0, :, 0, 0], places[0, :, 1, 0], places[0, :, 1, 1]])
    torch.testing.assert_close(loss, F.cross_entropy(counted, torch.tensor([1, 0, 0])))
    loss.backward()
    assert places.grad is not None
    assert (places.grad.abs().sum(1) > 0).tolist() == [[[True, False], [True, True]]]


@pytest.mark.parametrize(
    ("counts", "kept", "presented", "expected"),
    [
        ([6, 2, 2], 1.0, None, [6, 2, 2]),
        # Defects that were left out change no prior.
        ([60, 5, 4], 0.25, None, [60, 20, 16]),
        ([60, 5, 0], 0.25, [20.0, 20.0, 20.0], [60, 20, 1]),
        # Where no defect was kept, only the mixture is known.
        ([60, 0, 0], 0.0, [30.0, 20.0, 10.0], [30, 20, 10]),
    ],
)
def test_natural_counts_are_those_before_defects_were_left_out(
    counts: list[int], kept: float, presented: list[float] | None, expected: list[int]
) -> None:
    assert natural_counts(counts, kept=kept, presented=presented) == expected


@pytest.mark.parametrize(
    ("sampling", "presented", "learnt"),
    [
        ("natural", None, [0.5, 0.3, 0.2]),
        ("balanced", None, [1.0, 1.0, 1.0]),
        ("balanced", [1, 1, 2], [0.25, 0.25, 0.5]),
    ],
)
def test_the_offset_is_the_training_prior_against_the_desired_one(
    sampling: str, presented: list[float] | None, learnt: list[float]
) -> None:
    found = logit_offset([5, 3, 2], sampling=sampling, tau=0.25, presented=presented)
    aimed = [math.log(count / 10) for count in (5, 3, 2)]
    expected = [math.log(s) - 0.75 * a for s, a in zip(learnt, aimed, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def test_a_run_without_a_threshold_decides_by_the_most_probable_class(compose) -> None:
    config = compose("train", "model=custom_resnet")
    unfitted = get_task(config).post_processor({}, ("good", "crack"))
    assert unfitted.threshold == Threshold(0.5, "operating_point")
    config.threshold = None
    unfitted = get_task(config).post_processor({}, ("good", "crack"))
    assert unfitted.threshold == Threshold(None, "argmax")


def test_images_of_one_class_are_refused_before_anything_is_drawn(
    compose: Callable[..., DictConfig],
) -> None:
    images = (Sample(f"{row}.png", 0, None, str(row), 9, 9, 1, 0, str(row)) for row in range(12))
    index = DataIndex(Path("/parts"), ("good", "crack"), tuple(images))
    with pytest.raises(DataError, match=r"all 12 images are of the class good.*model=autoencoder"):
        get_task(compose("train", "model=custom_resnet")).assign_split(index)
