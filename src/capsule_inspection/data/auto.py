"""Recognises how the images of a folder are labelled: an annotation format, or one of the layouts.

Where two readings are possible neither is chosen: the user names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsule_inspection.data.annotations.formats import find_annotated_samples, recognise
from capsule_inspection.data.layouts import folder, mvtec, visa
from capsule_inspection.data.layouts.names import fold
from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import UNREAD_SUFFIXES, FileTree, suffix_of
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import DataError

_TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
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
    _refuse_categories(tree)
    formats = recognise(tree)
    plain, problem = _find_plain(tree, settings)
    if settings.annotations is not None:
        plain = None
    if len(formats) + (plain is not None) > 1:
        raise _ambiguous(tree, formats, plain)
    for name, why in formats.items():
        return Recognised(name, why, find_annotated_samples(name, tree, settings))
    if plain is None:
        raise _unknown(tree, problem)
    return plain


def _find_plain(tree: FileTree, settings: LayoutSettings) -> tuple[Recognised | None, str]:
    """The layout by the names of folders, or None and why there is none."""
    if visa.is_category_folder(tree) or visa.categories_of(tree):
        why = "category folders with Data/Images/Normal and Data/Images/Anomaly"
        return Recognised("visa", why, visa.find_visa_samples(tree, settings)), ""
    if mvtec.is_mvtec(tree) and settings.masks is None:
        found = mvtec.find_mvtec_samples(tree, settings)
        return Recognised("mvtec", _seen_splits(tree), found), ""
    try:
        found = folder.find_folder_samples(tree, settings)
    except DataError as error:
        return None, str(error)
    return Recognised("folder", _seen_classes(found), found), ""


def _seen_splits(tree: FileTree) -> str:
    splits = mvtec.split_folders(tree).values()
    seen = [f"{split}/{name}" for split in splits for name in mvtec.classes_of(tree, split)]
    truth = [name for name in tree.subfolders() if fold(name) == "ground truth"]
    return join_names([*seen, *truth])


def _seen_classes(found: FoundSamples) -> str:
    splits = sorted({sample.split for sample in found.samples if sample.split})
    below = f" below {join_names(splits)}" if splits else ""
    masks = sum(sample.mask is not None for sample in found.samples)
    beside = f" and masks for {numbered(masks, 'image')}" if masks else ""
    return f"the classes {join_names(found.classes)}{below}{beside}"


def _refuse_categories(tree: FileTree) -> None:
    """Raise DataError where the root holds several data sets."""
    categories = mvtec.categories_in(tree)
    if len(categories) > 1 or (categories and len(tree.subfolders()) == 1):
        raise DataError(
            f"{tree.root}: its folders are categories as of MVTec AD ({join_names(categories)}), "
            f"and a model learns one. Set data.root={tree.root}/{categories[0]}"
            f"{' or another one' if len(categories) > 1 else ''}."
        )


def _ambiguous(tree: FileTree, formats: dict[str, str], plain: Recognised | None) -> DataError:
    readings = [f"data={name} ({why})" for name, why in formats.items()]
    if plain is not None:
        readings.append(f"data={plain.name} ({plain.why})")
    return DataError(
        f"{tree.root}: data=auto has more than one reading: {'; '.join(readings)}. Name the one "
        "that is meant."
    )


def _unknown(tree: FileTree, problem: str) -> DataError:
    tables = [name for name in tree.files if suffix_of(name) in _TABLES]
    documents = [name for name in tree.files if suffix_of(name) in (".json", ".xml")]
    archives = [name for name in tree.files if suffix_of(name) in _ARCHIVES]
    unread = [name for name in tree.files if suffix_of(name) in UNREAD_SUFFIXES]
    seen = [
        numbered(len(tree.images), "image"),
        f"the folders {join_names(tree.subfolders())}",
        *_counted(tables, "table"),
        *_counted(documents, "JSON or XML file"),
        *_counted(archives, "archive"),
        *_counted(unread, "file of formats that are not read"),
    ]
    remedies = []
    if tables:
        remedies.append(f"data=manifest data.path={tree.root}/{tables[0]}")
    if documents:
        remedies.append("data=coco, labelme, voc, cvat or label_studio with data.annotations")
    if archives and not tree.images:
        remedies.append("unpack the archive")
    help_text = f" What may help: {'; '.join(remedies)}." if remedies else ""
    return DataError(
        f"{tree.root}: data=auto recognises no annotation format and no layout in "
        f"{', '.join(seen)}.{help_text} Read as class folders: {problem}"
    )


def _counted(names: Sequence[str], noun: str) -> list[str]:
    return [f"{numbered(len(names), noun)} ({names[0]})"] if names else []
