"""Files of a run folder, read and validated: record, settings, metrics, epochs, predictions.

pandas and yaml are imported when a file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.types import FORMAT_VERSION, Estimate, RunError, RunFiles

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY = "p_"
"""Prefix of the columns of predictions.csv with class probabilities."""

THRESHOLD = "threshold"
"""Column of predictions.csv with the score above which an image is rejected; a record field too."""

GROUP = "group"
"""Column of predictions.csv with the name of an image's group, empty where it stands alone."""

_TEXT_COLUMNS = ("path", "sha256", GROUP, "split", "fold", "label", "predicted_label")
_REQUIRED_COLUMNS = ("index", "split", "label", "predicted_label", "score")


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.json. Raises RunError where it is missing, broken or of a later format."""
    path = folder / RunFiles.RECORD
    record = _read_json(path)
    version = record.get("format_version")
    if not isinstance(version, int):
        raise RunError(f"{path}: expected an integer as format_version, found {version!r}.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {version}, this version reads up to {FORMAT_VERSION}. "
            "Update capsule-inspection."
        )
    return record


def read_metrics(folder: Path) -> dict[str, Estimate]:
    """Read metrics.json. Raises RunError where a metric is not as expected."""
    path = folder / RunFiles.METRICS
    return {key: _read_estimate(path, key, entry) for key, entry in _read_json(path).items()}


def _read_estimate(path: Path, key: str, entry: Any) -> Estimate:
    try:
        low, high = (None if entry[end] is None else float(entry[end]) for end in ("low", "high"))
        return Estimate(float(entry["value"]), low, high, int(entry["n"]))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{path}: {key} must hold value, low, high and n as numbers, found {entry!r}."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing_file(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object, found {type(content).__name__}.")
    return content


def missing_file(path: Path) -> RunError:
    """The error for a file that every finished run has."""
    return RunError(
        f"{path}: missing, so {path.parent} is not a finished run. "
        "Wait for it, or finish it with train.py resume=<run folder>."
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.yaml as values by dotted key, empty where there is no file; lists stay lists.

    Raises RunError where it cannot be read.
    """
    import yaml

    if not path.exists():
        return {}
    try:
        # The C loader is ten times as fast, and a comparison may read a hundred of these files.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read as YAML ({reason}).") from error
    return dict(_flatten(content, ""))


def _flatten(node: object, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def read_epochs(path: Path) -> pd.DataFrame:
    """Read metrics.csv; empty where there is none. Raises RunError where it is not as expected."""
    import pandas as pd

    # An empty file is of a training that ended within its first epoch.
    if not path.exists() or not path.stat().st_size:
        return pd.DataFrame()
    epochs = _read_table(path)
    found = [str(name) for name in epochs]
    texts = epochs.select_dtypes(exclude="number").columns
    if len(texts):
        raise RunError(f"{path}: expected numbers only, found text in {', '.join(texts)}.")
    if "epoch" not in found:
        raise RunError(
            f"{path}: the column epoch is missing; it has {', '.join(map(str, epochs))}."
        )
    return epochs


def read_predictions(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read predictions.csv; returns it with the classes that it has probabilities of.

    Cells without a number are NaN; `group` is empty for every image where the file has no groups.
    Raises RunError where a column is missing or not as expected.
    """
    # Text first: a class may be called "007", "NA" or "true".
    table = _read_table(path, dtype=str, keep_default_na=False)
    found = [str(name) for name in table]
    missing = [name for name in _REQUIRED_COLUMNS if name not in found]
    if missing:
        raise RunError(f"{path}: columns missing: {', '.join(missing)}; it has {', '.join(found)}.")
    for name in found:
        if name in _TEXT_COLUMNS:
            continue
        try:
            table[name] = table[name].replace("", "nan").astype(np.float64)
        except ValueError as error:
            raise RunError(f"{path}: column {name} must hold numbers ({error}).") from None
    if not np.isfinite(table["index"]).all():
        raise RunError(f"{path}: column index has empty cells; the file seems cut short.")
    classes = tuple(n.removeprefix(PROBABILITY) for n in found if n.startswith(PROBABILITY))
    _check_classes(path, table, classes)
    return table.assign(index=table["index"].astype(int), group=table.get(GROUP, "")), classes


def _read_table(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, encoding="utf-8", **options).rename(columns=str)
    except FileNotFoundError:
        raise missing_file(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a table ({error}).") from error


def _check_classes(path: Path, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Raises RunError where a label has no column of probabilities, or one is not finite."""
    if not classes:
        return
    unknown = {*table["label"], *table["predicted_label"]} - {*classes}
    if unknown:
        raise RunError(
            f"{path}: no column of probabilities for {', '.join(map(repr, sorted(unknown)))}; "
            f"it has {', '.join(classes)}."
        )
    broken = [name for name in classes if not np.isfinite(table[PROBABILITY + name]).all()]
    if broken:
        raise RunError(f"{path}: probabilities are missing or not finite for {', '.join(broken)}.")
