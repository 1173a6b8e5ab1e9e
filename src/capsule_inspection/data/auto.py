"""Recognises how the images of a folder are labelled: an annotation format, or one of the layouts.

Where two readings are possible neither is chosen: the user names one.
"""

from __future__ import annotations

from typing import NamedTuple

from capsule_inspection.data.annotations.formats import find_annotated_samples, recognise
from capsule_inspection.data.layouts import folder, mvtec, visa
from capsule_inspection.data.layouts.file_kinds import UNREAD_SUFFIXES, suffix_of
from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.long_lists import list_first, numbered
from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.tables import read_table
from capsule_inspection.types import DataError

_TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
_READ_TABLES, _ROWS = (".csv", ".tsv", ".parquet"), 20
_DOCUMENTS = (".json", ".xml")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


class Recognised(NamedTuple):
    """What `data=` would be, the evidence in words, and the samples."""

    name: str
    why: str
    found: FoundSamples


def find_auto_samples(tree: FileTree, settings: LayoutSettings) -> Recognised:
    """The samples of a folder in whatever layout or format it has.

    Raises DataError where none is recognised, or more than one.
    """
    categories = mvtec.categories_in(tree)
    if len(categories) > 1 or (categories and len(tree.subfolders()) == 1):
        raise DataError(
            f"{tree.root}: its folders are categories as of MVTec AD ({join_names(categories)}), "
            f"and a model learns one. Set data.root={tree.root}/{categories[0]}"
            f"{' or another one' if len(categories) > 1 else ''}."
        )
    formats = recognise(tree, settings.annotations)
    tables = _tables_of_images(tree) if settings.annotations is None else []
    try:
        plain = _find_plain(tree, settings) if settings.annotations is None else ""
    except DataError as error:
        if not formats and not tables:
            raise
        plain = str(error)
    readings = dict(formats)
    if isinstance(plain, Recognised):
        readings[plain.name] = plain.why
    if tables:
        others = "".join(f"; data={name} ({why})" for name, why in readings.items())
        raise DataError(
            f"{tree.root}: data=auto has more than one reading: data=manifest "
            f"data.path={tree.root / tables[0]} (images and classes listed in "
            f"{list_first(tables, 3)}){others}. Name the one that is meant."
        )
    if len(readings) > 1:
        listed = "; ".join(f"data={name} ({why})" for name, why in readings.items())
        raise DataError(
            f"{tree.root}: data=auto has more than one reading: {listed}. Name the one that is "
            "meant."
        )
    for name, why in formats.items():
        return Recognised(name, why, find_annotated_samples(name, tree, settings))
    if isinstance(plain, str):
        raise _unknown(tree, plain)
    return plain


def _tables_of_images(tree: FileTree) -> list[str]:
    """Tables directly in the root whose first rows mostly name images of it, with their classes."""
    found, finder = [], FileFinder(tree.root)
    for name in tree.files:
        if "/" in name or suffix_of(name) not in _READ_TABLES:
            continue
        try:
            table = read_table(tree.root / name, required=("path", "label"), finder=finder)
        except DataError:
            continue
        paths = [finder.find(row.cells["path"]).name for row in table.rows[:_ROWS]]
        if sum(path in tree.image_set for path in paths) > len(paths) / 2:
            found.append(name)
    return found


def _find_plain(tree: FileTree, settings: LayoutSettings) -> Recognised | str:
    """The layout by the names of folders, or why there is none."""
    if visa.is_category_folder(tree) or visa.categories_of(tree):
        why = "category folders with Data/Images/Normal and Data/Images/Anomaly"
        return Recognised("visa", why, visa.find_visa_samples(tree, settings))
    if mvtec.is_mvtec(tree) and settings.masks is None:
        found = mvtec.find_mvtec_samples(tree, settings)
        seen = mvtec.class_folders(tree)
        seen += filter(mvtec.is_ground_truth, tree.subfolders())
        return Recognised("mvtec", join_names(seen), found)
    try:
        found = folder.find_folder_samples(tree, settings)
    except DataError as error:
        return str(error)
    names = sorted({sample.split for sample in found.samples if sample.split})
    masks = sum(sample.mask is not None for sample in found.samples)
    why = f"the classes {join_names(found.classes)}"
    why += f" below {join_names(names)}" if names else ""
    why += f" and masks for {numbered(masks, 'image')}" if masks else ""
    return Recognised("folder", why, found)


def _unknown(tree: FileTree, problem: str) -> DataError:
    seen = f"{numbered(len(tree.images), 'image')}, the folders {join_names(tree.subfolders())}"
    remedies = {
        _TABLES: "name the table with the labels: data=manifest data.path=",
        _DOCUMENTS: "data=coco, labelme, voc, cvat or label_studio with data.annotations=",
        _ARCHIVES: "unpack ",
        tuple(UNREAD_SUFFIXES): "convert to PNG what is in no format that is read: ",
    }
    help_text = ""
    for suffixes, remedy in remedies.items():
        if names := [name for name in tree.files if suffix_of(name) in suffixes]:
            more = f" (or {list_first(names[1:], 3)})" if len(names) > 1 else ""
            help_text += f" What may help: {remedy}{tree.root / names[0]}{more}."
    if not help_text and tree.images and all("/" not in name for name in tree.images):
        help_text = " If all are good parts, move them into a folder named good in it."
    problem = problem.removeprefix(f"{tree.root}: ")
    return DataError(
        f"{tree.root}: data=auto recognises no annotation format and no layout in {seen}."
        f"{help_text} Read as class folders: {problem}"
    )
