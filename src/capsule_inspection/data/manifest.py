"""Tables of images: a user's CSV or Parquet, and the `split.csv` that every run writes.

A run's split can be used again as data. Files named in a table are looked up here; their content
is validated in validation.py.
"""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from capsule_inspection.data.layouts.classes import finish_samples
from capsule_inspection.data.layouts.names import readable, split_of
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    FoundSamples,
    LayoutSettings,
    relative_posix,
)
from capsule_inspection.data.long_lists import list_lines, numbered
from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.tables import Row, Table, log_notes, read_table
from capsule_inspection.files import atomic_write
from capsule_inspection.types import (
    LEFT_OUT,
    SPLIT_COLUMNS,
    SPLITS,
    ConfigurationError,
    DataError,
    DataIndex,
    Sample,
)

_NAME = "a table"
_REQUIRED, _OPTIONAL = ("path", "label"), ("mask", "split", "group")


class SplitRow(NamedTuple):
    """Split of one image; `sha256` is "" where the table does not have it."""

    path: str
    sha256: str
    split: str


def find_manifest_samples(
    path: Path,
    settings: LayoutSettings,
    *,
    root: Path | None = None,
    exclude: Sequence[str] = (),
    encoding: str | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> FoundSamples:
    """The images of a table with the columns path, label and, optionally, mask, split, group.

    Usual names of columns are taken too, and those that `columns` gives (`data.columns`). `label`
    is the name of the class; where it is a number and another column has the name, as in a
    `split.csv`, that one is used. Paths are relative to `root`, by default the table's folder;
    `exclude` has patterns of those to leave out, `encoding` is as in `read_table`. Raises DataError
    where the table cannot be read, lacks a column, or has bad rows: all in one message;
    ConfigurationError for an unknown kind of values in `columns`.
    """
    columns = columns or {}
    if unknown := sorted(set(columns) - {*_REQUIRED, *_OPTIONAL}):
        raise ConfigurationError(
            f"data.columns: {unknown[0]} is no kind of values. Name the column of "
            f"{', '.join((*_REQUIRED, *_OPTIONAL))}, as in {{path: <column>}}."
        )
    root = (root or path.parent).absolute()
    finder = FileFinder(root)
    table = read_table(
        path,
        required=_REQUIRED,
        optional=_OPTIONAL,
        finder=finder,
        encoding=encoding,
        columns=columns,
    )
    if not table.rows:
        raise DataError(f"{path}: the table has no rows. Set data.path to one that lists images.")
    samples, faults = [], []
    first: dict[object, str] = {}
    for row in table.rows:
        if _is_excluded(row.cells["path"], exclude):
            continue
        sample, wrong = _find(row, table, finder, first)
        faults += [f"{row.where}: {fault}" for fault in wrong]
        if sample is not None:
            samples.append(sample)
    if faults:
        raise DataError(
            f"{path}: {numbered(len(faults), 'fault')}; paths are relative to {root} (data.root)."
            f"{list_lines(faults)}Mend these rows or take them out."
        )
    log_notes(path, table, finder)
    return finish_samples(
        root,
        samples,
        settings,
        layout=_NAME,
        warnings=[*table.warnings, *_mixed_groups(samples, table)],
        other_files=[relative_posix(path, root)],
    )


def _mixed_groups(samples: Sequence[FoundSample], table: Table) -> list[str]:
    """A warning where groups hold several classes: numbers may begin anew in each class."""
    classes: dict[str, set[str]] = {}
    for sample in samples:
        classes.setdefault(sample.group, set()).add(sample.class_name)
    mixed = [group for group, names in classes.items() if group and len(names) > 1]
    if not mixed:
        return []
    return [
        f"Column {table.columns['group']}: {len(mixed)} of {numbered(len(classes), 'part')} have "
        f"images of several classes, such as {readable(mixed[0])}. Images of one part stay in one "
        "split and count once. If these are other parts with the same number: "
        "'data.columns={group: null}'."
    ]


def write_split_csv(index: DataIndex, path: Path) -> None:
    """Write a data index as `split.csv`, atomically."""
    with (
        atomic_write(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SPLIT_COLUMNS)
        writer.writerows(_cells(row, sample, index) for row, sample in enumerate(index.samples))


def read_split(path: Path, *, root: Path | None = None) -> list[SplitRow]:
    """Path and split of each row of a `split.csv`, or of a table with the columns path and split.

    With `root` the paths are relative to it and spelled as on the disk, where the files are there.
    Raises DataError where the table cannot be read, lacks a column or has an unknown split.
    """
    finder = FileFinder(root or path.parent)
    table = read_table(path, required=("path", "split"), optional=("sha256",), finder=finder)
    rows = []
    for row in table.rows:
        split, fault = _split(row, table)
        if fault:
            raise DataError(f"{path}, {row.where}: {fault}")
        name = row.cells["path"]
        if root is not None:
            name = finder.find(name).name or relative_posix(finder.root / name, finder.root)
        rows.append(SplitRow(name, row.cells.get("sha256", ""), split))
    log_notes(path, table, finder)
    return rows


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


def _find(
    row: Row, table: Table, finder: FileFinder, first: dict[object, str]
) -> tuple[FoundSample | None, list[str]]:
    """The sample of a row, None where it has no image; and what is wrong with the row.

    `first` has the row of each file so far.
    """
    name, label = row.cells["path"], row.cells["label"]
    split, split_fault = _split(row, table)
    faults = [f"the column {table.columns['label']} is empty"] if not label else []
    faults += [split_fault] if split_fault else []
    mask, mask_faults = _find_mask(row.cells.get("mask", ""), finder)
    found = finder.find(name)
    if found.name is None:
        fault = found.fault if name else f"the column {table.columns['path']} is empty"
        return None, [fault, *faults, *mask_faults]
    if (where := first.setdefault(found.identity, row.where)) != row.where:
        faults = [f"{name} repeats {where}", *faults]
    sample = FoundSample(
        path=found.name,
        class_name=readable(label),
        mask=mask,
        split=split,
        group=readable(row.cells.get("group", "")),
    )
    return sample, [*faults, *mask_faults]


def _find_mask(cell: str, finder: FileFinder) -> tuple[str | None, list[str]]:
    """The file or folder of a mask, or several files; and what is wrong with the cell."""
    whole = finder.find(cell, folder=True) if cell else None
    if whole is None or whole.name is not None:
        return whole and whole.name, []
    parts = [finder.find(part) for part in cell.split(MASK_SEPARATOR) if part.strip()]
    faults = [part.fault.replace("there is no file", "there is no mask") for part in parts]
    names = [part.name for part in parts if part.name]
    return MASK_SEPARATOR.join(names), [fault for fault in faults if fault]


def _split(row: Row, table: Table) -> tuple[str, str]:
    """The split of a row; or "", and what is wrong with it."""
    found = row.cells.get("split", "")
    split = found if found in ("", *SPLITS, LEFT_OUT) else split_of(found)
    if split or not found:
        return split, ""
    name = table.columns["split"]
    other = "" if name == "split" else "; rename the column if it has something else"
    fault = f"the column {name} must be empty or one of {', '.join(SPLITS)}; found {found!r}{other}"
    return "", fault


def _is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file, or a folder that it is in, matches a pattern, as in layouts/tree.py."""
    if not patterns:
        return False
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return any(
        fnmatch.fnmatchcase(str(each) if "/" in pattern.rstrip("/") else each.name, pattern)
        for pattern in patterns
        for each in (path, *path.parents)
    )
