"""CSV and Parquet tables to rows of text cells, each with the line that an error can name.

Not pandas: it refuses file names that are not UTF-8, and fills rows that are cut short.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.types import DataError

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})


class Row(NamedTuple):
    """A row and where it stands, as "line 3" or "row 3"."""

    where: str
    cells: Mapping[str, str]


def read_table(path: Path, *, required: Sequence[str], optional: Sequence[str]) -> list[Row]:
    """Rows of a CSV or Parquet table, their cells of the required and the optional columns.

    Raises DataError where the table cannot be read or lacks a required column.
    """
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _read_parquet(path, required=required, optional=optional)
    return list(read_csv(path, required=required, optional=optional))


def read_csv(path: Path, *, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a CSV table one by one; raises DataError as `read_table` does."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield from _csv_rows(path, csv.DictReader(stream, strict=True), required, optional)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def _csv_rows(
    path: Path, reader: csv.DictReader[str], required: Sequence[str], optional: Sequence[str]
) -> Iterator[Row]:
    """Rows of the columns that we know; blank lines are passed over."""
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(path, reader.fieldnames, required, optional)
        for cells in reader:
            if None in cells or None in cells.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(reader.fieldnames)} values, "
                    "found another number. Quote values that have a comma in them."
                )
            yield Row(f"line {reader.line_num}", _known(cells, (*required, *optional)))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.reader.line_num}: not valid CSV ({error})."
        ) from error


def _read_parquet(path: Path, *, required: Sequence[str], optional: Sequence[str]) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        names = parquet.read_schema(path).names
        _check_columns(path, names, required, optional)
        wanted = (*required, *optional)
        table = parquet.read_table(path, columns=[name for name in names if name in wanted])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}).") from error
    return [
        Row(f"row {i}", _known(cells, (*required, *optional)))
        for i, cells in enumerate(table.to_pylist(), start=1)
    ]


def _known(cells: Mapping[str, object], columns: Sequence[str]) -> dict[str, str]:
    """Cells of the columns that we read, as text, without blanks around all but paths."""
    texts = {
        name: "" if (value := cells[name]) is None else str(value)
        for name in columns
        if name in cells
    }
    return {
        name: text if name in ("path", "mask") else sys.intern(text.strip())
        for name, text in texts.items()
    }


def _check_columns(
    path: Path, found: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> None:
    missing = [name for name in required if name not in found]
    if missing:
        hint = " Separate the columns with commas." if len(found) == 1 and ";" in found[0] else ""
        raise DataError(
            f"{path}: the column{'s' * (len(missing) > 1)} {', '.join(missing)} must be there; "
            f"found {_shown(found)}.{hint}"
        )
    known = (*required, *optional)
    repeated = [name for name, times in Counter(found).items() if times > 1 and name in known]
    if repeated:
        raise DataError(f"{path}: the columns {', '.join(repeated)} stand twice. Rename one.")


def _shown(names: Sequence[str]) -> str:
    """Names for a message, whatever bytes they were read from."""
    text = ", ".join(names) or "none"
    return text.encode("utf-8", "backslashreplace").decode()[:200]
