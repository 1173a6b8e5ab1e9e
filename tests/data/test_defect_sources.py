"""Which images of a data set get defects, and which classes training never has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.defect_sources import open_training_bank, require_all_classes
from capsule_inspection.tasks.classification.adapter import ClassificationTask
from capsule_inspection.tasks.segmentation.adapter import SegmentationTask
from capsule_inspection.types import TRAIN, DataError, DataIndex, Sample


def textures(*, roi_found: bool = True) -> tuple[DataIndex, Any]:
    """Two good images of a texture; the full image is the part, if one was found."""
    samples = [
        Sample(f"{row}.png", 0, None, str(row) * 64, 96, 64, 1, 1, f"{row}.png", TRAIN)
        for row in range(2)
    ]
    cache = SimpleNamespace(
        path=Path("key.cache"),
        images=np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8),
        masks=np.zeros((2, 64, 96), np.uint8),
        foregrounds=np.ones((2, 64, 96), np.uint8),
        roi_found=np.array([roi_found] * 2),
    )
    return DataIndex(Path(), ("good", "crack", "dent"), tuple(samples)), cache


def config_of(folder: Path) -> DictConfig:
    return OmegaConf.create(
        {
            "data": {
                "synthetic_defects": 0.5,
                "copy_paste": 0.0,
                "defect_fraction": 0.0,
                "synthesis": {"variants": 4, "nsa_fraction": 0.0},
                "workers": 1,
                "cache_folder": str(folder / "cache"),
                "image_size": [64, 96],
            },
            "seed": 0,
            "split": {"name": "kfold"},
            "model": {"classes": "all"},
            "task": {"crop_size": None, "epochs": 2},
            "trainer": {"max_epochs": None},
        }
    )


def test_defects_are_rendered_where_a_part_was_found(tmp_path: Path) -> None:
    data, labels = config_of(tmp_path).data, {"crack": 1, "dent": 2}
    bank = open_training_bank(data, *textures(), labels)
    assert bank is not None
    assert set(bank.entries["row"].tolist()) == {0, 1}
    with pytest.raises(DataError, match=r"0\.png.*on 2 of them no part was found.*data\.roi"):
        open_training_bank(data, *textures(roi_found=False), labels)


def test_a_class_without_training_image_or_added_defect_is_an_error(tmp_path: Path) -> None:
    (index, cache), config = textures(), config_of(tmp_path)
    for task in (ClassificationTask(config), SegmentationTask(config)):
        with pytest.raises(DataError, match=r"kfold data\.defect_fraction=0: dent has no training"):
            task.batch_transform(index, cache)
        task.batch_transform(replace(index, classes=("good", "crack")), cache)
    require_all_classes(index, config, added={1, 2})
    with pytest.raises(DataError, match="crack, dent have no training image"):
        require_all_classes(index, config)
