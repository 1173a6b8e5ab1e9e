"""Atomic writes of files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capsule_inspection.files import (
    atomic_dir,
    atomic_write,
    make_partial_dir,
    remove_partial,
)


def write_model(path: Path, text: str, *, error: Exception | None = None) -> None:
    before = list(path.glob("*"))
    with atomic_dir(path) as part:
        (part / "model").write_text(text)
        assert list(path.glob("*")) == before
        assert part.parent == path.parent, "a rename within one file system"
        if error is not None:
            raise error


def test_atomic_dir_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "export"
    with pytest.raises(ValueError, match="oh"):
        write_model(path, "x", error=ValueError("oh"))
    assert list(path.parent.iterdir()) == []
    path.mkdir()  # an empty folder gives way, a used one does not
    write_model(path, "x")
    assert [found.name for found in path.iterdir()] == ["model"]
    assert [found.name for found in path.parent.iterdir()] == ["export"]
    assert path.stat().st_mode & 0o777 == 0o777 & ~os.umask(os.umask(0o022))
    with pytest.raises(OSError, match="not empty"):
        write_model(path, "other")
    assert (path / "model").read_text() == "x"


def test_only_partial_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a[1].pool"
    with atomic_write(tmp_path / "a1.pool") as other:
        left = make_partial_dir(path)
        (left / "model").write_text("x")
        (tmp_path / f".{path.name}.x7.part").write_text("half")
        path.write_text("whole")
        remove_partial(path)
        assert sorted(tmp_path.iterdir()) == [other, path]


def test_what_is_renamed_into_place_was_flushed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_flush(handle: int) -> None:
        order.append(f"flush {Path('/proc/self/fd/' + str(handle)).readlink().name}")
        fsync(handle)

    def record_rename(self: Path, target: Path) -> Path:
        order.append(f"rename {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_flush)
    monkeypatch.setattr(Path, "replace", record_rename)
    write_model(tmp_path / "export", "x")
    assert order[0] == "flush model"
    assert order[1].startswith("flush .export.")
    assert order[2:] == ["rename export", f"flush {tmp_path.name}"]
