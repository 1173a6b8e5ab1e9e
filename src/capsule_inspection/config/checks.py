"""Checks of a composed configuration that types alone cannot make; no torch here.

What needs a library to be judged (the name of a timm model, say) is checked by who builds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf, open_dict

from capsule_inspection.config.messages import suggestion
from capsule_inspection.types import (
    AS_TRAINED,
    EXPORT_SUFFIXES,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
)

CHOICES = {
    "task.monitor_mode": ("max", "min"),
    "task.sampling": ("natural", "balanced"),
    "task.loss": ("cross_entropy", "focal"),
    "task.class_weights": ("none", "balanced", "effective"),
    "data.on_bad_file": ("error", "skip"),
    "data.verify": ("fast", "full"),
    "data.near_duplicates": ("off", "report", "group"),
    "model.pool": ("own", "average", "max", "average_max", "concat", "topk"),
    "model.block": ("basic", "bottleneck"),
    "model.corruption": ("none", "noise", "cutout", "painted"),
    "model.skips": ("auto", True, False),
    "model.head": ("auto", True, False),
    "task.map.source": ("auto", "residual", "head", "both"),
    "model.classes": ("defects", "binary"),
    "data.mode": ("resize", "tiles"),
    "stage": (TRAIN, VAL, TEST),
    "overlays": ("all", "defects", "none"),
    "explain": ("all", "defects", "none"),
    "format": tuple(EXPORT_SUFFIXES),
}
SEGMENTATION_LOSSES = ("cross_entropy", "dice", "focal", "focal_tversky")
LOSSES = ("l1", "l2", "ssim", "ms_ssim", "gradient", "spoilt")
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "task.batch_size": (1, 65536),
    "batch_size": (1, 65536),
    "images": (1, 1_000_000),
    "calibration_images": (1, 100_000),
    "port": (0, 65535),
    "max_upload_mb": (1, 10_000),
    "visitors": (1, 1000),
    "neighbours": (0, 100),
    "task.epochs": (1, 1_000_000),
    "task.monitor_smoothing": (0, 0.999),
    "task.label_smoothing": (0, 0.999),
    "task.focal_gamma": (0, 100),
    "task.logit_adjustment": (0, 100),
    "task.mixup": (0, 100),
    "task.views": (1, 10_000),
    "task.calibration": (0.001, 0.9),
    "task.corrupted": (0, 1),
    "task.painting.variants": (1, 10_000),
    "task.painting.natural": (0, 1),
    **{f"task.loss_weights.{name}": (0, 1e6) for name in LOSSES},
    **{f"task.map.{name}": (0, 1e6) for name in ("l1", "ms_ssim", "gradient")},
    **{f"task.loss_weights.{name}": (0, 1e6) for name in SEGMENTATION_LOSSES},
    **{f"task.mask_losses.{name}": (0, 1e6) for name in SEGMENTATION_LOSSES},
    "task.head_weight": (0, 1e6),
    "task.painted": (0, 1),
    "task.pasted": (0, 1),
    "task.defects": (0, 1),
    "task.defect_weight": (0, 1e6),
    "task.map.smoothing": (0, 0.5),
    "task.map.context": (0, 1),
    "task.map.margin": (0, 1),
    "task.map.top_share": (0, 1),
    "threshold.sigmas": (0, 100),
    "data.roi_margin": (0, 10),
    "data.workers": (1, 1024),
    **dict.fromkeys(("data.max_pixels", "max_pixels"), (64, 2**40)),
    "data.size_px": (64, 20_000),
    "data.painted": (0, 1),
    "data.pasted": (0, 1),
    "data.real_defects": (0, 1),
    "data.overlap": (0, 0.9),
    "data.seed": (0, 2**32 - 1),
    "data.augmentation.rotation_deg": (0, 180),
    "data.augmentation.shift": (0, 1),
    "data.augmentation.scale": (0, 0.9),
    "data.augmentation.vertical_flip": (0, 1),
    "data.augmentation.horizontal_flip": (0, 1),
    "data.augmentation.brightness": (0, 1),
    "data.augmentation.contrast": (0, 1),
    "data.augmentation.saturation": (0, 1),
    "data.augmentation.hue_deg": (0, 180),
    "data.augmentation.noise": (0, 1),
    "split.val": (0, 0.95),
    "split.test": (0, 0.95),
    "split.folds": (2, 1000),
    "split.fold": (0, 999),
    "split.seed": (0, 2**32 - 1),
    "model.mask_loss": (0, 1e6),
    "model.width": (1, 4096),
    "model.depth": (1, 12),
    "model.encoder_depth": (3, 5),
    "model.bottleneck": (1, 65536),
    "model.head_width": (1, 4096),
    "model.dropout": (0, 0.99),
    "optimizer.lr": (1e-12, 1000),
    "optimizer.weight_decay": (0, 100),
    "scheduler.warmup": (0, 0.99),
    "finetune.head_epochs": (-1, 1_000_000),
    "finetune.layer_decay": (1e-3, 1),
    "finetune.head_lr_factor": (1e-3, 1e6),
    "callbacks.early_stopping.patience": (1, 1_000_000),
    "callbacks.ema.decay": (0, 0.999999),
}


def check(config: DictConfig) -> None:
    """Raise ConfigurationError, naming the key, where a value cannot be meant."""
    _refuse_missing(config)
    for key, choices in CHOICES.items():
        value = OmegaConf.select(config, key)
        if value is not None and (value not in choices or type(value) not in map(type, choices)):
            near = suggestion(str(value), [str(choice).lower() for choice in choices])
            raise ConfigurationError(f"{key}={value}: not a choice. {near}")
    for key, (low, high) in RANGES.items():
        value = OmegaConf.select(config, key)
        if value is not None and not low <= value <= high:
            raise ConfigurationError(f"{key}={value}: expected a value from {low:g} to {high:g}.")
    for rule in RULES:
        rule(config)


def refuse_additions(overrides: list[str]) -> None:
    """Refuse `+key=value` except below an open `options` or `extra`: a mistyped key may hide there.

    Keys with a schema are judged by Hydra itself, before this.
    """
    for override in overrides:
        found = re.match(r"\++([^=@]+)=", override)
        if found and found[1] not in ("experiment", "hydra/launcher") and not _is_open(found[1]):
            raise ConfigurationError(
                f"{override}: settings are not added with '+'. Write {found[1]}=... for one that "
                "exists, or put arguments of a library below options (+model.options.x=1)."
            )


def refuse_many_processes(config: DictConfig) -> None:
    """Refuse a training over several processes within a sweep.

    Lightning starts the other processes with the command line of the first, -m included: each of
    them would begin the sweep again.
    """
    strategy = str(OmegaConf.select(config, "trainer.strategy", default="auto"))
    if strategy.startswith(("ddp", "fsdp", "deepspeed")) and str(config.trainer.devices) != "1":
        raise ConfigurationError(
            f"trainer.strategy={strategy} with trainer.devices={config.trainer.devices} cannot be "
            "used in a sweep: its processes would each begin the sweep again. Train the models one "
            "by one without -m, or give each job a device of its own "
            "(hydra/launcher=local_parallel trainer.devices=1)."
        )


def _is_open(key: str) -> bool:
    parts = key.split(".")[1:-1]
    return bool({"options", "encoder_options", "extra"} & set(parts)) or key.startswith("hydra.")


def _refuse_missing(config: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(_without_loose_size(config)))
    if missing:
        verb = "are needed" if len(missing) > 1 else "is needed"
        example = f"{missing[0]}=<value>"
        raise ConfigurationError(f"{', '.join(missing)} {verb}: say {example} on the command line.")


def _without_loose_size(config: DictConfig) -> DictConfig:
    """evaluate.py has no task that `data.image_size` could come from: it takes the run's."""
    if "task" in config or "image_size" not in config.get("data", {}):
        return config
    loose = config.copy()
    with open_dict(loose):
        del loose.data.image_size
    return loose


