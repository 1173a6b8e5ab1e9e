"""Lightning's Trainer, with atomic checkpoints."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.files import atomic_write
from capsule_inspection.inference.checkpoints import read_checkpoint
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows.hardware import RuntimeConfig

_OWN_KEYS = ("channels_last", "threads", "precision", "accelerator", "enable_progress_bar")
"""Settings of `trainer` that Lightning does not have, or that `RuntimeConfig` decides."""
_EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # the cache is memory-mapped: workers would only cost
    ".*The number of training batches.*is smaller than the log.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*recommended to use .self.log.*sync_dist=True.*",  # torchmetrics has summed them already
    ".*configure_optimizers. returned .None.*",  # of models without training, as the next two
    ".*module.s. in eval mode at the start of training.*",
    ".*parameters. is an empty generator.*",
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # within Lightning
)


def build_trainer(
    config: DictConfig, runtime: RuntimeConfig, *, callbacks: list[Callback], loggers: list[Logger]
) -> L.Trainer:
    """Lightning's Trainer as configured, without the warnings about deliberate choices.

    Raises ConfigurationError for what Lightning refuses, and for a batch size that the processes
    cannot divide equally.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        trainer = L.Trainer(
            accelerator=runtime.device,
            precision=runtime.precision,  # type: ignore[arg-type]
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # data/samplers.py divides the images, none twice
            enable_model_summary=False,
            enable_progress_bar=False,  # workflows/epochs.py has one
            **_trainer_settings(config, runtime),
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigurationError(explain(error)) from error
    if config.task.batch_size % trainer.world_size:
        raise ConfigurationError(
            f"task.batch_size={config.task.batch_size}: {trainer.world_size} processes divide each "
            f"batch equally, so it must be a multiple of {trainer.world_size}."
        )
    return trainer


def explain(error: Exception) -> str:
    """One line with what Lightning refuses, and the setting's key where it names one."""
    text = " ".join(str(error).split())
    named = re.search(r"limit_\w+_batches", text)
    return f"trainer{f'.{named[0]}' if named else ''}: {text}"


def _trainer_settings(config: DictConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    settings: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    settings = {
        key: value for key, value in settings.items() if value is not None and key not in _OWN_KEYS
    }
    if runtime.gpu is not None:
        settings["devices"] = [runtime.gpu]
    has_unused = config.finetune.head_epochs != 0 or config.model.get("pool") == "topk"
    is_parallel = settings.get("strategy") == "ddp" or (
        settings.get("strategy") == "auto" and str(settings["devices"]) not in ("1", "auto")
    )
    if is_parallel and has_unused:
        settings["strategy"] = "ddp_find_unused_parameters_true"
    return settings


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them, and reads them checked.

    Lightning's own moves them from the folder of temporary files. On another disk that is a copy,
    which a full disk or a killed process cuts short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing: each one replaces the last of its name, and a checkpoint may name any path."""


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint completely or not at all."""
    content = io.BytesIO()  # torch's own writer hides the error of the operating system
    torch.save(checkpoint, content)
    with atomic_write(path) as part:
        part.write_bytes(content.getbuffer())
