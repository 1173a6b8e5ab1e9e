"""Which files `input=` means."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.inference.photographs import list_photographs


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def test_a_folder_is_searched_with_all_below_it_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/z.jpg", "notes.txt", "._b.png", ".cache/c.png", "膠囊 (1).webp")
    names = [path.relative_to(tmp_path).as_posix() for path in list_photographs(str(tmp_path))]
    assert names == ["a/z.jpg", "b.PNG", "膠囊 (1).webp"]


def test_linked_folders_are_searched_once_and_circles_end(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "photos", tmp_path / "camera 2"
    touch(folder, "a/1.png")
    touch(elsewhere, "2.png")
    for name, target in (("b", elsewhere), ("c", elsewhere), ("a again", folder / "a")):
        (folder / name).symlink_to(target)
    (elsewhere / "round").symlink_to(folder)
    (elsewhere / "itself").symlink_to(elsewhere)
    found = [path.relative_to(folder).as_posix() for path in list_photographs(str(folder))]
    assert found == ["a/1.png", "b/2.png"]


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = touch(tmp_path, "a/1.png", "b/2.png")
    scan = os.scandir

    def refusing(folder: str) -> object:
        if str(folder) == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with caplog.at_level(logging.WARNING):
        assert list_photographs(str(tmp_path)) == paths[:1]
    assert f"{tmp_path / 'b'}: left out, the folder cannot be read (Perm" in caplog.text


@pytest.mark.parametrize("asked", ["", "**/*.png", "result/**"])
def test_pictures_of_predictions_are_no_photographs(tmp_path: Path, asked: str) -> None:
    photographs = touch(tmp_path, "1.png", "result of line 3/2.png")
    touch(tmp_path, "result/prediction.json", "result/overlays/000000_1.png")
    if asked.startswith("result"):
        with pytest.raises(DataError, match=r"found 2 files, all in a folder of predictions"):
            list_photographs(str(tmp_path / asked))
    else:
        assert list_photographs(str(tmp_path / asked)) == photographs


def test_an_empty_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"expected photographs \(\.bmp.*found 1 other files"):
        list_photographs(str(tmp_path))


def test_a_single_file_is_taken_whatever_it_is(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "notes.txt")
    assert list_photographs(str(path)) == [path]


def test_a_name_that_looks_like_a_pattern_is_the_file_of_that_name(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "part [1].png")
    assert list_photographs(str(path)) == [path]


def test_a_pattern_finds_files_in_any_folder_and_no_folders(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a/1.png", "a/b/2.png", "c/3.jpg")
    (tmp_path / "d.png").mkdir()
    assert list_photographs(f"{tmp_path}/**/*.png") == paths[:2]


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file is found by this pattern"):
        list_photographs(f"{tmp_path}/*.png")


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        list_photographs(str(tmp_path / "photos"))


def test_paths_of_a_table_are_relative_to_it_and_taken_once(tmp_path: Path) -> None:
    table = tmp_path / "lot.csv"
    table.write_text("number,Path\n1,a.png\n2,b/c.png\n3,a.png\n\n", encoding="utf-8-sig")
    assert list_photographs(str(table)) == [tmp_path / "a.png", tmp_path / "b" / "c.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the table is empty"),
        ("number,name\n1,a.png\n", "expected a column path or file or image, found number, name"),
        ("path\n\n", "has no rows with a path"),
    ],
)
def test_a_table_without_paths_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    table = tmp_path / "lot.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        list_photographs(str(table))


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "lot.csv"
    table.write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        list_photographs(str(table))
