"""A finished run folder, read back: its record, epochs, predictions and figures.

The files are described by `contracts.RunFiles`. Checked here, once; whoever gets a `RunFolder` may
trust it. Knows no pictures and no models. pandas is imported when a folder is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.contracts import (
    FORMAT_VERSION,
    Figure,
    Predictions,
    RunError,
    RunFiles,
)

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY = "p_"
"""Columns of predictions.csv that hold the probability of a class begin so."""

_TEXT_COLUMNS = ("path", "sha256", "split", "fold", "label", "prediction")
_NEEDED_COLUMNS = ("index", "split", "label", "prediction", "score")


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind.

    `epochs` has a row an epoch, NaN where nothing was measured, and is empty where the folder holds
    an evaluation. `predictions` has a row an image of val and test. `classes` are in the order of
    their class indices, and empty where the run gives no probabilities. `settings` are those of
    config.yaml by their dotted names, and empty where there is none.
    """

    path: Path
    record: Mapping[str, Any]
    epochs: pd.DataFrame
    predictions: pd.DataFrame
    figures: Mapping[str, Figure]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]

    def stages(self) -> tuple[str, ...]:
        """The parts of the split that have predictions, in the order of the file."""
        return tuple(dict.fromkeys(self.predictions["split"]))

    def rows_of(self, stage: str) -> pd.DataFrame:
        """The predictions of one part of the split."""
        return self.predictions[self.predictions["split"] == stage]

    def arrays_of(self, stage: str) -> tuple[Predictions, np.ndarray]:
        """The predictions of one part as arrays, and the class that was predicted, (N,) int64."""
        rows = self.rows_of(stage)
        columns = [PROBABILITY + name for name in self.classes]
        predictions = Predictions(
            index=rows["index"].to_numpy(np.int64),
            label=self._class_indices(rows["label"]),
            probabilities=rows[columns].to_numpy(np.float64),
            score=rows["score"].to_numpy(np.float64),
        )
        return predictions, self._class_indices(rows["prediction"])

    def image_path(self, index: int) -> Path:
        """Where the thumbnail of an image lies, if it was kept."""
        return self.path / RunFiles.IMAGES / f"{index}.jpg"

    def _class_indices(self, class_names: pd.Series) -> np.ndarray:
        index_of = {name: index for index, name in enumerate(self.classes)}
        return np.array([index_of[name] for name in class_names], dtype=np.int64)


def read_run(folder: Path) -> RunFolder:
    """Read a run folder, or that of an evaluation (which has no metrics.csv).

    Raises RunError where the folder or one of its files is missing, unreadable or not as expected.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: no such run folder. Give the folder that holds {RunFiles.RECORD}."
        )
    record = read_record(folder)
    predictions = _read_predictions(folder / RunFiles.PREDICTIONS)
    classes = tuple(
        name.removeprefix(PROBABILITY)
        for name in _column_names(predictions)
        if name.startswith(PROBABILITY)
    )
    _check_class_names(folder / RunFiles.PREDICTIONS, predictions, classes)
    return RunFolder(
        path=folder,
        record=record,
        epochs=_read_epochs(folder / RunFiles.EPOCHS),
        predictions=predictions,
        figures=read_figures(folder),
        classes=classes,
        settings=_read_settings(folder / RunFiles.CONFIG),
    )


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.json. Raises RunError where it is missing, broken or of a later format."""
    path = folder / RunFiles.RECORD
    record = _read_json(path)
    version = record.get("format_version")
    if not isinstance(version, int):
        raise RunError(f"{path}: expected a whole number as format_version, found {version!r}.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {version}, this version reads up to {FORMAT_VERSION}. "
            "Update capsule-inspection."
        )
    return record


def read_figures(folder: Path) -> dict[str, Figure]:
    """The final figures of metrics.json by key. Raises RunError where one is not as expected."""
    path = folder / RunFiles.FIGURES
    return {key: _figure(path, key, entry) for key, entry in _read_json(path).items()}


def _figure(path: Path, key: str, entry: object) -> Figure:
    try:
        if not isinstance(entry, dict):
            raise TypeError
        low, high = (None if entry[end] is None else float(entry[end]) for end in ("low", "high"))
        return Figure(float(entry["value"]), low, high, int(entry["n"]))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{path}: {key} must hold value, low, high and n as numbers, found {entry!r}."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object with names, found {type(content).__name__}.")
    return content


def _read_settings(path: Path) -> dict[str, Any]:
    import yaml

    if not path.exists():
        return {}
    try:
        # The C loader is ten times as quick, and a report may read a hundred of these files.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read as settings ({reason}).") from error
    return dict(_dotted(content, ""))


def _dotted(node: object, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _dotted(value, f"{prefix}.{key}" if prefix else str(key))


def _read_epochs(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        return pd.DataFrame()
    try:
        # A file without any line is a training that ended within its first epoch.
        epochs = pd.read_csv(path) if path.stat().st_size else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a table ({error}).") from error
    column_names = _column_names(epochs)
    words = [name for name in column_names if not pd.api.types.is_numeric_dtype(epochs[name])]
    if words:
        raise RunError(f"{path}: expected numbers only, found words in {', '.join(words)}.")
    if column_names and "epoch" not in column_names:
        raise RunError(f"{path}: the column epoch is missing; it has {', '.join(column_names)}.")
    return epochs


def _read_predictions(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # Words first: a class may be called "007", "NA" or "true".
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a table ({error}).") from error
    found = _column_names(table)
    absent = [name for name in _NEEDED_COLUMNS if name not in found]
    if absent:
        raise RunError(f"{path}: columns missing: {', '.join(absent)}; it has {', '.join(found)}.")
    for name in found:
        if name not in _TEXT_COLUMNS:
            table[name] = _numbers(path, table[name])
    return _with_whole_index(path, table)


def _column_names(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns]


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    """The column as numbers, NaN where a cell is empty."""
    import pandas as pd

    try:
        numbers = [float(cell) if cell else math.nan for cell in column]
    except ValueError as error:
        raise RunError(f"{path}: column {column.name} must hold numbers ({error}).") from None
    return pd.Series(numbers, index=column.index, dtype=np.float64)


def _with_whole_index(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    if not np.isfinite(table["index"]).all():
        raise RunError(f"{path}: column index has empty cells; the file seems cut short.")
    return table.astype({"index": np.int64})


def _check_class_names(path: Path, predictions: pd.DataFrame, classes: tuple[str, ...]) -> None:
    if not classes:
        return
    unknown = {*predictions["label"], *predictions["prediction"]} - set(classes)
    if unknown:
        raise RunError(
            f"{path}: no column of probabilities for {', '.join(map(repr, sorted(unknown)))}; "
            f"it has {', '.join(classes)}."
        )
    broken = [
        name for name in classes if not all(map(math.isfinite, predictions[PROBABILITY + name]))
    ]
    if broken:
        raise RunError(f"{path}: probabilities are missing or not finite for {', '.join(broken)}.")


def _missing(path: Path) -> RunError:
    return RunError(
        f"{path}: missing, so {path.parent} is not a finished run. "
        "Wait for it, or finish it with train.py resume=<run folder>."
    )
