"""The layouts of MVTec AD, MVTec AD 2 and MVTec LOCO AD, of one category.

Sources: Bergmann et al. 2021 (AD): `train/good`, `test/<class>`,
`ground_truth/<class>/<stem>_mask`; Heckler-Kram et al. 2025 (AD 2): also `validation/good`, and
`test_public` with the ground truth in it, `test_private` without any; Bergmann et al. 2022 (LOCO):
`ground_truth/<class>/<stem>/000.png`, several masks for an image.
Other names of the same splits are accepted, any other structure is refused: here, or by
inventory.py, which finds the images that no class has taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from capsule_inspection.data.layouts.classes import finish_samples
from capsule_inspection.data.layouts.names import fold, is_good_name, match_stem, readable, split_of
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
)
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import SPLITS, TEST, TRAIN, VAL, DataError

AD, AD2, LOCO = "MVTec AD", "MVTec AD 2", "MVTec LOCO AD"
_PUBLIC_TEST = "test_public"
_PRIVATE_TESTS = ("test_private", "test_private_mixed")
_LOCO_FILE = "defects_config.json"


def find_mvtec_samples(tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of a category, with their splits.

    Raises DataError where the folder is not of this layout.
    """
    splits = split_folders(tree)
    if not any(classes_of(tree, folder) for folder in splits.values()):
        raise DataError(
            f"{tree.root}: expected a category folder of MVTec AD with train/good, test/<class> or "
            f"both; found the subfolders {join_names(tree.subfolders())} and "
            f"{len(tree.images_in())} images beside them. {_remedy(tree)}"
        )
    _refuse_defects_in_training(tree, splits, settings)
    truth = _ground_truth(tree, splits)
    samples = [
        replace(sample, split=split)
        for split, folder in splits.items()
        for name in classes_of(tree, folder)
        for sample in _class_samples(tree, f"{folder}/{name}", truth)
    ]
    layout = _layout_name(tree, splits, samples)
    if layout == LOCO and not settings.mask_rules.classes:
        settings = replace(settings, mask_rules=replace(settings.mask_rules, binary=True))
    private = {name: tree.images_below(name) for name in _PRIVATE_TESTS if tree.images_below(name)}
    return finish_samples(
        tree.root,
        samples,
        settings,
        layout=layout,
        warnings=[
            f"{folder}: its {len(images)} images have no labels and are not used; predict.py reads "
            "them."
            for folder, images in private.items()
        ],
        other_files=[*private, *({_LOCO_FILE} & set(tree.files))],
    )


def split_folders(tree: FileTree) -> dict[str, str]:
    """The folder of each split, in the order train, val, test.

    Raises DataError where a split has two folders.
    """
    found: dict[str, str] = {}
    for name in tree.subfolders():
        split = split_of(name)
        if not split or not tree.images_below(name):
            continue
        if split in found:
            raise DataError(
                f"{tree.root}: {found[split]} and {name} both are names of the {split} split. Join "
                "the folders, or leave one out with data.exclude."
            )
        found[split] = name
    return {split: found[split] for split in SPLITS if split in found}


def classes_of(tree: FileTree, folder: str) -> list[str]:
    """The class folders of a split folder: those with files, without the ground truth."""
    return [name for name in tree.subfolders(folder) if not is_ground_truth(name)]


def is_ground_truth(folder: str) -> bool:
    """Whether a folder is named like that of the masks."""
    return fold(folder) == "ground truth"


def looks_like_mvtec(tree: FileTree, folder: str = "") -> bool:
    """Whether train has class folders, and in train and val is no class but a good one."""
    at = f"{folder}/" if folder else ""
    classes: dict[str, list[str]] = {TRAIN: [], VAL: []}
    for name in tree.subfolders(folder):
        here = f"{at}{name}"
        if split_of(name) in classes and tree.images_below(here):
            if tree.images_in(here):  # as in DAGM, where masks are in Train/Label
                return False
            found = classes_of(tree, here)
            classes[split_of(name)] += [each for each in found if tree.images_in(f"{here}/{each}")]
    return bool(classes[TRAIN]) and len(set(map(fold, classes[TRAIN] + classes[VAL]))) == 1


