"""The output folder of predict.py, which an interrupted run continues.

predictions.jsonl grows by a line for each image; predictions.csv is the same as a table, written at
the end.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from capsule_inspection.files import atomic_write, atomic_write_text
from capsule_inspection.inference.predictions import OK
from capsule_inspection.types import PREDICTIONS_RECORD, RunError

FORMAT_VERSION = 1
RECORD, ROWS, TABLE = PREDICTIONS_RECORD, "predictions.jsonl", "predictions.csv"
OVERLAYS, LOG, LOCK = "overlays", "predict.log", "prediction.lock"
_IDENTITY = ("size_bytes", "modified_ns", "changed_ns")
"""Columns that tell whether a file is still the same, see `identity`."""
_COLUMNS = (
    "path",
    "status",
    "error",
    "width",
    "height",
    "predicted_label",
    "is_defect",
    "score",
    "threshold",
)
Row = dict[str, Any]


class PredictionFolder:
    """Predictions in a folder, new or begun before; holds the folder's lock while it is open."""

    def __init__(self, folder: Path, *, made_by: Mapping[str, Any]) -> None:
        """`made_by` has what decides the rows: the model, and settings that change predictions.

        Raises RunError where the folder holds anything else, predictions of another model or
        settings, or is written by another process now.
        """
        self.folder = folder
        self.made_by = dict(made_by)
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
            (folder / OVERLAYS).mkdir(exist_ok=True)
            atomic_write_text(folder / RECORD, _as_text({"status": "running", **self.made_by}))
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
        return {_file_of(row): row for row in self.rows}

    def next_number(self) -> int:
        """The first free number of the overlays' names."""
        names = [path.name.partition("_")[0] for path in (self.folder / OVERLAYS).iterdir()]
        return 1 + max((int(name) for name in names if name.isdecimal()), default=-1)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row; it is in the file when this returns."""
        self.rows.append(dict(row))
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def finish(self, order: Sequence[str], **facts: Any) -> list[Row]:
        """Write the table and the record; returns all rows, those of `order` first.

        `order` has absolute paths.
        """
        place = {path: number for number, path in enumerate(order)}
        rows = sorted(self.rows, key=lambda row: place.get(_file_of(row), len(place)))
        write_table(self.folder / TABLE, rows)
        atomic_write_text(
            self.folder / RECORD, _as_text({"status": "finished", **self.made_by, **facts})
        )
        return rows

    def _restore(self) -> bool:
        """Read what an earlier run has left; whether there was one."""
        others = [path.name for path in self.folder.iterdir() if path.name not in (LOG, LOCK)]
        if not others:
            return False
        if RECORD not in others:
            raise RunError(
                f"output={self.folder}: expected a new or empty folder, or one with predictions to "
                f"continue, found {len(others)} files, such as {others[0]}. Nothing is "
                "overwritten: name another folder."
            )
        earlier = _read_record(self.folder / RECORD)
        for key, value in self.made_by.items():
            if earlier.get(key) != value:
                raise RunError(
                    f"output={self.folder}: these predictions were made with {key}="
                    f"{earlier.get(key)}, and {key}={value} is set now. "
                    "Name another folder."
                )
        self.rows = [row for row in _read_rows(self.folder / ROWS) if _is_current(row)]
        return True

    def _rewrite(self) -> None:
        """The rows that still hold, without a line that was cut short, or of failed files."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        with atomic_write(self.folder / ROWS) as part:  # names may be no UTF-8: escaped as by `add`
            part.write_bytes(text.encode(errors="backslashreplace"))


def absolute_path(path: Path) -> str:
    """The same from every working directory; links stay as they are."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps ..


def identity(path: Path) -> dict[str, int | None]:
    """What tells whether a file has changed since it was predicted; None where it is missing."""
    try:
        status = path.stat()
    except OSError:
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
    path = Path(_file_of(row))
    return row["status"] == OK and (identity(path) == known or not path.exists())


def _file_of(row: Row) -> str:
    """Absolute path of a row's image."""
    return str(row["file"])


def _read_rows(path: Path) -> list[Row]:
    """Whole lines; one that was cut short, by a full disk or a killed process, is left out."""
    if not path.is_file():
        return []
    rows: dict[str, Row] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                rows[_file_of(row)] = row
            except (ValueError, KeyError, TypeError):
                continue
    return list(rows.values())


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Name another output folder.") from error
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: expected predictions of format {FORMAT_VERSION}, found {version}. Name "
            "another output folder."
        )
    return dict(found)


def _as_text(values: Mapping[str, Any]) -> str:
    content = {"format_version": FORMAT_VERSION, **values}
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
