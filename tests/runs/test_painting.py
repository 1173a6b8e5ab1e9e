"""Which photographs of a data set are painted on, and which classes a training would never show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from capsule_inspection.contracts import TRAIN, DataError, DataIndex, ImageRecord
from capsule_inspection.data.cache import DecodedCache, open_cache
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.runs.kinds.classification import Classification
from capsule_inspection.runs.kinds.segmentation import Segmentation
from capsule_inspection.runs.painting import paint_training, require_shown


def textures(folder: Path, *, roi: str = "none") -> tuple[DataIndex, DecodedCache]:
    """Two good photographs of a texture, on which no part can be found."""
    records = []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        digest = str(number) * 64
        records.append(ImageRecord(path.name, 0, None, digest, 96, 64, 1, 1, path.name, TRAIN))
    index = DataIndex(folder, ("good", "crack", "dent"), tuple(records))
    return index, open_cache(index, folder=folder / "cache", roi=roi, image_size=(64, 96))


def settings(folder: Path, *, painted: float = 0.5) -> DictConfig:
    return OmegaConf.create(
        {
            "data": {
                "painted": painted,
                "pasted": 0.0,
                "real_defects": 0.0,
                "cache_folder": str(folder / "cache"),
                "workers": 1,
                "image_size": [64, 96],
            },
            "seed": 0,
            "split": {"name": "kfold"},
            "task": {
                "painting": {"variants": 4, "natural": 0.0},
                "window": None,
                "epochs": 2,
            },
            "trainer": {"max_epochs": None},
        }
    )


def paint_textures(folder: Path, *, roi: str) -> PaintedPool | None:
    index, cache = textures(folder, roi=roi)
    return paint_training(settings(folder), index, cache, {"crack": 1, "dent": 2})


def test_where_the_part_is_found_on_no_photograph_it_is_an_error_that_says_what_to_set(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"0\.png.*on 2 of them no part was found.*data\.roi"):
        paint_textures(tmp_path, roi="auto")


def test_photographs_that_are_the_part_by_roi_none_are_painted_on(tmp_path: Path) -> None:
    pool = paint_textures(tmp_path, roi="none")
    assert pool is not None
    assert set(pool.entries["row"].tolist()) == {0, 1}


@pytest.mark.parametrize("kind", [Classification(), Segmentation(binary=False)])
def test_a_class_that_is_neither_there_nor_painted_nor_pasted_is_refused(
    tmp_path: Path, kind: Classification | Segmentation
) -> None:
    index, cache = textures(tmp_path)
    with pytest.raises(DataError, match=r"kfold data\.real_defects=0: dent has no training image"):
        kind.corruption(settings(tmp_path), index, cache)
    kind.corruption(settings(tmp_path), replace(index, classes=("good", "crack")), cache)


def test_classes_that_are_given_to_good_images_need_no_image_of_their_own(tmp_path: Path) -> None:
    index, _ = textures(tmp_path)
    require_shown(index, settings(tmp_path), given={1, 2})
    with pytest.raises(DataError, match="crack, dent have no training image"):
        require_shown(index, settings(tmp_path))
