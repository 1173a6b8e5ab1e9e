"""Outputs that are written in one go: begun anew after a kill, never overwritten."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from flushes import FlushRecord

from capsule_inspection.types import RunError
from capsule_inspection.workflows.output_folder import OutputFolder

MADE_BY = {"command": "compare.py", "runs": ["abc"]}
NAMES = ("page.html", "figures")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def opened(output: Path, **changed: object) -> OutputFolder:
    return OutputFolder(output, made_by={**MADE_BY, **changed}, names=NAMES)


def write(output: Path) -> None:
    (output / "figures").mkdir()
    (output / "figures" / "a.png").write_bytes(b"drawn")
    (output / "page.html").write_text("page")


def leave_unfinished(output: Path) -> None:
    """As a killed process leaves it."""
    with contextlib.suppress(KeyboardInterrupt), opened(output).writing():
        write(output)
        (output / ".page.html.xyz.part").touch()
        raise KeyboardInterrupt


def content(output: Path) -> dict[str, bytes]:
    files = (path for path in output.rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}


def test_an_unfinished_output_is_begun_anew_and_ends_like_an_undisturbed_one(
    tmp_path: Path, output: Path
) -> None:
    leave_unfinished(output)
    (output / "figures" / "stale.png").touch()
    for folder in (output, tmp_path / "other"):
        results = opened(folder)
        assert not results.is_finished
        with results.writing():
            write(folder)
    assert content(output) == content(tmp_path / "other")
    assert sorted(content(output)) == ["figures/a.png", "output.json", "page.html"]


def test_a_folder_that_only_has_the_log_or_parts_of_the_first_file_is_a_new_one(
    output: Path,
) -> None:
    output.mkdir()
    for name in ("train.log", "output.lock", ".output.json.xyz.part"):
        (output / name).touch()
    with opened(output).writing():
        write(output)
    assert opened(output).is_finished


def test_a_finished_output_is_kept_where_the_command_is_the_same_and_refused_otherwise(
    output: Path,
) -> None:
    with opened(output).writing():
        write(output)
    before = content(output)
    assert opened(output).is_finished
    with pytest.raises(RunError, match="of another run, other images or other settings"):
        opened(output, runs=["xyz"])
    (output / "page.html").write_text("pagf")
    with pytest.raises(RunError, match=r"page\.html: damaged or changed.*name another folder"):
        opened(output)
    (output / "page.html").unlink()
    with pytest.raises(RunError, match=r"page\.html: missing"):
        opened(output)
    del before["page.html"]
    assert content(output) == before


@pytest.mark.parametrize("record", [b"", b"{", b"[" * 100_000, b'{"status": "running"}', b"\xff"])
def test_a_folder_whose_record_is_damaged_or_none_of_ours_is_refused(
    output: Path, record: bytes
) -> None:
    leave_unfinished(output)
    (output / "output.json").write_bytes(record)
    before = content(output)
    with pytest.raises(RunError, match=r"output\.json, which cannot be read"):
        opened(output)
    assert content(output) == before


@pytest.mark.parametrize("unfinished", [False, True])
def test_files_of_the_user_are_never_removed(output: Path, unfinished: bool) -> None:
    output.mkdir()
    if unfinished:
        leave_unfinished(output)
    (output / "notes.txt").write_text("mine")
    before = content(output)
    with pytest.raises(RunError, match=r"notes\.txt. Nothing is overwritten: name another"):
        opened(output)
    assert content(output) == before


def test_links_are_removed_without_what_they_name(tmp_path: Path, output: Path) -> None:
    leave_unfinished(output)
    (output / "page.html").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    (output / "page.html").symlink_to(tmp_path / "mine")
    with opened(output).writing():
        assert not (output / "page.html").exists()
    assert (tmp_path / "mine" / "notes.txt").is_file()


def test_of_two_processes_one_is_refused(output: Path) -> None:
    first, second, third = (opened(output) for _ in range(3))
    with first.writing():
        with (
            pytest.raises(RunError, match="another process writes into this folder"),
            second.writing(),
        ):
            pass
        write(output)
    with pytest.raises(RunError, match="another process has finished just now"), third.writing():
        pass
    assert opened(output).is_finished


def test_a_file_as_output_is_refused(output: Path) -> None:
    output.touch()
    with pytest.raises(RunError, match="found a file"):
        opened(output)


def test_all_else_is_on_the_disk_before_the_record_says_finished(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes, write_record = FlushRecord(output, monkeypatch), OutputFolder._write
    checked = []

    def check(self: OutputFolder, status: str, **values: object) -> None:
        checked.append((status, flushes.unflushed(output)))
        write_record(self, status, **values)

    monkeypatch.setattr(OutputFolder, "_write", check)
    with opened(output).writing():
        write(output)
    assert checked[-1] == ("finished", [])
    flushes.check(output)
