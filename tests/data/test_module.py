"""How many images a training shows, in windows and as a whole, in one process and several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from capsule_inspection.contracts import DataIndex, ImageRecord, Normalisation
from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.corruption import Corruption, CorruptionSettings
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.windows import Windows


def module(windows: Windows | None, *, processes: int = 1) -> InspectionDataModule:
    """Fifteen images of 24 x 40, each drawn three times an epoch, in batches of 20."""
    records = tuple(
        ImageRecord(f"{row}.png", 0, None, f"{row}", 40, 24, 1, 1, f"{row}", "train")
        for row in range(15)
    )
    data = InspectionDataModule(
        DataIndex(Path(), ("good", "crack"), records),
        SimpleNamespace(images=np.zeros((15, 24, 40, 3), np.uint8)),  # type: ignore[arg-type]
        normalisation=Normalisation((0.5,) * 3, (0.5,) * 3),  # type: ignore[arg-type]
        settings=BatchSettings(
            batch_size=20,
            sampling="natural",
            mixup=0.0,
            seed=0,
            channels_last=False,
            augmentation=AugmentationSettings(*(0.0,) * 10),
            views=3,
        ),
        corruption=windows and Corruption(CorruptionSettings("none", 0.0, windows), seed=0),
    )
    data.trainer = SimpleNamespace(world_size=processes, global_rank=0)  # type: ignore[assignment]
    return data


def test_whole_images_count_as_they_are_shown_and_not_as_they_are_drawn() -> None:
    data = module(Windows((12, 20), whole_from=2))
    assert [data.images_shown(epoch, batches=9) for epoch in (0, 1, 2)] == [45, 45, 5 + 5 + 1]


def test_a_batch_of_one_of_several_processes_is_its_share_of_the_whole_images() -> None:
    raw: dict[str, torch.Tensor] = {
        "image": torch.zeros(5, 24, 40, 3, dtype=torch.uint8),
        "mask": torch.zeros(5, 24, 40, dtype=torch.uint8),
        "foreground": torch.ones(5, 24, 40, dtype=torch.bool),
        "index": torch.arange(5),
        "draw": torch.zeros(5, dtype=torch.int64),
    }
    data = module(Windows((12, 20), whole_from=0), processes=4)
    assert data.spoil(raw, training=True, epoch=0)["index"].tolist() == [0, 1]


@pytest.mark.parametrize("windows", [None, Windows()])
def test_all_draws_count_where_there_are_no_windows(windows: Windows | None) -> None:
    assert module(windows).images_shown(7, batches=9) == 45


def test_batches_that_are_left_out_and_images_of_other_processes_count_as_they_are() -> None:
    windows = Windows((12, 20), whole_from=0)
    assert module(windows).images_shown(0, batches=1) == 5
    assert module(None).images_shown(0, batches=2) == 40
    assert module(None, processes=2).images_shown(0, batches=9) == 44
    assert module(windows, processes=10).images_shown(0, batches=9) == 10 + 10
