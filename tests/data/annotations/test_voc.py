from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
    WIDTH,
    check_refused,
    find,
    labels,
    mask_of,
    square,
    write_parts,
    write_text,
)
from image_folders import save_pixels
from PIL import Image

from capsule_inspection.data.layouts.inventory import take_inventory
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import IGNORE_INDEX

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:128,0,0::\npoke:0,128,0::\n"


def part(name: str, box: tuple[int, int, int, int] = (11, 9, 20, 18), difficult: int = 0) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{corners}</bndbox></object>"
    )


def write(root: Path, stem: str, *objects: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    text = (
        f"<annotation><filename>{stem}.png</filename><size><width>{size[0]}</width><height>{size[1]}"
        f"</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )
    return write_text(root / "Annotations" / f"{stem}.xml", text)


def save_palette(path: Path, mask: np.ndarray) -> None:
    """A mask with a palette of three colours."""
    image = Image.fromarray(mask)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[7] * 759])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """0 is good by an XML file without objects, 1 has a crack, 2 a poke; each is in a split."""
    root = tmp_path / "parts"
    write_parts(root, *(f"JPEGImages/{stem}.png" for stem in range(3)))
    write(root, "0")
    write(root, "1", part("crack"))
    write(root, "2", part("poke"))
    for split, stem in (("train", "0\n1"), ("val", "2"), ("trainval", "0\n1\n2"), ("test", "")):
        write_text(root / f"ImageSets/Main/{split}.txt", f"{stem}\n")
    write_text(root / "ImageSets/Main/crack_train.txt", "0 -1\n1 1\n")
    return root


def test_boxes_are_classes_and_weak_masks_on_request(root: Path):
    found = find("voc", root)
    assert labels(found) == {
        "JPEGImages/0.png": "good",
        "JPEGImages/1.png": "crack",
        "JPEGImages/2.png": "poke",
    }
    assert [sample.split for sample in found.samples] == ["train", "train", "val"]
    assert mask_of(found, "JPEGImages/1.png") is None
    weak = find("voc", root, boxes_as_masks=True)
    assert (mask_of(weak, "JPEGImages/1.png") == square()).all()  # counted from 1, both inclusive


def test_colours_of_a_label_map_with_a_hole_and_an_ignored_ring(root: Path):
    write_text(root / "labelmap.txt", LABELMAP)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[5:20, 5:20] = (224, 224, 192)
    pixels[6:19, 6:19] = (128, 0, 0)
    pixels[10:14, 10:14] = 0
    pixels[25:30, 30:40] = (0, 128, 0)
    save_pixels(root / "SegmentationClass/1.png", pixels)
    found = find("voc", root)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[5:20, 5:20] = IGNORE_INDEX
    expected[6:19, 6:19] = 1
    expected[10:14, 10:14] = 0
    expected[25:30, 30:40] = 2
    assert (mask_of(found, "JPEGImages/1.png") == expected).all()
    assert labels(found)["JPEGImages/1.png"] == "crack"
    assert {"labelmap.txt", "SegmentationClass/1.png"} <= found.other_files
    inventory = take_inventory(scan_tree(root), found, unused="warn").inventory
    assert "1 mask file of the annotations" in str(inventory["summary"])
    assert inventory["left_out"] == 0


@pytest.mark.parametrize("classes", ["class_names.txt", "setting"])
def test_numbers_of_a_palette_and_255(root: Path, classes: str):
    numbers = square(2)
    numbers[8, 10:20] = 255
    save_palette(root / "SegmentationClass/2.png", numbers)
    settings = {"mask_rules": MaskRules(classes={1: "crack", 2: "poke"})}
    if classes != "setting":
        settings = {}
        write_text(root / classes, "_background_\ncrack\npoke\n")
    found = find("voc", root, **settings)
    expected = square(2)
    expected[8, 10:20] = IGNORE_INDEX
    assert (mask_of(found, "JPEGImages/2.png") == expected).all()


def test_an_empty_mask_means_good_unless_there_are_objects(root: Path):
    write_text(root / "labelmap.txt", LABELMAP)
    save_palette(root / "SegmentationClass/0.png", square(0))
    assert labels(find("voc", root))["JPEGImages/0.png"] == "good"
    save_palette(root / "SegmentationClass/1.png", square(0))
    check_refused("voc", root, "1.png: the mask is empty, but Annotations/1.xml has crack")


def test_difficult_objects_are_ignored_in_masks(root: Path):
    write(root, "1", part("crack"), part("poke", (31, 21, 34, 24), difficult=1))
    weak = find("voc", root, boxes_as_masks=True)
    expected = square()
    expected[20:24, 30:34] = IGNORE_INDEX
    assert (mask_of(weak, "JPEGImages/1.png") == expected).all()


