"""Checks of a composed configuration beyond its types; never imports torch.

Checks that need a library (such as the name of a timm model) are made where the object is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from capsule_inspection.config import decisions
from capsule_inspection.config.messages import expected_value, suggestion
from capsule_inspection.config.paths import MAPPING_KEYS
from capsule_inspection.config.schema import constraint_of, settings
from capsule_inspection.config.trainer_checks import check_trainer
from capsule_inspection.types import FROM_RUN, ConfigurationError

_MAX_SIDE = 65536
_TERMS = (
    *("l1", "l2", "ssim", "ms_ssim", "gradient", "corrupted"),
    *("cross_entropy", "dice", "focal", "focal_tversky"),
)
"""Terms of losses and of anomaly maps that have a weight."""
_TASK_OF_BUILDER = {
    "build_autoencoder": "anomaly_detection",
    "build_segmenter": "segmentation",
}
"""The task of a model by the name of its `_target_`; other models are classifiers."""


def check(config: DictConfig) -> None:
    """Raise ConfigurationError, naming the key, for a missing or invalid value."""
    _check_missing(config)
    for key in settings():
        value = OmegaConf.select(config, key)
        if value is not None:
            _check_value(key, value, constraint_of(config, key))
    for key in ("model.skips", "model.head", "trainer.channels_last", "data.bit_depth"):
        parent, _, name = key.rpartition(".")
        if OmegaConf.select(config, parent, default={}).get(name, "") is None:
            raise ConfigurationError(f"{key}=null: expected {expected_value(key)}.")
    for rule in RULES:
        rule(config)


def _check_value(key: str, value: Any, constraint: Mapping[str, Any]) -> None:
    if OmegaConf.is_list(value) and any(map(OmegaConf.is_config, value)):
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
    """Reject `+key=value` except below `options` or `extra`, since it hides mistyped keys.

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
    """Reject a multi-process strategy in a sweep.

    Lightning starts further processes with the same command line, including -m, so each would start
    the sweep again.
    """
    strategy, devices = config.trainer.strategy, config.trainer.devices
    is_single = devices == 1 or (OmegaConf.is_list(devices) and len(devices) == 1)
    is_automatic = devices == "auto" and not strategy.startswith(("ddp", "fsdp", "deepspeed"))
    if not is_single and not is_automatic:
        raise ConfigurationError(
            f"trainer.strategy={strategy} with trainer.devices={config.trainer.devices} cannot be "
            "used in a sweep: each of its processes would start the sweep again. Train the models "
            "one by one without -m, or give each job one device "
            "(hydra/launcher=local_parallel trainer.devices=1)."
        )


def _is_open(key: str) -> bool:
    parents = key.split(".")[1:-1]
    return bool({"options", "encoder_options", "extra"} & set(parents)) or key.startswith("hydra.")


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
            f"{', '.join(missing)} {verb}: add {missing[0]}=<value> to the command line."
        )


def _check_from_run(config: DictConfig) -> None:
    for group in ("data", "split"):
        if "task" in config and OmegaConf.select(config, f"{group}.name") == FROM_RUN:
            raise ConfigurationError(
                f"{group}={FROM_RUN}: only for evaluate.py and export.py, which have a run. Choose "
                f"another {group}; train.py --help lists them."
            )


