"""Tables of images: a user's CSV or Parquet, and the `split.csv` that every run writes.

A run's split can be used again as data. Files named in a table are looked up here; their content
is validated in validation.py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    relative_posix,
    sort_samples,
)
from capsule_inspection.data.long_lists import list_lines
from capsule_inspection.data.tables import PARQUET_SUFFIXES, Row, read_table
from capsule_inspection.files import atomic_write
from capsule_inspection.types import (
    LEFT_OUT,
    SPLIT_COLUMNS,
    SPLITS,
    DataError,
    DataIndex,
    Sample,
)

REQUIRED_COLUMNS = ("path", "label")
OPTIONAL_COLUMNS = ("class", "mask", "split", "group")
_SHOWN = 20


class SplitRow(NamedTuple):
    """Split of one image; `sha256` is "" where the table does not have it."""

    path: str
    sha256: str
    split: str


def find_manifest_samples(path: Path, *, root: Path | None = None, good_class: str) -> FoundSamples:
    """The images of a table with the columns path, label and, optionally, mask, split, group.

    `label` is the name of the class; in a `split.csv` it is a number, and `class` has the name.
    Paths are relative to `root`, by default the table's folder. Raises DataError where the table
    cannot be read, lacks a column, or has bad rows: all of them in one message.
    """
    _require_table(path)
    root = (root or path.parent).absolute()
    rows = read_table(path, required=REQUIRED_COLUMNS, optional=OPTIONAL_COLUMNS)
    if not rows:
        raise DataError(f"{path}: the table has no rows. Set data.path to one that lists images.")
    class_column = _class_column(rows)
    faults = [f"{row.where}: {fault}" for row in rows for fault in _faults(row, root, class_column)]
    faults += _repetitions(rows)
    if faults:
        raise DataError(
            f"{path}: {len(faults)} faults; paths are relative to {root} (data.root)."
            f"{list_lines(faults)}Mend these rows or take them out."
        )
    samples = [_found_sample(row, root, class_column) for row in rows]
    _check_good_class(path, samples, good_class)
    return sort_samples(root, samples, good_class=good_class)


def write_split_csv(index: DataIndex, path: Path) -> None:
    """Write a data index as `split.csv`, atomically."""
    with (
        atomic_write(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SPLIT_COLUMNS)
        writer.writerows(_cells(row, sample, index) for row, sample in enumerate(index.samples))


def read_split(path: Path) -> list[SplitRow]:
    """Path and split of each row of a `split.csv`, or of a table with the columns path and split.

    Raises DataError where the table cannot be read, lacks a column or has an unknown split.
    """
    rows = read_table(path, required=("path", "split"), optional=("sha256",))
    for row in rows:
        if fault := _split_fault(row.cells["split"]):
            raise DataError(f"{path}, {row.where}: {fault}")
    return [
        SplitRow(row.cells["path"], row.cells.get("sha256", ""), row.cells["split"]) for row in rows
    ]


def _cells(row: int, sample: Sample, index: DataIndex) -> tuple[object, ...]:
    """One row, in the order of types.SPLIT_COLUMNS."""
    return (
        row,
        sample.path,
        sample.label,
        index.classes[sample.label],
        sample.mask or "",
        sample.sha256,
        sample.width,
        sample.height,
        sample.size_bytes,
        sample.modified_ns,
        sample.group,
        sample.split,
    )


def _require_table(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Set data.path to a CSV or Parquet table.")
    if path.suffix.lower() not in {".csv", *PARQUET_SUFFIXES}:
        raise DataError(
            f"{path}: expected a table named .csv or .parquet. Export the table as one of them."
        )


def _class_column(rows: Sequence[Row]) -> str:
    """`class` in tables like `split.csv`, whose labels are all numbers; else `label`."""
    numbered = "class" in rows[0].cells and all(row.cells["label"].isdecimal() for row in rows)
    return "class" if numbered else "label"


def _faults(row: Row, root: Path, class_column: str) -> Iterator[str]:
    path, mask = row.cells["path"], row.cells.get("mask")
    if not path:
        yield "the column path is empty"
    elif not (root / path).is_file():
        yield f"there is no file {path}"
    if not row.cells[class_column]:
        yield f"the column {class_column} is empty"
    if mask and not (root / mask).is_file():
        yield f"there is no mask {mask}"
    if fault := _split_fault(row.cells.get("split", "")):
        yield fault


def _split_fault(split: str) -> str | None:
    if split in ("", *SPLITS, LEFT_OUT):
        return None
    return f"the column split must be empty or one of {', '.join(SPLITS)}; found {split!r}"


def _repetitions(rows: Sequence[Row]) -> list[str]:
    first: dict[str, str] = {}
    return [
        f"{row.where}: {row.cells['path']} repeats {where}"
        for row in rows
        if (where := first.setdefault(row.cells["path"], row.where)) != row.where
    ]


def _found_sample(row: Row, root: Path, class_column: str) -> FoundSample:
    mask = row.cells.get("mask")
    return FoundSample(
        path=relative_posix(root / row.cells["path"], root),
        class_name=row.cells[class_column],
        mask=relative_posix(root / mask, root) if mask else None,
        split=row.cells.get("split", ""),
        group=row.cells.get("group", ""),
    )


def _check_good_class(path: Path, samples: Sequence[FoundSample], good_class: str) -> None:
    found = sorted({sample.class_name for sample in samples})
    if good_class not in found:
        raise DataError(
            f"{path}: data.good_class={good_class} is not among the classes of the table: "
            f"{', '.join(found[:_SHOWN])}. Set data.good_class to the flawless one."
        )
