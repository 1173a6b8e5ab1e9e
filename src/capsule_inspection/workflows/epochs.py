"""metrics.csv: one row for each finished epoch, also over interruptions."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from capsule_inspection.files import write_whole

log = logging.getLogger(__name__)
SHOWN = ("train/loss", "val/loss", "val/accuracy", "val/balanced_accuracy")


class EpochTable(Checkpoint):
    """Writes the table. A `Checkpoint`, so that Lightning calls it after the task has logged.

    The row is there before the epoch's checkpoint: after a kill in between, a resumed run drops the
    row and makes the epoch again.
    """

    def __init__(self, path: Path, *, first_epoch: int = 0) -> None:
        """Rows from `first_epoch` on are of an attempt that was cut short, and made again."""
        self.path = path
        self.first_epoch = first_epoch
        self.rows: list[dict[str, str]] = []
        self._epoch_began = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.path.is_file():
            rows = read_rows(self.path)
            self.rows = [row for row in rows if int(row["epoch"]) < self.first_epoch]
            if len(self.rows) < len(rows):
                self._write()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_began = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        figures = {
            key: float(value) for key, value in trainer.callback_metrics.items() if "/" in key
        }
        seconds = time.perf_counter() - self._epoch_began
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": f"{seconds:.3f}",
            **{key: repr(value) for key, value in sorted(figures.items())},
        }
        self.rows.append({key: str(value) for key, value in row.items()})
        self._write()
        self._epoch_began = time.perf_counter()
        log.info(epoch_line(trainer.current_epoch, trainer.max_epochs, seconds, figures))

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or ["epoch"], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.path, text.getvalue())

    @property
    def training_time_s(self) -> float:
        """Seconds of all epochs in the table, validation included."""
        return math.fsum(float(row["seconds"]) for row in self.rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def epoch_line(epoch: int, epochs: int | None, seconds: float, figures: dict[str, float]) -> str:
    """One line for people: which epoch, how long, and the figures that matter."""
    shown = "  ".join(f"{key} {figures[key]:.3f}" for key in SHOWN if key in figures)
    return f"epoch {epoch + 1}/{epochs}  {seconds:.1f} s  {shown}"
