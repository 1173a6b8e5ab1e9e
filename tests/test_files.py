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


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "export"
    with whole_folder(path) as part:
        (part / "model").write_text("x")
        assert not path.exists()
        assert part.parent == path.parent, "a rename within one file system"
    assert [found.name for found in path.iterdir()] == ["model"]
    assert [found.name for found in path.parent.iterdir()] == ["export"]
    assert path.stat().st_mode & 0o777 == 0o777 & ~os.umask(os.umask(0o022))


def test_an_empty_folder_gives_way_and_a_used_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.mkdir()
    with whole_folder(path) as part:
        (part / "model").write_text("x")
    with pytest.raises(OSError, match="not empty"), whole_folder(path) as part:
        (part / "model").write_text("other")
    assert (path / "model").read_text() == "x"


def test_nothing_is_left_of_a_folder_that_was_not_finished(tmp_path: Path) -> None:
    def stop_halfway() -> None:
        with whole_folder(tmp_path / "export") as part:
            (part / "model").write_text("x")
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        stop_halfway()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[1].painted"
    with whole_file(tmp_path / "a1.painted") as other:
        left = unfinished_folder(path)
        (left / "model").write_text("x")
        (tmp_path / f".{path.name}.x7.part").write_text("half")
        path.write_text("whole")
        remove_unfinished(path)
        assert sorted(tmp_path.iterdir()) == [other, path]
