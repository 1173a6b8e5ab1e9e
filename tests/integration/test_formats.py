"""Every kind of file can be trained on, in folders and in tables, CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image
from quick import QUICK, SIZE_PX, draw_mask, noise

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.splits import assign_split
from capsule_inspection.types import DataIndex
from capsule_inspection.workflows.dataset import load_dataset

CLASSES = ("ok", "crack", "poke")
ROTATED = (3 * SIZE_PX // 2, SIZE_PX)
"""Width and height, as stored, of the image that EXIF turns upright."""


def save_turned(image: Image.Image, path: Path) -> None:
    """A JPEG that lies on its side, as its EXIF tells."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.resize(ROTATED).save(path, exif=exif, quality=95)


def save_deep(image: Image.Image, path: Path) -> None:
    """16-bit grey."""
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def save_transparent(image: Image.Image, path: Path) -> None:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)


WRITERS: dict[str, Callable[[Image.Image, Path], None]] = {
    "colour.png": lambda image, path: image.save(path),
    "turned.jpg": save_turned,
    "colour.bmp": lambda image, path: image.save(path),
    "deep.tif": save_deep,
    "lossy.webp": lambda image, path: image.save(path, quality=90),
    "grey.png": lambda image, path: image.convert("L").save(path),
    "palette.PNG": lambda image, path: image.quantize(16).save(path),
    "transparent.png": save_transparent,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One subfolder a class, each with one image of every kind; masks beside it."""
    root = tmp_path / "images"
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number, (file, write) in enumerate(WRITERS.items()):
            write(noise(100 * label + number), root / name / f"{number}_{file}")
            if name != "ok":
                path = tmp_path / "masks" / name / f"{number}_{file.partition('.')[0]}.png"
                draw_mask(path)
                if file == "turned.jpg":
                    turned = Image.new("L", ROTATED[::-1], 0)
                    turned.paste(255, (5, 5, 15, 15))
                    turned.save(path)
    return root


@pytest.fixture
def find(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> Callable[..., tuple[DataIndex, ImageCache]]:
    """The images, decoded, and their split, as a training with these settings has them."""

    def find(*settings: str) -> tuple[DataIndex, ImageCache]:
        own = ("data.good_class=ok", f"data.cache_folder={tmp_path / 'cache'}")
        config = compose("train", *QUICK, *settings, *own)
        index, cache = load_dataset(config.data)
        return assign_split(index, config), cache

    return find


def test_a_folder_of_all_formats_is_read(
    find: Callable[..., tuple[DataIndex, ImageCache]], folder: Path, tmp_path: Path
) -> None:
    masks = f"data.masks={tmp_path / 'masks'}"
    index, cache = find("data=folder", f"data.root={folder}", masks)
    assert index.classes == CLASSES
    assert len(index) == len(CLASSES) * len(WRITERS)
    records = {record.path: record for record in index.samples}
    turned = records["crack/1_turned.jpg"]
    assert (turned.width, turned.height) == ROTATED[::-1]
    assert all(bool(record.mask) == (record.label != 0) for record in index.samples)
    assert {record.split for record in index.samples} == {"train", "val", "test"}
    for row, record in enumerate(index.samples):
        pixels = cache.images[row]
        assert pixels.shape == (32, 32, 3)
        assert pixels.std() > 10, record.path
        assert set(np.unique(cache.masks[row])) == {0, record.label}, record.path


def table_of(folder: Path) -> list[dict[str, str]]:
    """Every image with its class, its mask where it has one, and its stage."""
    stages = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    rows = []
    for name in CLASSES:
        for stage, path in zip(stages, sorted((folder / name).iterdir()), strict=True):
            mask = folder.parent / "masks" / name / f"{path.stem}.png"
            relative = mask.relative_to(folder.parent).as_posix() if mask.is_file() else ""
            found = path.relative_to(folder.parent).as_posix()
            rows.append({"path": found, "label": name, "mask": relative, "split": stage})
    return rows


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("name", ["images.csv", "images.parquet"])
def test_a_table_brings_its_own_split(
    find: Callable[..., tuple[DataIndex, ImageCache]], folder: Path, tmp_path: Path, name: str
) -> None:
    table, rows = tmp_path / name, table_of(folder)
    write_table(table, rows)
    own = ("split=manifest", f"split.path={table}")
    index, _ = find("data=manifest", f"data.path={table}", *own)
    found = {r.path: (index.classes[r.label], r.mask or "", r.split) for r in index.samples}
    assert found == {row["path"]: (row["label"], row["mask"], row["split"]) for row in rows}
