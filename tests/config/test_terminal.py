"""Texts from elsewhere on the terminal."""

from __future__ import annotations

import logging.config
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.table import Table
from rich.text import Text

from capsule_inspection.config import entry, sweeps
from capsule_inspection.config.terminal import console, printable

CONF = Path(__file__).parents[2] / "conf"
HOSTILE = "\x1b]0;x\x07\x1b[2J\x9b31m\r\x08\x00\x7f"
SHOWN = r"\x1b]0;x\x07\x1b[2J\x9b31m\x0d\x08\x00\x7f"


def test_control_characters_are_shown_as_text() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a\tb\nc \u818a\u56ca \xe9") == "a\tb\nc \u818a\u56ca \xe9"


def test_messages_and_lists_of_jobs_obey_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry._report(HOSTILE, 1)
    job = tmp_path / "00_a"
    job.mkdir()
    sweeps.write_job(job, sweeps.JobRecord(0, "00_a", [HOSTILE], sweeps.FAILED, error=HOSTILE))
    assert sweeps.print_failures(tmp_path) == 1
    err = capsys.readouterr().err
    assert err.count(SHOWN) == 3
    assert "\x1b" not in err


def test_tables_obey_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "value")
    table.add_row(Text(HOSTILE), "1")
    console().print(table)
    console().print(HOSTILE, soft_wrap=True)
    out = capsys.readouterr().out
    assert "[2J" in out
    assert not set("\x1b\x07\x9b\r\x08\x00\x7f") & set(out)


def test_log_messages_obey_no_text() -> None:
    record = logging.LogRecord("a", logging.INFO, "b", 1, "%s", (HOSTILE,), None)
    files = list(CONF.glob("hydra/*_logging/*.yaml"))
    assert len(files) == 3
    for path in files:
        for kind, formatter in OmegaConf.load(path).formatters.items():
            built = logging.config.DictConfigurator({}).configure_formatter(dict(formatter))
            assert built.format(record).endswith(SHOWN), f"{path}: {kind}"
