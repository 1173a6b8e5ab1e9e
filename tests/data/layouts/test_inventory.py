"""What is said of files that are used, and of those that are not."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from image_folders import write_images

from capsule_inspection.data.layouts.folder import find_folder_samples
from capsule_inspection.data.layouts.inventory import Unused, take_inventory
from capsule_inspection.data.layouts.mvtec import find_mvtec_samples
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    LayoutSettings,
    sort_samples,
)
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataError


def take(
    root: Path, used: dict[str, str | None], *, unused: Unused = "refuse", **scan: Sequence[str]
) -> FoundSamples:
    """Inventory where the named images are used, each with its mask, in the class of its folder."""
    samples = [FoundSample(name, name.split("/")[0], mask) for name, mask in used.items()]
    found = sort_samples(root, samples, good_class="good")
    return take_inventory(scan_tree(root, **scan), found, unused=unused)  # type: ignore[arg-type]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two good images, and two cracked ones with masks."""
    write_images(tmp_path, ["good/1.png", "good/2.png"])
    masks = ["masks/crack/1.png", "masks/crack/2.png"]
    write_images(tmp_path, ["crack/1.png", "crack/2.png"], defect=True, masks=masks)
    return tmp_path


USED: dict[str, str | None] = {"good/1.png": None, "good/2.png": None}
USED |= {f"crack/{number}.png": f"masks/crack/{number}.png" for number in (1, 2)}


