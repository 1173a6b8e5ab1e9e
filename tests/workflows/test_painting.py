"""Which images of a data set get synthetic defects, and which classes are never shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from capsule_inspection.data.cache import DecodedCache, open_cache
from capsule_inspection.tasks.classification.adapter import Classification
from capsule_inspection.tasks.segmentation.adapter import Segmentation
from capsule_inspection.types import TRAIN, DataError, DataIndex, ImageRecord
from capsule_inspection.workflows.painting import paint_training, require_shown


def textures(folder: Path, *, roi: str = "none") -> tuple[DataIndex, DecodedCache]:
    """Two good images of a texture, on which no part can be found."""
    records = []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        digest = str(number) * 64
        records.append(ImageRecord(path.name, 0, None, digest, 96, 64, 1, 1, path.name, TRAIN))
    index = DataIndex(folder, ("good", "crack", "dent"), tuple(records))
    return index, open_cache(index, folder=folder / "cache", roi=roi, image_size=(64, 96))


def settings(folder: Path) -> DictConfig:
    data = {"painted": 0.5, "pasted": 0.0, "real_defects": 0.0, "workers": 1}
    task = {"painting": {"variants": 4, "natural": 0.0}, "window": None, "epochs": 2}
    return OmegaConf.create(
        {
            "data": {**data, "cache_folder": str(folder / "cache"), "image_size": [64, 96]},
            "seed": 0,
            "split": {"name": "kfold"},
            "task": task,
            "trainer": {"max_epochs": None},
        }
    )


def test_images_without_a_part_are_used_where_they_are_the_part_by_roi_none(
    tmp_path: Path,
) -> None:
    given = {"crack": 1, "dent": 2}
    pool = paint_training(settings(tmp_path), *textures(tmp_path), given)
    assert pool is not None
    assert set(pool.entries["row"].tolist()) == {0, 1}
    told = r"0\.png.*on 2 of them no part was found.*data\.roi"
    with pytest.raises(DataError, match=told):
        paint_training(settings(tmp_path), *textures(tmp_path, roi="auto"), given)


def test_a_class_that_is_never_shown_is_refused(tmp_path: Path) -> None:
    index, cache = textures(tmp_path)
    for kind in (Classification(), Segmentation(binary=False)):
        told = r"kfold data\.real_defects=0: dent has no training image"
        with pytest.raises(DataError, match=told):
            kind.corruption(settings(tmp_path), index, cache)
        kind.corruption(settings(tmp_path), replace(index, classes=("good", "crack")), cache)
    require_shown(index, settings(tmp_path), given={1, 2})
    with pytest.raises(DataError, match="crack, dent have no training image"):
        require_shown(index, settings(tmp_path))
