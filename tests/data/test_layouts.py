from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from capsule_inspection.data.layouts.previous import find_folder_samples, find_mvtec_samples
from capsule_inspection.data.layouts.samples import FoundSamples, with_classes
from capsule_inspection.types import DataError

WriteImage = Callable[..., Path]
list_ok = functools.partial(find_folder_samples, good_class="ok")
list_good = functools.partial(find_folder_samples, good_class="good")


@pytest.fixture
def classes_folder(tmp_path: Path, write_image: WriteImage) -> Path:
    """One subfolder a class: 2 images of ok, 1 of broken, 1 of dent."""
    root = tmp_path / "parts"
    for seed, name in enumerate(("ok/a.png", "ok/b.jpg", "broken/a.png", "dent/x.tif")):
        write_image(root / name, seed=seed)
    return root


def masks_of(found: FoundSamples) -> dict[str, str | None]:
    return {sample.path: sample.mask for sample in found.samples}


def test_mvtec_is_listed_in_order_with_masks_and_good_first(
    mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_mvtec_samples(mvtec)
    assert found.root == mvtec
    assert found.classes == ("good", "crack", "poke")
    assert [(e.path, e.class_name, e.mask) for e in found.samples] == [
        ("test/crack/000.png", "crack", "ground_truth/crack/000_mask.png"),
        ("test/crack/001.png", "crack", "ground_truth/crack/001_mask.png"),
        ("test/good/000.png", "good", None),
        ("test/poke/000.png", "poke", "ground_truth/poke/000_mask.png"),
        ("train/good/000.png", "good", None),
        ("train/good/001.png", "good", None),
        ("train/good/002.png", "good", None),
    ]
    monkeypatch.chdir(mvtec)
    assert find_mvtec_samples(Path()) == found


@pytest.mark.parametrize("part", ["test/good", "train", "test"])
def test_mvtec_may_lack_a_part(mvtec: Path, part: str) -> None:
    whole = find_mvtec_samples(mvtec).samples
    shutil.rmtree(mvtec / part)
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


def test_masks_have_any_suffix_and_those_named_mask_go_first(
    mvtec: Path, write_mask: WriteImage
) -> None:
    folder = mvtec / "ground_truth/poke"
    last = folder / "000_mask.png"
    for name in ("000_mask.BMP", "000.tif", "000_mask.jpeg"):
        last = last.rename(folder / name)
        masks = masks_of(find_mvtec_samples(mvtec))
        assert masks["test/poke/000.png"] == f"ground_truth/poke/{name}"
    write_mask(folder / "000.png")
    masks = masks_of(find_mvtec_samples(mvtec))
    assert masks["test/poke/000.png"] == "ground_truth/poke/000_mask.jpeg"


def test_hidden_system_and_other_files_are_passed_over(mvtec: Path) -> None:
    before = find_mvtec_samples(mvtec)
    for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", ".png"):
        (mvtec / "test/crack" / name).write_bytes(b"x")
        (mvtec / name).write_bytes(b"x")
    for name in (".cache", "__MACOSX", "test/.ipynb_checkpoints", "test/empty", "test/__MACOSX"):
        (mvtec / name).mkdir()
    (mvtec / "test/empty/Thumbs.db").touch()
    (mvtec / "license.txt").touch()
    assert find_mvtec_samples(mvtec) == before


def test_upper_case_suffixes_and_links_to_nowhere_are_listed(mvtec: Path) -> None:
    (mvtec / "test/poke/000.png").rename(mvtec / "test/poke/000.PNG")
    (mvtec / "test/poke/001.png").symlink_to(mvtec / "nowhere.png")
    assert {"test/poke/000.PNG", "test/poke/001.png"} < set(masks_of(find_mvtec_samples(mvtec)))


def test_spaces_and_other_scripts_in_paths_work(mvtec: Path) -> None:
    root = mvtec.rename(mvtec.with_name("my 膠囊, a=1 (2)"))
    for part in ("test", "ground_truth"):
        (root / part / "crack").rename(root / part / "刮 痕")
    found = find_mvtec_samples(root)
    assert found.classes == ("good", "poke", "刮 痕")
    sample = next(e for e in found.samples if e.class_name == "刮 痕")
    assert (root / sample.path).is_file()
    assert (root / str(sample.mask)).is_file()


def test_a_folder_a_class_is_listed_with_the_good_one_first(classes_folder: Path) -> None:
    found = list_ok(classes_folder)
    assert found.classes == ("ok", "broken", "dent")
    expected = ["broken/a.png", "dent/x.tif", "ok/a.png", "ok/b.jpg"]
    assert masks_of(found) == dict.fromkeys(expected)
    assert list(masks_of(found)) == expected


def test_masks_lie_beside_the_classes_or_elsewhere(
    classes_folder: Path, tmp_path: Path, write_mask: WriteImage
) -> None:
    beside = write_mask(classes_folder / "masks/broken/a_mask.png")
    elsewhere = write_mask(tmp_path / "elsewhere/broken/a.png")
    for mask, expected in ((beside, "masks/broken/a_mask.png"), (elsewhere, elsewhere.as_posix())):
        found = list_ok(classes_folder, masks=mask.parents[1])
        assert found.classes == ("ok", "broken", "dent")
        assert {path: found for path, found in masks_of(found).items() if found} == {
            "broken/a.png": expected
        }
        assert found.root / expected == mask
        shutil.rmtree(mask.parents[1])  # else a class, where it is not the folder of masks


MISSING = r"nowhere: there is no such folder; expected .*Set data\.root"
EMPTY = r"found the subfolders \(none\).*Check data\.root"
CATEGORIES = r"look like MVTec AD categories: set data\.root"
LISTERS = {"mvtec": find_mvtec_samples, "ok": list_ok, "good": list_good}
REFUSED = {
    "mvtec nowhere": MISSING,
    "ok nowhere": MISSING,
    "mvtec file file": "file: is a file",
    "ok file file": "file: is a file",
    "mvtec empty empty/": EMPTY,
    "ok empty empty/": EMPTY,
    "mvtec .": CATEGORIES,
    "good .": CATEGORIES,
    "mvtec empty empty/train/good/": "Put the images into train/good and test/<class>",
    "mvtec parts": r"subfolders broken, dent, ok and 0 .*use data=folder",
    "good bottle": r"ground_truth, test, train.*use data=mvtec",
    "mvtec tables tables/parts.csv": r"use data=manifest with data\.path",
    "good images images/a.png": r"1 images beside them\. Sort the images",
    "mvtec bottle bottle/train/crack/0.png": r"good images only.*found crack\..*data=manifest",
    "good parts": r"data\.good_class=good is not among .*broken, dent, ok",
    "ok parts parts/ok/batch/c.png": "found images in the subfolders batch",
    "ok parts parts/scratch/a.heic": r"scratch: expected images .*found a\.heic",
}
"""What is listed how, below which file or folder/ was added, and the message expected."""


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("mvtec", "classes_folder")
def test_a_folder_of_another_form_is_refused_with_the_remedy(tmp_path: Path, case: str) -> None:
    lister, root, *added = case.split()
    for name in added:
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    with pytest.raises(DataError, match=REFUSED[case]):
        LISTERS[lister](tmp_path / root)


def test_masks_that_fit_no_class_and_unreadable_folders_are_refused(
    classes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(DataError, match=r"no such folder\. Set data\.masks"):
        list_ok(classes_folder, masks=tmp_path / "nowhere")
    (tmp_path / "masks/cracked").mkdir(parents=True)
    with pytest.raises(DataError, match=r"broken, dent, ok\), found cracked\. Set data\.masks"):
        list_ok(classes_folder, masks=tmp_path / "masks")
    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(DataError, match="may not be read"):
        list_ok(classes_folder)


def test_classes_of_a_model_take_the_place_of_those_found(mvtec: Path) -> None:
    found = with_classes(find_mvtec_samples(mvtec), ("good", "poke", "scratch", "crack"))
    assert found.classes == ("good", "poke", "scratch", "crack")
    assert found.samples == find_mvtec_samples(mvtec).samples
    with pytest.raises(DataError, match="the classes poke are not among those of the model"):
        with_classes(find_mvtec_samples(mvtec), ("good", "crack"))
    assert with_classes(found, ("good",), further=True).classes == ("good", "crack", "poke")
