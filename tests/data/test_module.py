"""What batches hold, and how many images a training shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.corruption import Corruption
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.training_crops import CropSchedule
from capsule_inspection.types import IGNORE_INDEX, DataIndex, Normalisation, Sample

FULL = CropSchedule((12, 20), full_image_from=0)
SETTINGS: dict[str, Any] = {
    "batch_size": 20,
    "sampling": "natural",
    "mixup": 0.0,
    "seed": 0,
    "channels_last": False,
    "augmentation": AugmentationSettings(*(0.0,) * 10),
}


def test_batches_pair_each_image_of_their_stage_with_its_own_label_and_mask() -> None:
    rows = np.arange(24)
    labels = rows % 3
    stages = ("train", "train", "train", "train", "train", "train", "val", "test")
    samples = tuple(
        Sample(f"{row}.png", labels[row], None, f"{row}", 6, 4, 1, 1, f"{row}", stages[row % 8])
        for row in rows
    )
    cache: Any = SimpleNamespace(
        images=np.full((4, 6, 3, 24), 10 * rows, np.uint8).transpose(3, 0, 1, 2),
        masks=np.full((4, 6, 24), labels, np.uint8).transpose(2, 0, 1),
        foregrounds=np.ones((24, 4, 6), np.uint8),
        ignored_fraction=np.zeros(24, np.float32),
        valid=lambda index: np.ones((len(index), 4, 6), bool),
    )
    data = InspectionDataModule(
        DataIndex(Path(), ("good", "crack", "poke"), samples),
        cache,
        normalisation=Normalisation((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        settings=BatchSettings(**{**SETTINGS, "batch_size": 5}),
    )
    loaders = {
        "train": data.train_dataloader(),
        "val": data.val_dataloader(),
        "test": data.test_dataloader(),
    }
    for stage, loader in loaders.items():
        found: list[int] = []
        for raw in loader:
            batch = data.transform(raw, training=stage == "train", epoch=0)
            index = batch["index"].numpy()
            found += index.tolist()
            assert batch["label"].tolist() == labels[index].tolist()
            assert (batch["mask"] == batch["label"][:, None, None]).all()
            for channel, (mean, std) in enumerate(((0.5, 0.1), (0.4, 0.2), (0.3, 0.3))):
                expected = torch.tensor((10 * index / 255 - mean) / std, dtype=torch.float32)
                shown = batch["image"][:, channel]
                torch.testing.assert_close(shown, expected[:, None, None].expand_as(shown))
        assert sorted(found) == [row for row in rows if stages[row % 8] == stage]


def module(
    crops: CropSchedule | None, *, world_size: int = 1, **changed: Any
) -> InspectionDataModule:
    """Fifteen images of 24 x 40, each used three times an epoch, in batches of 20."""
    samples = tuple(
        Sample(f"{row}.png", 0, None, f"{row}", 40, 24, 1, 1, f"{row}", "train")
        for row in range(15)
    )
    cache: Any = SimpleNamespace(
        images=np.zeros((15, 24, 40, 3), np.uint8), ignored_fraction=np.zeros(15, np.float32)
    )
    data = InspectionDataModule(
        DataIndex(Path(), ("good", "crack"), samples),
        cache,
        normalisation=Normalisation((0.5,) * 3, (0.5,) * 3),  # type: ignore[arg-type]
        settings=BatchSettings(**{**SETTINGS, "repeats": 3, **changed}),
        batch_transform=crops and Corruption("none", probability=0.0, crops=crops, seed=0),
    )
    data.trainer = SimpleNamespace(world_size=world_size, global_rank=0)  # type: ignore[assignment]
    return data


@pytest.mark.parametrize(
    ("crops", "world_size", "epoch", "batches", "expected"),
    [
        # Full images count where they are used.
        *((CropSchedule((12, 20), full_image_from=2), 1, epoch, 9, 45) for epoch in (0, 1)),
        (CropSchedule((12, 20), full_image_from=2), 1, 2, 9, 5 + 5 + 1),
        (None, 1, 7, 9, 45),
        (CropSchedule(), 1, 7, 9, 45),
        # Batches that are left out do not count, and other processes' images do.
        (FULL, 1, 0, 1, 5),
        (None, 1, 0, 2, 40),
        (None, 2, 0, 9, 44),
        (FULL, 10, 0, 9, 10 + 10),
    ],
)
def test_the_samples_that_batches_use_are_counted(
    crops: CropSchedule | None, world_size: int, epoch: int, batches: int, expected: int
) -> None:
    assert module(crops, world_size=world_size).num_used_samples(epoch, batches=batches) == expected


def raw_batch() -> dict[str, torch.Tensor]:
    """Five images that are brighter further down, with a mask on their upper half."""
    image = torch.arange(24, dtype=torch.uint8).mul(10)[None, :, None, None].repeat(5, 1, 40, 3)
    mask = torch.zeros(5, 24, 40, dtype=torch.uint8)
    mask[:, :12] = 1
    return {
        "image": image,
        "mask": mask,
        "valid": torch.ones(5, 24, 40, dtype=torch.bool),
        "foreground": torch.ones(5, 24, 40, dtype=torch.bool),
        "label": torch.tensor([0, 1, 0, 1, 0]),
        "index": torch.arange(5),
        "repeat": torch.zeros(5, dtype=torch.int64),
    }


def test_a_batch_of_one_of_several_processes_is_its_shard_of_the_full_images() -> None:
    data = module(FULL, world_size=4)
    assert data.transform_raw(raw_batch(), training=True, epoch=0)["index"].tolist() == [0, 1]


def test_images_and_masks_are_augmented_and_mixed_in_training_alone() -> None:
    flip, trainer = AugmentationSettings(*(0.0,) * 3, 1.0, *(0.0,) * 6), SimpleNamespace()

    def seen(*, training: bool, **changed: Any) -> Any:
        data = module(None, **changed)
        trainer.training, trainer.current_epoch = training, 0
        data.trainer = trainer  # type: ignore[assignment]
        return data.on_after_batch_transfer(raw_batch(), 0)

    plain, flipped = (seen(training=training, augmentation=flip) for training in (False, True))
    assert torch.equal(plain["mask"], raw_batch()["mask"])
    assert torch.equal(flipped["mask"], plain["mask"].flip(1))
    torch.testing.assert_close(flipped["image"], plain["image"].flip(2), atol=1e-3, rtol=0)
    unmixed, mixed = (seen(training=training, mixup=0.4) for training in (False, True))
    assert "label_weight" not in unmixed
    assert mixed["label_weight"].shape == (5, 2)


def test_ignored_pixels_are_no_defect_and_not_valid_and_are_named() -> None:
    data, raw = module(None), raw_batch()
    raw["mask"][:, :2] = IGNORE_INDEX
    assert "ignored" not in module(None).transform(raw_batch(), training=False, epoch=0)
    data.dataset.cache.ignored_fraction[3] = 0.1
    batch = data.transform(raw, training=False, epoch=0)
    is_ignored = torch.zeros_like(batch["valid"])
    is_ignored[:, :2] = True
    assert torch.equal(batch["ignored"], is_ignored)
    assert torch.equal(batch["valid"], raw_batch()["valid"] & ~is_ignored)
    assert torch.equal(batch["mask"], raw_batch()["mask"].masked_fill(is_ignored, 0))