def _check_there_is_a_run(config: DictConfig) -> None:
    """A training has no run before it to take data or a split from."""
    for group in ("data", "split"):
        if "task" in config and OmegaConf.select(config, f"{group}.name") == AS_TRAINED:
            raise ConfigurationError(
                f"{group}={AS_TRAINED}: this stands for that of a finished run, and is for "
                f"evaluate.py and export.py. Name another {group}; train.py --help lists them."
            )


def _check_image_size(config: DictConfig) -> None:
    size = OmegaConf.select(config, "data.image_size", throw_on_resolution_failure=False)
    if size is not None and (len(size) != 2 or min(size) < 16 or max(size) > 8192):
        raise ConfigurationError(
            f"data.image_size={list(size)}: expected [height,width], each from 16 to 8192 pixels."
        )


def _check_roi(config: DictConfig) -> None:
    roi = OmegaConf.select(config, "data.roi")
    if roi is None or roi in ("auto", "none"):
        return
    if not OmegaConf.is_list(roi) or len(roi) != 4:
        raise ConfigurationError(f"data.roi={roi}: expected auto, none or [x0,y0,x1,y1] in pixels.")
    if (
        not all(isinstance(edge, int | float) for edge in roi)
        or roi[0] >= roi[2]
        or roi[1] >= roi[3]
    ):
        raise ConfigurationError(
            f"data.roi={list(roi)}: expected [x0,y0,x1,y1] in pixels with x0 < x1 and y0 < y1."
        )


