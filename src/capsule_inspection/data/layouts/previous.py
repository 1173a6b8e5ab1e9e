"""Finds samples by file names, in the MVTec AD layout or in one subfolder a class.

MVTec AD (Bergmann et al. 2021): `train/good`, `test/<class>`, `ground_truth/<defect>/<stem>_mask`.
The content of the files is validated in validation.py; tables are read in manifest.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from capsule_inspection.data.image_io import IMAGE_SUFFIXES
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    relative_posix,
    sort_samples,
)
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import DataError

MVTEC_GOOD = "good"
_MVTEC_SPLITS = ("train", "test")
_NO_DATA_FOLDERS = frozenset({"__MACOSX", "__pycache__"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})
_SHOWN = 12


def find_mvtec_samples(root: Path) -> FoundSamples:
    """The images of a category folder in the MVTec AD layout, with `train`, `test` or both.

    Raises DataError where the folder is missing, is not of this layout or holds no images.
    """
    expected = "a category folder of MVTec AD with train/good, test/<class> or both"
    root = _require_folder(root, expected)
    folders = [folder for split in _MVTEC_SPLITS for folder in _subfolders(root / split)]
    if not folders:
        raise _not_this_layout(root, expected)
    _refuse_defects_in_training(root)
    samples = [
        sample
        for folder in folders
        for sample in _class_samples(root, folder, root / "ground_truth" / folder.name)
    ]
    if not samples:
        raise _not_this_layout(root, expected)
    return sort_samples(root, samples, good_class=MVTEC_GOOD)


def find_folder_samples(root: Path, *, good_class: str, masks: Path | None = None) -> FoundSamples:
    """The images of a folder with one subfolder a class.

    `masks` mirrors it, as `<class>/<stem>_mask.png` or `<class>/<stem>.png` (any image suffix).
    Raises DataError as `find_mvtec_samples` does, and where `good_class` or `masks` do not fit.
    """
    expected = "one subfolder of images a class"
    root = _require_folder(root, expected)
    if any(_is_mvtec(folder) for folder in (root, *_subfolders(root))):
        raise _not_this_layout(root, expected)
    masks_folder = masks.resolve() if masks else None
    folders = [folder for folder in _subfolders(root) if folder.resolve() != masks_folder]
    _check_masks_folder(masks, classes=[folder.name for folder in folders])
    samples = [
        sample
        for folder in folders
        for sample in _class_samples(root, folder, masks / folder.name if masks else None)
    ]
    if not samples:
        raise _not_this_layout(root, expected)
    _check_good_class(root, good_class, classes=[folder.name for folder in folders])
    return sort_samples(root, samples, good_class=good_class)


def _class_samples(root: Path, folder: Path, masks: Path | None) -> list[FoundSample]:
    """The images of one class folder; masks are expected where the folder `masks` exists."""
    images = _images(folder)
    _refuse_other_content(folder, images)
    prefix, class_name = relative_posix(folder, root), folder.name
    if masks is None or not masks.is_dir():
        return [FoundSample(f"{prefix}/{image}", class_name) for image in images]
    found = _masks_by_stem(_images(masks))
    masks_prefix = relative_posix(masks, root)
    return [
        FoundSample(f"{prefix}/{image}", class_name, f"{masks_prefix}/{_mask_name(image, found)}")
        for image in images
    ]


def _masks_by_stem(masks: Iterable[str]) -> dict[str, str]:
    """Names of masks by the stem of their image; `<stem>_mask` takes precedence over `<stem>`."""
    plain = {_stem(mask): mask for mask in masks}
    return plain | {
        stem.removesuffix("_mask"): mask for stem, mask in plain.items() if stem.endswith("_mask")
    }


def _mask_name(image: str, masks: Mapping[str, str]) -> str:
    return masks.get(_stem(image)) or f"{_stem(image)}_mask.png"


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder without hidden files, sorted by name; empty if there is no folder."""
    try:
        with os.scandir(folder) as scan:
            found = [item for item in scan if not item.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise DataError(f"{folder}: the folder may not be read (permission denied).") from None
    return sorted(found, key=lambda item: item.name)


def _images(folder: Path) -> list[str]:
    """Names of the image files in a folder, sorted."""
    # A broken link is listed too, so that reading it reports the error.
    return [item.name for item in _scan(folder) if _is_image(item.name) and not item.is_dir()]


def _is_image(name: str) -> bool:
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES


def _subfolders(folder: Path) -> list[Path]:
    return [
        Path(item.path)
        for item in _scan(folder)
        if item.is_dir() and item.name not in _NO_DATA_FOLDERS
    ]


def _require_folder(root: Path, expected: str) -> Path:
    """The root as an absolute path; raises DataError where it is no folder."""
    if not root.is_dir():
        problem = "is a file" if root.is_file() else "there is no such folder"
        raise DataError(f"{root}: {problem}; expected {expected}. Set data.root to one.")
    return root.absolute()


def _refuse_defects_in_training(root: Path) -> None:
    others = [folder.name for folder in _subfolders(root / "train") if folder.name != MVTEC_GOOD]
    if others:
        raise DataError(
            f"{root / 'train'}: expected good images only, in train/{MVTEC_GOOD}; found "
            f"{_join_names(others)}. Move them to test/, or list the images in a table and use "
            "data=manifest."
        )


def _refuse_other_content(folder: Path, images: Sequence[str]) -> None:
    """Raise DataError for a class folder whose content would be ignored."""
    inner = [item.name for item in _subfolders(folder) if _images(item)]
    if inner:
        raise DataError(
            f"{folder}: expected images, found images in the subfolders {_join_names(inner)}. Move "
            "them up, or list them in a table and use data=manifest."
        )
    if images:
        return
    others = [item.name for item in _scan(folder) if item.name.lower() not in _SYSTEM_FILES]
    if others:
        raise DataError(
            f"{folder}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}), found "
            f"{_join_names(others)}. Convert these files, or move the folder elsewhere."
        )


def _check_masks_folder(masks: Path | None, *, classes: Collection[str]) -> None:
    if masks is None:
        return
    if not masks.is_dir():
        raise DataError(f"{masks}: there is no such folder. Set data.masks to one, or to null.")
    found = [folder.name for folder in _subfolders(masks)]
    if not set(found) & set(classes):
        raise DataError(
            f"{masks}: expected subfolders named like the classes ({_join_names(classes)}), found "
            f"{_join_names(found)}. Set data.masks to the folder that holds them, or to null."
        )


def _check_good_class(root: Path, good_class: str, *, classes: Collection[str]) -> None:
    if good_class not in classes:
        raise DataError(
            f"{root}: data.good_class={good_class} is not among the subfolders: "
            f"{_join_names(classes)}. Set data.good_class to the one that holds the flawless parts."
        )


def _is_mvtec(root: Path) -> bool:
    return any(_subfolders(root / split) for split in _MVTEC_SPLITS)


def _not_this_layout(root: Path, expected: str) -> DataError:
    found = _join_names([folder.name for folder in _subfolders(root)])
    images = len(_images(root))
    return DataError(
        f"{root}: expected {expected}; found the subfolders {found} and {images} images beside "
        f"them. {_remedy(root)}"
    )


def _remedy(root: Path) -> str:
    """A remedy that fits the content of the folder."""
    if _is_mvtec(root):
        if any(_images(folder) for split in _MVTEC_SPLITS for folder in _subfolders(root / split)):
            return "This looks like the MVTec AD layout: use data=mvtec."
        return "Put the images into train/good and test/<class>."
    subfolders = _subfolders(root)
    categories = [folder.name for folder in subfolders if _is_mvtec(folder)]
    if categories:
        return f"Its subfolders look like MVTec AD categories: set data.root to {root}/<one>."
    if any(_images(folder) for folder in subfolders):
        return "This looks like one subfolder a class: use data=folder."
    if any(item.name.lower().endswith((".csv", ".parquet")) for item in _scan(root)):
        return "There is a table in it: use data=manifest with data.path."
    if _images(root):
        return "Sort the images into one subfolder a class and use data=folder."
    return "Check data.root."


def _join_names(names: Collection[str]) -> str:
    return list_first(list(names), _SHOWN) or "(none)"
