"""Callbacks of a training: early stopping, checkpoints, metrics.csv, signals."""

from __future__ import annotations

import csv
import io
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from omegaconf import DictConfig
from torch import Tensor

from capsule_inspection.files import atomic_write_text
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.types import RunFiles

log = logging.getLogger(__name__)
_PRINTED = ("train/loss", "val/loss", "val/accuracy", "val/balanced_accuracy")


def build_callbacks(config: DictConfig, module: InspectionModule, folder: Path) -> list[Callback]:
    """Early stopping, weight averaging, and two checkpoints: the best epoch and the last."""
    optimization, early_stopping = module.optimization, config.callbacks.early_stopping
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
    if config.callbacks.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=config.callbacks.ema.decay))
    if config.trainer.enable_progress_bar and sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    best = RunCheckpoint(folder / RunFiles.CHECKPOINTS, "best", **selection)
    return [*callbacks, best, RunCheckpoint(folder / RunFiles.CHECKPOINTS, "last")]


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
        self.has_selected = False
        """Whether an epoch from there on was compared; kept, since more epochs move it."""

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
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


class EpochMetricsWriter(Checkpoint):
    """Writes metrics.csv: one row for each finished epoch.

    Not Lightning's CSVLogger: that deletes the file of a resumed run, and writes training and
    validation metrics of an epoch to different rows.
    A `Checkpoint`, so that Lightning calls it after the module has logged. The rows are part of the
    checkpoints, from which a resumed run writes the file anew: it may be damaged, or of a later
    epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._epoch_start = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [
            {str(key): str(value) for key, value in row.items()} for row in state_dict["rows"]
        ]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and (self.rows or self.path.is_file()):
            self._write()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        metrics = {
            key: float(value) for key, value in trainer.callback_metrics.items() if "/" in key
        }
        duration_s = time.perf_counter() - self._epoch_start
        self.rows.append(
            {
                "epoch": str(trainer.current_epoch),
                "step": str(trainer.global_step),
                "seconds": f"{duration_s:.3f}",
                **{key: repr(value) for key, value in sorted(metrics.items())},
            }
        )
        self._write()
        self._epoch_start = time.perf_counter()
        printed = "  ".join(f"{key} {metrics[key]:.3f}" for key in _PRINTED if key in metrics)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        log.info("%s  %.1f s  %s", epoch, duration_s, printed)

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or ["epoch"], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write_text(self.path, text.getvalue())

    @property
    def training_time_s(self) -> float:
        """Seconds of all epochs in the file, including validation."""
        return math.fsum(float(row["seconds"]) for row in self.rows)


class TrainingInterrupted(BaseException):
    """Raised between two steps after Ctrl-C; no Exception, so that nothing catches it by chance."""


class InterruptHandler(Callback):
    """Ends a training between two steps after Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Handle signals within the block; does nothing outside of the main thread.

        A SIGTERM that has a handler already is left alone: a scheduler uses it as a warning before
        it queues the job again.
        """
        former: dict[signal.Signals, Any] = {}
        handled = [signal.SIGINT]
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            handled.append(signal.SIGTERM)
        try:
            for number in handled:
                former[number] = signal.signal(number, self._on_signal)
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:  # timeout sends SIGTERM twice
            raise KeyboardInterrupt
        self.requested = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._raise_if_requested()

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._raise_if_requested()

    def _raise_if_requested(self) -> None:
        if self.requested:
            raise TrainingInterrupted
