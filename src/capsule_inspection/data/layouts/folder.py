"""Folders named like the classes, at any depth, with or without folders of splits.

As torchvision's ImageFolder, Keras and many published data sets have it: `good/`, `crack/`;
`train/good/`, `test/crack/`; `camera1/good/`. Where all images have masks and no folder names a
class, the masks decide it (KolektorSDD). class_folders.py finds the meaning of the folders,
beside.py and mask_folders.py the masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from capsule_inspection.data.layouts.beside import NEARLY_ALL, count_paired, find_masks_beside
from capsule_inspection.data.layouts.class_folders import Structure, find_structure
from capsule_inspection.data.layouts.classes import finish_samples
from capsule_inspection.data.layouts.mask_folders import (
    MaskFolder,
    check_used,
    find_mask_folders,
    given_mask_folder,
)
from capsule_inspection.data.layouts.names import match_stem
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
)
from capsule_inspection.data.layouts.tree import UNREAD_SUFFIXES, FileTree, folder_of, suffix_of
from capsule_inspection.types import DataError

EXPECTED = "a folder of images for each class, or folders train, val and test of such folders"


def find_folder_samples(tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of class folders, with their splits and masks.

    Raises DataError where the meaning of folders, or which files are masks, is not clear.
    """
    given = None if settings.masks is None else given_mask_folder(tree, settings.masks)
    named = find_mask_folders(tree)
    folders = named if given is None else [given]
    of_masks = {f"{folder.path}/{name}" for folder in (*folders, *named) for name in folder.names}
    images = [name for name in tree.images if name not in of_masks]
    if not images:
        raise DataError(
            f"{tree.root}: expected {EXPECTED}; found no images"
            f"{f' but those of {folders[0].path}' if folders else ''}. Check data.root, or use "
            "data=auto, which says what it recognises."
        )

    def have_masks() -> bool:
        paired, total = count_paired(images, settings.mask_suffixes)
        found = sum(
            _in_folders(folders, FoundSample(name, ""), settings) is not None for name in images
        )
        return paired >= NEARLY_ALL * total or found >= NEARLY_ALL * len(images)

    structure = find_structure(
        tree.root, Counter(map(folder_of, images)), settings, have_masks=have_masks
    )
    if given is not None:
        given.scope = structure.base
    _refuse_unreadable_classes(tree, structure)
    samples, warnings = _samples(tree, structure, images, folders, settings)
    for folder in folders:
        warnings += check_used(folder, tree.root, samples, given=folder is given)
    layout = structure.description
    if used := [folder.path for folder in folders if folder.used]:
        layout += f", masks in {join_names(used)}"
    elif any(sample.mask for sample in samples):
        layout += ", masks beside the images"
    found = finish_samples(
        tree.root,
        samples,
        settings,
        layout=layout,
        warnings=[*warnings, *_empty_folders(tree, structure)],
    )
    return replace(found, samples=tuple(_with_expected_masks(found)))


def _samples(
    tree: FileTree,
    structure: Structure,
    images: Sequence[str],
    folders: Sequence[MaskFolder],
    settings: LayoutSettings,
) -> tuple[list[FoundSample], list[str]]:
    """Samples with their masks, and warnings; without the images above the class folders."""
    scopes: dict[tuple[str | None, str], list[str]] = {}
    for name in images:
        place = structure.places[folder_of(name)]
        scopes.setdefault((place.class_name, place.split), []).append(name)
    beside = find_masks_beside(tree.root, scopes.values(), settings.mask_suffixes)
    samples = []
    for name in images:
        place = structure.places[folder_of(name)]
        if place.class_name is None or name in beside.files:
            continue
        sample = FoundSample(name, place.class_name, None, place.split, place.group)
        mask = _in_folders(folders, sample, settings) or beside.of_image.get(name)
        samples.append(replace(sample, mask=mask))
    return samples, beside.warnings


def _in_folders(
    folders: Iterable[MaskFolder], sample: FoundSample, settings: LayoutSettings
) -> str | None:
    """The mask of an image in the folders of masks that belong to its own folder."""
    for folder in folders:
        if not folder.scope or sample.path.startswith(f"{folder.scope}/"):
            mask = folder.find(sample, settings.mask_suffixes)
            if mask is not None:
                return mask
    return None


def _with_expected_masks(found: FoundSamples) -> Iterator[FoundSample]:
    """The samples; where others of a defect class and split have masks, one is expected of each.

    A mask that is missing is reported where the files are read.
    """
    known = {(s.class_name, s.split): s.mask for s in found.samples if s.mask is not None}
    for sample in found.samples:
        other = known.get((sample.class_name, sample.split))
        if sample.mask is None and other is not None and sample.class_name != found.classes[0]:
            folder = folder_of(other.partition(MASK_SEPARATOR)[0])
            expected = f"{folder}/{match_stem(sample.path)}_mask.png".lstrip("/")
            yield replace(sample, mask=expected)
        else:
            yield sample


def _class_parents(structure: Structure) -> set[str]:
    """The folders in which class folders are: the base, and the folders of splits."""
    base = structure.base
    depth = len(base.split("/")) if base else 0
    tops = {
        "/".join(folder.split("/")[: depth + 1])
        for folder, place in structure.places.items()
        if place.split and folder != base
    }
    return tops or {base}


def _refuse_unreadable_classes(tree: FileTree, structure: Structure) -> None:
    """Raise DataError for a class folder with images in a format that is not read."""
    for parent in sorted(_class_parents(structure)):
        for name in tree.subfolders(parent):
            folder = f"{parent}/{name}".lstrip("/")
            files = tree.files_below(folder)
            unread = [file for file in files if suffix_of(file) in UNREAD_SUFFIXES]
            if unread and not tree.images_below(folder):
                raise DataError(
                    f"{tree.root / folder}: expected images, found {join_names(unread[:3])}, in no "
                    "format that is read. Convert these files to PNG, or leave the folder out with "
                    f" data.exclude=[{folder}]."
                )


def _empty_folders(tree: FileTree, structure: Structure) -> Iterator[str]:
    """A warning for folders without files beside the class folders or the splits."""
    left_out = {*tree.system, *tree.excluded, *tree.circles, *tree.predictions}
    empty = []
    for parent in sorted({structure.base, *_class_parents(structure)}):
        for entry in sorted((tree.root / parent).iterdir()):
            name = f"{parent}/{entry.name}".lstrip("/")
            if entry.is_dir() and not tree.has_folder(name) and name not in left_out:
                empty.append(name)
    if empty:
        yield f"These folders are empty: {join_names(empty)}."