def is_mvtec(tree: FileTree) -> bool:
    """Whether the root looks like a category, and has no other folders of images."""
    others = [
        name
        for name in tree.subfolders()
        if not (split_of(name) or is_ground_truth(name) or name in _PRIVATE_TESTS)
    ]
    return looks_like_mvtec(tree) and not any(map(tree.images_below, others))


def categories_in(tree: FileTree) -> list[str]:
    """Subfolders of the root that look like categories themselves."""
    return [name for name in tree.subfolders() if looks_like_mvtec(tree, name)]


def _remedy(tree: FileTree) -> str:
    categories = categories_in(tree)
    if categories:
        return (
            f"Its subfolders look like MVTec AD categories ({join_names(categories)}): set "
            f"data.root={tree.root}/{categories[0]} or another one."
        )
    return (
        "For one subfolder a class use data=folder, for a table data=manifest; data=auto says "
        "which layout or format it recognises."
    )


def _refuse_defects_in_training(
    tree: FileTree, splits: dict[str, str], settings: LayoutSettings
) -> None:
    for split in (TRAIN, VAL):
        folder = splits.get(split)
        found = [] if folder is None else map(readable, classes_of(tree, folder))
        names = {settings.class_map.get(name, name) for name in found}
        if others := sorted(each for each in names if each and not _is_good(each, settings)):
            raise DataError(
                f"{tree.root / str(folder)}: expected good images only, in {folder}/good; found "
                f"{join_names(others)}. For classes in {folder} use data=folder, which takes "
                "train, val and test as the split; else move them to test/, or name the flawless "
                "class with data.good_class."
            )


def _is_good(name: str, settings: LayoutSettings) -> bool:
    wanted = settings.good_class
    return is_good_name(name) if wanted is None else fold(name) == fold(wanted)


def _ground_truth(tree: FileTree, splits: dict[str, str]) -> str | None:
    """The folder of the masks: `ground_truth` beside the splits, or in the test split (AD 2)."""
    test = splits.get(TEST, "")
    found = filter(is_ground_truth, tree.subfolders())
    inside = (f"{test}/{name}" for name in tree.subfolders(test) if is_ground_truth(name))
    return next(found, None) or next(inside, None)


def _class_samples(tree: FileTree, folder: str, truth: str | None) -> Iterator[FoundSample]:
    """The images of one class folder; masks are expected where the class has a folder of them."""
    name = readable(folder.rpartition("/")[2])
    of_class = {readable(each): f"{truth}/{each}" for each in tree.subfolders(truth or "")}
    masks = of_class.get(name) if truth else None
    known = {} if masks is None else _masks_by_stem(tree, masks)
    for image in tree.images_in(folder):
        stem = match_stem(image)
        mask = None if masks is None else known.get(stem, f"{masks}/{stem}_mask.png")
        yield FoundSample(image, name, mask)


def _masks_by_stem(tree: FileTree, folder: str) -> dict[str, str]:
    """Masks of a class: folders of them (LOCO), else `<stem>_mask` before `<stem>`."""
    plain = {match_stem(mask): mask for mask in tree.images_in(folder)}
    named = {
        stem.removesuffix("_mask"): mask for stem, mask in plain.items() if stem.endswith("_mask")
    }
    folders = {readable(name): f"{folder}/{name}" for name in tree.subfolders(folder)}
    return plain | named | folders


def _layout_name(tree: FileTree, splits: dict[str, str], samples: Iterable[FoundSample]) -> str:
    if splits.get(TEST) == _PUBLIC_TEST:
        return AD2
    if any(sample.mask is not None and tree.has_folder(sample.mask) for sample in samples):
        return LOCO
    return AD if VAL not in splits else f"{AD} with a validation split"
