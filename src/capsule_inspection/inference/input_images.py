"""The image files that `input=` names: a file, a folder, a pattern or a table of paths."""

from __future__ import annotations

import csv
import functools
import glob
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from capsule_inspection.data.image_io import IMAGE_SUFFIXES
from capsule_inspection.inference.prediction_folder import RECORD
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "file", "image")
"""Names of the column of a table that holds the paths; the first of them that it has."""


def find_images(name: str) -> list[Path]:
    """The files that `input=` names, each once, sorted by name; those of a table in its order.

    A folder is searched recursively, linked folders too, for the suffixes of images; a single file
    and the rows of a table are taken whatever their suffix. Folders of predictions are left out.
    Raises DataError where nothing is found.
    """
    path = Path(name)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _in_table(path) if path.suffix.lower() == ".csv" else [path]
    if glob.has_magic(name):
        return _matching(name)
    raise DataError(
        f"input={name}: there is no such file or folder. Name an image, a folder, a pattern "
        "in quotes such as 'photos/*.png', or a CSV with a column path."
    )


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in _files_below(folder) if path.is_file()]
    found = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise DataError(
            f"input={folder}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}), found "
            f"{len(files)} other files and none of these. Name another folder."
        )
    return _without_predictions(found, name=str(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    """All files but hidden ones: `._a.png` was left behind by copying."""
    root = folder.resolve()
    seen = {root}

    def is_new(path: Path) -> bool:
        """Not for a link to what is searched anyway, which may lead round in a circle."""
        real = path.resolve()
        if real in seen or (path.is_symlink() and root in real.parents):
            return False
        seen.add(real)
        return True

    for here_name, below, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        here = Path(here_name)
        shown = sorted(part for part in below if not part.startswith("."))
        below[:] = [part for part in shown if is_new(here / part)]
        yield from (here / file for file in files if not file.startswith("."))


def _warn_unreadable(error: OSError) -> None:
    log.warning("%s: left out, the folder cannot be read (%s).", error.filename, error.strerror)


def _without_predictions(paths: Iterable[Path], *, name: str) -> list[Path]:
    """The paths sorted, without the overlays that predict.py has drawn.

    Raises DataError where there are no others.
    """

    @functools.cache
    def holds_predictions(folder: Path) -> bool:
        return (folder / RECORD).is_file()

    found = sorted(paths)
    kept = [path for path in found if not any(map(holds_predictions, path.absolute().parents))]
    if not kept:
        raise DataError(
            f"input={name}: found {len(found)} files, all in a folder of predictions ({RECORD}), "
            "which are not input. Name another folder."
        )
    if len(kept) < len(found):
        log.info("%d overlays of earlier predictions are left out.", len(found) - len(kept))
    return kept


def _matching(pattern: str) -> list[Path]:
    # Not Path.glob, which takes no absolute patterns.
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError(
            f"input={pattern}: no file is found by this pattern. Put it in quotes, so that the "
            "shell leaves it as it is; ** stands for any folders."
        )
    return _without_predictions(files, name=pattern)


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
