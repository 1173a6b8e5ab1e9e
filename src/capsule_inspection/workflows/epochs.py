"""metrics.csv, and what the console shows of the epochs, which it counts from 1."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from capsule_inspection.data.progress import Progress, format_time_left, progress_bar
from capsule_inspection.files import atomic_write_text
from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import metric_label
from capsule_inspection.reports.formatting import format_fraction
from capsule_inspection.tasks.optimization import OptimizationConfig
from capsule_inspection.types import TRAIN, VAL

log = logging.getLogger(__name__)

_LOSSES = [names.metric_key(stage, names.LOSS) for stage in (TRAIN, VAL)]
_EVERY_S = 60.0
"""Between two lines within an epoch, where there is no bar."""
_RECENT = 5
"""Epochs that the time of the others is estimated from."""


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


class EpochReporter(Checkpoint):
    """A bar for each epoch, and a line after it.

    A `Checkpoint`, so that it comes after the one that selects the best epoch.
    """

    def __init__(
        self,
        optimization: OptimizationConfig,
        written: EpochMetricsWriter,
        *,
        is_best: Callable[[int], bool],
        has_bar: bool,
        has_one_epoch: bool = False,
    ) -> None:
        self.optimization, self.written = optimization, written
        self.is_best, self.has_bar = is_best, has_bar
        self.has_one_epoch = has_one_epoch
        self._bar = ExitStack()
        self._show: Progress | None = None
        self._done, self._total, self._first = 0, 0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._first = len(self.written.rows)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.has_bar:
            self._done = 0
            self._total = int(trainer.num_training_batches) + sum(map(int, trainer.num_val_batches))
            bar = progress_bar(f"{_epoch(trainer)}, batches", every_s=_EVERY_S)
            self._show = self._bar.enter_context(bar)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._done += 1
        if self._show is not None:
            self._show(self._done, self._total)

    on_validation_batch_end = on_train_batch_end

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        self._bar.close()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._bar.close()
        if not trainer.is_global_zero:
            return
        row = self.written.rows[-1]
        losses = [
            f"{_label(key)} {float(row[key]):.4f}"
            for key in _LOSSES
            if key in row and key != self.optimization.monitor
        ]
        time = format_time_left(float(row["seconds"])) + self._left(trainer)
        parts = [_epoch(trainer), *losses, self._monitored(row, trainer.current_epoch), time]
        log.info("%s", "  ".join(filter(None, parts)))

    def _monitored(self, row: Mapping[str, str], epoch: int) -> str:
        """`val balanced accuracy .692 (smoothed .681, best so far)`; "" without validation."""
        key, smoothed = self.optimization.monitor, self.optimization.monitor_key
        if key not in row or smoothed not in row:
            return ""
        write = "{:.4f}".format if key in _LOSSES else format_fraction
        best = ", best so far" if self.is_best(epoch) else ""
        value, average = (write(float(row[name])) for name in (key, smoothed))
        if self.has_one_epoch:
            return f"{_label(key)} {value}"
        return f"{_label(key)} {value} (smoothed {average}{best})"

    def _left(self, trainer: L.Trainer) -> str:
        """`, about 37 s left` of all epochs; early stopping may end them before."""
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        recent = [float(row["seconds"]) for row in self.written.rows[self._first :][-_RECENT:]]
        if epochs <= 0 or not recent:
            return ""
        return f", about {format_time_left(epochs * sum(recent) / len(recent))} left"


def _epoch(trainer: L.Trainer) -> str:
    """`epoch 3/6`, counted from 1; without the last one where it is unknown."""
    last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
    number = str(trainer.current_epoch + 1)
    return f"epoch {number}" if last is None else f"epoch {number:>{len(str(last))}}/{last}"


def _label(key: str) -> str:
    stage, _, metric = key.partition("/")
    return f"{stage} {metric_label(metric)}"
