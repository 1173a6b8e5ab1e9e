"""Files of one stem: image and mask, or one picture saved twice, told apart by their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_folders import draw_part, save_pixels

from capsule_inspection.data.layouts.beside import find_masks_beside
from capsule_inspection.data.layouts.samples import DEFAULT_MASK_SUFFIXES
from capsule_inspection.types import DataError


def write_pairs(root: Path, count: int, second: str, *, suffixes: tuple[str, str]) -> list[str]:
    """Pairs of files of one stem: a drawn image, and its mask, itself or another image."""
    names = []
    for number in range(count):
        image, mask = draw_part(number, defect=True)
        other = draw_part(number + 100)[0]
        soft = np.repeat(mask[:, :, None], 3, axis=2)
        pictures = {"mask": mask, "soft": soft, "again": image, "other": other}
        for suffix, pixels in zip(suffixes, (image, pictures[second]), strict=True):
            names.append(f"crack/{number}{suffix}")
            save_pixels(root / names[-1], pixels)
    return names


@pytest.mark.parametrize(
    ("second", "suffixes"),
    [("mask", (".jpg", ".png")), ("soft", (".png", ".jpg")), ("mask", (".png", ".bmp"))],
)
def test_the_file_of_few_colours_is_the_mask_of_the_other(
    tmp_path: Path, second: str, suffixes: tuple[str, str]
) -> None:
    names = write_pairs(tmp_path, 4, second, suffixes=suffixes)
    found = find_masks_beside(tmp_path, [names], DEFAULT_MASK_SUFFIXES)
    image, mask = suffixes
    assert found.of_image == {f"crack/{i}{image}": f"crack/{i}{mask}" for i in range(4)}
    assert found.files == {f"crack/{i}{mask}" for i in range(4)}


@pytest.mark.parametrize("second", ["again", "other"])
def test_two_images_of_one_stem_are_images_and_said(tmp_path: Path, second: str) -> None:
    names = write_pairs(tmp_path, 3, second, suffixes=(".jpg", ".png"))
    found = find_masks_beside(tmp_path, [names], DEFAULT_MASK_SUFFIXES)
    assert found.of_image == {}
    assert found.groups["crack/1.jpg"] == found.groups["crack/1.png"] != found.groups["crack/2.png"]
    assert "There are 3 images of the stem of another one" in found.warnings[0]


def test_pairs_of_both_kinds_and_masks_of_some_images_are_refused(tmp_path: Path) -> None:
    names = write_pairs(tmp_path / "all", 3, "mask", suffixes=(".jpg", ".png"))
    save_pixels(tmp_path / "all/crack/2.png", draw_part(7)[0])
    with pytest.raises(DataError, match=r"it is not clear which are images and which masks"):
        find_masks_beside(tmp_path / "all", [names], DEFAULT_MASK_SUFFIXES)
    some = write_pairs(tmp_path / "some", 3, "mask", suffixes=(".jpg", ".png"))
    alone = [f"crack/alone{number}.jpg" for number in range(3)]
    with pytest.raises(DataError, match=r"as 3 of 6 there"):
        find_masks_beside(tmp_path / "some", [[*some, *alone]], DEFAULT_MASK_SUFFIXES)
    assert find_masks_beside(tmp_path / "some", [some], ["_mask"]).of_image == {}
