"""The layout of VisA: a category folder, and the files of `split_csv` that split it.

Source: Zou et al. 2022 (SPot-the-Difference): `<category>/Data/Images/{Normal,Anomaly}`,
`<category>/Data/Masks/Anomaly/<stem>.png`, whose values number the kinds of anomaly, and
`split_csv/*.csv` with the columns object, split, label, image, mask. Re-arranged copies with train
and test folders are read by mvtec.py and folder.py.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from capsule_inspection.data.layouts.classes import finish_samples
from capsule_inspection.data.layouts.names import fold, match_stem, split_of
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
)
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.long_lists import list_lines
from capsule_inspection.types import DataError

_COLUMNS = ("object", "split", "label", "image", "mask")
_FOLDERS = {"normal": "Data/Images/Normal", "anomaly": "Data/Images/Anomaly"}
_MASKS = "Data/Masks/Anomaly"


def find_visa_samples(tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of one category, with the split of its CSV file where there is one.

    Raises DataError where the folder is not of this layout, the category is not clear or files of
    the CSV are missing.
    """
    category = _category(tree, settings.category)
    if not is_category_folder(tree):
        tree = tree.subtree(category)
    table = tree.root.parent / "split_csv" / f"{settings.split_csv}.csv"
    if table.is_file():
        samples, layout = _from_table(tree, table, category), f"VisA, split {table.name}"
    else:
        samples, layout = _from_folders(tree), "VisA, one category without a split"
    if not settings.mask_rules.classes:
        settings = replace(settings, mask_rules=replace(settings.mask_rules, binary=True))
    others = [name for name in ("image_anno.csv",) if name in tree.files]
    return finish_samples(tree.root, samples, settings, layout=layout, other_files=others)


def is_category_folder(tree: FileTree, folder: str = "") -> bool:
    """Whether a folder is a category with its images."""
    at = f"{folder}/" if folder else ""
    return any(tree.images_in(f"{at}{images}") for images in _FOLDERS.values())


def categories_of(tree: FileTree) -> list[str]:
    """The category folders of the root."""
    return [name for name in tree.subfolders() if is_category_folder(tree, name)]


def _category(tree: FileTree, wanted: str | None) -> str:
    """The name of the category, checked against the setting."""
    found = [tree.root.name] if is_category_folder(tree) else categories_of(tree)
    if not found:
        raise DataError(
            f"{tree.root}: expected VisA with split_csv and its category folders, or one category "
            f"with Data/Images/Normal; found the subfolders {join_names(tree.subfolders())}. For "
            "train and test folders use data=mvtec or data=folder; data=auto tells which."
        )
    same = [name for name in found if wanted is None or fold(name) == fold(wanted)]
    if len(same) != 1:
        raise DataError(
            f"{tree.root}: data.category={'null' if wanted is None else wanted}: a model learns "
            f"one category. Set data.category to one of {join_names(found)}."
        )
    return same[0]


def _from_table(tree: FileTree, table: Path, category: str) -> list[FoundSample]:
    """The images that the CSV lists for the category; its paths are relative to the root above."""
    samples, missing, known = [], [], set(tree.files)
    for row in _rows(table):
        if row["object"] != category:
            continue
        path, mask = (row[key].strip().removeprefix(f"{category}/") for key in ("image", "mask"))
        missing += [f"{category}/{name}" for name in (path, mask) if name and name not in known]
        label, split = row["label"].strip().lower(), split_of(row["split"])
        if label not in _FOLDERS or not split:
            raise DataError(
                f"{table}: expected the labels normal and anomaly and the splits train and test; "
                f"found {row['label']} and {row['split']}. Restore the file of VisA."
            )
        samples.append(FoundSample(path, label, mask or None, split))
    if not samples:
        raise DataError(f"{table}: has no rows for {category}. Set data.category to one it has.")
    if missing:
        raise DataError(
            f"{table}: {len(missing)} of its files are missing:{list_lines(missing)}Restore them; "
            f"or rename {table.parent.name}, to use all images without its split."
        )
    return samples


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [{key: row[key] or "" for key in _COLUMNS} for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(
            f"{table}: expected CSV with the columns {', '.join(_COLUMNS)}; cannot be read "
            f"({error}). Restore the file of VisA, or use data=manifest for a table of your own."
        ) from error


def _from_folders(tree: FileTree) -> list[FoundSample]:
    masks = {match_stem(mask): mask for mask in tree.images_in(_MASKS)}

    def mask_of(image: str) -> str:
        return masks.get(match_stem(image)) or f"{_MASKS}/{match_stem(image)}.png"

    return [
        FoundSample(image, label, mask_of(image) if masks and label == "anomaly" else None)
        for label, folder in _FOLDERS.items()
        for image in tree.images_in(folder)
    ]
