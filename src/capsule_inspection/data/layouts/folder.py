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
from capsule_inspection.data.layouts.names import GOOD, match_stem
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
)
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import DataError


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
            f"{tree.root}: expected a folder of images for each class, or folders train, val and "
            f"test of such folders; found no images"
            f"{f' but those of {folders[0].path}' if folders else ''}. Check data.root, or use "
            "data=auto, which says what it recognises."
        )
    structure = find_structure(
        tree.root,
        Counter(map(folder_of, images)),
        settings,
        have_masks=lambda: _have_masks(tree, images, folders, settings),
    )
    decided = {place.class_name for place in structure.places.values()}
    if settings.unannotated == "good" and "" not in decided:
        raise DataError(
            f"{tree.root}: data.unannotated=good has no meaning, since folders name the classes of "
            "the images. Leave it out."
        )
    if given is not None:
        given.scope = structure.base
    samples, warnings = _samples(tree, structure, images, folders, settings)
    for folder in folders:
        warnings += check_used(folder, tree.root, samples)
    layout = structure.description
    if used := [folder.path for folder in folders if folder.used]:
        layout += f", masks in {join_names(used)}"
    elif any(sample.mask for sample in samples):
        layout += ", masks beside the images"
    found = finish_samples(tree.root, samples, settings, layout=layout, warnings=warnings)
    return replace(found, samples=tuple(_with_expected_masks(found)))


def _have_masks(
    tree: FileTree, images: Sequence[str], folders: Sequence[MaskFolder], settings: LayoutSettings
) -> bool:
    """Whether masks may decide the class: nearly all images have one, or the others are good.

    Raises DataError where only some have one, and nothing is said of the others.
    """
    paired, total = count_paired(images, settings.mask_suffixes)
    if not paired:
        in_folders = (_in_folders(folders, FoundSample(name, ""), settings) for name in images)
        paired, total = sum(mask is not None for mask in in_folders), len(images)
    if paired >= NEARLY_ALL * total or settings.unannotated == "good":
        return paired > 0
    if paired:
        raise DataError(
            f"{tree.root}: no folder names a class, and {paired} of {total} images have masks. If "
            "those without one are good, set data.unannotated=good; else add the missing masks, or "
            "sort the images into folders of the classes."
        )
    return False


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
    is_partial = settings.unannotated == "good"
    beside = find_masks_beside(
        tree.root, scopes.values(), settings.mask_suffixes, partial=is_partial
    )
    samples = []
    for name in images:
        place = structure.places[folder_of(name)]
        if place.class_name is None or name in beside.files:
            continue
        group = place.group or beside.groups.get(name, "")
        sample = FoundSample(name, place.class_name, None, place.split, group)
        mask = _in_folders(folders, sample, settings) or beside.of_image.get(name)
        if not mask and not sample.class_name and is_partial:
            sample = replace(sample, class_name=settings.good_class or GOOD)
        samples.append(sample if mask is None else replace(sample, mask=mask))
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
    known = {(s.class_name, s.split): s for s in found.samples if s.mask is not None}
    for sample in found.samples:
        other = known.get((sample.class_name, sample.split))
        if sample.mask is None and other is not None and sample.class_name != found.classes[0]:
            yield replace(sample, mask=_mask_like(other, sample.path))
        else:
            yield sample


def _mask_like(other: FoundSample, path: str) -> str:
    """The mask of an image, named like that of another one: its path with the image's own."""
    mask = f"/{other.mask}".partition(MASK_SEPARATOR)[0]
    old, new = (["", *each.split("/")[:-1], match_stem(each)] for each in (other.path, path))
    for parts in range(min(len(old), len(new)) - 1, 0, -1):
        before, known, after = mask.rpartition("/" + "/".join(old[-parts:]))
        if known:
            return f"{before}/{'/'.join(new[-parts:])}{after}".removeprefix("/")
    return f"{folder_of(mask)}/{new[-1]}.png".removeprefix("/")
