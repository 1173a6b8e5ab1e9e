"""A listed folder is damaged where a file is missing, of another size, or of other content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from capsule_inspection import file_list
from capsule_inspection.file_list import find_damage, write_file_list
from capsule_inspection.integrity import seal
from capsule_inspection.types import FILE_LIST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "deep/er/b.txt", "ümlaut " + os.fsdecode(b"\xff")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name!r}")
    write_file_list(tmp_path)
    return tmp_path


def test_a_folder_is_as_it_was_listed_also_with_further_files(folder: Path) -> None:
    (folder / "deep/own.txt").write_text("mine")
    os.utime(folder / "a.txt")
    assert find_damage(folder) is None
    assert find_damage(folder, full=True) is None


def test_content_is_read_where_size_and_times_are_others_or_in_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(file_list, "_crc32", lambda path: read.append(path.name))
    assert find_damage(folder) is None
    assert read == []
    os.utime(folder / "a.txt")
    assert find_damage(folder) == "1 of 3 files are missing or damaged, such as a.txt"
    assert read == ["a.txt"]
    assert "3 of 3 files" in str(find_damage(folder, full=True))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text(""),
        lambda file: file.write_text(file.read_text().upper()),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), file.symlink_to(file)),
    ],
)
def test_a_missing_empty_or_changed_file_is_named(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder / "deep/er/b.txt")
    found = find_damage(folder)
    assert found == "1 of 3 files are missing or damaged, such as deep/er/b.txt"


def test_a_missing_or_damaged_list_is_damage(folder: Path) -> None:
    path = folder / FILE_LIST
    text = path.read_text()
    forms = ["", "[]", "[" * 10**5, text[:-9], text.replace("a.txt", "c.txt"), json.dumps(seal({}))]
    forms += [json.dumps(seal({"files": files})) for files in (7, ["a"], {"a": 7}, {"a": [1]})]
    forms += [json.dumps(seal({"files": {"\0": [1, 2, 3, 4]}}))]
    for form in forms:
        path.write_text(form)
        assert find_damage(folder), form
    path.unlink()
    assert find_damage(folder) == "incomplete, without the list of its files"


@pytest.mark.parametrize("name", ["/proc/kcore", "../a.txt"])
def test_a_list_that_names_files_elsewhere_is_damaged(folder: Path, name: str) -> None:
    values = json.loads((folder / FILE_LIST).read_text())
    values["files"][name] = [0, 0, 0, 0]
    (folder / FILE_LIST).write_text(json.dumps(seal(values)))
    assert find_damage(folder) == f"the list of its files is damaged (it names {name})"
