"""Checks of what a training consists of: model, losses, optimizer, mixtures; never torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.types import ConfigurationError

_TERMS = (
    *("l1", "l2", "ssim", "ms_ssim", "gradient", "corrupted"),
    *("cross_entropy", "dice", "focal", "focal_tversky"),
)
"""Terms of losses and of anomaly maps that have a weight."""
OPTION_KEYS = ("model.options", "model.encoder_options", "optimizer.options")
"""Mappings with arguments of libraries."""
_OF_TRAINING = (
    *("optimizer", "scheduler", "finetune", "callbacks", "hparams_search"),
    *(
        "task.learning_rate",
        "task.head_epochs",
        "task.monitor",
        "data.augmentation",
        "data.synthesis",
    ),
)
"""Settings that only a training by gradient descent has."""
_ONE_PASS: Mapping[str, int | None] = {
    "task.epochs": 1,
    "task.repeats": 1,
    "trainer.max_epochs": 1,
    "trainer.max_steps": -1,
    "trainer.max_time": None,
    "trainer.limit_train_batches": None,
    "trainer.accumulate_grad_batches": 1,
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
}
"""Values of a pass over the images on one device."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OPTION = re.compile(r"[A-Za-z0-9_-]*")
_TASK_OF_BUILDER = {
    "autoencoder": "anomaly_detection",
    "patchcore": "anomaly_detection",
    "segmenter": "segmentation",
}
"""The task of a model by its builder; other models are classifiers."""


def _check_model(config: DictConfig) -> None:
    """The model selects the task, and own models have a fixed name."""
    task, builder = (OmegaConf.select(config, key) for key in ("task.name", "model.builder"))
    if task is None:
        return
    if builder in ("custom_resnet", "autoencoder", "patchcore") and config.model.name != builder:
        raise ConfigurationError(
            f"model.name={config.model.name}: model={builder} has one network only. For another "
            "classifier use model=timm or model=torchvision with model.name."
        )
    of_model = _TASK_OF_BUILDER.get(builder, "classification")
    # Classifiers also serve tasks that are added to the project.
    if task != of_model and (builder in _TASK_OF_BUILDER or task in _TASK_OF_BUILDER.values()):
        raise ConfigurationError(
            f"task={task}: model={config.model.name} is for task={of_model}. Remove `task`: the "
            "model selects it."
        )
    of_patches = OmegaConf.select(config, "task.builder") == "patches"
    if of_patches != (builder == "patchcore"):
        needed = "anomaly_detection" if of_patches else "anomaly_detection_patches"
        raise ConfigurationError(
            f"task: model={config.model.name} is for task={needed}. Remove `task`: the model "
            "selects it."
        )
    if task == "classification" and OmegaConf.select(config, "split.name") == "one_class":
        raise ConfigurationError(
            "split=one_class trains on good images only, and a classifier needs defects. Use "
            "model=patchcore, model=autoencoder or split=kfold."
        )


def _check_patches(config: DictConfig) -> None:
    """PatchCore has one pass over the images, strides that are powers of 2, and odd windows."""
    model = config.get("model", {})
    if model.get("builder") != "patchcore":
        return
    for key, usual in _ONE_PASS.items():
        value = OmegaConf.select(config, key, default=usual)
        is_one_device = key == "trainer.devices" and OmegaConf.is_list(value) and len(value) == 1
        # A number as text is refused by the check of the trainer.
        if str(value) != str(usual) and not is_one_device:
            raise ConfigurationError(
                f"{key}={value}: model=patchcore is not trained. It reads each good image once, "
                f"on one device. Remove it, or set {key}={'null' if usual is None else usual}."
            )
    if config.get("save_weights"):
        raise ConfigurationError(
            "save_weights=true: model=patchcore is not trained, so it has no weights of its own. "
            "Remove it."
        )
    strides = [*model.strides]
    if not strides or len(set(strides)) < len(strides) or any(x & (x - 1) for x in strides):
        raise ConfigurationError(
            f"model.strides={strides}: expected different numbers of 2, 4, 8, 16 and 32, such as "
            "[8,16]."
        )
    if model.neighbourhood % 2 == 0:
        raise ConfigurationError(
            f"model.neighbourhood={model.neighbourhood}: expected an odd number, such as 3, so "
            "that a window has a centre."
        )
    if model.candidates < model.coreset_size or model.coreset_size <= model.num_neighbors:
        raise ConfigurationError(
            f"model.coreset_size={model.coreset_size}: expected more than model.num_neighbors="
            f"{model.num_neighbors}, and at most model.candidates={model.candidates}."
        )


def check_unused(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ConfigurationError for given settings of a training, of a model that has none."""
    if config.model.builder != "patchcore":
        return
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.startswith(_OF_TRAINING):
            raise ConfigurationError(
                f"{override}: model=patchcore is not trained, so it has no such setting. Remove "
                "it. In a sweep with a model that has it, run both apart and use compare.py."
            )


def _check_names(config: DictConfig) -> None:
    """Names of libraries are those in their lists: no address, no path."""
    for key in ("model.architecture", "model.encoder", "model.name", "optimizer.name"):
        name = OmegaConf.select(config, key)
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{key}={name}: expected a name of letters, digits and _ . - only, such as "
                "resnet18. A file of weights is given with model.weights."
            )


def _check_options(config: DictConfig) -> None:
    """Options of libraries are plain values: no paths, no mappings."""
    for key in OPTION_KEYS:
        for name, value in OmegaConf.select(config, key, default={}).items():
            values = value if OmegaConf.is_list(value) else [value]
            if not (_OPTION.fullmatch(str(name)) and all(map(_is_plain, values))):
                raise ConfigurationError(
                    f"{key}.{name}={value}: expected a number, true, false, null, a word of "
                    "letters, digits and _ - only, or a list of these."
                )


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return _OPTION.fullmatch(value) is not None
    return value is None or (isinstance(value, bool | int | float) and math.isfinite(value))


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


def _check_monitor(config: DictConfig) -> None:
    monitor = OmegaConf.select(config, "task.monitor")
    if monitor is not None and not monitor.startswith("val/"):
        raise ConfigurationError(
            f"task.monitor={monitor}: expected a validation metric, such as val/balanced_accuracy "
            "or val/loss."
        )


RULES: tuple[Callable[[DictConfig], None], ...] = (
    _check_names,
    _check_options,
    _check_model,
    _check_patches,
    _check_loss,
    _check_optimizer,
    _check_decoder,
    _check_full_image_from,
    _check_mixture,
    _check_nsa,
    _check_monitor,
)
