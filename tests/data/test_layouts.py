from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.data.layouts import list_folder, list_mvtec, with_classes

WriteImage = Callable[..., Path]


@pytest.fixture
def classes_folder(tmp_path: Path, write_image: WriteImage) -> Path:
    """One subfolder a class: 2 images of ok, 1 of broken, 1 of dent."""
    root = tmp_path / "parts"
    for seed, name in enumerate(("ok/a.png", "ok/b.jpg", "broken/a.png", "dent/x.tif")):
        write_image(root / name, seed=seed)
    return root


def test_mvtec_is_listed_in_order_with_masks_and_good_first(mvtec: Path) -> None:
    listing = list_mvtec(mvtec)
    assert listing.root == mvtec
    assert listing.classes == ("good", "crack", "poke")
    assert [(e.path, e.class_name, e.mask) for e in listing.entries] == [
        ("test/crack/000.png", "crack", "ground_truth/crack/000_mask.png"),
        ("test/crack/001.png", "crack", "ground_truth/crack/001_mask.png"),
        ("test/good/000.png", "good", None),
        ("test/poke/000.png", "poke", "ground_truth/poke/000_mask.png"),
        ("train/good/000.png", "good", None),
        ("train/good/001.png", "good", None),
        ("train/good/002.png", "good", None),
    ]


@pytest.mark.parametrize("part", ["test/good", "train", "test"])
def test_mvtec_may_lack_a_part(mvtec: Path, part: str) -> None:
    shutil.rmtree(mvtec / part)
    listing = list_mvtec(mvtec)
    assert listing.classes[0] == "good"
    assert not any(entry.path.startswith(part) for entry in listing.entries)


def test_mvtec_without_ground_truth_has_no_masks(mvtec: Path) -> None:
    shutil.rmtree(mvtec / "ground_truth")
    assert all(entry.mask is None for entry in list_mvtec(mvtec).entries)


def test_a_class_without_a_folder_of_masks_has_no_masks(mvtec: Path) -> None:
    shutil.rmtree(mvtec / "ground_truth" / "poke")
    masks = {entry.class_name: entry.mask for entry in list_mvtec(mvtec).entries}
    assert masks["poke"] is None
    assert masks["crack"] is not None


def test_a_missing_mask_is_listed_where_it_would_have_to_be(mvtec: Path) -> None:
    (mvtec / "ground_truth/crack/001_mask.png").unlink()
    masks = {entry.path: entry.mask for entry in list_mvtec(mvtec).entries}
    assert masks["test/crack/001.png"] == "ground_truth/crack/001_mask.png"


@pytest.mark.parametrize("name", ["000_mask.BMP", "000.tif", "000_mask.jpeg"])
def test_masks_are_found_with_any_suffix(mvtec: Path, name: str) -> None:
    folder = mvtec / "ground_truth/poke"
    (folder / "000_mask.png").rename(folder / name)
    masks = [e.mask for e in list_mvtec(mvtec).entries if e.class_name == "poke"]
    assert masks == [f"ground_truth/poke/{name}"]


def test_the_name_with_mask_goes_before_the_bare_stem(mvtec: Path, write_mask: WriteImage) -> None:
    write_mask(mvtec / "ground_truth/poke/000.png")
    masks = [e.mask for e in list_mvtec(mvtec).entries if e.class_name == "poke"]
    assert masks == ["ground_truth/poke/000_mask.png"]


def test_hidden_system_and_other_files_are_passed_over(mvtec: Path) -> None:
    before = list_mvtec(mvtec)
    for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", ".png"):
        (mvtec / "test/crack" / name).write_bytes(b"x")
        (mvtec / name).write_bytes(b"x")
    for name in (".cache", "__MACOSX", "test/.ipynb_checkpoints", "test/empty", "test/__MACOSX"):
        (mvtec / name).mkdir()
    (mvtec / "test/empty/Thumbs.db").touch()
    (mvtec / "license.txt").touch()
    assert list_mvtec(mvtec) == before


def test_upper_case_suffixes_count(mvtec: Path) -> None:
    (mvtec / "test/poke/000.png").rename(mvtec / "test/poke/000.PNG")
    assert "test/poke/000.PNG" in {entry.path for entry in list_mvtec(mvtec).entries}


def test_a_link_to_nowhere_is_listed_so_that_it_is_reported(mvtec: Path) -> None:
    (mvtec / "test/poke/001.png").symlink_to(mvtec / "nowhere.png")
    assert "test/poke/001.png" in {entry.path for entry in list_mvtec(mvtec).entries}


def test_spaces_and_other_scripts_in_paths_work(mvtec: Path) -> None:
    root = mvtec.rename(mvtec.with_name("my 膠囊, a=1 (2)"))
    (root / "test/crack").rename(root / "test/刮 痕")
    (root / "ground_truth/crack").rename(root / "ground_truth/刮 痕")
    listing = list_mvtec(root)
    assert listing.classes == ("good", "poke", "刮 痕")
    entry = next(e for e in listing.entries if e.class_name == "刮 痕")
    assert (root / entry.path).is_file()
    assert (root / str(entry.mask)).is_file()


def test_a_relative_root_becomes_absolute(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mvtec)
    assert list_mvtec(Path()) == list_mvtec(mvtec)


def test_defects_among_the_training_images_are_an_error(
    mvtec: Path, write_image: WriteImage
) -> None:
    write_image(mvtec / "train/crack/000.png")
    with pytest.raises(DataError, match=r"expected good images only.*found crack\..*data=manifest"):
        list_mvtec(mvtec)


