"""Names of files in tables, as other systems write them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from capsule_inspection.data.table_paths import FileFinder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("good/000.png", "good/Défaut.png", "masks/000.png", " blank.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("good/000.png", "good/000.png"),
        ("./good//000.png", "good/000.png"),
        ("good/../good/000.png", "good/000.png"),
        (" good/000.png ", "good/000.png"),
        (" blank.png", " blank.png"),
        ("good\\000.png", "good/000.png"),
        (".\\good\\000.png", "good/000.png"),
        (unicodedata.normalize("NFD", "good/Défaut.png"), "good/Défaut.png"),
    ],
)
def test_spellings_of_other_systems_are_found(root: Path, name: str, found: str) -> None:
    finder = FileFinder(root)
    assert finder.find(name).name == found
    assert finder.with_backslashes == ("\\" in name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("good/001.png", "there is no file good/001.png"),
        ("Good/000.PNG", "there is no file Good/000.PNG; did you mean good/000.png?"),
        ("good/000", "there is no file good/000; did you mean good/000.png?"),
        ("C:\\data\\good\\000.png", "there is no file C:\\data\\good\\000.png"),
        ("a\0b", "there is no file"),
        ("x" * 5000, "there is no file"),
        ("masks", "there is no file masks"),
    ],
)  # fmt: skip
def test_the_fault_of_a_missing_file_names_what_it_may_be(
    root: Path, name: str, fault: str
) -> None:
    found = FileFinder(root).find(name)
    assert found.name is None
    assert fault in found.fault


def test_a_folder_is_found_where_one_may_be_named(root: Path) -> None:
    assert FileFinder(root).find("masks", folder=True).name == "masks"


def test_all_spellings_of_a_file_have_one_identity_and_copies_have_others(root: Path) -> None:
    (root / "link").symlink_to(root / "good")
    os.link(root / "masks/000.png", root / "copy.png")  # as in a store that keeps equal files once
    names = ("good/000.png", "link/000.png", "masks/000.png", "copy.png")
    good, linked, mask, copy = (FileFinder(root).find(name).identity for name in names)
    assert good == linked
    assert len({good, mask, copy}) == 3