def test_files_beside_their_images(tmp_path: Path):
    root = tmp_path / "parts"
    for split, name in (("train", "crack"), ("valid", "good"), ("test", "crack")):
        write_parts(root, f"{split}/{split}.png")
        write(root, split, part(name)).rename(root / split / f"{split}.xml")
    found = find("voc", root)
    assert [(s.path, s.class_name, s.split) for s in found.samples] == [
        ("test/test.png", "crack", "test"),
        ("train/train.png", "crack", "train"),
        ("valid/valid.png", "good", "val"),
    ]


def test_faults_of_xml_are_refused(root: Path):
    write(root, "1", part("crack", (20, 9, 11, 18)))
    check_refused("voc", root, "1.xml: expected xmin <= xmax and ymin <= ymax, found 20, 11")
    path = write(root, "1", "<object><bndbox/></object>")
    check_refused("voc", root, "1.xml: expected <name> with a text in <object>")
    write_text(path, "<annotation><object></annotation>")
    check_refused("voc", root, "1.xml: expected XML, found a mistake")
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><annotation><filename>&b;</filename></annotation>'
    write_text(path, bomb)
    check_refused("voc", root, "it defines entities", annotations=root / "Annotations")
    corners = "<polygon><x1>1</x1><x2>2</x2><y1>1</y1><y2>2</y2></polygon>"
    write(root, "1", part("crack").replace("</object>", f"{corners}</object>"))
    check_refused("voc", root, "<polygon>: expected x and y in turn")
    write(root, "1", part("crack").replace("11", "eleven"))
    check_refused("voc", root, '<xmin>: expected a number, found "eleven"')


def test_faults_of_names_and_lists_are_refused(root: Path):
    text = (root / "Annotations/1.xml").read_text()
    write_text(root / "Annotations/2.xml", text)
    check_refused("voc", root, "<filename> is 1.png, but JPEGImages/2.png has the name")
    write(root, "2", part("poke"))
    write_text(root / "ImageSets/Main/val.txt", "1\n2\n")
    check_refused("voc", root, "ImageSets have 1 in train and in val")
    write_text(root / "ImageSets/Main/val.txt", "2\n")
    write_parts(root, "JPEGImages/3.png")
    check_refused("voc", root, "1 of 4 images have no annotation: JPEGImages/3.png")


def test_masks_whose_colours_have_no_class_are_refused(root: Path):
    save_palette(root / "SegmentationClass/1.png", square(1))
    check_refused("voc", root, "need a list of the classes", "labelmap.txt", "data.mask_values=")
    write_text(root / "labelmap.txt", LABELMAP)
    save_palette(root / "SegmentationClass/1.png", square(5))
    check_refused("voc", root, "1.png: the value 5 is of none of the classes: 0-0-0 background")
    save_palette(root / "SegmentationClass/1.png", square(255))
    check_refused("voc", root, "no class, only pixels of the value 255", "data.mask_values={255")
    save_palette(root / "SegmentationClass/9.png", square(1))
    check_refused("voc", root, "9.png: expected one image of this name, found (none)")


def test_polygons_in_xml_and_files_that_were_verified(root: Path):
    outline = "<polygon><x1>10</x1><y1>8</y1><x2>20</x2><y2>8</y2><x3>20</x3><y3>18</y3></polygon>"
    path = write(root, "1", part("crack").replace("</object>", f"{outline}</object>"))
    path.write_text(path.read_text().replace("<annotation>", '<annotation verified="yes">'))
    mask = mask_of(find("voc", root), "JPEGImages/1.png")
    assert mask is not None
    assert 40 <= mask.sum() <= 60


def test_masks_of_one_name_belong_to_the_images_of_their_folder(tmp_path: Path):
    root = tmp_path / "parts"
    for split, value in (("train", 1), ("val", 2)):
        write_parts(root, f"{split}/JPEGImages/0.png")
        save_palette(root / split / "SegmentationClass/0.png", square(value))
    write_text(root / "labelmap.txt", LABELMAP)
    found = find("voc", root)
    assert [(sample.class_name, sample.split) for sample in found.samples] == [
        ("crack", "train"),
        ("poke", "val"),
    ]
    save_palette(root / "train/SegmentationClassPNG/0.png", square(2))
    check_refused("voc", root, "train/SegmentationClass/0.png is a mask of train/JPEGImages/0.png")


def test_a_set_of_images_that_have_one_name_is_refused(root: Path):
    write_parts(root, "more/1.png")
    check_refused(
        "voc", root, "ImageSets name 1, which is the name of 2 images", unannotated="good"
    )