@pytest.mark.parametrize("lister", [list_mvtec, lambda root: list_folder(root, good_class="ok")])
def test_a_missing_root_is_an_error(tmp_path: Path, lister: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such folder.*Set data\.root"):
        lister(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is a file"):
        lister(tmp_path / "file")


@pytest.mark.parametrize("lister", [list_mvtec, lambda root: list_folder(root, good_class="ok")])
def test_an_empty_root_is_an_error(tmp_path: Path, lister: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"found the subfolders \(none\).*Check data\.root"):
        lister(tmp_path)


def test_mvtec_folders_without_images_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "train/good").mkdir(parents=True)
    with pytest.raises(DataError, match="Put the images into train/good and test/<class>"):
        list_mvtec(tmp_path)


def test_mvtec_points_to_data_folder(classes_folder: Path) -> None:
    with pytest.raises(DataError, match=r"subfolders broken, dent, ok and 0 .*use data=folder"):
        list_mvtec(classes_folder)


def test_folder_points_to_data_mvtec(mvtec: Path) -> None:
    with pytest.raises(DataError, match=r"ground_truth, test, train.*use data=mvtec"):
        list_folder(mvtec, good_class="good")


@pytest.mark.parametrize("lister", [list_mvtec, lambda root: list_folder(root, good_class="good")])
def test_the_folder_of_all_categories_points_to_one_of_them(
    mvtec: Path, lister: Callable[[Path], object]
) -> None:
    with pytest.raises(DataError, match=r"look like MVTec AD categories: set data\.root"):
        lister(mvtec.parent)


def test_mvtec_points_to_a_table(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").touch()
    with pytest.raises(DataError, match=r"use data=manifest with data\.path"):
        list_mvtec(tmp_path)


def test_images_without_subfolders_are_to_be_sorted(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"1 images beside them\. Sort the images"):
        list_folder(tmp_path, good_class="good")


def test_a_folder_a_class_is_listed_with_the_good_one_first(classes_folder: Path) -> None:
    listing = list_folder(classes_folder, good_class="ok")
    assert listing.classes == ("ok", "broken", "dent")
    assert [entry.path for entry in listing.entries] == [
        "broken/a.png",
        "dent/x.tif",
        "ok/a.png",
        "ok/b.jpg",
    ]
    assert all(entry.mask is None for entry in listing.entries)


def test_an_unknown_good_class_is_an_error(classes_folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.good_class=good is not among .*broken, dent, ok"):
        list_folder(classes_folder, good_class="good")


def test_masks_beside_the_classes_are_no_class(
    classes_folder: Path, write_mask: WriteImage
) -> None:
    masks = classes_folder / "masks"
    write_mask(masks / "broken/a_mask.png")
    listing = list_folder(classes_folder, good_class="ok", masks=masks)
    assert listing.classes == ("ok", "broken", "dent")
    found = {entry.path: entry.mask for entry in listing.entries if entry.mask}
    assert found == {"broken/a.png": "masks/broken/a_mask.png"}


def test_masks_may_lie_outside_of_the_root(
    classes_folder: Path, tmp_path: Path, write_mask: WriteImage
) -> None:
    mask = write_mask(tmp_path / "elsewhere/broken/a.png")
    listing = list_folder(classes_folder, good_class="ok", masks=tmp_path / "elsewhere")
    assert [entry.mask for entry in listing.entries if entry.mask] == [mask.as_posix()]
    assert listing.root / mask == mask


def test_a_missing_masks_folder_is_an_error(classes_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder\. Set data\.masks"):
        list_folder(classes_folder, good_class="ok", masks=tmp_path / "nowhere")


def test_masks_of_no_class_at_all_are_an_error(classes_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "masks/cracked").mkdir(parents=True)
    with pytest.raises(DataError, match=r"broken, dent, ok\), found cracked\. Set data\.masks"):
        list_folder(classes_folder, good_class="ok", masks=tmp_path / "masks")


def test_images_deeper_than_their_class_are_an_error(
    classes_folder: Path, write_image: WriteImage
) -> None:
    write_image(classes_folder / "ok/batch 1/c.png")
    with pytest.raises(DataError, match="found images in the subfolders batch 1"):
        list_folder(classes_folder, good_class="ok")


def test_a_class_of_unreadable_formats_is_an_error_and_not_dropped(classes_folder: Path) -> None:
    (classes_folder / "scratch").mkdir()
    (classes_folder / "scratch/a.heic").touch()
    with pytest.raises(DataError, match=r"scratch: expected images .*found a\.heic"):
        list_folder(classes_folder, good_class="ok")


def test_an_unreadable_folder_is_an_error(
    classes_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(DataError, match="may not be read"):
        list_folder(classes_folder, good_class="ok")


def test_classes_of_a_model_take_the_place_of_those_found(mvtec: Path) -> None:
    listing = with_classes(list_mvtec(mvtec), ("good", "poke", "scratch", "crack"))
    assert listing.classes == ("good", "poke", "scratch", "crack")
    assert listing.entries == list_mvtec(mvtec).entries


def test_a_class_that_the_model_does_not_know_is_an_error(mvtec: Path) -> None:
    with pytest.raises(DataError, match="the classes poke are not among those of the model"):
        with_classes(list_mvtec(mvtec), ("good", "crack"))


def test_the_real_photographs_are_listed(real_capsules: Path) -> None:
    listing = list_mvtec(real_capsules)
    assert listing.classes == ("good", "crack", "faulty_imprint", "poke", "scratch", "squeeze")
    assert len(listing.entries) == 262
    assert sum(entry.mask is not None for entry in listing.entries) == 87
