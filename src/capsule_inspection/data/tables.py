"""CSV and Parquet tables to rows of text cells, each with the line that an error can name.

Tables are read as spreadsheets of several systems write them: with other delimiters, encodings and
names of columns. Not pandas: it refuses file names that are not UTF-8, and fills rows that are cut
short.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.layouts.names import is_good_name, readable
from capsule_inspection.data.table_columns import (
    Column,
    choose_columns,
    describe_columns,
    known_columns,
)
from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.text_encoding import decode_otherwise, decode_unicode, is_western
from capsule_inspection.types import SPLIT_COLUMNS, DataError

log = logging.getLogger(__name__)

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", *PARQUET_SUFFIXES})
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_FILES = ("path", "mask")
_SAVE_AS = "Save it as CSV UTF-8 (in Excel: Save as, CSV UTF-8)."


class Row(NamedTuple):
    """A row and where it stands, as "line 3" or "row 3"; cells by the kind of their values."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a table; `columns` has the header of each kind of values.

    `note` says what was taken for what, "" where that is plain. `warnings` are sentences.
    """

    rows: list[Row]
    columns: Mapping[str, str]
    note: str = ""
    warnings: tuple[str, ...] = ()


class _Grid(NamedTuple):
    """Cells as they stand in the file, and the line or row of each."""

    header: list[str]
    rows: list[list[str]]
    places: list[str]


def read_table(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), finder: FileFinder
) -> Table:
    """The rows of a CSV or Parquet table, with their cells of the required and optional kinds.

    Raises DataError where the table cannot be read or lacks a required column.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: expected a table named {', '.join(sorted(TABLE_SUFFIXES))}. Export it as CSV "
            "UTF-8 or Parquet."
        )
    if suffix in PARQUET_SUFFIXES:
        return _to_table(path, _read_parquet(path), required, optional, finder)
    content = _read_bytes(path)
    try:
        text = decode_unicode(content)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: damaged or no text ({error}). {_SAVE_AS}") from None
    if text is not None:
        grid = _read_text(path, text, (*required, *optional))
        return _to_table(path, grid, required, optional, finder)
    for encoding, text in decode_otherwise(content):
        grid = _read_text(path, text, (*required, *optional))
        table = _to_table(path, grid, required, optional, finder)
        if (read := _confirmed(path, table, encoding, finder)) is not None:
            return read
    raise DataError(
        f"{path}: the text is not UTF-8, and it is not clear which encoding it has. {_SAVE_AS}"
    )


def log_notes(path: Path, table: Table, finder: FileFinder) -> None:
    """Log what was taken for what in a table, and its warnings."""
    if table.note:
        log.info("%s: %s.", path, table.note)
    if finder.with_backslashes:
        log.info("%s: backslashes in paths are read as /.", path)
    for warning in table.warnings:
        log.warning("%s", warning)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path}: this is a workbook of a spreadsheet, not text. {_SAVE_AS}")
    return content


def _confirmed(path: Path, table: Table, encoding: str, finder: FileFinder) -> Table | None:
    """The table, where the files that it names, or its words, show that the encoding is right."""
    names = {cell for row in table.rows for role in _FILES if (cell := row.cells.get(role))}
    names = {name for name in names if not name.isascii()}
    if any(finder.find(name, folder=True).name is None for name in names):
        return None
    words = {cell for row in table.rows for role, cell in row.cells.items() if role not in _FILES}
    words = {word for word in words if not word.isascii()}
    if encoding:
        is_sure = names or any(map(is_good_name, words))
    else:  # bytes of file names stay; words of a Western language are read as cp1252
        is_sure = all(map(is_western, words))
        words = {word for word in words if readable(word) != word}
    if not is_sure or not (encoding or words):
        return table if is_sure else None
    example = readable(min(words or names))
    warning = (
        f"{path}: the text is not UTF-8; it was read as {encoding or 'cp1252'}, as in {example!r}. "
        f"{_SAVE_AS}"
    )
    return replace(table, warnings=(*table.warnings, warning))


def _read_text(path: Path, text: str, roles: Sequence[str]) -> _Grid:
    """Rows that are not blank, split at the delimiter that the header or a line `sep=;` shows."""
    told = re.match(r'"?sep=(.)"?[ ,;\t]*\r?\n', text)
    if told:
        text = "\n" + text[told.end() :]  # the numbers of the lines stay
    delimiter = told[1] if told else _find_delimiter(text, roles)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    grid = _Grid([], [], [])
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if not grid.header:
                grid.header.extend(name.strip() for name in cells)
                continue
            width = len(grid.header)
            if len(cells) < width or any(map(str.strip, cells[width:])):
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {width} values, found another "
                    f"number ({len(cells)}). Quote values that have "
                    f"{_DELIMITERS.get(delimiter, delimiter)} in them."
                )
            grid.rows.append(cells)
            grid.places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error
    return grid


def _find_delimiter(text: str, roles: Sequence[str]) -> str:
    """The delimiter with which the header has the most columns that are known, then the most."""
    head = next(filter(str.strip, io.StringIO(text, newline="")), "")

    def columns(delimiter: str) -> tuple[int, int]:
        header = next(csv.reader([head], delimiter=delimiter), [])
        return known_columns(header, roles), len(header)

    return max(_DELIMITERS, key=columns)


def _read_parquet(path: Path) -> _Grid:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}).") from error
    columns = [
        ["" if value is None else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return _Grid(list(table.column_names), rows, [f"row {i}" for i in range(1, len(rows) + 1)])


def _to_table(
    path: Path, grid: _Grid, required: Sequence[str], optional: Sequence[str], finder: FileFinder
) -> Table:
    """The columns that we know, as text without blanks around all but names of files."""
    try:
        chosen = choose_columns(
            grid.header,
            grid.rows,
            required=required,
            optional=optional,
            is_file=lambda name: finder.find(name).name is not None,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    rows = [
        Row(where, {role: _cell(role, column, cells) for role, column in chosen.items()})
        for where, cells in zip(grid.places, grid.rows, strict=True)
    ]
    is_own = tuple(grid.header) == SPLIT_COLUMNS
    return Table(
        rows,
        {role: grid.header[column.position] for role, column in chosen.items()},
        "" if is_own else describe_columns(grid.header, chosen),
    )


def _cell(role: str, column: Column, cells: Sequence[str]) -> str:
    text = cells[column.position]
    if role in _FILES:
        return text if text.strip() else ""
    text = sys.intern(text.strip())
    return column.values.get(text, text) if column.values else text
