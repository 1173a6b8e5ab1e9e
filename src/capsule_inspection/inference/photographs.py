"""Which photographs are meant by a file, a folder, a pattern or a table of paths."""

from __future__ import annotations

import csv
import glob
from pathlib import Path

from capsule_inspection.contracts import DataError
from capsule_inspection.data.reading import IMAGE_SUFFIXES

PATH_COLUMNS = ("path", "file", "image")
"""Names of the column of a table that holds the paths; the first of them that it has."""


def list_photographs(asked: str) -> list[Path]:
    """The files that `input=` names, each once, in order of their names; those of a table in its.

    A folder is searched with all below it for the endings of photographs; a single file and the
    rows of a table are taken whatever they are. Raises DataError where nothing is found.
    """
    path = Path(asked)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _in_table(path) if path.suffix.lower() == ".csv" else [path]
    if glob.has_magic(asked):
        return _of_pattern(asked)
    raise DataError(
        f"input={asked}: there is no such file or folder. Name a photograph, a folder, a pattern "
        "in quotes such as 'photos/*.png', or a CSV with a column path."
    )


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)]
    found = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise DataError(
            f"input={folder}: expected photographs ({', '.join(sorted(IMAGE_SUFFIXES))}), found "
            f"{len(files)} other files and none of these. Name another folder."
        )
    return sorted(found)


def _is_hidden(path: Path, folder: Path) -> bool:
    """Files that copying left behind: `._a.png` is no photograph."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _of_pattern(pattern: str) -> list[Path]:
    # Not Path.glob, which takes no absolute patterns.
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError(
            f"input={pattern}: no file is found by this pattern. Put it in quotes, so that the "
            "shell leaves it as it is; ** stands for any folders."
        )
    return files


def _in_table(table: Path) -> list[Path]:
    """Paths of a CSV, relative to its folder; missing files become rows with their error."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines()) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"input={table}: cannot be read as CSV in UTF-8 ({error}).") from error
    if not rows:
        raise DataError(f"input={table}: the table is empty. Give it a column path.")
    names = [name.strip().lower() for name in rows[0]]
    column = next((names.index(name) for name in PATH_COLUMNS if name in names), None)
    if column is None:
        raise DataError(
            f"input={table}: expected a column {' or '.join(PATH_COLUMNS)}, found "
            f"{', '.join(rows[0])}. Rename the column that holds the paths."
        )
    listed = [row[column].strip() for row in rows[1:] if len(row) > column and row[column].strip()]
    if not listed:
        raise DataError(f"input={table}: the table has no rows with a path.")
    return [table.parent / name for name in dict.fromkeys(listed)]
