"""Tables of images: a user's CSV or Parquet, and the `split.csv` that every run writes.

Both are read by the same door, so that a run's split can be used again as data. Files named in a
table are looked up here; what is in them is index.py's concern.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capsule_inspection.data.layouts import Entry, Listing, make_listing, relative_posix
from capsule_inspection.data.tables import PARQUET_SUFFIXES, Row, read_csv, read_table
from capsule_inspection.types import (
    LEFT_OUT,
    SPLIT_COLUMNS,
    STAGES,
    DataError,
    DataIndex,
    ImageRecord,
)

REQUIRED_COLUMNS = ("path", "label")
OPTIONAL_COLUMNS = ("class", "mask", "split", "group")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One row of a `split.csv`; the columns as contracts.SPLIT_COLUMNS has them.

    `class_name` is the column `class`; `mask` is None where the cell is empty.
    """

    index: int
    path: str
    label: int
    class_name: str
    mask: str | None
    sha256: str
    width: int
    height: int
    size_bytes: int
    modified_ns: int
    group: str
    split: str

    def to_record(self) -> ImageRecord:
        """The row as a record of a data index."""
        return ImageRecord(
            path=self.path,
            label=self.label,
            mask=self.mask,
            sha256=self.sha256,
            width=self.width,
            height=self.height,
            size_bytes=self.size_bytes,
            modified_ns=self.modified_ns,
            group=self.group,
            split=self.split,
        )


def list_manifest(path: Path, *, root: Path | None = None, good_class: str) -> Listing:
    """List the images of a table with the columns path, label and, if wanted, mask, split, group.

    `label` is the name of the class; in a `split.csv` it is a number, and `class` has the name.
    Paths are relative to `root`, by default the table's folder. Raises DataError where the table
    cannot be read, lacks a column, or has rows at fault: all of them in one message.
    """
    _require_table(path)
    root = (root or path.parent).absolute()
    rows = read_table(path, needed=REQUIRED_COLUMNS, optional=OPTIONAL_COLUMNS)
    if not rows:
        raise DataError(f"{path}: the table has no rows. Set data.path to one that lists images.")
    class_column = _class_column(rows)
    faults = [
        f"{row.where}: {fault}" for row in rows for fault in _faults(row.cells, root, class_column)
    ]
    faults += _repetitions(rows)
    if faults:
        raise DataError(_complaint(path, faults, root))
    entries = [_entry(row.cells, root, class_column) for row in rows]
    _check_good_class(path, entries, good_class)
    return make_listing(root, entries, good_class=good_class)


def write_split_csv(index: DataIndex, path: Path) -> None:
    """Write a data index as `split.csv`; the file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(SPLIT_COLUMNS)
            writer.writerows(_cells(i, record, index) for i, record in enumerate(index.records))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_split_csv(path: Path) -> list[SplitRow]:
    """Read what `write_split_csv` wrote, in its order.

    Raises DataError that names line and column where a cell is not as it should be.
    """
    return [_split_row(path, row) for row in read_csv(path, needed=SPLIT_COLUMNS)]


def _cells(i: int, record: ImageRecord, index: DataIndex) -> tuple[object, ...]:
    """One row, in the order of contracts.SPLIT_COLUMNS."""
    return (
        i,
        record.path,
        record.label,
        index.classes[record.label],
        record.mask or "",
        record.sha256,
        record.width,
        record.height,
        record.size_bytes,
        record.modified_ns,
        record.group,
        record.split,
    )


def _split_row(path: Path, row: Row) -> SplitRow:
    def number(column: str) -> int:
        return _number(path, row, column)

    cells = row.cells
    if cells["split"] not in ("", *STAGES):
        raise DataError(f"{path}, {row.where}: {_unknown_stage(cells['split'])}")
    return SplitRow(
        index=number("index"),
        path=cells["path"],
        label=number("label"),
        class_name=cells["class"],
        mask=cells["mask"] or None,
        sha256=cells["sha256"],
        width=number("width"),
        height=number("height"),
        size_bytes=number("size_bytes"),
        modified_ns=number("modified_ns"),
        group=cells["group"],
        split=cells["split"],
    )


def _number(path: Path, row: Row, column: str) -> int:
    cell = row.cells[column]
    try:
        return int(cell)
    except ValueError:
        raise DataError(
            f"{path}, {row.where}, column {column}: expected a whole number, found {cell!r}. "
            "Restore the file from the run that wrote it."
        ) from None


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


def _faults(cells: Mapping[str, str], root: Path, class_column: str) -> Iterator[str]:
    if not cells["path"]:
        yield "the column path is empty"
    elif not (root / cells["path"]).is_file():
        yield f"there is no file {cells['path']}"
    if not cells[class_column]:
        yield f"the column {class_column} is empty"
    if cells.get("mask") and not (root / cells["mask"]).is_file():
        yield f"there is no mask {cells['mask']}"
    if cells.get("split", "") not in ("", *STAGES, LEFT_OUT):
        yield _unknown_stage(cells["split"])


def _unknown_stage(found: str) -> str:
    return f"the column split must be empty or one of {', '.join(STAGES)}; found {found!r}"


def _repetitions(rows: Sequence[Row]) -> list[str]:
    first: dict[str, str] = {}
    return [
        f"{row.where}: {row.cells['path']} stands on {where} already"
        for row in rows
        if (where := first.setdefault(row.cells["path"], row.where)) != row.where
    ]


def _complaint(path: Path, faults: Sequence[str], root: Path) -> str:
    more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return (
        f"{path}: {len(faults)} faults; paths are relative to {root} (data.root).\n  "
        + "\n  ".join(faults[:_SHOWN])
        + more
        + "\nMend these rows or take them out."
    )


def _entry(cells: Mapping[str, str], root: Path, class_column: str) -> Entry:
    mask = cells.get("mask")
    return Entry(
        path=relative_posix(root / cells["path"], root),
        class_name=cells[class_column],
        mask=relative_posix(root / mask, root) if mask else None,
        split=cells.get("split", ""),
        group=cells.get("group", ""),
    )


def _check_good_class(path: Path, entries: Sequence[Entry], good_class: str) -> None:
    found = sorted({entry.class_name for entry in entries})
    if good_class not in found:
        raise DataError(
            f"{path}: data.good_class={good_class} is not among the classes of the table: "
            f"{', '.join(found[:_SHOWN])}. Set data.good_class to the flawless one."
        )
