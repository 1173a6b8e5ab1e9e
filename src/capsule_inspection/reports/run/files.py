"""Files of a run folder, read and validated: record, settings, metrics, epochs, predictions.

pandas and yaml are imported when a file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.config.quoting import format_command
from capsule_inspection.types import FORMAT_VERSION, TEST, Estimate, RunError, RunFiles

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY = "p_"
"""Prefix of the columns of predictions.csv with class probabilities."""

THRESHOLD = "threshold"
"""Column of predictions.csv with the score above which an image is rejected; a record field too."""

GROUP = "group"
"""Column of predictions.csv with the name of an image's group, empty where it stands alone."""

DICE = "dice"
"""Column of predictions.csv with the binary Dice, where an image has a target mask."""

_DEFAULTS: dict[str, str | float] = {GROUP: "", THRESHOLD: np.nan, DICE: np.nan}
"""Values of columns that a file may lack."""

_FIELD_TYPES = {
    "seed": int,
    "status": str,
    "task": str,
    "model": str,
    "data": dict,
    "data.name": str,
    "data.classes": list,
    "data.images": dict,
    "command": list | None,
    "weights": dict | None,
    "monitor": dict | None,
    "network": dict | None,
    "peak_memory_bytes": dict | None,
    "hardware": dict | None,
    "epochs": int | None,
    "best_epoch": int | None,
    "training_time_s": float | int | None,
}
"""What the fields of run.json hold that reports read, where a record has them."""

_TEXT_COLUMNS = ("path", "sha256", GROUP, "split", "fold", "label", "predicted_label")
_REQUIRED_COLUMNS = ("index", "split", "label", "predicted_label", "score")


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises RunError where it is missing, broken or of a later format, or a field is not as expected.
    """
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
    for field, expected in _FIELD_TYPES.items():
        parent, _, name = field.rpartition(".")
        fields = record.get(parent, {}) if parent else record
        if name in fields and not isinstance(fields[name], expected):
            kind = getattr(expected, "__name__", str(expected))
            raise RunError(
                f"{path}: expected {kind} as {field}, found {fields[name]!r}. Restore the file, or "
                "leave the run out."
            )
    return record


def read_metrics(folder: Path) -> dict[str, Estimate]:
    """Read metrics.json. Raises RunError where a metric is not as expected."""
    path, metrics = folder / RunFiles.METRICS, {}
    for key, entry in _read_json(path).items():
        try:
            low, high = (
                None if entry[end] is None else float(entry[end]) for end in ("low", "high")
            )
            metrics[key] = Estimate(float(entry["value"]), low, high, int(entry["n"]))
            limits = [limit for limit in (low, high) if limit is not None]
            if not np.isfinite([metrics[key].value, *limits]).all() or limits != sorted(limits):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"{path}: {key} must hold value, low, high and n as finite numbers, found "
                f"{entry!r}."
            ) from None
    return metrics


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing_file(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object, found {type(content).__name__}.")
    return content


def _missing_file(path: Path) -> RunError:
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
    texts = epochs.select_dtypes(exclude="number").columns
    if len(texts):
        raise RunError(f"{path}: expected numbers only, found text in {', '.join(texts)}.")
    if "epoch" not in epochs:
        found = ", ".join(map(str, epochs))
        raise RunError(f"{path}: the column epoch is missing; it has {found}.")
    return epochs


def read_predictions(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read predictions.csv; returns it with the classes that it has probabilities of.

    Cells without a number are NaN; columns of `_DEFAULTS` are there in any case. Raises RunError
    where a column is missing or not as expected.
    """
    # Text first: a class may be called "007", "NA" or "true".
    table = _read_table(path, dtype=str, keep_default_na=False)
    found = [str(name) for name in table]
    missing = [name for name in _REQUIRED_COLUMNS if name not in found]
    if missing:
        raise RunError(f"{path}: columns missing: {', '.join(missing)}; it has {', '.join(found)}.")
    for name in (name for name in found if name not in _TEXT_COLUMNS):
        try:
            table[name] = table[name].replace("", "nan").astype(np.float64)
        except ValueError as error:
            raise RunError(f"{path}: column {name} must hold numbers ({error}).") from None
    if not np.isfinite(table["index"]).all():
        raise RunError(f"{path}: column index has empty cells; the file seems cut short.")
    whole = table["index"].astype(np.int64)
    if (whole != table["index"]).any():
        raise RunError(f"{path}: column index must hold whole numbers. Evaluate the run again.")
    table["index"] = whole
    repeated = table[table.duplicated(["split", "index"])]
    if len(repeated):
        image, split = repeated.iloc[0][["index", "split"]]
        raise RunError(
            f"{path}: image {image} is in split {split} more than once. Evaluate the run again."
        )
    for name, default in _DEFAULTS.items():
        if name not in found:
            table[name] = default
    classes = tuple(n.removeprefix(PROBABILITY) for n in found if n.startswith(PROBABILITY))
    _check_classes(path, table, classes)
    return table, classes


def check_counts(folder: Path, record: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Raises RunError where predictions of test images are missing, by the numbers of run.json.

    A file that is cut short between two lines is found only so.
    """
    expected = record.get("data", {}).get("images", {}).get(TEST)
    found = int((predictions["split"] == TEST).sum())
    if expected not in (None, found):
        raise RunError(
            f"{folder / RunFiles.PREDICTIONS}: expected {expected} test images, as in "
            f"{RunFiles.RECORD}; found {found}. Evaluate the run again: "
            + format_command(["evaluate.py", f"run={folder}"])
        )


def _read_table(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, encoding="utf-8", **options)
    except FileNotFoundError:
        raise _missing_file(path) from None
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
    broken = [name for name in classes if not table[PROBABILITY + name].between(0, 1 + 1e-6).all()]
    if broken:
        raise RunError(
            f"{path}: probabilities are missing or not from 0 to 1 for {', '.join(broken)}. "
            "Evaluate the run again."
        )
