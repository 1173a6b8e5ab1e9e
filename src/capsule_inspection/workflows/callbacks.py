"""Callbacks of a training: early stopping, checkpoints, and what reports the epochs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
)
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from omegaconf import DictConfig
from torch import Tensor

from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.types import RunFiles
from capsule_inspection.workflows.epochs import EpochMetricsWriter, EpochReporter

log = logging.getLogger(__name__)


def build_callbacks(
    config: DictConfig, module: InspectionModule, folder: Path, rows: EpochMetricsWriter
) -> list[Callback]:
    """Early stopping, weight averaging, two checkpoints (best epoch and last), and the reports.

    metrics.csv comes first: Lightning keeps the order of those that it calls after the module.
    """
    optimization = module.optimization
    early_stopping = config.callbacks.early_stopping if module.learns else None
    selection: dict[str, Any] = {
        "monitor": optimization.monitor_key,
        "mode": optimization.mode,
        "select_from_epoch": optimization.select_from_epoch,
    }
    callbacks: list[Callback] = []
    if early_stopping is not None:
        stop = DelayedEarlyStopping(
            **selection, patience=early_stopping.patience, min_delta=early_stopping.min_delta
        )
        callbacks.append(stop)
    if config.callbacks.ema is not None and module.learns:
        callbacks.append(EMAWeightAveraging(decay=config.callbacks.ema.decay))
    best = RunCheckpoint(folder / RunFiles.CHECKPOINTS, "best", **selection)
    last = RunCheckpoint(folder / RunFiles.CHECKPOINTS, "last")
    reporter = EpochReporter(
        optimization,
        rows,
        is_best=lambda epoch: best.best_epoch == epoch,
        has_bar=config.trainer.enable_progress_bar,
        has_one_epoch=not module.learns,
    )
    return [rows, *callbacks, best, last, reporter]


class DelayedEarlyStopping(EarlyStopping):
    """Counts epochs without improvement from `select_from_epoch` on; always stops on divergence.

    A training that it has stopped stays stopped when it is resumed. With a larger number of epochs
    it continues, with new patience.
    """

    def __init__(self, monitor: str, *, select_from_epoch: int, **settings: Any) -> None:
        super().__init__(monitor, **settings)
        self.select_from_epoch = select_from_epoch
        self.max_epochs: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        former, self.max_epochs = self.max_epochs, trainer.max_epochs
        if self.wait_count < self.patience:
            return
        if former == trainer.max_epochs:
            trainer.should_stop = True
        else:
            self.wait_count = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "max_epochs": self.max_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.max_epochs = state_dict["max_epochs"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._is_checked(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._is_checked(trainer):
            super().on_validation_end(trainer, pl_module)

    def _is_checked(self, trainer: L.Trainer) -> bool:
        value = trainer.callback_metrics.get(self.monitor)
        is_early = trainer.current_epoch < self.select_from_epoch
        return not (is_early and value is not None and bool(value.isfinite()))


class RunCheckpoint(ModelCheckpoint):
    """Finds its files when the run folder was moved, and keeps the last of equally good epochs.

    With few validation images several epochs are perfect while the network still learns.
    Epochs before `select_from_epoch`, which show crops, are compared only among themselves: a
    network can segment full images well before it has learnt from crops, and worse afterwards.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        monitor: str | None = None,
        mode: str = "min",
        select_from_epoch: int = 0,
    ) -> None:
        super().__init__(
            dirpath=folder,
            filename=name,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.select_from_epoch = select_from_epoch
        self.best_epoch: int | None = None
        """The last epoch of this process that was the best so far."""
        self.has_selected = False
        """Whether an epoch from there on was compared; kept, since more epochs move it."""

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        is_best = self._is_selected(trainer, current)
        if is_best:
            self.best_epoch = trainer.current_epoch
        return is_best

    def _is_selected(self, trainer: L.Trainer, current: Tensor | None) -> bool:
        is_validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if current is None or self.has_selected or not is_validated:
            return self._is_as_good(trainer, current)
        self.has_selected = trainer.current_epoch >= self.select_from_epoch
        return self.has_selected or self._is_as_good(trainer, current)

    def _is_as_good(self, trainer: L.Trainer, current: Tensor | None) -> bool:
        is_better = super().check_monitor_top_k(trainer, current)
        best = self.best_model_score
        return is_better or (current is not None and best is not None and bool(current == best))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "has_selected": self.has_selected}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.has_selected = state_dict["has_selected"]

        def moved(path: str) -> str:
            return str(Path(str(self.dirpath), f"{self.filename}.ckpt")) if path else ""

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {
                **state_dict,
                **{key: moved(state_dict[key]) for key in paths},
                "best_k_models": best,
                "dirpath": self.dirpath,
            }
        )