def add(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def not_used(found: FoundSamples) -> dict[str, Any]:
    counts = found.inventory["not_used"]
    assert isinstance(counts, dict)
    return counts


def test_every_file_is_accounted_for_in_one_line(parts: Path) -> None:
    add(parts, "readme.txt", "__MACOSX/good/1.png", "good/.DS_Store", "old/1.bmp", "good/x.heic")
    add(parts, "result/prediction.json", "result/overlays/1.png")
    found = take(parts, USED, exclude=["old"])
    assert found.inventory["summary"] == (
        "4 images, 2 masks; not used: 1 .heic, 1 .txt, 2 folders: __MACOSX, result (written by "
        "this program), 1 hidden or system file, data.exclude: old"
    )
    assert found.inventory["classes"] == {"crack": 2, "good": 2}
    assert not_used(found) == {
        "files": {".heic": 1, ".txt": 1},
        "excluded": ["old"],
        "system": ["__MACOSX", "good/.DS_Store"],
        "predictions": ["result"],
    }


def test_masks_that_are_several_files_or_a_folder_are_all_used(parts: Path) -> None:
    (parts / "masks/crack/2.png").rename(parts / "masks/crack/1b.png")
    write_images(parts, ["masks/crack/2/000.png", "masks/crack/2/001.png"])
    used = USED | {
        "crack/1.png": "masks/crack/1.png|masks/crack/1b.png",
        "crack/2.png": "masks/crack/2",
    }
    found = take(parts, used)
    assert found.inventory["masks"] == 4
    assert not not_used(found)


def test_images_known_by_their_content_are_counted(parts: Path) -> None:
    write_images(parts, ["good/frame"])
    found = take(parts, {**USED, "good/frame": None})
    assert "5 images (1 known by their content, not by their suffix)" in str(
        found.inventory["summary"]
    )


WARNED = {
    "crack/a.heic crack/b.HEIC good/c.npy": r"3 files: \.heic \(2\), \.npy \(1\), such as crack/a",
    "overview.png": r"Not used: 1 image in no class folder, such as overview\.png",
    "masks/crack/9.png": r"Not used: 1 mask without an image .* as masks/crack/9\.png",
    "crack/1.json crack/2.json": r"2 files: \.json \(2\), such as crack/1\.json, may be annot",
    "labels/1.txt": r"1 file: \.txt \(1\), such as labels/1\.txt, may be annotations",
    "test/0.png test/1.png": r"Not used: test \(2 images\), which has no labels .*; predict",
}


@pytest.mark.parametrize("added", WARNED)
def test_what_looks_like_data_and_is_not_used_is_a_warning(parts: Path, added: str) -> None:
    add(parts, *added.split())
    (warning,) = take(parts, USED).warnings
    assert re.search(WARNED[added], warning)


def test_classes_that_may_be_none_are_a_warning(parts: Path) -> None:
    add(parts, "unlabeled images/1.png")
    (warning,) = take(parts, {**USED, "unlabeled images/1.png": None}, unused="warn").warnings
    assert "The images of unlabeled images are taken for a class of their own." in warning


def test_files_that_name_images_and_empty_folders_are_warnings(parts: Path) -> None:
    (parts / "split.json").write_text('["good/1.png", "good/2.png", "crack/1.png"]')
    (parts / "notes.json").write_text('["good/1.png"]')
    (parts / "dent").mkdir()
    label_file, empty = take(parts, USED).warnings
    assert label_file.startswith("1 file: .json (1), such as split.json, may be annotations")
    assert empty == "These folders are empty: dent."


def test_ordinary_files_beside_the_images_are_no_warning(parts: Path) -> None:
    add(parts, "README.md", "license.txt", "labels.csv", "config.json", "data.zip", "Thumbs.db")
    assert take(parts, USED).warnings == ()


REFUSED = {
    "validation/good/9.png validation/crack/8.png": r"not those of validation \(2 images\).*"
    r"data\.exclude=\[validation\]",
    "scratch/1.heic": r"scratch: expected images, found scratch/1\.heic, in no format",
    "a.png b.png c.png": r"4 images are used, but not 3 images, such as a\.png",
    "crack2/9.png": r"not those of crack2 \(1 image\)",
    "masks/dent/1.png": r"not those of masks/dent \(1 image\).*data\.exclude=\[masks/dent\]",
}


@pytest.mark.parametrize("added", REFUSED)
def test_whole_folders_of_images_that_are_not_used_are_refused(parts: Path, added: str) -> None:
    add(parts, *added.split())
    with pytest.raises(DataError, match=REFUSED[added]):
        take(parts, USED)
    assert take(parts, USED, unused="warn").warnings
    assert take(parts, USED, unused="count").warnings == ()


def test_folders_that_are_left_out_on_purpose_are_not_refused(parts: Path) -> None:
    add(parts, "dust/9.png")
    tree = scan_tree(parts)
    settings = LayoutSettings(class_map={"dust": None})
    found = take_inventory(tree, find_folder_samples(tree, settings))
    assert found.inventory["left_out"] == 1
    assert not not_used(found)


def test_one_mask_for_two_images_is_refused(parts: Path) -> None:
    add(parts, "crack/1.jpg")
    with pytest.raises(DataError, match=r"1 mask would .*\n  crack/1\.jpg and crack/1\.png"):
        take(parts, {**USED, "crack/1.jpg": "masks/crack/1.png"})


def test_an_image_that_a_link_repeats_is_refused_if_both_are_used(parts: Path) -> None:
    (parts / "crack/again.png").symlink_to(parts / "crack/1.png")
    found = take(parts, USED)
    assert not_used(found) == {"links": 1}
    with pytest.raises(DataError, match=r"found twice.*\n  crack/again\.png and crack/1\.png"):
        take(parts, {**USED, "crack/again.png": None})


def test_a_pattern_that_matches_nothing_and_names_that_are_not_utf8_are_said(parts: Path) -> None:
    os.rename(os.fsencode(parts / "crack"), os.fsencode(parts) + b"/d\xe9")  # noqa: PTH104
    (parts / "masks/crack").rename(parts / "masks/dé")
    tree = scan_tree(parts, exclude=["*.bmp"])
    found = take_inventory(tree, find_folder_samples(tree, LayoutSettings()))
    assert found.classes == ("good", "dé")
    assert "data.exclude: no file or folder matches *.bmp." in found.warnings
    assert r"The names of 1 folder are not UTF-8; read b'd\xe9' as dé." in found.warnings


def test_a_real_layout_has_no_warnings(mvtec: Path) -> None:
    add(mvtec, "license.txt", "readme.txt")
    tree = scan_tree(mvtec)
    found = take_inventory(tree, find_mvtec_samples(tree, LayoutSettings()))
    assert found.warnings == ()
    assert found.inventory["splits"] == {"test": 4, "train": 3}
    assert found.inventory["summary"] == "7 images, 3 masks; not used: 2 .txt"
