"""Progress as bars in a terminal and as lines elsewhere."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest

from capsule_inspection.config import terminal
from capsule_inspection.data import progress


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns in place of the standard output, which pytest sets before a test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stdout", found)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present second, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_after_some_seconds_and_then_every_ten_with_the_time_left(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = {}
    with progress.progress_bar("Drawing capsules") as show:
        for second in range(1, 41):
            clock[0] = 100.0 + second
            show(second, 40)
            lines[second] = [record.getMessage() for record in caplog.records]
    assert lines[4] == []
    assert lines[5] == ["Drawing capsules: 5 of 40, about 35 s left"]
    assert lines[14] == lines[5]
    assert lines[15][1:] == ["Drawing capsules: 15 of 40, about 25 s left"]
    assert len(lines[40]) == 4, "no line for the last item"


def test_a_step_without_a_count_has_one_line_unless_it_is_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    timers: list[Any] = []

    class Timer:
        def __init__(self, seconds: float, function: Any, arguments: tuple[Any, ...]) -> None:
            self.seconds, self.expire = seconds, lambda: function(*arguments)
            self.is_running = False
            timers.append(self)

        def start(self) -> None:
            self.is_running = True

        def cancel(self) -> None:
            self.is_running = False

    monkeypatch.setattr(progress.threading, "Timer", Timer)
    with progress.activity("Drawing plots"):
        assert (timers[0].seconds, timers[0].is_running) == (progress.FIRST_S, True)
        timers[0].expire()
    assert caplog.messages == ["Drawing plots ..."]
    assert not timers[0].is_running


def test_a_message_stands_on_a_line_of_its_own_whole_while_a_bar_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = open_terminal(monkeypatch)
    path = "/a/folder/of/a/long/name" * 5
    log = logging.Logger("test")
    log.addHandler(terminal.Handler())
    with progress.activity("Outer"), progress.progress_bar("Inner") as show:
        show(1, 4)
        progress._open[0].refresh()  # a thread does it ten times a second
        log.warning("%s", path)
        show(2, 4)
    log.warning("last")
    output = screen.getvalue()
    assert "Outer" in output
    assert "Inner" in output
    assert "1 of 4" in output
    before, after = output.split(path)
    assert before.endswith("\x1b[2K")
    assert after.startswith("\n")
    assert output.endswith("last\n")
    assert sys.stdout is screen


def test_the_bars_are_gone_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = open_terminal(monkeypatch)

    def fail() -> None:
        with progress.progress_bar("Reading") as show:
            show(1, 4)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert sys.stdout is screen
    assert "\x1b[?25h" in screen.getvalue(), "the cursor is shown again"
    with progress.activity("Next"):
        pass
    assert "Next" in screen.getvalue()


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("LOCAL_RANK", "1")])
def test_no_bar_in_a_terminal_that_cannot_or_is_of_another_process(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    open_terminal(monkeypatch)
    assert terminal.is_interactive()
    monkeypatch.setenv(variable, value)
    assert not terminal.is_interactive()


def test_estimated_times_are_rounded() -> None:
    seconds = (0.2, 42.4, 99, 100, 720, 5999, 6000, 12_600)
    written = ["1 s", "42 s", "99 s", "2 min", "12 min", "100 min", "1.7 h", "3.5 h"]
    assert [progress.format_time_left(each) for each in seconds] == written


@pytest.mark.parametrize(
    ("done", "total", "seconds", "known"),
    [(0, 8, 9, False), (2, 8, 9, False), (3, 8, 9, True), (8, 8, 9, False), (3, 8, 4.9, False),
     (3, 80, 9, False), (4, 80, 9, True), (9, 9000, 9, False), (10, 9000, 9, True)],
)  # fmt: skip
def test_no_time_is_estimated_from_too_few_items_or_seconds(
    clock: list[float], done: int, total: int, seconds: float, known: bool
) -> None:
    assert ("left" in progress._state(done, total, clock[0] - seconds)) is known


def test_lines_of_long_steps_are_further_apart(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with progress.progress_bar("epoch 1/2, batches", every_s=60) as show:
        for second in range(1, 120):
            clock[0] = 100.0 + second
            show(second, 120)
    assert [message.split()[3] for message in caplog.messages] == ["30", "90"]
