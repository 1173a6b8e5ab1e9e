"""Which images, masks, classes and splits the layouts of MVTec have."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from image_folders import find_mvtec_samples, write_images

from capsule_inspection.data.layouts.inventory import take_inventory
from capsule_inspection.data.layouts.samples import FoundSamples, with_classes
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import DataError


def masks_of(found: FoundSamples) -> dict[str, str | None]:
    return {sample.path: sample.mask for sample in found.samples}


def splits_of(found: FoundSamples) -> dict[str, str]:
    return {sample.path: sample.split for sample in found.samples}


@functools.cache
def numbered(folder: str, count: int = 2) -> list[str]:
    return [f"{folder}/{number:03d}.png" for number in range(count)]


@pytest.fixture
def ad2(tmp_path: Path) -> Path:
    """A category of MVTec AD 2: 2 images in each folder."""
    root = tmp_path / "vial"
    for folder in ("train/good", "validation/good", "test_public/good", "test_private"):
        write_images(root, numbered(folder))
    masks = [f"test_public/ground_truth/bad/{number:03d}_mask.png" for number in range(2)]
    write_images(root, numbered("test_public/bad"), defect=True, masks=masks)
    return root


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    """A category of MVTec LOCO AD, with two masks for an image."""
    root = tmp_path / "juice_bottle"
    for folder in ("train/good", "validation/good", "test/good"):
        write_images(root, numbered(folder))
    for name in ("logical_anomalies", "structural_anomalies"):
        for mask in range(2):
            masks = [f"ground_truth/{name}/{number:03d}/{mask:03d}.png" for number in range(2)]
            write_images(root, numbered(f"test/{name}"), defect=True, masks=masks)
    (root / "defects_config.json").write_text("[]")
    return root


def test_a_category_is_listed_in_order_with_masks_and_good_first(
    mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_mvtec_samples(mvtec)
    assert found.root == mvtec
    assert found.layout == "MVTec AD"
    assert found.classes == ("good", "crack", "poke")
    assert [(e.path, e.class_name, e.mask, e.split) for e in found.samples] == [
        ("test/crack/000.png", "crack", "ground_truth/crack/000_mask.png", "test"),
        ("test/crack/001.png", "crack", "ground_truth/crack/001_mask.png", "test"),
        ("test/good/000.png", "good", None, "test"),
        ("test/poke/000.png", "poke", "ground_truth/poke/000_mask.png", "test"),
        ("train/good/000.png", "good", None, "train"),
        ("train/good/001.png", "good", None, "train"),
        ("train/good/002.png", "good", None, "train"),
    ]
    monkeypatch.chdir(mvtec)
    assert find_mvtec_samples(Path()) == found


def test_all_labelled_images_of_ad_2_are_used_with_its_splits(ad2: Path) -> None:
    found = find_mvtec_samples(ad2)
    assert found.layout == "MVTec AD 2"
    assert found.classes == ("good", "bad")
    assert {path.rpartition("/")[0]: split for path, split in splits_of(found).items()} == {
        "train/good": "train",
        "validation/good": "val",
        "test_public/good": "test",
        "test_public/bad": "test",
    }
    assert len(found.samples) == 8
    assert masks_of(found)["test_public/bad/001.png"] == (
        "test_public/ground_truth/bad/001_mask.png"
    )
    assert found.warnings == (
        "test_private: 2 images without labels, not used; predict.py reads such images.",
    )
    assert "test_private" in found.other_files
    assert take_inventory(scan_tree(ad2), found).inventory["summary"] == (
        "8 images, 2 masks; not used: 1 folder: test_private (2 images without labels)"
    )


def test_masks_of_loco_are_folders_of_binary_masks(loco: Path) -> None:
    found = find_mvtec_samples(loco)
    assert found.layout == "MVTec LOCO AD"
    assert found.classes == ("good", "logical_anomalies", "structural_anomalies")
    name = "logical_anomalies"
    assert masks_of(found)[f"test/{name}/001.png"] == f"ground_truth/{name}/001"
    assert found.mask_rules.binary
    assert splits_of(found)["validation/good/000.png"] == "val"
    assert "defects_config.json" in found.other_files


def test_a_validation_split_beside_train_and_test_is_used(mvtec: Path) -> None:
    write_images(mvtec, numbered("val/good"))
    found = find_mvtec_samples(mvtec)
    assert set(splits_of(found).values()) == {"train", "val", "test"}
    assert len(found.samples) == 9


@pytest.mark.parametrize("part", ["test/good", "train", "test"])
def test_a_category_may_lack_a_part(mvtec: Path, part: str) -> None:
    whole = find_mvtec_samples(mvtec).samples
    shutil.rmtree(mvtec / part)
    if part == "test":
        shutil.rmtree(mvtec / "ground_truth")
    found = find_mvtec_samples(mvtec)
    assert found.classes[0] == "good"
    assert found.samples == tuple(e for e in whole if not e.path.startswith(f"{part}/"))


def test_masks_are_expected_where_their_class_has_a_folder_of_them(mvtec: Path) -> None:
    (mvtec / "ground_truth/crack/001_mask.png").unlink()
    shutil.rmtree(mvtec / "ground_truth" / "poke")
    found = masks_of(find_mvtec_samples(mvtec))
    assert found["test/crack/001.png"] == "ground_truth/crack/001_mask.png"
    assert found["test/crack/000.png"] == "ground_truth/crack/000_mask.png"
    assert found["test/poke/000.png"] is None
    shutil.rmtree(mvtec / "ground_truth")
    assert set(masks_of(find_mvtec_samples(mvtec)).values()) == {None}


def test_the_good_class_may_have_another_usual_name_or_the_given_one(mvtec: Path) -> None:
    for part in ("train", "test"):
        (mvtec / part / "good").rename(mvtec / part / "OK")
    assert find_mvtec_samples(mvtec).classes == ("OK", "crack", "poke")
    for part in ("train", "test"):
        (mvtec / part / "OK").rename(mvtec / part / "lot 7")
    assert find_mvtec_samples(mvtec, good_class="lot 7").classes == ("lot 7", "crack", "poke")
    with pytest.raises(DataError, match=r"in train/good; found lot 7.*data\.good_class"):
        find_mvtec_samples(mvtec)


def test_classes_that_differ_in_case_are_joined_only_on_request(mvtec: Path) -> None:
    (mvtec / "test/good").rename(mvtec / "test/Good")
    with pytest.raises(DataError, match=r"Good and good differ only in case.*\{Good:good\}"):
        find_mvtec_samples(mvtec)
    found = find_mvtec_samples(mvtec, class_map={"Good": "good"})
    assert found.classes == ("good", "crack", "poke")


CATEGORIES = r"look like MVTec AD categories \(bottle\): set data\.root=.*/bottle"
REFUSED = {
    ".": CATEGORIES,
    "parts parts/ok/a.png": r"subfolders ok and 0 .*use data=folder",
    "flat flat/train/a.png flat/test/b.png": r"subfolders test, train .* data=auto says which",
    "bottle bottle/train/crack/0.png": r"good images only.*found crack\..*use data=folder",
    "bottle bottle/val/good/0.png bottle/val/crack/0.png": r"good images only.*use data=folder",
    "bottle bottle/test/scratch/a.heic": r"scratch: expected images, found .*a\.heic, in no format",
    "bottle bottle/test/0.png bottle/test/1.png bottle/test/2.png": r"3 images .*: test \(3\)",
    "bottle bottle/ground_truth/dent/0.png": r"not those of ground_truth/dent \(1 im",
}
"""The root, files or folders/ that were added, and the message expected."""


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("mvtec")
def test_a_folder_of_another_form_is_refused_with_the_remedy(tmp_path: Path, case: str) -> None:
    root, *added = case.split()
    for name in added:
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    with pytest.raises(DataError, match=REFUSED[case]):
        take_inventory(scan_tree(tmp_path / root), find_mvtec_samples(tmp_path / root))


def test_classes_of_a_model_take_the_place_of_those_found(mvtec: Path) -> None:
    found = with_classes(find_mvtec_samples(mvtec), ("good", "poke", "scratch", "crack"))
    assert found.classes == ("good", "poke", "scratch", "crack")
    assert found.samples == find_mvtec_samples(mvtec).samples
    with pytest.raises(DataError, match="the classes poke are not among those of the model"):
        with_classes(find_mvtec_samples(mvtec), ("good", "crack"))
    assert with_classes(found, ("good",), further=True).classes == ("good", "crack", "poke")


def test_the_good_class_is_that_of_the_model_whatever_its_name(mvtec: Path) -> None:
    found = replace(find_mvtec_samples(mvtec), mask_rules=MaskRules(classes={0: "good", 1: "poke"}))
    renamed = with_classes(found, ("OK_Teile", "poke", "crack"))
    assert renamed.classes == ("OK_Teile", "poke", "crack")
    assert [sample.class_name for sample in renamed.samples] == [
        {"good": "OK_Teile"}.get(sample.class_name, sample.class_name) for sample in found.samples
    ]
    assert renamed.mask_rules.classes == {0: "OK_Teile", 1: "poke"}
    further = with_classes(found, ("OK_Teile", "scratch"), further=True)
    assert further.classes == ("OK_Teile", "scratch", "crack", "poke")
    # Without images of it, nothing has to be renamed.
    defects = [sample for sample in found.samples if sample.class_name != "good"]
    alone = with_classes(replace(found, samples=tuple(defects)), ("poke", "crack", "scratch"))
    assert alone.samples == tuple(defects)


@pytest.mark.parametrize("classes", [("poke", "crack"), ("ok", "good", "poke", "crack")])
def test_a_good_class_that_is_a_defect_of_the_other_is_refused(
    mvtec: Path, classes: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match=r"is a defect of the other\. Set data\.good_class"):
        with_classes(find_mvtec_samples(mvtec), classes)


def test_unknown_classes_may_be_the_good_one_where_none_of_it_is_found(mvtec: Path) -> None:
    found = find_mvtec_samples(mvtec)
    defects = tuple(sample for sample in found.samples if sample.class_name != "good")
    unknown = replace(found, samples=defects)
    with pytest.raises(DataError, match=r"poke .*data\.class_map.*name it with data\.good_class"):
        with_classes(unknown, ("good", "crack"))
    with pytest.raises(DataError) as caught:
        with_classes(found, ("good", "crack"))
    assert "data.good_class" not in str(caught.value)
