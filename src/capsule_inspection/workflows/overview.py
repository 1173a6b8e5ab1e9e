"""What a training will do, in the log before it does it.

`print_settings` comes first, from the configuration alone and without torch; `print_preparation`
when the images are read and the network is built. A job of a sweep has the short form.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import (
    CALIBRATION,
    GOOD_LABEL,
    TEST,
    TRAIN,
    VAL,
    DataIndex,
    WeightsRecord,
)

if TYPE_CHECKING:
    from capsule_inspection.workflows.hardware import RuntimeConfig

log = logging.getLogger(__name__)

_SPLITS = TRAIN, VAL, CALIBRATION, TEST


def is_sweep_job() -> bool:
    """Whether this process trains a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def print_rows(*rows: tuple[str, str]) -> None:
    """Log named facts, one a line, aligned; those without a text are left out."""
    log.info("%s", "\n".join(f"{name:<12}{text}" for name, text in rows if text))


def print_settings(config: DictConfig) -> None:
    """Log where and what is trained on which data, in the first of several processes."""
    if not is_first_process():
        return
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    task = f"{str(config.task.name).replace('_', ' ')} with model={config.model.name}"
    if is_sweep_job():
        print_rows(("Run folder", str(folder.absolute())), ("Task", task))
        return
    print_rows(
        ("Resuming" if config.resume else "Run folder", str(folder.absolute())),
        ("Task", task),
        ("Data", _describe_data(config.data)),
        ("Classes", _describe_drawn(config.data)),
        (
            "Training",
            _describe_training(config)
            if _learns(config)
            else "none, one pass over the good images",
        ),
    )


def _describe_data(data: DictConfig) -> str:
    place = data.root or data.get("path")
    return f"data={data.name}" + (f", {Path(place).absolute()}" if place else "")


def _describe_drawn(data: DictConfig) -> str:
    """Classes with their images where capsules are drawn; other data are described when listed."""
    if data.name != "synthetic":
        return ""
    return ", ".join(f"{name} {count}" for name, count in data.counts.items())


def _describe_training(config: DictConfig) -> str:
    size = OmegaConf.select(config, "data.image_size")
    size = "their own size" if size is None else f"{size[0]}x{size[1]} pixels"
    epochs = _max_epochs(config)
    return (
        f"{'' if epochs is None else numbered(epochs, 'epoch') + ', '}"
        f"batches of {config.task.batch_size} images of {size}, seed {config.seed}"
    )


def _learns(config: DictConfig) -> bool:
    """Whether the model is trained, as all but PatchCore are."""
    return bool(config.task.get("builder") != "patches")


def _max_epochs(config: DictConfig) -> int | None:
    """None where steps or time limit the training."""
    epochs = config.trainer.max_epochs
    return None if epochs is None or epochs < 0 else int(epochs)


def print_preparation(
    index: DataIndex,
    *,
    config: DictConfig,
    weights: WeightsRecord,
    num_parameters: int,
    runtime: RuntimeConfig,
    finished_epochs: int,
) -> None:
    """Log the split, the network, what computes it, and what selects the best epoch."""
    origin = weights.package or weights.path
    initial = ("Weights", weights.source + (f", {origin}" if origin else ""))
    network = ("Network", f"{_format_parameters(num_parameters)} parameters")
    split = ("Split", _describe_split(index, config))
    threads = f"{runtime.threads} thread{'' if runtime.threads == 1 else 's'}"
    computing = f"{runtime.device}, precision {runtime.precision}, {threads}"
    which = "highest" if config.task.monitor_mode == "max" else "lowest"
    best = f"the {which} {config.task.monitor}, smoothed over epochs"
    if is_sweep_job():
        print_rows(split, network, initial)
        return
    print_rows(
        split,
        network,
        initial,
        ("Computing", computing),
        ("Best epoch", best if _learns(config) else ""),
        ("Stops", _describe_stopping(config)),
        ("Goes on", f"with epoch {finished_epochs + 1}" if finished_epochs else ""),
    )


def _describe_split(index: DataIndex, config: DictConfig) -> str:
    fold = config.split.get("fold")
    name = config.split.name if fold is None else f"{config.split.name}, fold {fold}"
    text = "; ".join(filter(None, (_count(index, split) for split in _SPLITS)))
    parts = len({sample.group for sample in index.samples})
    groups = f"; {parts} parts of one or more images" if parts < len(index) else ""
    return f"{name}: {text}{groups}"


def _count(index: DataIndex, split: str) -> str:
    """`val 66 (22 defects)`; "" without images."""
    labels = [sample.label for sample in index.samples if sample.split == split]
    defects = sum(label != GOOD_LABEL for label in labels)
    number = f"{defects or 'no'} defect{'' if defects == 1 else 's'}"
    return f"{split} {len(labels)} ({number})" if labels else ""


def _describe_stopping(config: DictConfig) -> str:
    """Early stopping; empty where all epochs run in any case."""
    stopping, epochs = config.callbacks.early_stopping, _max_epochs(config)
    if stopping is None or (epochs is not None and stopping.patience >= epochs):
        return ""
    return f"after {stopping.patience} epochs without a better one"


def _format_parameters(number: int) -> str:
    """`11.2 million`, `48,310`."""
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
