from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
    SQUARE,
    WIDTH,
    check_refused,
    find,
    labels,
    mask_of,
    square,
    write_json,
    write_parts,
    write_text,
)
from image_folders import load
from PIL import Image

from capsule_inspection.data.annotations import conversion, formats
from capsule_inspection.data.layouts.inventory import take_inventory
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import FILE_LIST, ConfigurationError, DataError


def coco(*names: str, width: int = WIDTH, height: int = HEIGHT) -> dict:
    """Images of which each but the first has a square crack."""
    return {
        "images": [
            {"id": key, "file_name": name, "width": width, "height": height}
            for key, name in enumerate(names)
        ],
        "annotations": [
            {"id": key, "image_id": key, "category_id": 1, "segmentation": [SQUARE]}
            for key in range(1, len(names))
        ],
        "categories": [{"id": 1, "name": "crack"}],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_parts(tmp_path / "parts", "0.png", "1.png", "2.png")
    write_json(tmp_path / "parts/labels.json", coco("0.png", "1.png", "2.png"))
    return tmp_path / "parts"


def test_annotations_arrive_in_the_image_cache(root: Path, tmp_path: Path):
    found = take_inventory(scan_tree(root), find("coco", root), unused="warn")
    assert found.warnings == ()
    index, cache = load(found, tmp_path / "cache", roi="none", image_size=(HEIGHT, WIDTH))
    assert index.classes == ("good", "crack")
    assert [sample.label for sample in index.samples] == [0, 1, 1]
    assert (np.asarray(cache.masks[1]) == square()).all()
    assert not np.asarray(cache.masks[0]).any()


def test_images_that_no_annotation_names_are_told(root: Path):
    write_parts(root, "9.png")
    found = take_inventory(scan_tree(root), find("coco", root), unused="warn")
    (warning,) = found.warnings
    assert warning.startswith("Not used: 1 image that no annotation names, such as 9.png.")


def test_a_warm_start_reads_no_annotation(root: Path, monkeypatch: pytest.MonkeyPatch):
    first = find("coco", root)
    monkeypatch.setattr(formats, "convert_annotations", None)
    assert find("coco", root) == first


@pytest.mark.parametrize("change", ["annotation", "image", "setting", "mask"])
def test_masks_are_drawn_again_where_something_has_changed(root: Path, change: str):
    first = find("coco", root)
    settings = {}
    if change == "annotation":
        path = root / "labels.json"
        before = path.stat()
        text = path.read_text().replace("10, 8, 20, 8", "11, 8, 20, 8")
        path.write_text(text)
        import os

        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    elif change == "image":
        write_parts(root, "3.png")
    elif change == "setting":
        settings = {"class_map": {"crack": "scratch"}}
    if change == "mask":
        Path(str(first.samples[1].mask)).unlink()
    again = find("coco", root, **settings)
    assert Path(str(again.samples[1].mask)).is_file()
    assert again.samples[1].mask != first.samples[1].mask or change == "mask"


@pytest.mark.parametrize("name", ["a mask", "index.json", FILE_LIST])
@pytest.mark.parametrize("content", [b"", b"[" * 10**5, b'{"samples": 7}'])
def test_masks_that_are_damaged_are_drawn_again(
    root: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
):
    mask = Path(str(find("coco", root).samples[1].mask))
    sound, damaged = mask.read_bytes(), mask if name == "a mask" else mask.parents[1] / name
    assert damaged.is_file()
    damaged.write_bytes(content)
    first = find("coco", root)
    assert mask.read_bytes() == sound
    assert "the masks are drawn again" in caplog.text
    assert find("coco", root) == first


def test_a_failed_conversion_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion.Image.Image, "save", fail)
    check_refused("coco", root, "cannot be written (No space left", "data.cache_folder")


def test_formats_are_recognised_by_their_files(root: Path, tmp_path: Path):
    assert list(formats.recognise(scan_tree(root))) == ["coco"]
    evidence = {
        "yolo": ("data.yaml", "names: [crack]\ntrain: images\n"),
        "labelme": ("1.json", '{"shapes": [], "imagePath": "1.png"}'),
        "voc": ("Annotations/1.xml", "<annotation></annotation>"),
        "cvat": ("annotations.xml", "<?xml version='1.0'?>\n<annotations></annotations>"),
        "label_studio": ("export.json", '[{"data": {}, "annotations": [{"result": []}]}]'),
    }
    for name, (file, text) in evidence.items():
        write_text(tmp_path / name / file, text)
        found = formats.recognise(scan_tree(tmp_path / name))
        assert list(found) == [name]
        assert found[name].startswith(f"{file} with ")
    write_parts(tmp_path / "plain", "good/0.png")
    write_json(tmp_path / "plain/notes.json", {"images": []})
    write_text(tmp_path / "plain/config.yaml", "a: b")
    write_text(tmp_path / "plain/classes.txt", "good\ncrack\n")
    assert formats.recognise(scan_tree(tmp_path / "plain")) == {}


