"""Lightning's Trainer as all of a run uses it, and checkpoints that are whole or not there."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from capsule_inspection.files import whole_file
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows.hardware import Choices

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # the cache is memory-mapped: workers would only cost
    ".*The number of training batches.*is smaller than the log.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*recommended to use .self.log.*sync_dist=True.*",  # torchmetrics has summed them already
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # within Lightning
)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them.

    Lightning's own writes to the folder of temporary files and moves, which on another disk is a
    copy: cut short where the disk is full or the process is killed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    content = io.BytesIO()  # torch's own writer hides what the operating system says
    torch.save(checkpoint, content)
    with whole_file(path) as part:
        part.write_bytes(content.getbuffer())


def make_trainer(choices: Choices, **settings: Any) -> L.Trainer:  # Lightning's own argument names
    """A Trainer that keeps quiet about what was decided on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    if choices.gpu is not None:
        settings = {**settings, "devices": [choices.gpu]}
    try:
        return L.Trainer(
            accelerator=choices.device,
            precision=choices.precision,  # type: ignore[arg-type]
            enable_model_summary=False,
            plugins=[WholeCheckpoints()],
            **settings,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(f"trainer: {str(error).splitlines()[0]}") from error
    except Exception as error:
        if type(error).__name__ == "MisconfigurationException":
            raise ConfigurationError(f"trainer: {str(error).splitlines()[0]}") from error
        raise
