"""Checks of a composed configuration beyond its types; never imports torch.

Checks that need a library (such as the name of a timm model) are made where the object is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from capsule_inspection.config import decisions
from capsule_inspection.config.messages import suggestion
from capsule_inspection.config.schema import PRECISIONS, constraints
from capsule_inspection.types import FROM_RUN, ConfigurationError

_TASK_OF_BUILDER = {
    "build_autoencoder": "anomaly_detection",
    "build_segmenter": "segmentation",
}
"""The task of a model by the name of its `_target_`; other models are classifiers."""


def check(config: DictConfig) -> None:
    """Raise ConfigurationError, naming the key, for a missing or invalid value."""
    _check_missing(config)
    for key, constraint in constraints().items():
        value = OmegaConf.select(config, key)
        if value is not None and "choices" in constraint:
            _check_choice(key, value, constraint["choices"])
        elif value is not None:
            low, high = constraint["range"]
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{key}={value}: expected a value from {low:g} to {high:g}."
                )
    for rule in RULES:
        rule(config)


def check_additions(overrides: list[str]) -> None:
    """Reject `+key=value` except below `options` or `extra`, since it hides mistyped keys.

    Hydra itself has rejected such overrides of groups with a schema.
    """
    for override in overrides:
        found = re.match(r"\++([^=@]+)=", override)
        if found and found[1] not in ("experiment", "hydra/launcher") and not _is_open(found[1]):
            raise ConfigurationError(
                f"{override}: settings are not added with '+'. Write {found[1]}=... for an "
                "existing setting; arguments of a library go below options (+model.options.x=1)."
            )


def check_single_process(config: DictConfig) -> None:
    """Reject a multi-process strategy in a sweep.

    Lightning starts further processes with the same command line, including -m, so each would start
    the sweep again.
    """
    strategy = str(OmegaConf.select(config, "trainer.strategy", default="auto"))
    if strategy.startswith(("ddp", "fsdp", "deepspeed")) and str(config.trainer.devices) != "1":
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
        ("task.crop_size", 16, math.inf),
        ("data.tiling.size", 32, math.inf),
    ):
        size = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        if size is not None and (len(size) != 2 or min(size) < low or max(size) > high):
            limits = f"from {low} to {high}" if high < math.inf else f"at least {low}"
            raise ConfigurationError(
                f"{key}={list(size)}: expected [height,width], each {limits} pixels."
            )


def _check_roi(config: DictConfig) -> None:
    roi = OmegaConf.select(config, "data.roi")
    if roi is None or roi in ("auto", "none"):
        return
    is_box = OmegaConf.is_list(roi) and len(roi) == 4
    if is_box and all(isinstance(edge, int | float) for edge in roi):
        x0, y0, x1, y1 = roi
        if x0 < x1 and y0 < y1:
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
    """Reject the loss on corrupted pixels alone where the corruption has no mask."""
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


def _check_precision(config: DictConfig) -> None:
    precision = OmegaConf.select(config, "trainer.precision")
    if precision is not None and str(precision) not in (*PRECISIONS, "32", "16", "bf16"):
        raise ConfigurationError(
            f"trainer.precision={precision}: not a choice. {suggestion(str(precision), PRECISIONS)}"
        )


def _check_workers(config: DictConfig) -> None:
    for key in ("workers", "threads"):
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
    _check_target_fpr,
    _check_full_image_from,
    _check_mixture,
    _check_nsa,
    _check_data_of_task,
    _check_monitor,
    _check_precision,
    _check_workers,
    *decisions.RULES,
)