def test_an_annotation_of_another_size_and_one_turned_by_exif(root: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (WIDTH, HEIGHT, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "1.png", exif=exif)
    assert labels(find("coco", root))["1.png"] == "crack"  # 32x48, turned to 48x32
    check_refused(
        "coco", root, "annotated at 48x32, but 1.png is 32x48", "EXIF", exif_orientation=False
    )
    Image.fromarray(pixels.swapaxes(0, 1)).save(root / "1.png", exif=exif)
    check_refused("coco", root, "annotated at 48x32, but 1.png is 32x48", "exif_orientation=false")
    assert labels(find("coco", root, exif_orientation=False))["1.png"] == "crack"


def test_a_turn_that_sizes_do_not_show_is_told(root: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(root / "1.png").save(root / "1.png", exif=exif)
    (warning,) = find("coco", root).warnings
    assert "turned by their EXIF orientation" in warning
    assert "1, such as 1.png" in warning


def test_masks_have_the_size_of_the_image_and_names_of_their_own(tmp_path: Path):
    root = tmp_path / "parts"
    write_parts(root, "a/0.png", "b/0.png", "b/0.bmp")
    write_json(root / "labels.json", coco("a/0.png", "b/0.png", "b/0.bmp"))
    found = find("coco", root)
    names = {sample.path: sample.mask for sample in found.samples}
    assert len({name for name in names.values() if name}) == 2
    assert (mask_of(found, "b/0.bmp") == square()).all()


def test_classes_without_a_good_one(root: Path):
    written = coco("0.png", "1.png", "2.png")
    written["annotations"].append(
        {"id": 9, "image_id": 0, "category_id": 2, "bbox": [1, 1, 9, 9], "segmentation": []}
    )
    written["categories"].append({"id": 2, "name": "fine"})
    write_json(root / "labels.json", written)
    check_refused("coco", root, "which images are good is not clear", "data.good_class")
    for name in ("fine", "Fine"):
        assert find("coco", root, good_class=name).classes == ("fine", "crack")
    written["annotations"][-1]["segmentation"] = [SQUARE]
    write_json(root / "labels.json", written)
    assert find("coco", root).classes == ("good", "crack", "fine")
    assert find("coco", root, good_class="Fine").classes == ("fine", "crack")
    assert find("coco", root, good_class="perfect").classes == ("perfect", "crack", "fine")


def test_classes_that_are_easily_confused_are_refused(root: Path):
    written = coco("0.png", "1.png", "2.png")
    written["annotations"][0]["category_id"] = 2
    written["categories"].append({"id": 2, "name": "Crack "})
    write_json(root / "labels.json", written)
    check_refused("coco", root, "differ only in case", "data.class_map")
    found = find("coco", root, class_map={"Crack ": "crack"})
    assert found.classes == ("good", "crack")
    check_refused("coco", root, "data.class_map names the class dent", class_map={"dent": "a"})
    written["annotations"].append({**written["annotations"][0], "id": 7, "image_id": 0})
    write_json(root / "labels.json", written)
    nothing = {"crack": None, "Crack ": None}
    check_refused("coco", root, "drops the classes of all 3 images", class_map=nothing)


def test_rules_of_mask_values_are_for_voc_alone(root: Path):
    with pytest.raises(ConfigurationError, match="have no meaning for data=coco"):
        find("coco", root, mask_rules=MaskRules(ignore=255))
    with pytest.raises(ConfigurationError, match="have no meaning for data=voc"):
        find("voc", root, mask_rules=MaskRules(inverted=True))


def test_all_faults_are_told_at_once(root: Path):
    written = coco("0.png", "1.png", "2.png")
    for annotation in written["annotations"]:
        annotation["category_id"] = 5
    write_json(root / "labels.json", written)
    with pytest.raises(DataError, match="the annotations have 2 faults:\n") as caught:
        find("coco", root)
    assert "annotations[0]" in str(caught.value)
    assert "annotations[1]" in str(caught.value)


def test_annotations_and_images_in_different_folders(root: Path, tmp_path: Path):
    path = (root / "labels.json").rename(tmp_path / "labels.json")
    for place in (path, tmp_path):
        found = find("coco", root, annotations=place)
        assert labels(found)["1.png"] == "crack"
        assert found.other_files == {str(path)}
        assert list(formats.recognise(scan_tree(root), place)) == ["coco"]


def test_annotations_may_be_named_below_the_root(root: Path):
    place = Path("labels.json")
    assert list(formats.recognise(scan_tree(root), place)) == ["coco"]
    assert labels(find("coco", root, annotations=place))["1.png"] == "crack"


def test_a_warm_start_imports_no_opencv(root: Path, tmp_path: Path):
    find("coco", root)
    code = (
        "import sys; from pathlib import Path\n"
        "from capsule_inspection.data.annotations.formats import find_annotated_samples\n"
        "from capsule_inspection.data.layouts.samples import LayoutSettings\n"
        "from capsule_inspection.data.layouts.tree import scan_tree\n"
        f"settings = LayoutSettings(cache_folder=Path({str(tmp_path / 'cache')!r}))\n"
        f"find_annotated_samples('coco', scan_tree(Path({str(root)!r})), settings)\n"
        "print(json.dumps([n for n in ('cv2', 'torch', 'pycocotools') if n in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
