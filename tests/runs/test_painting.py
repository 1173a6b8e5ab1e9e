"""Which photographs of a data set are painted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from capsule_inspection.contracts import TRAIN, DataError, DataIndex, ImageRecord
from capsule_inspection.data.cache import open_cache
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.runs.painting import paint_training


def paint_textures(folder: Path, *, roi: str) -> PaintedPool | None:
    """Defects painted on two photographs of a texture, on which no part can be found."""
    records = []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        digest = str(number) * 64
        records.append(ImageRecord(path.name, 0, None, digest, 96, 64, 1, 1, path.name, TRAIN))
    index = DataIndex(folder, ("good", "crack"), tuple(records))
    cache = open_cache(index, folder=folder / "cache", roi=roi, image_size=(64, 96))
    config = OmegaConf.create(
        {
            "data": {"painted": 0.5, "cache_folder": str(folder / "cache"), "workers": 1},
            "task": {"painting": {"variants": 4, "natural": 0.0}},
        }
    )
    return paint_training(config, index, cache, {"crack": 1})


def test_where_the_part_is_found_on_no_photograph_it_is_an_error_that_says_what_to_set(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"0\.png.*on 2 of them no part was found.*data\.roi"):
        paint_textures(tmp_path, roi="auto")


def test_photographs_that_are_the_part_by_roi_none_are_painted_on(tmp_path: Path) -> None:
    pool = paint_textures(tmp_path, roi="none")
    assert pool is not None
    assert set(pool.entries["row"].tolist()) == {0, 1}
