"""The tables of a run folder, read back and checked: epochs and predictions.

What is done with them is in `run_folder`. pandas is imported when a table is read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.types import RunError

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY = "p_"
"""Columns of predictions.csv that hold the probability of a class begin so."""

THRESHOLD = "threshold"
"""Column of predictions.csv with the score above which an image is rejected, if scores decide."""

_TEXT_COLUMNS = ("path", "sha256", "split", "fold", "label", "prediction")
_NEEDED_COLUMNS = ("index", "split", "label", "prediction", "score")


def read_epochs(path: Path) -> pd.DataFrame:
    """metrics.csv; empty where there is none. Raises RunError where it is not as expected."""
    import pandas as pd

    if not path.exists():
        return pd.DataFrame()
    try:
        # A file without any line is a training that ended within its first epoch.
        epochs = pd.read_csv(path) if path.stat().st_size else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a table ({error}).") from error
    found = column_names(epochs)
    words = [name for name in found if not pd.api.types.is_numeric_dtype(epochs[name])]
    if words:
        raise RunError(f"{path}: expected numbers only, found words in {', '.join(words)}.")
    if found and "epoch" not in found:
        raise RunError(f"{path}: the column epoch is missing; it has {', '.join(found)}.")
    return epochs


def read_predictions(path: Path) -> pd.DataFrame:
    """predictions.csv with its needed columns. Raises RunError where it is not as expected."""
    import pandas as pd

    try:
        # Words first: a class may be called "007", "NA" or "true".
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a table ({error}).") from error
    found = column_names(table)
    absent = [name for name in _NEEDED_COLUMNS if name not in found]
    if absent:
        raise RunError(f"{path}: columns missing: {', '.join(absent)}; it has {', '.join(found)}.")
    for name in found:
        if name not in _TEXT_COLUMNS:
            table[name] = _numbers(path, table[name])
    return _with_whole_index(path, table)


def column_names(table: pd.DataFrame) -> list[str]:
    """The names of the columns, as text."""
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


def check_class_names(path: Path, predictions: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Raises RunError where a label has no column of probabilities, or one is not finite."""
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


def missing(path: Path) -> RunError:
    """What to raise for a file that every finished run has."""
    return RunError(
        f"{path}: missing, so {path.parent} is not a finished run. "
        "Wait for it, or finish it with train.py resume=<run folder>."
    )
