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

from capsule_inspection.data.image_formats import IMAGE_SUFFIXES
from capsule_inspection.data.layouts.file_kinds import suffix_of
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR
from capsule_inspection.data.table_columns import (
    Column,
    choose_columns,
    describe_columns,
    known_columns,
)
from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.text_encoding import decode_unicode
from capsule_inspection.data.unused_columns import warn_unused
from capsule_inspection.types import SPLIT_COLUMNS, DataError

log = logging.getLogger(__name__)

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", *PARQUET_SUFFIXES})
_DELIMITERS = ",;\t|"
_FILES = ("path", "mask")
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # as surrogateescape stands in for such bytes
_SAVE_AS = "Save it as CSV UTF-8 (in Excel: Save as, CSV UTF-8)."
_WESTERN = re.compile(
    r"(?:[\x00-\x7f]|(?<![A-Za-z])[À-ÖØ-Þ](?=[a-z])|(?<![ß-öø-ÿ])[ß-öø-ÿ]{1,2}(?![ß-öø-ÿ]))+"
)
"""Accented letters where words of Western languages have them; other encodings look otherwise."""


class Row(NamedTuple):
    """A row and where it stands, as "line 3" or "row 3"; cells by the kind of their values."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a table; `columns` has the header of each kind of values.

    `note` says what was taken for what, "" where that is plain; `warnings` which columns that are
    not used may be of an optional kind.
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
    path: Path,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    finder: FileFinder,
    encoding: str | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> Table:
    """The rows of a CSV or Parquet table, with their cells of the required and optional kinds.

    `encoding` None: Unicode, or cp1252 where the words are of a Western language. `columns`
    is `data.columns`. Raises DataError where the table cannot be read or lacks a required column.
    """
    suffix, roles = path.suffix.lower(), (*required, *optional)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name a CSV, TSV or Parquet table.")
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: expected a table named {', '.join(sorted(TABLE_SUFFIXES))}. Export it as CSV "
            "UTF-8 or Parquet."
        )
    if suffix in PARQUET_SUFFIXES:
        return _to_table(path, _read_parquet(path), required, optional, finder, columns)
    try:
        content = path.read_bytes()
        text = content.decode(encoding) if encoding else decode_unicode(content)
    except LookupError:
        raise DataError(f"data.encoding={encoding}: Python knows no such encoding.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: damaged or no text ({error}). {_SAVE_AS}") from None
    is_unicode = text is not None
    if text is None:  # names of files may be any bytes
        text = content.decode("utf-8-sig", "surrogateescape")
    table = _to_table(
        path, _read_text(path, text, roles, columns or {}), required, optional, finder, columns
    )
    if not is_unicode and not text.startswith(",".join(SPLIT_COLUMNS)):
        return _read_western(path, table, finder)
    return table


def log_notes(path: Path, table: Table, finder: FileFinder) -> None:
    """Log what was taken for what in a table."""
    if table.note:
        log.info("%s: %s.", path, table.note)
    if finder.with_backslashes:
        log.info("%s: backslashes in paths are read as /.", path)


def _read_western(path: Path, table: Table, finder: FileFinder) -> Table:
    """The table with cells that are not UTF-8 read as cp1252; names of files keep their bytes.

    Raises DataError for a cell that is no word of a Western language.
    """
    read: dict[str, str] = {}
    for row in table.rows:
        for role, cell in row.cells.items():
            if cell in read or not _NO_UTF8.search(cell):
                continue
            files = cell.split(MASK_SEPARATOR) if role in _FILES else []
            if files and all(finder.find(file, folder=True).name for file in files):
                continue
            read[cell] = readable(cell)
            letters = len(re.findall("[A-Za-z]", cell))
            if not _WESTERN.fullmatch(read[cell]) or len(_NO_UTF8.findall(cell)) > letters:
                raise DataError(
                    f"{path}, {row.where}: the text is not UTF-8 ({read[cell]}), and which "
                    f"encoding it has is not clear. {_SAVE_AS} Or name it: data.encoding=gb18030."
                )
    if not read:
        return table
    log.warning(
        "%s: the text is not UTF-8; it was read as cp1252 (Windows), as in %s. If that is wrong, "
        "name the encoding with data.encoding.",
        path,
        next(iter(read.values())),
    )
    rows = [
        Row(row.where, {role: read.get(cell, cell) for role, cell in row.cells.items()})
        for row in table.rows
    ]
    return replace(table, rows=rows)


def _read_text(
    path: Path, text: str, roles: Sequence[str], columns: Mapping[str, str | None]
) -> _Grid:
    """Rows that are not blank, split at the delimiter that the header or a line `sep=;` shows."""
    told = re.match(r'"?sep=(.)"?[ ,;\t]*\r?\n', text)
    if told:
        text = "\n" + text[told.end() :]  # the numbers of the lines stay
    delimiter = told[1] if told else _find_delimiter(text, roles, columns)
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
                    f"number ({len(cells)}). Quote values that have {delimiter!r} in them."
                )
            grid.rows.append(cells)
            grid.places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error
    return grid


def _find_delimiter(text: str, roles: Sequence[str], given: Mapping[str, str | None]) -> str:
    """The delimiter with which the header has the most columns that are known, then the most."""
    head = next(filter(str.strip, io.StringIO(text, newline="")), "")

    def columns(delimiter: str) -> tuple[int, int]:
        try:
            header = next(csv.reader([head], delimiter=delimiter), [])
        except csv.Error:  # a field that is too long
            return -1, 0
        return known_columns(header, roles, given), len(header)

    return max(_DELIMITERS, key=columns)


def _read_parquet(path: Path) -> _Grid:
    import pyarrow
    from pyarrow import parquet

    try:
        # Each row names another image, so that it takes a byte and more.
        if (count := parquet.read_metadata(path).num_rows) > path.stat().st_size:
            raise ValueError(f"it has {count} rows, and fewer bytes")
        table = parquet.read_table(path)
        columns = [
            ["" if value is None else str(value) for value in column.to_pylist()]
            for column in table.columns
        ]
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}).") from error
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return _Grid(list(table.column_names), rows, [f"row {i}" for i in range(1, len(rows) + 1)])


def _to_table(
    path: Path,
    grid: _Grid,
    required: Sequence[str],
    optional: Sequence[str],
    finder: FileFinder,
    given: Mapping[str, str | None] | None,
) -> Table:
    """The columns that we know, as text without blanks around all but names of files."""
    try:
        chosen = choose_columns(
            grid.header,
            grid.rows,
            required=required,
            optional=optional,
            is_file=lambda name: finder.find(name).name is not None,
            given=given,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    rows = [
        Row(where, {role: _cell(role, column, cells) for role, column in chosen.items()})
        for where, cells in zip(grid.places, grid.rows, strict=True)
    ]
    table = Table(rows, {role: grid.header[column.position] for role, column in chosen.items()})
    if tuple(grid.header) == SPLIT_COLUMNS:
        return table

    def find_image(name: str) -> object:
        return finder.find(name).identity if suffix_of(name) in IMAGE_SUFFIXES else None

    return replace(
        table,
        note=describe_columns(grid.header, chosen),
        warnings=warn_unused(
            grid.header,
            grid.rows,
            chosen,
            open_roles={*optional} - {*chosen, *(given or {})},
            find_image=find_image,
        ),
    )


def _cell(role: str, column: Column, cells: Sequence[str]) -> str:
    text = cells[column.position]
    if role in _FILES:
        return text if text.strip() else ""
    text = sys.intern(text.strip())
    return column.values.get(text, text) if column.values else text