def _check_sizes(config: DictConfig) -> None:
    for key, low, high in (
        ("data.image_size", 16, 8192),
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


def _check_model(config: DictConfig) -> None:
    """The model selects the task, and own models have a fixed name."""
    task, target = (OmegaConf.select(config, key) for key in ("task.name", "model._target_"))
    if task is None:
        return
    builder = str(target).rpartition(".")[2]
    for own in ("custom_resnet", "autoencoder"):
        if builder == f"build_{own}" and config.model.name != own:
            raise ConfigurationError(
                f"model.name={config.model.name}: model={own} has one network only. For another "
                "classifier use model=timm or model=torchvision with model.name."
            )
    of_model = _TASK_OF_BUILDER.get(builder, "classification")
    # Classifiers also serve tasks that are added to the project.
    if task != of_model and (builder in _TASK_OF_BUILDER or task in _TASK_OF_BUILDER.values()):
        raise ConfigurationError(
            f"task={task}: model={config.model.name} is for task={of_model}. Remove `task`: the "
            "model selects it."
        )
    if task == "classification" and OmegaConf.select(config, "split.name") == "one_class":
        raise ConfigurationError(
            "split=one_class trains on good images only, and a classifier needs defects. Use "
            "model=autoencoder or split=kfold."
        )


def _check_loss(config: DictConfig) -> None:
    """Reject weights that are all 0, and the loss on corrupted pixels alone without their mask."""
    for key in ("task.loss_weights", "task.mask_loss", "task.map"):
        terms = OmegaConf.select(config, key, default={})
        weights = [terms[name] for name in terms if name in _TERMS]
        if weights and not any(weights):
            raise ConfigurationError(
                f"{key}: all weights are 0, so nothing is left. Give at least one a weight."
            )
    weights = OmegaConf.select(config, "task.loss_weights")
    corruption = OmegaConf.select(config, "model.corruption")
    if weights is None or corruption not in ("none", "noise"):
        return
    if not any(weight > 0 for name, weight in weights.items() if name != "corrupted"):
        raise ConfigurationError(
            f"task.loss_weights: model.corruption={corruption} has no masks, so the term "
            "`corrupted` is always 0. Give l1, l2, ssim, ms_ssim or gradient a weight."
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


def _check_optimizer(config: DictConfig) -> None:
    if "optimizer" not in config:
        return
    optimizer, scheduler = config.optimizer, config.scheduler
    if "betas" in optimizer and len(optimizer.betas) != 2:
        raise ConfigurationError(
            f"optimizer.betas={optimizer.betas}: expected two numbers, such as [0.9,0.999]."
        )
    if optimizer.get("nesterov") and optimizer.momentum == 0:
        raise ConfigurationError(
            "optimizer.momentum=0: optimizer.nesterov=true needs a momentum. Set it to false too."
        )
    if "initial" in scheduler and scheduler.final == 0:
        raise ConfigurationError(
            "scheduler.final=0: scheduler=one_cycle divides by it. Give a small value, such as "
            "0.0001."
        )


def _check_decoder(config: DictConfig) -> None:
    channels = OmegaConf.select(config, "model.decoder_channels")
    values = list(channels) if OmegaConf.is_list(channels) else [channels]
    if channels not in (None, "auto") and not (
        values and all(type(value) is int and 1 <= value <= 8192 for value in values)
    ):
        raise ConfigurationError(
            f"model.decoder_channels={channels}: expected auto, or the number of channels of each "
            "level, such as [64,32,16]."
        )


def _check_target_fpr(config: DictConfig) -> None:
    rate = OmegaConf.select(config, "threshold.target_fpr")
    if rate is not None and not 0 < rate < 1:
        raise ConfigurationError(
            f"threshold.target_fpr={rate:g}: expected a fraction of the good images between 0 and "
            "1, such as 0.05."
        )


def _check_full_image_from(config: DictConfig) -> None:
    if "full_image_from" not in OmegaConf.select(config, "task", default={}):
        return
    value, takes_auto = config.task.full_image_from, config.task.name == "segmentation"
    if value == "auto" and takes_auto:
        return
    if type(value) not in (int, float) or not 0 <= value <= 1:
        also = ", or auto" if takes_auto else ""
        raise ConfigurationError(
            f"task.full_image_from={value}: expected a value from 0 to 1{also}."
        )


def _check_mixture(config: DictConfig) -> None:
    """Reject fractions that leave no unchanged good images, and a second kind of mixture."""
    if OmegaConf.select(config, "task.real_defects") is None:
        return
    data, mixup = config.data, OmegaConf.select(config, "task.mixup")
    synthetic, copied, real = (
        data[key] or 0.0 for key in ("synthetic_defects", "copy_paste", "real_defects")
    )
    if synthetic + copied + real >= 1:
        raise ConfigurationError(
            f"data.synthetic_defects={synthetic:g}, data.copy_paste={copied:g} and "
            f"data.real_defects={real:g} leave no unchanged good images: their sum must be below 1."
        )
    if mixup and (synthetic or copied):
        raise ConfigurationError(
            f"task.mixup={mixup:g} cannot be combined with data.synthetic_defects or "
            "data.copy_paste, which insert defects into images. Set one of them to 0."
        )
    if mixup and config.model.mask_loss_weight:
        raise ConfigurationError(
            f"task.mixup={mixup:g} blends images but not their masks, which "
            f"model.mask_loss_weight={config.model.mask_loss_weight:g} needs. Set one of them to 0."
        )


def _check_nsa(config: DictConfig) -> None:
    """Reject patches of other good images where each defect needs a class."""
    fraction = OmegaConf.select(config, "data.synthesis.nsa_fraction")
    is_classifier = OmegaConf.select(config, "task.name") == "classification"
    if fraction and (is_classifier or OmegaConf.select(config, "model.classes") == "defects"):
        raise ConfigurationError(
            f"data.synthesis.nsa_fraction={fraction:g}: patches of other good images have no "
            "defect class. Set it to 0, or use model=unet model.classes=binary."
        )


def _check_data_of_task(config: DictConfig) -> None:
    """Reject settings of the data that the task does not use."""
    task = OmegaConf.select(config, "task.name")
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
                f"data.{key}: for classifiers and model=unet. For an autoencoder see "
                "task.corruption_probability."
            )
    if config.data.defect_fraction != 1:
        raise ConfigurationError(
            f"data.defect_fraction={config.data.defect_fraction:g}: task={task} trains on good "
            "images only. Remove it."
        )


def _check_monitor(config: DictConfig) -> None:
    monitor = OmegaConf.select(config, "task.monitor")
    if monitor is not None and not monitor.startswith("val/"):
        raise ConfigurationError(
            f"task.monitor={monitor}: expected a validation metric, such as val/balanced_accuracy "
            "or val/loss."
        )


def _check_workers(config: DictConfig) -> None:
    for key in ("workers", "threads", "trainer.threads"):
        count = OmegaConf.select(config, key)
        if count not in (None, "auto") and not (type(count) is int and 1 <= count <= 1024):
            raise ConfigurationError(f"{key}={count}: expected a number from 1 to 1024, or auto.")


RULES: tuple[Callable[[DictConfig], None], ...] = (
    _check_from_run,
    _check_sizes,
    _check_roi,
    _check_model,
    _check_loss,
    _check_split,
    _check_optimizer,
    _check_decoder,
    _check_target_fpr,
    _check_full_image_from,
    _check_mixture,
    _check_nsa,
    _check_data_of_task,
    _check_monitor,
    check_trainer,
    _check_workers,
    *decisions.RULES,
)
