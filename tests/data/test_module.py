"""How many images a training shows, in windows and as a whole, in one process and several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from capsule_inspection.contracts import DataIndex, ImageRecord, Normalisation
from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.corruption import Corruption, CorruptionSettings
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.windows import Windows

WHOLE = Windows((12, 20), whole_from=0)


def module(windows: Windows | None, *, processes: int = 1) -> InspectionDataModule:
    """Fifteen images of 24 x 40, each drawn three times an epoch, in batches of 20."""
    records = tuple(
        ImageRecord(f"{row}.png", 0, None, f"{row}", 40, 24, 1, 1, f"{row}", "train")
        for row in range(15)
    )
    settings: dict[str, Any] = {"batch_size": 20, "sampling": "natural", "mixup": 0.0, "seed": 0}
    augmentation = AugmentationSettings(*(0.0,) * 10)
    cache: Any = SimpleNamespace(images=np.zeros((15, 24, 40, 3), np.uint8))
    data = InspectionDataModule(
        DataIndex(Path(), ("good", "crack"), records),
        cache,
        normalisation=Normalisation((0.5,) * 3, (0.5,) * 3),  # type: ignore[arg-type]
        settings=BatchSettings(**settings, channels_last=False, augmentation=augmentation, views=3),
        corruption=windows and Corruption(CorruptionSettings("none", 0.0, windows), seed=0),
    )
    data.trainer = SimpleNamespace(world_size=processes, global_rank=0)  # type: ignore[assignment]
    return data


@pytest.mark.parametrize(
    ("windows", "processes", "epoch", "batches", "expected"),
    [
        # Whole images count as they are shown and not as they are drawn.
        *((Windows((12, 20), whole_from=2), 1, epoch, 9, 45) for epoch in (0, 1)),
        (Windows((12, 20), whole_from=2), 1, 2, 9, 5 + 5 + 1),
        (None, 1, 7, 9, 45),
        (Windows(), 1, 7, 9, 45),
        # Batches that are left out do not count, and other processes' images do.
        (WHOLE, 1, 0, 1, 5),
        (None, 1, 0, 2, 40),
        (None, 2, 0, 9, 44),
        (WHOLE, 10, 0, 9, 10 + 10),
    ],
)
def test_images_shown_are_counted_as_they_are_shown(
    windows: Windows | None, processes: int, epoch: int, batches: int, expected: int
) -> None:
    assert module(windows, processes=processes).images_shown(epoch, batches=batches) == expected


def test_a_batch_of_one_of_several_processes_is_its_share_of_the_whole_images() -> None:
    raw: dict[str, torch.Tensor] = {
        "image": torch.zeros(5, 24, 40, 3, dtype=torch.uint8),
        "mask": torch.zeros(5, 24, 40, dtype=torch.uint8),
        "foreground": torch.ones(5, 24, 40, dtype=torch.bool),
        "index": torch.arange(5),
        "draw": torch.zeros(5, dtype=torch.int64),
    }
    data = module(WHOLE, processes=4)
    assert data.spoil(raw, training=True, epoch=0)["index"].tolist() == [0, 1]