def _check_model_name(config: DictConfig) -> None:
    target = str(OmegaConf.select(config, "model._target_", default=""))
    for own in ("custom_resnet", "autoencoder"):
        if target.endswith(f".build_{own}") and config.model.name != own:
            raise ConfigurationError(
                f"model.name={config.model.name}: model={own} has one network only. For another "
                "classifier say model=timm or model=torchvision, with model.name."
            )


def _check_loss(config: DictConfig) -> None:
    """Refuse a reconstruction that learns from what was spoilt alone, where no mask tells it."""
    weights = OmegaConf.select(config, "task.loss_weights")
    corruption = OmegaConf.select(config, "model.corruption")
    if weights is None or corruption not in ("none", "noise"):
        return
    if not any(weights[name] > 0 for name in LOSSES if name != "spoilt"):
        raise ConfigurationError(
            f"task.loss_weights: with model.corruption={corruption} nothing is "
            "masked, so `spoilt` alone teaches nothing. Give l1, l2, ssim, ms_ssim or gradient a "
            "weight."
        )


def _check_task(config: DictConfig) -> None:
    """The model decides the task; another one named beside it fits neither."""
    task = OmegaConf.select(config, "task.name")
    if task is None:
        return
    target = str(OmegaConf.select(config, "model._target_", default=""))
    builders = {"build_autoencoder": "reconstruction", "build_segmenter": "segmentation"}
    own = builders.get(target.rpartition(".")[2], "classification")
    if task != own:
        raise ConfigurationError(
            f"task={task}: model={config.model.name} is for task={own}. Leave `task` out: the "
            "model decides it."
        )
    if own == "classification" and OmegaConf.select(config, "split.name") == "one_class":
        raise ConfigurationError(
            "split=one_class trains on good images alone, of which a classifier learns nothing. "
            "Say model=autoencoder, or split=kfold."
        )


def _check_split(config: DictConfig) -> None:
    split = OmegaConf.select(config, "split")
    if split is None:
        return
    if "fold" in split and split.fold >= split.folds:
        raise ConfigurationError(
            f"split.fold={split.fold}: expected 0 to {split.folds - 1}, since there are "
            f"split.folds={split.folds}."
        )
    if "test" in split and split.val + split.test >= 1:
        raise ConfigurationError(
            f"split.val={split.val} and split.test={split.test} leave nothing to train on: "
            "their sum must be below 1."
        )


def _check_false_alarm_rate(config: DictConfig) -> None:
    rate = OmegaConf.select(config, "threshold.false_alarm_rate")
    if rate is not None and not 0 < rate < 1:
        raise ConfigurationError(
            f"threshold.false_alarm_rate={rate:g}: expected a share of the good images between 0 "
            "and 1, such as 0.05 for one in twenty."
        )


def _check_window(config: DictConfig) -> None:
    window = OmegaConf.select(config, "task.window")
    if window is not None and (len(window) != 2 or min(window) < 16):
        raise ConfigurationError(
            f"task.window={list(window)}: expected [height,width] of at least 16 pixels each, or "
            "null for the whole image."
        )


def _check_whole_from(config: DictConfig) -> None:
    if "whole_from" not in OmegaConf.select(config, "task", default={}):
        return
    value = config.task.whole_from
    if value == "auto" and config.task.name == "segmentation":
        return
    if type(value) not in (int, float) or not 0 <= value <= 1:
        also = ", or auto" if config.task.name == "segmentation" else ""
        raise ConfigurationError(f"task.whole_from={value}: expected a value from 0 to 1{also}.")


