"""Which files `input=` names."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from image_folders import write_images

from capsule_inspection.inference.input_images import find_images
from capsule_inspection.types import DataError


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def test_linked_folders_are_searched_once_and_circles_end(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "photos", tmp_path / "camera 2"
    touch(folder, "a/1.png")
    touch(elsewhere, "2.png")
    for name, target in (("b", elsewhere), ("c", elsewhere), ("a again", folder / "a")):
        (folder / name).symlink_to(target)
    (elsewhere / "round").symlink_to(folder)
    (elsewhere / "itself").symlink_to(elsewhere)
    found = [path.relative_to(folder).as_posix() for path in find_images(str(folder))]
    assert found == ["a/1.png", "b/2.png"]


def test_a_folder_that_cannot_be_read_is_a_warning(
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
        assert find_images(str(tmp_path)) == paths[:1]
    assert f"{tmp_path / 'b'}: left out, the folder cannot be read (Perm" in caplog.text


@pytest.mark.parametrize("mask", ["ground_truth/crack/1.png", "crack/1_mask.png"])
def test_masks_among_the_images_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mask: str
) -> None:
    images = touch(tmp_path, "crack/1.png", "good/1.png")
    with caplog.at_level(logging.WARNING):
        assert find_images(str(tmp_path)) == images
        assert not caplog.records
        (path,) = touch(tmp_path, mask)
        assert find_images(str(tmp_path)) == images
        assert f"input={tmp_path}: 1 of 3 images are left out" in caplog.text
        assert mask in caplog.text
        caplog.clear()
        assert path in find_images(str(tmp_path / "**/*.png"))
        masks = find_images(str(tmp_path / "ground_truth")) if "ground" in mask else [path]
    assert masks == [path]
    assert not caplog.text


def test_pairs_of_one_stem_are_predicted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = touch(tmp_path, "1.jpg", "1.png", "2.jpg", "2.png")
    with caplog.at_level(logging.WARNING):
        assert find_images(str(tmp_path)) == images
    assert "2 images seem to have a mask of the same name" in caplog.text


def test_overlays_of_predictions_are_no_input(tmp_path: Path) -> None:
    images = touch(tmp_path, "1.png", "result of line 3/2.png")
    touch(tmp_path, "result/prediction.json", "result/overlays/000000_1.png")
    for given in ("", "**/*.png"):
        assert find_images(str(tmp_path / given)) == images
    with pytest.raises(DataError, match=r"found 2 files, all in a folder of predictions"):
        find_images(str(tmp_path / "result/**"))


def test_a_single_file_is_taken_whatever_it_is_and_a_pattern_finds_no_folders(
    tmp_path: Path,
) -> None:
    for name in ("notes.bin", "part [1].png"):
        (path,) = touch(tmp_path, name)
        assert find_images(str(path)) == [path]
    paths = touch(tmp_path / "all", "a/1.png", "a/b/2.png", "c/3.jpg")
    (tmp_path / "all" / "d.png").mkdir()
    assert find_images(f"{tmp_path}/all/**/*.png") == paths[:2]


def test_images_are_known_by_their_content_too_and_other_formats_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_images(tmp_path, ["a.jfif", "frame_0001", "p.jpg_large"])
    touch(tmp_path, "1.HEIC", "2.heic", "3.dng", "LICENSE", "notes.txt")
    (tmp_path / "3.dng").write_bytes(b"II*\0" + bytes(60))  # starts like a TIFF
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert find_images(str(tmp_path)) == sorted([*paths, tmp_path / "gone.png"])
    assert "3 files: .dng (1), .heic (2), such as 1.HEIC" in caplog.text


def test_folders_of_predictions_and_runs_below_the_input_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "out/prediction.json", "out/overlays/1.png")
    touch(tmp_path, "run/run.json", "run/config.yaml", "run/images/1.jpg")
    with pytest.raises(DataError, match=r"only folders of predictions or of runs \(out, run\)"):
        find_images(str(tmp_path))
    paths = touch(tmp_path, "1.png")
    assert find_images(str(tmp_path)) == paths


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", r"expected images \(PNG, JPEG, .*found 1 file: \.txt \(1\)"),
        ("*.png", "no file is found by this pattern"),
        ("photos", "there is no such file or folder"),
    ],
)
def test_the_error_where_nothing_is_found_names_what_was_expected(
    tmp_path: Path, given: str, reason: str
) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=reason):
        find_images(str(tmp_path / given))


def test_paths_of_a_table_are_relative_to_it_and_taken_once(tmp_path: Path) -> None:
    table = tmp_path / "lot.csv"
    table.write_text("number,Path\n1,a.png\n2,b/c.png\n3,a.png\n\n", encoding="utf-8-sig")
    assert find_images(str(table)) == [tmp_path / "a.png", tmp_path / "b" / "c.png"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the column path must be there; found none"),
        (b"number,name\n1,a.png\n", "the column path must be there; found number, name"),
        (b"path\n\n", "has no rows with a path"),
        (b"\xff\xfe\x00path", "damaged or no text"),
    ],
)
def test_a_table_without_paths_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    table = tmp_path / "lot.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        find_images(str(table))
