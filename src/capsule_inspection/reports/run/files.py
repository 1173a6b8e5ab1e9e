"""Files of a run folder, read and validated: record, settings, metrics, epochs, predictions.

pandas is imported when a file is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.stored import read_plain
from capsule_inspection.integrity import FILES, REMEDY, check_size, is_sealed, read_json
from capsule_inspection.types import (
    DEFECT,
    EXPORT_SUFFIXES,
    FORMAT_VERSION,
    TEST,
    TRAIN,
    VAL,
    Estimate,
    RunError,
    RunFiles,
)

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
_Check = Callable[[object], bool]


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and abs(value) < 2**63


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _optional(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _all(check: _Check) -> _Check:
    """Of a list, or of an object whose values are checked."""
    return lambda found: (
        isinstance(found, list | dict)
        and all(map(check, found.values() if isinstance(found, dict) else found))
    )


_FIELDS: tuple[tuple[str, _Check, str], ...] = (
    ("a text", _is_text, "status task model error run"),
    ("a text", _optional(_is_text), "corruption"),
    ("a whole number", _is_count, "seed attempts"),
    ("a whole number", _optional(_is_count), "epochs best_epoch"),
    ("a whole number", _optional(_is_count), "training_overlap selection_overlap"),
    ("a number", _optional(_is_number), "training_time_s"),
    ("true or false", lambda value: isinstance(value, bool), "optimistic"),
    ("an object", _is_object, "data"),
    ("an object", _optional(_is_object), "monitor hardware threshold weights network memory_bank"),
    ("an object", _optional(_is_object), f"peak_memory_bytes {FILES}"),
    ("a list", lambda value: isinstance(value, list), "data.classes"),
    ("an object", _is_object, "data.images"),
    ("texts", _all(_is_text), f"data.classes {FILES}"),
    ("texts", _optional(_all(_is_text)), "command hardware.gpus"),
    ("texts", _optional(_all(_optional(_is_text))), "weights"),
    ("whole numbers", _all(_is_count), "data.images"),
    ("whole numbers", _optional(_all(_is_count)), "memory_bank"),
    ("numbers", _optional(_all(_optional(_is_number))), "network peak_memory_bytes"),
    ("a text", _is_text, "data.name data.root data.fingerprint monitor.key"),
    ("a number", _optional(lambda value: isinstance(value, float) or _is_number(value)),
     "monitor.value images_per_second inference_ms_per_image"),
)  # fmt: skip
"""What the fields of run.json hold that are read, where a record has them."""

_NUMBERS = (
    "threshold.target_fpr",
    "cost.false_negative",
    "cost.false_positive",
    "cost.defect_rate",
    "compare.margin",
)
"""Settings of config.yaml that reports compute with."""

_TEXT_COLUMNS = ("path", "sha256", GROUP, "split", "fold", "label", "predicted_label")
_REQUIRED_COLUMNS = ("index", "split", "label", "predicted_label", "score")


def read_record(folder: Path, *, verify: bool = True, remedy: str = REMEDY) -> dict[str, Any]:
    """Read run.json, and compare it with the checksum of itself where it is to `verify`.

    Raises RunError where it is missing, damaged or of a later format, or a field is not as
    expected.
    """
    path = folder / RunFiles.RECORD
    record = _read_json(path)
    if verify and not is_sealed(record):
        raise RunError(f"{path}: damaged or changed since it was written. {remedy}")
    version = record.get("format_version")
    if type(version) is not int:
        raise RunError(f"{path}: expected an integer as format_version, found {version!r}.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {version}, this version reads up to {FORMAT_VERSION}. "
            "Update capsule-inspection."
        )
    for expected, check, names in _FIELDS:
        for field in names.split():
            parent, _, name = field.rpartition(".")
            fields = (record.get(parent) or {}) if parent else record
            if name in fields and not check(fields[name]):
                raise RunError(
                    f"{path}: expected {expected} as {field}, found {fields[name]!r:.100}. Restore "
                    "the file, or leave the run out."
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
        except (KeyError, OverflowError, TypeError, ValueError):
            raise RunError(
                f"{path}: {key} must hold value, low, high and n as finite numbers, found "
                f"{entry!r}."
            ) from None
    return metrics


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise _missing_file(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Restore it from a copy.") from error


def _missing_file(path: Path) -> RunError:
    folder = path.parent
    if folder.is_dir() and any(
        file.suffix in EXPORT_SUFFIXES.values() for file in folder.iterdir()
    ):
        return RunError(
            f"{folder}: an exported model, which predict.py and app.py open. Expected the run that "
            "it was exported from."
        )
    return RunError(
        f"{path}: missing, so {path.parent} is not a finished run. "
        "Wait for it, or finish it with " + format_command(["train.py", f"resume={path.parent}"])
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.yaml as values by dotted key, empty where there is no file; lists stay lists.

    Raises RunError where it cannot be read.
    """
    settings = dict(_flatten(read_plain(path), "")) if path.exists() else {}
    for name in _NUMBERS:
        if settings.get(name) is not None and not _is_number(settings[name]):
            raise RunError(
                f"{path}: expected a number as {name}, found {settings[name]!r:.100}. Restore it "
                "from a copy."
            )
    return settings


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
    number = epochs["epoch"]
    is_whole = np.isfinite(number) & (number >= 0) & (number == number.round())
    if not (is_whole.all() and number.is_monotonic_increasing and number.is_unique):
        raise RunError(
            f"{path}: expected the numbers of epochs in their order as epoch, found others. "
            "Restore it from a copy, or remove it: the report then goes without curves."
        )
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
    if not (table["index"].between(0, 2**31) & (table["index"] == table["index"].round())).all():
        raise RunError(f"{path}: column index must hold whole numbers. Evaluate the run again.")
    table["index"] = table["index"].astype(np.int64)
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


def check_predictions(folder: Path, record: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Raises RunError where predictions do not have the images and the classes of run.json.

    A file that is cut short between two lines is found only so.
    """
    path, data = folder / RunFiles.PREDICTIONS, record.get("data") or {}
    command = format_command(["evaluate.py", f"run={folder}"])
    images = {name: count for name, count in (data.get("images") or {}).items() if count}
    if record.get("optimistic") and VAL in images:  # split=val_as_test
        images.setdefault(TEST, images[VAL])
    found = predictions["split"].value_counts().to_dict()
    for split in sorted(images.keys() - ({TRAIN} - found.keys()) if images else ()):
        if images[split] != found.get(split, 0):
            raise RunError(
                f"{path}: expected {images[split]} {split} images, as in {RunFiles.RECORD}; found "
                f"{found.get(split, 0)}. Evaluate the run again: {command}"
            )
    known = data.get("classes")
    unknown = {*predictions["label"], *predictions["predicted_label"]} - {*(known or ()), DEFECT}
    if known and unknown:
        raise RunError(
            f"{path}: expected the classes {', '.join(known)}, as in {RunFiles.RECORD}; found "
            f"{', '.join(map(repr, sorted(unknown)))}. Evaluate the run again: {command}"
        )


def _read_table(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        check_size(path)
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
