from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from annotation_files import write_parts
from PIL import Image

from capsule_inspection.data.annotations.documents import Node
from capsule_inspection.data.annotations.images import ImageFinder, split_in, split_in_words
from capsule_inspection.data.annotations.label_studio import image_path
from capsule_inspection.data.annotations.placement import Header, read_header
from capsule_inspection.data.annotations.shapes import Annotations
from capsule_inspection.data.image_io import DecodeConfig
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataError

NAMES = ("a/0.png", "b/0.png", "train/1.png", "val/1.png", "deep/er/2.png", "Kratzer_\u00e4.png")


@pytest.fixture
def finder(tmp_path: Path) -> ImageFinder:
    write_parts(tmp_path, *NAMES)
    return ImageFinder(scan_tree(tmp_path), Annotations("COCO"))


@pytest.mark.parametrize(
    ("name", "folder", "split", "expected"),
    [
        ("0.png", "a", "", "a/0.png"),
        ("../b/0.png", "a", "", "b/0.png"),
        ("a\\0.png", "", "", "a/0.png"),
        ("./a/0.png", "c", "", "a/0.png"),
        ("er/2.png", "", "", "deep/er/2.png"),
        ("C:\\Users\\me\\er\\2.png", "", "", "deep/er/2.png"),
        ("2.PNG", "", "", "deep/er/2.png"),
        ("1.png", "", "val", "val/1.png"),
        (unicodedata.normalize("NFD", NAMES[-1]), "", "", NAMES[-1]),
        ("../gone/3.png", "", "", "gone/3.png"),
    ],
)
def test_images_are_found(finder: ImageFinder, name: str, folder: str, split: str, expected: str):
    assert finder.find(name, where="where", folder=folder, split=split) == expected


@pytest.mark.parametrize("name", ["0.png", "1.png", "/elsewhere/0.png"])
def test_a_name_that_fits_several_images_is_refused(finder: ImageFinder, name: str):
    with pytest.raises(DataError, match=r"where: the image .* may be .*, .*data.exclude"):
        finder.find(name, where="where", folder="")


def test_an_image_under_another_path_is_told(tmp_path: Path):
    write_parts(tmp_path, *NAMES)
    annotations = Annotations("COCO")
    ImageFinder(scan_tree(tmp_path), annotations).find("C:/old/2.png", where="where", folder="")
    (sentence,) = annotations.warnings()
    assert "found by their name: 1, such as C:/old/2.png (deep/er/2.png)" in sentence


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("annotations/instances_train2017", "train"),
        ("valid/_annotations.coco", "val"),
        ("test", "test"),
        ("parts/train_val", ""),
        ("train/train_val", "train"),
        ("images", ""),
    ],
)
def test_splits_are_words_of_a_name(name: str, expected: str):
    assert split_in_words(name) == expected
    assert split_in(name) == (expected if "instances" not in name else "")


def test_a_folder_whose_name_only_has_the_word_is_no_split():
    assert split_in("test_rig/images") == ""
    assert split_in_words("test_rig/labels") == ""
    assert split_in("Validation/images") == "val"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/local-files/?d=parts%2F0.png", "parts/0.png"),
        ("https://host/bucket/parts/0.png?token=1", "bucket/parts/0.png"),
        ("/data/upload/1/8d2e1f3a-0.png", "/data/upload/1/8d2e1f3a-0.png"),
    ],
)
def test_urls_of_label_studio_are_paths(url: str, expected: str):
    assert image_path(Node({"image": url}, "a")) == expected


def test_headers_have_sizes_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.zeros((32, 48, 3), np.uint8))
    for name, settings in (("a.png", {}), ("b.png", {"exif": exif}), ("c.jpg", {"exif": exif})):
        image.save(tmp_path / name, **settings)
    image.save(tmp_path / "d.tif", save_all=True, append_images=[image.resize((12, 8))])
    image.save(tmp_path / "turned.tif", exif=exif)
    (tmp_path / "e.png").write_bytes(b"no image")
    assert read_header(tmp_path / "d.tif", DecodeConfig()) == Header(48, 32)
    assert read_header(tmp_path / "turned.tif", DecodeConfig()) == Header(32, 48)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", None)
        patch.setattr("PIL.ImageFile.ImageFile.load", None)
        found = [read_header(tmp_path / name, DecodeConfig()) for name in ("a.png", "c.jpg")]
    assert found == [Header(48, 32, 1), Header(48, 32, 6)]
    turned = read_header(tmp_path / "b.png", DecodeConfig())
    assert turned is not None
    assert (turned.size(turn=True), turned.size(turn=False)) == ((32, 48), (48, 32))
    for name in ("e.png", "f.png"):
        assert read_header(tmp_path / name, DecodeConfig()) is None
