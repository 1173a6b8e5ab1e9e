"""The output folder of predict.py, which an interrupted run continues.

predictions.jsonl grows by a line for each image, with a checksum; predictions.csv is the same as a
table, written at the end. Lines are data, which may be damaged or from elsewhere: those that are
not as `add` writes them are left out, and their images predicted again.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from capsule_inspection.files import (
    atomic_write,
    atomic_write_text,
    flush,
    flush_entry,
    partials,
    remove_partial,
)
from capsule_inspection.inference.predictions import OK
from capsule_inspection.integrity import (
    CHECKSUM,
    file_sha256,
    is_sealed,
    read_sealed,
    seal,
    write_sealed,
)
from capsule_inspection.types import PREDICTIONS_PAGE, PREDICTIONS_RECORD, RunError

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
RECORD, ROWS, TABLE = PREDICTIONS_RECORD, "predictions.jsonl", "predictions.csv"
OVERLAYS, LOG, LOCK = "overlays", "predict.log", "prediction.lock"
_IDENTITY = ("size_bytes", "modified_ns", "changed_ns")
"""Columns that tell whether a file is still the same, see `identity`."""
_COLUMNS: dict[str, Any] = {
    "path": str,
    "status": str,
    "error": str | None,
    "width": int | None,
    "height": int | None,
    "predicted_label": str | None,
    "is_defect": bool | None,
    "score": float | None,
    "threshold": float | None,
}
"""What the first columns of the table hold."""
_FIELDS: dict[str, Any] = {
    **_COLUMNS,
    "file": str,
    "probabilities": dict | None,
    "regions": list,
    "ood_warnings": list,
    "notes": list,
    "overlay": str | None,
    "overlay_sha256": str | None,
    "coloured": bool,
}
"""What each line holds, beside the identity of its file."""
_OVERLAY = re.compile(rf"{OVERLAYS}/(\d{{6,9}})_[A-Za-z0-9._-]+\.png")
_MAX_LINE = 1 << 24
Row = dict[str, Any]


class PredictionFolder:
    """Predictions in a folder, new or begun before; holds the folder's lock while it is open."""

    def __init__(self, folder: Path, *, made_by: Mapping[str, Any]) -> None:
        """`made_by` has what decides the rows: the model, and settings that change predictions.

        Raises RunError where the folder holds anything else, predictions of another model or
        settings, or is written by another process now.
        """
        self.folder = folder
        self.made_by = {"format_version": FORMAT_VERSION, **made_by}
        self.rows: list[Row] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"output={folder}: another process writes predictions here now. Wait for it, or "
                "name another folder."
            ) from error
        try:
            self.continues = self._restore()
            self._write_record("running")
            self._remove_leftovers()
            self._rewrite()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> PredictionFolder:
        self._file = (self.folder / ROWS).open("a", encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        finally:  # where the disk is full, closing fails as well
            self._lock.release()

    def done(self) -> dict[str, Row]:
        """Rows by absolute path of the images that need not be predicted again."""
        return {row["file"]: row for row in self.rows}

    def overlay_numbers(self) -> set[int]:
        """The numbers that the overlays of the rows have in their names."""
        names = [_OVERLAY.fullmatch(row["overlay"]) for row in self.rows if row["overlay"]]
        return {int(name[1]) for name in names if name}

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row; it is in the file when this returns."""
        self.rows.append(dict(row))
        self._file.write(_as_line(row))
        self._file.flush()

    def sort(self, order: Sequence[str]) -> list[Row]:
        """All rows, those of the absolute paths in `order` first."""
        place = {path: number for number, path in enumerate(order)}
        self.rows.sort(key=lambda row: place.get(row["file"], len(place)))
        return self.rows

    def finish(self) -> None:
        """Write the rows as they are sorted, and the table; then the record says finished."""
        self._rewrite()
        write_table(self.folder / TABLE, self.rows)
        flush(self.folder)
        flush_entry(self.folder.parent)
        self._write_record("finished")

    def _restore(self) -> bool:
        """Read what an earlier run has left; whether there was one."""
        own = {self.folder / LOG, self.folder / LOCK, *partials(self.folder / RECORD)}
        others = [path.name for path in self.folder.iterdir() if path not in own]
        if not others:
            return False
        if RECORD not in others:
            raise RunError(
                f"output={self.folder}: expected a new or empty folder, or one with predictions to "
                f"continue, found {len(others)} files, such as {others[0]}. Nothing is "
                "overwritten: name another folder."
            )
        self._check_record()
        if (self.folder / OVERLAYS).is_symlink():
            raise RunError(
                f"{self.folder / OVERLAYS}: expected a folder, found a link. Name another output "
                "folder."
            )
        rows, damaged = _read_rows(self.folder / ROWS)
        whole = [row for row in rows if self._has_overlay(row)]
        if damaged or len(whole) < len(rows):
            log.warning(
                "%s: %d predictions and %d overlays are damaged or missing; their images are "
                "predicted again.",
                *(self.folder, damaged, len(rows) - len(whole)),
            )
        self.rows = [row for row in whole if _is_current(row)]
        return True

    def _check_record(self) -> None:
        """Raise RunError for the predictions of other settings, and for a damaged record."""
        path = self.folder / RECORD
        try:
            earlier = read_sealed(path)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path}: damaged ({error}). Restore it from a copy, or name another output folder."
            ) from error
        for key, value in self.made_by.items():
            before, now = (
                f"the run's own {key}" if of is None else f"{key}={of}"
                for of in (earlier.get(key), value)
            )
            if before != now:
                raise RunError(
                    f"output={self.folder}: these predictions were made with {before}, and {now} "
                    "is set now. Name another folder."
                )

    def _has_overlay(self, row: Row) -> bool:
        """Whether the overlay of a row is as it was written, where it has one."""
        if row["overlay"] is None:
            return True
        path = self.folder / row["overlay"]
        is_file = path.is_file() and not path.is_symlink()
        return is_file and file_sha256(path) == row["overlay_sha256"]

    def _remove_leftovers(self) -> None:
        """Remove overlays that no row names, and parts of files; other files stay."""
        (self.folder / OVERLAYS).mkdir(exist_ok=True)
        kept = {row["overlay"] for row in self.rows}
        for path in (self.folder / OVERLAYS).iterdir():
            name = f"{OVERLAYS}/{path.name}"
            if name not in kept and (_OVERLAY.fullmatch(name) or path.name.startswith(".")):
                path.unlink()
        for name in (RECORD, ROWS, TABLE, PREDICTIONS_PAGE):
            remove_partial(self.folder / name)

    def _rewrite(self) -> None:
        """The rows that still hold, without a line that was cut short, or of failed files."""
        with atomic_write(self.folder / ROWS) as part:  # names may be no UTF-8: escaped as by `add`
            part.write_bytes("".join(map(_as_line, self.rows)).encode(errors="backslashreplace"))

    def _write_record(self, status: str) -> None:
        write_sealed(self.folder / RECORD, {"status": status, **self.made_by})


def _as_line(row: Mapping[str, Any]) -> str:
    return json.dumps(seal(row), ensure_ascii=False) + "\n"


def absolute_path(path: Path) -> str:
    """The same from every working directory; links stay as they are."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps ..


def identity(path: Path) -> dict[str, int | None]:
    """What tells whether a file has changed since it was predicted; None where it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a name that no file can have
        return dict.fromkeys(_IDENTITY)
    values = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return dict(zip(_IDENTITY, values, strict=True))


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """predictions.csv: as the lines, with a column for each class, and ood_warnings in one."""
    rows = list(rows)
    classes = next((list(row["probabilities"]) for row in rows if row.get("probabilities")), [])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    probabilities_of = [f"p_{name}" for name in classes]
    writer.writerow([*_COLUMNS, *probabilities_of, "regions", "mask_px", "ood_warnings", "overlay"])
    for row in rows:
        probabilities = row.get("probabilities") or {}
        regions = row.get("regions") or ()
        writer.writerow(
            [
                *(_cell(row.get(column)) for column in _COLUMNS),
                *(_cell(probabilities.get(name)) for name in classes),
                json.dumps(regions, ensure_ascii=False) if regions else "",
                sum(region["area_px"] for region in regions),
                "; ".join(row.get("ood_warnings") or ()),
                _cell(row.get("overlay")),
            ]
        )
    atomic_write_text(path, text.getvalue())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _is_current(row: Row) -> bool:
    """Whether a row is of a file that could be read, and that is still what it was.

    A file that is gone has not changed: folders are emptied, and disks are not always there.
    """
    known = {key: row.get(key) for key in _IDENTITY}
    found = identity(Path(row["file"]))
    return row["status"] == OK and (found == known or None in found.values())


def _read_rows(path: Path) -> tuple[list[Row], int]:
    """The rows, and how many lines are damaged.

    A last line that was cut short, by a full disk or a killed process, is none of them.
    """
    if not path.is_file():
        return [], 0
    rows: dict[str, Row] = {}
    damaged = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(_MAX_LINE):
            row = _read_row(line)
            if row is not None:
                rows[row["file"]] = row
            else:
                damaged += line.endswith("\n")
    return list(rows.values()), damaged


def _read_row(line: str) -> Row | None:
    """The row of a line; None where it is damaged or not as `add` writes it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or CHECKSUM not in row or not is_sealed(row):
        return None
    has_fields = all(
        name in row and isinstance(row[name], expected) for name, expected in _FIELDS.items()
    )
    return row if has_fields and _has_valid_values(row) else None


def _has_valid_values(row: Row) -> bool:
    """Whether values within values are as expected, and the overlay is in the folder."""
    regions, texts = row["regions"], (*row["ood_warnings"], *row["notes"])
    return (
        (row["overlay"] is None or _OVERLAY.fullmatch(row["overlay"]) is not None)
        and all(isinstance(value, float) for value in (row["probabilities"] or {}).values())
        and all(isinstance(of, dict) and isinstance(of.get("area_px"), int) for of in regions)
        and all(isinstance(text, str) for text in texts)
    )
