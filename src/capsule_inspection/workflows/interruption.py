"""Ctrl-C and SIGTERM end a training between two steps, with its record and figures in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class TrainingInterrupted(BaseException):
    """Raised between two steps after Ctrl-C; not an Exception, so that nobody swallows it."""


class InterruptionGuard(Callback):
    """Turns signals into `TrainingInterrupted`; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to signals within the block; does nothing outside of the main thread.

        A SIGTERM that somebody listens to already is left alone: a scheduler's, which warns with it
        and queues the job again.
        """
        previous: dict[signal.Signals, Any] = {}
        wanted = [signal.SIGINT]
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            wanted.append(signal.SIGTERM)
        try:
            for number in wanted:
                previous[number] = signal.signal(number, self._on_signal)
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for caught, handler in previous.items():
                signal.signal(caught, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
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
