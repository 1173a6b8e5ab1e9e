"""Every kind of file can be trained on, in folders and in tables, CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import QUICK, SIZE_PX, check_refusal, draw_mask, noise, record_of
from small import Door

pytestmark = pytest.mark.usefixtures("without_pictures")

CLASSES = ("ok", "crack", "poke")
EACH = 8
ROTATED = (3 * SIZE_PX // 2, SIZE_PX)
"""Width and height, as stored, of the image that EXIF turns upright."""


def save_turned(image: Image.Image, path: Path) -> None:
    """A JPEG that lies on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.resize(ROTATED).save(path, exif=exif, quality=95)


def save_deep(image: Image.Image, path: Path) -> None:
    """16-bit grey."""
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def save_transparent(image: Image.Image, path: Path) -> None:
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
    root = tmp_path / "photographs"
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number, (file, write) in enumerate(WRITERS.items()):
            write(noise(100 * label + number), root / name / f"{number}_{file}")
            if name != "ok" and file != "turned.jpg":
                draw_mask(tmp_path / "masks" / name / f"{number}_{file.partition('.')[0]}.png")
        if name != "ok":
            turned = Image.new("L", ROTATED[::-1], 0)
            turned.paste(255, (5, 5, 15, 15))
            turned.save(tmp_path / "masks" / name / "1_turned.png")
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_all_formats_is_trained_on(door: Door, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = door(
        "train",
        *QUICK,
        "data=folder",
        f"data.root={folder}",
        f"data.masks={tmp_path / 'masks'}",
        "data.good_class=ok",
        f"hydra.run.dir={run}",
    )
    assert answer.status == 0, answer.err
    record = record_of(run)
    assert record["data"]["classes"] == ["ok", "crack", "poke"]
    assert sum(record["data"]["images"].values()) == len(CLASSES) * EACH
    rows = {row["path"]: row for row in rows_of(run / "split.csv")}
    assert len(rows) == len(CLASSES) * EACH
    turned = rows["crack/1_turned.jpg"]
    assert (int(turned["width"]), int(turned["height"])) == ROTATED[::-1]
    assert all(bool(row["mask"]) == (row["class"] != "ok") for row in rows.values())


def table_of(folder: Path) -> list[dict[str, str]]:
    """Every image with its class, its mask where it has one, and its stage."""
    stages = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    rows = []
    for name in CLASSES:
        for stage, path in zip(stages, sorted((folder / name).iterdir()), strict=True):
            mask = folder.parent / "masks" / name / f"{path.stem}.png"
            rows.append(
                {
                    "path": path.relative_to(folder.parent).as_posix(),
                    "label": name,
                    "mask": mask.relative_to(folder.parent).as_posix() if mask.is_file() else "",
                    "split": stage,
                }
            )
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
def test_a_table_with_its_own_split_is_trained_on(
    door: Door, folder: Path, tmp_path: Path, name: str
) -> None:
    run, table, rows = tmp_path / "run", tmp_path / name, table_of(folder)
    write_table(table, rows)
    answer = door(
        "train",
        *QUICK,
        "data=manifest",
        f"data.path={table}",
        "data.good_class=ok",
        "split=manifest",
        f"split.path={table}",
        f"hydra.run.dir={run}",
    )
    assert answer.status == 0, answer.err
    assert record_of(run)["data"]["images"] == {"train": 12, "val": 6, "test": 6}
    found = {row["path"]: (row["class"], row["split"]) for row in rows_of(run / "split.csv")}
    assert found == {row["path"]: (row["label"], row["split"]) for row in rows}


def test_the_split_of_a_run_is_a_table_too(door: Door, finished_home: Path, tmp_path: Path) -> None:
    split = finished_home / "run" / "split.csv"
    answer = door(
        "train",
        *QUICK,
        "data=manifest",
        f"data.path={split}",
        f"data.root={finished_home / 'bottle'}",
        "split=manifest",
        f"split.path={split}",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert answer.status == 0, answer.err
    assert (tmp_path / "run" / "split.csv").read_bytes() == split.read_bytes()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"split": "training"}, "found 'training'"),
        ({"path": "photographs/ok/none.png"}, "there is no file photographs/ok/none.png"),
        ({"mask": "masks/none.png"}, "there is no mask masks/none.png"),
        ({"label": ""}, "the column label is empty"),
    ],
    ids=lambda value: "=".join(*value.items()) if isinstance(value, dict) else None,
)
def test_a_row_at_fault_is_named_with_its_line(
    door: Door, folder: Path, tmp_path: Path, change: dict[str, str], expected: str
) -> None:
    table, rows = tmp_path / "images.csv", table_of(folder)
    rows[3] |= change
    write_table(table, rows)
    answer = door("train", *QUICK, "data=manifest", f"data.path={table}", "data.good_class=ok")
    check_refusal(answer, str(table), "line 5: ", expected)


@pytest.mark.parametrize("name", ["images.csv", "images.parquet", "images.xlsx"])
def test_what_is_no_table_is_named(door: Door, tmp_path: Path, name: str) -> None:
    table = tmp_path / name
    table.write_bytes(b"PK\x03\x04 \xff\x00 no table\n\n")
    answer = door("train", *QUICK, "data=manifest", f"data.path={table}")
    check_refusal(answer, str(table))
