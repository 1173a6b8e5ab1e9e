"""The LightningModule of segmentation, its inference model, and its samples."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from small_tasks import optimization
from torch import Tensor, nn
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from capsule_inspection.models.base import Model
from capsule_inspection.models.losses.segmentation import SegmentationLoss, defect_class_weights
from capsule_inspection.models.tiling import Tiling, tiled_probabilities
from capsule_inspection.tasks.segmentation.adapter import with_masks
from capsule_inspection.tasks.segmentation.inference_model import (
    SegmentationInferenceModel,
    class_probabilities,
)
from capsule_inspection.tasks.segmentation.lightning_module import (
    SegmentationModule,
    overlap_metrics,
)
from capsule_inspection.types import (
    Batch,
    ConfigurationError,
    DataError,
    DataIndex,
    Normalisation,
    Sample,
)


class Convolutions(Model):
    """Two layers that see five pixels each way."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalisation = Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image).relu())

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[*self.body.parameters()], [*self.head.parameters()]]


class Fixed(nn.Module):
    """Says the same of all images: logits (C, H, W)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.expand(len(image), *self.logits.shape)


def make_task(
    num_classes: int = 4,
    *,
    network: nn.Module | None = None,
    loss_weights: dict[str, float] | None = None,
    monitor: str = "val/binary_dice",
    tiling: Tiling | None = None,
) -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(
        network or Convolutions(num_classes),
        loss=SegmentationLoss(
            loss_weights or {"cross_entropy": 1.0, "dice": 0.5},
            class_weights=defect_class_weights(num_classes, defect_weight=3.0),
        ),
        num_classes=num_classes,
        optimization=optimization(monitor=monitor, mode="max"),
        tiling=tiling,
    )


def make_batch() -> Batch:
    """A good image, and two with a bright defect of class 1 and a dark one of class 3."""
    generator = torch.Generator().manual_seed(1)
    image = 0.1 * torch.randn(3, 3, 16, 24, generator=generator)
    mask = torch.zeros(3, 16, 24, dtype=torch.uint8)
    mask[1, 4:9, 6:12] = 1
    mask[2, 2:7, 14:22] = 3
    image += 2.0 * (mask == 1)[:, None] - 2.0 * (mask == 3)[:, None]
    valid = torch.ones(3, 16, 24, dtype=torch.bool)
    valid[:, :, 20:] = False
    return Batch(
        image=image,
        mask=mask,
        label=torch.tensor([0, 1, 3]),
        index=torch.tensor([5, 7, 9]),
        valid=valid,
    )


def test_overlap_metrics_are_those_of_a_confusion_matrix_computed_by_hand() -> None:
    # Rows are what pixels are: the background, a crack, a poke; columns what they are called.
    pixels = torch.tensor([[80.0, 4.0, 1.0], [3.0, 5.0, 2.0], [1.0, 0.0, 4.0]])
    found = overlap_metrics(pixels)
    # Called a defect: 16 pixels; one: 15; both: 11, which of them does not matter.
    assert found["binary_dice"] == pytest.approx(2 * 11 / (16 + 15))
    # Crack: 5 of 5 + 4 + 5; poke: 4 of 4 + 3 + 1.
    assert found["mean_iou"] == pytest.approx((5 / 14 + 4 / 8) / 2)

    # There is no poke, but 6 pixels are called one: the mean is over the defects that are there.
    pixels = torch.tensor([[90.0, 0.0, 6.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    assert overlap_metrics(pixels)["mean_iou"] == 1.0
    assert overlap_metrics(pixels)["binary_dice"] == pytest.approx(2 * 4 / (10 + 4))
    for ends, value in (
        ([[9.0, 0.0], [0.0, 0.0]], 0.0),
        ([[5.0, 4.0], [0.0, 0.0]], 0.0),
        ([[5.0, 0.0], [4.0, 0.0]], 0.0),
        ([[5.0, 0.0], [0.0, 4.0]], 1.0),
        ([[0.0, 0.0], [0.0, 9.0]], 1.0),
    ):
        assert overlap_metrics(torch.tensor(ends)) == {"binary_dice": value, "mean_iou": value}


def test_overlap_metrics_agree_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(2)
    called, is_so = torch.randint(0, 4, (2, 3, 16, 24), generator=generator)
    found = overlap_metrics(multiclass_confusion_matrix(called, is_so, 4).double())
    dice = binary_f1_score((called > 0).int(), (is_so > 0).int())
    assert found["binary_dice"] == pytest.approx(float(dice))
    iou = multiclass_jaccard_index(called, is_so, 4, average="none")[1:].mean()
    assert found["mean_iou"] == pytest.approx(float(iou))


@pytest.mark.parametrize("num_classes", [4, 2])
def test_a_step_minimises_the_loss_of_the_mask_and_a_validation_has_the_same(
    num_classes: int,
) -> None:
    task, batch = make_task(num_classes).eval(), make_batch()
    # Binary tasks learn every defect as the one class, others which one it is.
    wanted = batch["mask"].long() if num_classes == 4 else (batch["mask"] > 0).long()
    assert torch.equal(task.target_masks(batch["mask"]), wanted)
    with torch.no_grad():
        loss = task.training_step(batch, 0)
        expected = task.loss(task.network(batch["image"]), wanted)
        task.validation_step(batch, 0)
    torch.testing.assert_close(loss, expected)
    assert float(task.train_loss.compute()) == pytest.approx(float(expected))
    assert float(task.val_loss.compute()) == pytest.approx(float(expected), rel=1e-4)
    assert task.val_confusion.compute().shape == (num_classes, num_classes)


def test_the_mean_loss_of_an_epoch_is_over_its_images() -> None:
    task, batch = make_task(loss_weights={"cross_entropy": 1.0}), make_batch()
    first, rest = ({k: v[part] for k, v in batch.items()} for part in (slice(1), slice(1, 3)))
    with torch.no_grad():
        losses = [float(task.training_step(part, 0)) for part in (first, rest)]
    assert float(task.train_loss.compute()) == pytest.approx((losses[0] + 2 * losses[1]) / 3)


def test_pixels_of_a_validation_are_counted_by_what_they_are_and_are_called() -> None:
    logits = torch.zeros(4, 16, 24)
    logits[0] = 1
    logits[1, 4:9, 6:10] = 2
    task = make_task(network=Fixed(logits)).eval()
    with torch.no_grad():
        task.validation_step(make_batch(), 0)
    expected = torch.zeros(4, 4, dtype=torch.int64)
    expected[1, 1] = 20  # the left of the defect in the second image
    expected[1, 0] = 10
    expected[3, 0] = 40
    expected[0, 1] = 2 * 20
    expected[0, 0] = 3 * 16 * 24 - 110
    assert torch.equal(task.val_confusion.compute(), expected)


def test_ignored_pixels_count_neither_in_the_loss_nor_in_a_validation() -> None:
    task, batch = make_task(network=Fixed(torch.zeros(4, 16, 24))).eval(), make_batch()
    ignored = torch.zeros(3, 16, 24, dtype=torch.bool)
    ignored[:, :, 12:] = True  # the defect of the last image, and half of the others
    with torch.no_grad():
        loss = task.training_step({**batch, "ignored": ignored}, 0)
        task.validation_step({**batch, "ignored": ignored}, 0)
        left = make_task(network=Fixed(torch.zeros(4, 16, 12))).eval()
        halves = {**batch, **{key: batch[key][..., :12] for key in ("image", "mask")}}
        torch.testing.assert_close(loss, left.training_step(halves, 0))
    assert float(task.val_loss.compute()) == pytest.approx(float(loss), rel=1e-4)
    confusion = task.val_confusion.compute()
    assert confusion.sum() == 3 * 16 * 12
    assert confusion[1].sum() == 30
    assert confusion[3].sum() == 0


def test_outputs_are_the_probability_of_any_defect_and_of_each_class() -> None:
    probabilities = torch.tensor([0.5, 0.1, 0.3, 0.1])
    logits = probabilities.log()[:, None, None].repeat(1, 16, 24)
    certain = torch.tensor([0.97, 0.02, 0.005, 0.005])
    logits[:, :, :6] = certain.log()[:, None, None]
    model = SegmentationInferenceModel(Convolutions(4), channels_last=False, tiling=None)
    model.network = Fixed(logits)
    foreground, of_classes = model(torch.zeros(3, 16, 24, 3, dtype=torch.uint8))
    assert foreground.shape == (3, 16, 24)
    assert of_classes.shape == (3, 3, 16, 24)
    assert (foreground.dtype, of_classes.dtype) == (torch.float32, torch.uint8)
    torch.testing.assert_close(foreground[:, :, 6:], torch.full((3, 16, 18), 0.5))
    torch.testing.assert_close(
        foreground[:, :, :6], torch.full((3, 16, 6), 0.03), atol=1e-4, rtol=0.0
    )
    # Classes have probabilities everywhere, also where no defect is probable.
    assert of_classes[:, :, :, 0].unique(dim=0).tolist() == [[[170] * 16, [42] * 16, [42] * 16]]
    columns = of_classes[:, :, :, 6:].flatten(2).unique(dim=2).squeeze().tolist()
    assert columns == [[51, 153, 51]] * 3


def test_a_tiling_is_for_inference_and_not_for_training() -> None:
    tiling = Tiling((8, 8), 0.5)
    whole, tiled = make_task().eval(), make_task(tiling=tiling).eval()
    batch = make_batch()
    image = batch["image"]
    with torch.no_grad():
        in_tiles = class_probabilities(tiled.network, image, tiling)
        at_once = class_probabilities(whole.network, image, None)
        torch.testing.assert_close(in_tiles, tiled_probabilities(tiled.network, image, tiling))
        torch.testing.assert_close(at_once, whole.network(image).softmax(1))
        assert not torch.allclose(in_tiles, at_once)
        assert torch.equal(tiled.predict_masks(image), in_tiles.argmax(1))
        assert torch.equal(tiled.inference_forward(image), in_tiles)
        assert torch.equal(tiled.training_step(batch, 0), whole.training_step(batch, 0))


def test_half_precision_is_for_the_network_alone() -> None:
    task, batch = make_task().eval(), make_batch()
    logits = task.network(batch["image"]).detach()
    task.network = Fixed(logits[0].bfloat16())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        probabilities = class_probabilities(task.network, batch["image"], None)
        loss = task.training_step(batch, 0)
    assert (probabilities.dtype, loss.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3, 16, 24))


def fit(task: SegmentationModule, *, epochs: int) -> list[dict[str, float]]:
    """Train on one batch, and validate on it; what was logged of each epoch."""
    logged: list[dict[str, float]] = [{} for _ in range(epochs)]
    log_epoch = task.log_epoch

    def record(metrics: dict[str, float], *, prog_bar: tuple[str, ...] = ()) -> None:
        logged[task.current_epoch].update(metrics)
        log_epoch(metrics, prog_bar=prog_bar)

    task.log_epoch = record
    batches = torch.utils.data.DataLoader([make_batch()], batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning: few workers, few batches
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, batches, batches)
    return logged


@pytest.mark.parametrize(
    ("num_classes", "tiling"), [(4, None), (2, Tiling((12, 12), 0.5))], ids=["whole", "tiles"]
)
def test_a_training_lowers_the_loss_and_finds_the_defects(
    num_classes: int, tiling: Tiling | None
) -> None:
    epochs = fit(make_task(num_classes, tiling=tiling), epochs=30)
    first, last = epochs[0], epochs[-1]
    for key in ("train/loss", "val/loss"):
        assert last[key] < 0.3 * first[key], key
    assert last["val/binary_dice"] > 0.85
    assert last["val/mean_iou"] > 0.7
    assert last["val/binary_dice_smoothed"] == pytest.approx(last["val/binary_dice"])
    assert last["optimizer/learning_rate"] == pytest.approx(0.02)
    assert all(0 <= epoch["val/binary_dice"] <= 1 for epoch in epochs)


def test_a_training_monitors_what_the_task_has() -> None:
    with pytest.raises(ConfigurationError, match=r"task\.monitor=val/dise.*val/binary_dice"):
        fit(make_task(monitor="val/dise"), epochs=1)


def index_of(masks: list[tuple[int, str | None]]) -> DataIndex:
    """An index of images with these labels and masks, all in train."""
    records = tuple(
        Sample(f"{row}.png", label, mask, f"{row:064}", 8, 8, 1, 1, str(row), "train")
        for row, (label, mask) in enumerate(masks)
    )
    return DataIndex(Path("/images"), ("good", "crack", "poke"), records)


def test_defects_without_a_mask_lose_their_split_and_keep_their_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = index_of([(0, None), (1, "a"), (2, "b")])
    assert with_masks(whole, on_bad_file="error") is whole
    index = index_of([(0, None), (1, None), (2, "b")])
    with caplog.at_level(logging.WARNING):
        found = with_masks(index, on_bad_file="skip")
    assert [record.split for record in found.samples] == ["train", "", "train"]
    assert "1 of 2 images" in caplog.text
    with pytest.raises(DataError, match=r"1\.png.*data\.on_bad_file=skip"):
        with_masks(index, on_bad_file="error")
    unused = replace(index.samples[1], split="")  # needs none
    index = replace(index, samples=(index.samples[0], unused, index.samples[2]))
    assert with_masks(index, on_bad_file="error") is index


def test_data_without_any_mask_are_an_error_that_names_other_models() -> None:
    with pytest.raises(DataError, match=r"model=resnet18.*model=autoencoder"):
        with_masks(index_of([(0, None), (1, None)]), on_bad_file="skip")
    with pytest.raises(DataError, match=r"shows a defect.*learns model=autoencoder"):
        with_masks(index_of([(0, None), (0, None)]), on_bad_file="error")
