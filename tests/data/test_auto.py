"""Which layout or format `data=auto` recognises, and where it refuses to choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from image_folders import write_images

from capsule_inspection.data.auto import Recognised, find_auto_samples
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataError


def find(root: Path, cache: Path, **settings: object) -> Recognised:
    given = LayoutSettings(cache_folder=cache, **settings)  # type: ignore[arg-type]
    return find_auto_samples(scan_tree(root), given)


def write_labelme(root: Path, name: str) -> None:
    points = [[20, 12], [28, 12], [28, 20], [20, 20]]
    shape = {"label": "crack", "shape_type": "polygon", "points": points}
    about = {"imagePath": f"{name}.png", "imageWidth": 48, "imageHeight": 32, "shapes": [shape]}
    (root / f"{name}.json").write_text(json.dumps({"version": "5.0", **about}))


LAYOUTS = {
    "mvtec": "train/good/0.png test/good/1.png test/crack/2.png",
    "mvtec 2": "train/good/0.png validation/good/1.png test_public/good/2.png test_public/bad/3",
    "folder masks": "train/ok/0.png test/ok/1.png test/a/2.png masks/a/2_mask.png",
    "folder": "good/0.png good/1.png crack/2.png",
    "folder splits": "train/ok/0.png train/nok/1.png test/ok/2.png test/nok/3.png",
    "folder beside": "good/0.png crack/1.png good/0_mask.png crack/1_mask.png",
    "visa": "Data/Images/Normal/0.JPG Data/Images/Anomaly/1.JPG",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised_by_their_folders(tmp_path: Path, layout: str) -> None:
    names = LAYOUTS[layout].split()
    write_images(tmp_path / "data", names)
    name, why, found = find(tmp_path / "data", tmp_path / "cache")
    assert name == layout.split()[0]
    assert why
    assert {sample.path for sample in found.samples} == {n for n in names if "_mask" not in n}


def test_an_annotation_format_is_recognised_by_its_files(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_images(root, ["0.png", "1.png"])
    write_labelme(root, "0")
    name, why, found = find(root, tmp_path / "cache", unannotated="good")
    assert (name, found.classes) == ("labelme", ("good", "crack"))
    assert "0.json" in why


def test_yolo_in_folders_of_splits_is_not_mvtec(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_images(root, [f"{split}/images/{split}.png" for split in ("train", "valid", "test")])
    for split, label in (("train", ""), ("valid", ""), ("test", "0 0.5 0.5 0.2 0.2")):
        (root / split / "labels").mkdir()
        (root / split / "labels" / f"{split}.txt").write_text(label)
    splits = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{splits}nc: 1\nnames: [crack]\n")
    name, _, found = find(root, tmp_path / "cache")
    assert (name, found.classes) == ("yolo", ("good", "crack"))


def test_two_readings_are_refused_and_both_commands_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_images(root, ["good/0.png", "crack/1.png"])
    write_labelme(root / "crack", "1")
    with pytest.raises(DataError, match=r"more than one reading: data=labelme .*; data=folder "):
        find(root, tmp_path / "cache")


TABLE = "image;class\ngood/0.png;good\ncrack/1.png;crack\n"


def test_a_table_that_lists_the_images_is_offered_before_other_readings(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_images(root, ["good/0.png", "crack/1.png"])
    (root / "images.csv").write_text(TABLE)
    (root / "b.csv").write_text(TABLE.replace("/", "/no"))
    (root / "c.csv").write_text("x")
    with pytest.raises(
        DataError,
        match=r"data=manifest data\.path=.*/images\.csv \(.* in images\.csv\); data=folder \(",
    ):
        find(root, tmp_path / "cache")
    (root / "images.csv").unlink()
    assert find(root, tmp_path / "cache").name == "folder"


REFUSED = {
    "0.png 1.png": (
        r"no layout in 2 images, the folders \(none\)\. If all are good parts, move them into a "
        r"folder named good in it\. Read as class folders: "
    ),
    "0.png labels.csv": r"What may help: name the table .*manifest data\.path=.*/labels\.csv\.",
    "data.zip": r"in 0 images, .* What may help: unpack .*/data\.zip\.",
    "cats/0.png dogs/1.png": r"Read as class folders: .*Set data\.good_class",
    "bottle/train/good/0.png bottle/test/bad/1.png cable/train/good/2.png cable/test/bad/3.png": (
        r"categories as of MVTec AD \(bottle, cable\).*data\.root=.*/bottle or another one"
    ),
    "a/train/good/0.png a/test/bad/1.png": r"a model learns one\. Set data\.root=.*/a\.$",
}


@pytest.mark.parametrize("names", REFUSED)
def test_what_is_not_recognised_is_described(tmp_path: Path, names: str) -> None:
    images = [name for name in names.split() if name.endswith(".png")]
    write_images(tmp_path / "data", images)
    for name in set(names.split()) - set(images):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    with pytest.raises(DataError, match=REFUSED[names]):
        find(tmp_path / "data", tmp_path / "cache")


def test_real_capsules_are_mvtec(real_capsules: Path, tmp_path: Path) -> None:
    name, why, found = find(real_capsules, tmp_path)
    assert (name, found.layout) == ("mvtec", "MVTec AD")
    assert why.startswith("train/good, test/crack")
    assert why.endswith("ground_truth")
