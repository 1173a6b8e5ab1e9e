"""Checks of a composed configuration beyond its types; never imports torch.

Checks that need a library (such as the name of a timm model) are made where the object is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from capsule_inspection.config import decisions, training_checks
from capsule_inspection.config.messages import example, expected_value
from capsule_inspection.config.paths import MAPPING_KEYS, PATH_KEYS
from capsule_inspection.config.schema import constraint_of, settings
from capsule_inspection.config.similar_names import suggestion
from capsule_inspection.config.trainer_checks import check_trainer
from capsule_inspection.types import FROM_RUN, ConfigurationError, DataError

_MAX_SIDE = 65536
Rule = Callable[[DictConfig], None]


def check(config: DictConfig, *, rules: Sequence[Rule] | None = None) -> None:
    """Raise ConfigurationError, naming the key, for a missing or invalid value.

    `rules` are those on several keys, all of them by default.
    """
    _check_missing(config)
    is_whole = "task" in config  # evaluate.py has none; the run sets what is interpolated from it
    for key in settings():
        value = OmegaConf.select(config, key, throw_on_resolution_failure=is_whole)
        if value is not None:
            _check_value(key, value, constraint_of(config, key))
    for key in ("model.skips", "model.head", "trainer.channels_last", "data.bit_depth"):
        parent, _, name = key.rpartition(".")
        if OmegaConf.select(config, parent, default={}).get(name, "") is None:
            raise ConfigurationError(f"{key}=null: expected {expected_value(key)}.")
    for rule in RULES if rules is None else rules:
        rule(config)


def _check_value(key: str, value: Any, constraint: Mapping[str, Any]) -> None:
    is_nested = OmegaConf.is_list(value) and any(map(OmegaConf.is_config, value))
    if is_nested or (value == "" and key in PATH_KEYS):
        raise ConfigurationError(f"{key}={value}: expected {expected_value(key)}.")
    if "choices" in constraint:
        _check_choice(key, value, constraint["choices"])
    elif "range" in constraint:
        low, high = constraint["range"]
        values = [value] if isinstance(value, int | float) else _values(value)
        if not all(low <= each <= high for each in values):
            what = "a value" if isinstance(value, int | float) else "values"
            raise ConfigurationError(
                f"{key}={value}: expected {what} from {_number(low)} to {_number(high)}."
            )


def _values(value: ListConfig | DictConfig) -> list[Any]:
    return list(value.values() if isinstance(value, DictConfig) else value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def check_additions(overrides: list[str]) -> None:
    """Reject `+key=value` except below `options`, since it hides mistyped keys.

    Hydra itself has rejected such overrides of groups with a schema. The name of a choice is
    rejected too: it does not bring the choice's settings.
    """
    for override in overrides:
        named = re.match(r"(task|data|split|threshold|finetune)\.name=(.*)", override)
        if named:
            raise ConfigurationError(
                f"{override}: the name belongs to the choice. Write {named[1]}={named[2]}."
            )
        found = re.match(r"\++([^=@]+)=", override)
        known = ("experiment", "hydra/launcher", *MAPPING_KEYS)
        if found and found[1] not in known and not _is_open(found[1]):
            raise ConfigurationError(
                f"{override}: settings are not added with '+'. Write {found[1]}=... for an "
                "existing setting; arguments of a library go below options (+model.options.x=1)."
            )


def check_single_process(config: DictConfig) -> None:
    """Reject a multi-process strategy in a sweep and in a notebook.

    Lightning starts further processes with the same command line, so each would start the sweep
    again, and a notebook has none.
    """
    strategy, devices = config.trainer.strategy, config.trainer.devices
    is_single = devices == 1 or (OmegaConf.is_list(devices) and len(devices) == 1)
    is_automatic = devices == "auto" and not strategy.startswith(("ddp", "fsdp", "deepspeed"))
    if not is_single and not is_automatic:
        raise ConfigurationError(
            f"trainer.strategy={strategy} with trainer.devices={config.trainer.devices} cannot be "
            "used in a sweep or from Python: each of its processes would start the command line "
            "again. Train the models one by one by train.py without -m, or give each job of a "
            "sweep one device (hydra/launcher=local_parallel trainer.devices=1)."
        )


def _is_open(key: str) -> bool:
    parents = key.split(".")[1:-1]
    return bool({"options", "encoder_options"} & set(parents)) or key.startswith("hydra.")


def _check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices or type(value) not in map(type, choices):
        near = suggestion(str(value), [str(choice).lower() for choice in choices])
        raise ConfigurationError(f"{key}={value}: not a choice. {near}")


def _check_missing(config: DictConfig) -> None:
    if "task" not in config and "image_size" in config.get("data", {}):
        config = config.copy()  # evaluate.py has no task; the run sets its image size
        with open_dict(config):
            del config.data.image_size
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        verb = "are required" if len(missing) > 1 else "is required"
        raise ConfigurationError(
            f"{', '.join(missing)} {verb}: add {' '.join(map(example, missing))} to the command "
            "line."
        )


def _check_mappings(config: DictConfig) -> None:
    """Mappings are added with `++`, which Hydra does not compare with the schema."""
    data = config.get("data", {})
    schema = OmegaConf.get_type(data)
    names = {item.name for item in fields(schema)} if is_dataclass(schema) else set(data)
    for key in MAPPING_KEYS:
        if (name := key.removeprefix("data.")) in set(data) - names:
            raise ConfigurationError(f"{key}={data[name]}: data={data.name} has no such setting.")


def _check_from_run(config: DictConfig) -> None:
    for group in ("data", "split"):
        if "task" in config and OmegaConf.select(config, f"{group}.name") == FROM_RUN:
            raise ConfigurationError(
                f"{group}={FROM_RUN}: only for evaluate.py and export.py, which have a run. Choose "
                f"another {group}; train.py --help lists them."
            )


def check_data_paths(config: DictConfig) -> None:
    """Raise DataError for a path that is not there, before anything large is imported."""
    data = config.get("data") or {}
    if data.get("name") == "synthetic":
        return
    root = Path(data.get("root") or "")
    for key in ("root", "path", "masks", "annotations"):
        value = data.get(key)
        if value and not Path(value).exists() and not (root / value).exists():
            raise DataError(f"{value}: there is no such file or folder. Check data.{key}.")


def _check_sizes(config: DictConfig) -> None:
    is_tiled = OmegaConf.select(config, "data.tiling.native_size") is not None
    for key, low, high in (
        ("data.image_size", 16, _MAX_SIDE if is_tiled else 8192),  # that of the crops, as stored
        ("task.crop_size", 16, _MAX_SIDE),
        ("data.tiling.size", 32, _MAX_SIDE),
        ("data.tiling.native_size", 1, _MAX_SIDE),
    ):
        size = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        is_pair = OmegaConf.is_list(size) and len(size) == 2
        if size is not None and not (is_pair and all(low <= side <= high for side in size)):
            raise ConfigurationError(
                f"{key}={size}: expected [height,width], each from {low} to {high} pixels."
            )


def _check_roi(config: DictConfig) -> None:
    roi = OmegaConf.select(config, "data.roi")
    if roi is None or roi in ("auto", "none"):
        return
    is_box = OmegaConf.is_list(roi) and len(roi) == 4
    if is_box and all(type(edge) in (int, float) for edge in roi):
        x0, y0, x1, y1 = roi
        if 0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf:
            return
    raise ConfigurationError(
        f"data.roi={list(roi) if is_box else roi}: expected auto, none or [x0,y0,x1,y1] in pixels "
        "with x0 < x1 and y0 < y1."
    )


def _check_split(config: DictConfig) -> None:
    split = OmegaConf.select(config, "split")
    if split is None:
        return
    if split.name == "auto":
        _check_auto_split(config)
        return
    if "fold" in split and split.fold >= split.folds:
        raise ConfigurationError(
            f"split.fold={split.fold}: expected 0 to {split.folds - 1}, since "
            f"split.folds={split.folds}."
        )
    if "test" in split and split.val + split.test >= 1:
        raise ConfigurationError(
            f"split.val={split.val} and split.test={split.test} leave no training images: their "
            "sum must be below 1."
        )


def _check_auto_split(config: DictConfig) -> None:
    """The values of `split=auto`, which are those of holdout or of one_class."""
    split, task = config.split, OmegaConf.select(config, "task.name")
    if task is None:
        raise ConfigurationError(
            "split=auto: only for train.py. Use split=dataset for the split that the images "
            "bring, or split=test_only for all images."
        )
    of_task = split.one_class if task == "anomaly_detection" else split.holdout
    kept = config.copy()
    kept.split = of_task
    for key in ("val", "test", "folds", "fold", "seed"):
        value = split[key]
        if value is not None and key not in of_task:
            remedy = "for cross-validation set split=kfold too" if "fold" in key else "remove it"
            raise ConfigurationError(
                f"split.{key}={value}: split=auto has no such setting for task={task}; {remedy}."
            )
        if value is not None:
            kept.split[key] = value
    _check_split(kept)


def _check_target_fpr(config: DictConfig) -> None:
    rate = OmegaConf.select(config, "threshold.target_fpr")
    if rate is not None and not 0 < rate < 1:
        raise ConfigurationError(
            f"threshold.target_fpr={rate:g}: expected a fraction of the good images between 0 and "
            "1, such as 0.05."
        )


def _check_data_of_task(config: DictConfig) -> None:
    """Reject settings of the data that the task does not use."""
    task = OmegaConf.select(config, "task.name")
    is_subsampled = task is not None and config.data.good_fraction != 1
    if is_subsampled and task != "anomaly_detection":
        raise ConfigurationError(
            f"data.good_fraction={config.data.good_fraction:g}: for anomaly detection. Remove it, "
            "or use model=patchcore or model=autoencoder."
        )
    if task in (None, "segmentation"):
        return
    tile = OmegaConf.select(config, "data.tiling.size")
    if tile is not None:
        raise ConfigurationError(
            f"data.tiling.size={list(tile)}: task={task} uses whole images. Remove it, or use "
            "model=unet."
        )
    if task != "anomaly_detection":
        return
    for key in ("synthetic_defects", "copy_paste", "real_defects"):
        if OmegaConf.select(config, f"data.{key}") is not None:
            raise ConfigurationError(
                f"data.{key}: for classifiers and model=unet. For model=autoencoder see "
                "task.corruption_probability."
            )
    if config.data.defect_fraction != 1:
        raise ConfigurationError(
            f"data.defect_fraction={config.data.defect_fraction:g}: task={task} trains on good "
            "images only. Remove it."
        )


def _check_workers(config: DictConfig) -> None:
    for key in ("workers", "threads", "trainer.threads"):
        count = OmegaConf.select(config, key)
        if count not in (None, "auto") and not (type(count) is int and 1 <= count <= 1024):
            raise ConfigurationError(f"{key}={count}: expected a number from 1 to 1024, or auto.")


RULES: tuple[Rule, ...] = (
    _check_from_run,
    _check_mappings,
    _check_sizes,
    _check_roi,
    *training_checks.RULES,
    _check_split,
    _check_target_fpr,
    _check_data_of_task,
    check_trainer,
    _check_workers,
    *decisions.RULES,
)
STORED_RULES = tuple(rule for rule in RULES if rule is not check_trainer)
"""Those of a run that is opened, perhaps on another machine than it was trained on."""