def _check_shares(config: DictConfig) -> None:
    """Refuse shares of a training's images that leave none for good ones as they are."""
    if OmegaConf.select(config, "task.defects") is None:
        return
    painted, pasted = config.data.painted or 0.0, config.data.pasted or 0.0
    defects = config.task.defects
    if painted + pasted + defects >= 1:
        raise ConfigurationError(
            f"data.painted={painted:g}, data.pasted={pasted:g} and task.defects={defects:g} leave "
            "no share for good images as they are, so they would be taken for defects: their sum "
            "must be below 1."
        )


def _check_mixing(config: DictConfig) -> None:
    """Refuse a classifier's mixture of images whose labels are mixed, too."""
    mixup = OmegaConf.select(config, "task.mixup")
    if mixup and (config.data.painted or config.data.pasted):
        raise ConfigurationError(
            f"task.mixup={mixup:g}: it blends images and labels, and data.painted and data.pasted "
            "give images defects of their own. Take one of them."
        )
    if mixup and config.model.mask_loss:
        raise ConfigurationError(
            f"task.mixup={mixup:g}: it blends images, but not the masks that model.mask_loss="
            f"{config.model.mask_loss:g} learns from. Take one of them."
        )


def _check_natural(config: DictConfig) -> None:
    """Refuse patches of other good images where each defect needs a class."""
    natural = OmegaConf.select(config, "task.painting.natural")
    task = OmegaConf.select(config, "task.name")
    names = task == "classification" or OmegaConf.select(config, "model.classes") == "defects"
    if natural and names:
        raise ConfigurationError(
            f"task.painting.natural={natural:g}: patches of other good images are none of the "
            "defects that are to be told apart. Leave it at 0, or say model=unet "
            "model.classes=binary."
        )


def _check_masks(config: DictConfig) -> None:
    """Refuse settings of segmentation where another task would not heed them."""
    task = OmegaConf.select(config, "task.name")
    if task in (None, "segmentation"):
        return
    if config.data.mode != "resize":
        raise ConfigurationError(
            f"data.mode={config.data.mode}: task={task} sees whole images. Leave it out, or say "
            "model=unet."
        )
    for key in ("painted", "pasted"):
        if task == "reconstruction" and OmegaConf.select(config, f"data.{key}") is not None:
            raise ConfigurationError(
                f"data.{key}: task={task} does not take it; it is for classifiers and model=unet. "
                "For an autoencoder see task.corrupted."
            )
    if task == "reconstruction" and config.data.real_defects != 1:
        raise ConfigurationError(
            f"data.real_defects={config.data.real_defects:g}: task={task} learns from good images "
            "alone. Leave it out."
        )


def _check_tile(config: DictConfig) -> None:
    tile = OmegaConf.select(config, "data.tile")
    if tile is not None and (len(tile) != 2 or min(tile) < 32):
        raise ConfigurationError(
            f"data.tile={list(tile)}: expected [height,width] of at least 32 pixels each."
        )


def _check_monitor(config: DictConfig) -> None:
    monitor = OmegaConf.select(config, "task.monitor")
    if monitor is not None and not monitor.startswith("val/"):
        raise ConfigurationError(
            f"task.monitor={monitor}: expected a validation figure, such as val/balanced_accuracy "
            "or val/loss."
        )


def _check_precision(config: DictConfig) -> None:
    valid = ("auto", "32-true", "bf16-mixed", "16-mixed")
    precision = OmegaConf.select(config, "trainer.precision")
    if precision is not None and str(precision) not in (*valid, "32", "16", "bf16"):
        raise ConfigurationError(
            f"trainer.precision={precision}: not a choice. {suggestion(str(precision), valid)}"
        )


def _check_workers(config: DictConfig) -> None:
    """Threads of a door itself: a number, or auto; those of a data set have a type of their own."""
    for key in ("workers", "threads"):
        count = OmegaConf.select(config, key)
        if count not in (None, "auto") and not (type(count) is int and 1 <= count <= 1024):
            raise ConfigurationError(f"{key}={count}: expected a number from 1 to 1024, or auto.")


RULES: tuple[Callable[[DictConfig], None], ...] = (
    _check_there_is_a_run,
    _check_image_size,
    _check_roi,
    _check_model_name,
    _check_task,
    _check_loss,
    _check_split,
    _check_false_alarm_rate,
    _check_window,
    _check_whole_from,
    _check_shares,
    _check_mixing,
    _check_natural,
    _check_masks,
    _check_tile,
    _check_monitor,
    _check_precision,
    _check_workers,
)
