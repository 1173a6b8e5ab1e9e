"""Ctrl-C during a training."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from capsule_inspection.workflows.interrupts import InterruptHandler, TrainingInterrupted


def press(handler: InterruptHandler, number: int = signal.SIGINT) -> None:
    handler._on_signal(number, None)


def begin_step(handler: InterruptHandler) -> None:
    handler.on_train_batch_start(SimpleNamespace(), None, None, 0)  # type: ignore[arg-type]


@pytest.fixture
def handler(tmp_path: Path) -> InterruptHandler:
    """Of a run with a best epoch."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    return InterruptHandler(tmp_path)


def test_each_ctrl_c_is_answered_at_once(
    handler: InterruptHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    begin_step(handler)
    press(handler)
    assert "after this step, then the best epoch is evaluated" in caplog.messages[0]
    assert "press Ctrl-C again to skip the evaluation" in caplog.messages[0]
    assert not handler.skips_evaluation
    with pytest.raises(TrainingInterrupted):
        begin_step(handler)
    press(handler)
    assert "without the evaluation" in caplog.messages[1]
    assert handler.skips_evaluation
    with pytest.raises(KeyboardInterrupt):
        press(handler)
    assert "at once" in caplog.messages[2]


def test_no_evaluation_is_announced_before_there_is_a_best_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    press(InterruptHandler(tmp_path))
    assert "no epoch is finished, so nothing is evaluated" in caplog.text


def test_ctrl_c_ends_an_evaluation_at_once_and_sigterm_is_left_alone_there(
    handler: InterruptHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with handler.handle_signals(evaluating=True):
        assert signal.getsignal(signal.SIGTERM) == before[0]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert "Stopping at once, without the evaluation" in caplog.text
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sigterm_ends_a_training_and_is_no_press(handler: InterruptHandler) -> None:
    with handler.handle_signals():
        for _ in range(3):  # timeout sends it twice
            signal.raise_signal(signal.SIGTERM)
    assert handler.requested
    assert not handler.skips_evaluation
