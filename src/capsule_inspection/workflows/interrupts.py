"""Ctrl-C and SIGTERM during a training: it ends between two steps, and can be resumed.

The first Ctrl-C leaves time to evaluate the best epoch, the second one skips that, and the third
ends at once. Each is answered when it comes.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.types import RunFiles

log = logging.getLogger(__name__)


class TrainingInterrupted(BaseException):
    """Raised between two steps after Ctrl-C; no Exception, so that nothing catches it by chance."""


class InterruptHandler(Callback):
    """Counts the signals of a training, and ends it between two steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requested = False
        self.presses = 0
        """How often Ctrl-C was pressed."""
        self.is_evaluating = False

    @property
    def skips_evaluation(self) -> bool:
        return self.presses > 1

    @contextmanager
    def handle_signals(self, *, evaluating: bool = False) -> Iterator[None]:
        """Handle signals within the block; does nothing outside of the main thread.

        A SIGTERM that has a handler already is left alone: a scheduler uses it as a warning before
        it queues the job again. While `evaluating` it ends the process as usual.
        """
        self.is_evaluating = evaluating
        former: dict[signal.Signals, Any] = {}
        handled = [signal.SIGINT]
        own = (signal.SIG_DFL, signal.default_int_handler)  # the latter of config/entry.py
        if not evaluating and signal.getsignal(signal.SIGTERM) in own:
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
        self.requested = True
        if number != signal.SIGINT:  # timeout sends SIGTERM twice
            return
        self.presses += 1
        ends_at_once = self.is_evaluating or self.presses > 2
        if is_first_process():
            log.info("%s", self._answer(ends_at_once=ends_at_once))
        if ends_at_once:
            raise KeyboardInterrupt

    def _answer(self, *, ends_at_once: bool) -> str:
        """What happens next, for the terminal, whose line begins with ^C."""
        if ends_at_once:
            return "\nStopping at once, without the evaluation."
        if self.skips_evaluation:
            return "\nStopping after this step, without the evaluation; Ctrl-C again: at once."
        if not (self.folder / RunFiles.BEST).is_file():
            return "\nStopping after this step; no epoch is finished, so nothing is evaluated."
        return (
            "\nStopping after this step, then the best epoch is evaluated; press Ctrl-C again to "
            "skip the evaluation."
        )

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
