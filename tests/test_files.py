"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capsule_inspection.files import (
    remove_unfinished,
    unfinished_folder,
    whole_file,
    whole_folder,
)


def write_model(path: Path, text: str, *, error: Exception | None = None) -> None:
    before = list(path.glob("*"))
    with whole_folder(path) as part:
        (part / "model").write_text(text)
        assert list(path.glob("*")) == before
        assert part.parent == path.parent, "a rename within one file system"
        if error is not None:
            raise error


def test_a_folder_appears_when_it_is_whole_or_not_at_all(tmp_path: Path) -> None:
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


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[1].pool"
    with whole_file(tmp_path / "a1.pool") as other:
        left = unfinished_folder(path)
        (left / "model").write_text("x")
        (tmp_path / f".{path.name}.x7.part").write_text("half")
        path.write_text("whole")
        remove_unfinished(path)
        assert sorted(tmp_path.iterdir()) == [other, path]
