"""The layouts of MVTec AD, MVTec AD 2 and MVTec LOCO AD, of one category.

Sources: Bergmann et al. 2021 (AD): `train/good`, `test/<class>`,
`ground_truth/<class>/<stem>_mask`; Heckler-Kram et al. 2025 (AD 2): also `validation/good`, and
`test_public` with the ground truth in it, `test_private` without any; Bergmann et al. 2022 (LOCO):
`ground_truth/<class>/<stem>/000.png`, several masks for an image.
Other names of the same splits are accepted, any other structure is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

AD, AD2, LOCO = "MVTec AD", "MVTec AD 2", "MVTec LOCO AD"
EXPECTED = "a category folder of MVTec AD with train/good, test/<class> or both"
_PUBLIC_TEST = "test_public"
_PRIVATE_TESTS = ("test_private", "test_private_mixed")
_LOCO_FILE = "defects_config.json"


def find_mvtec_samples(tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of a category, with their splits.

    Raises DataError where the folder is not of this layout.
    """
    splits = split_folders(tree)
    if not any(classes_of(tree, folder) for folder in splits.values()):
        raise DataError(f"{tree.root}: expected {EXPECTED}; found {describe(tree)}")
    _refuse_defects_in_training(tree, splits, settings)
    for split_folder in splits.values():
        _refuse_other_content(tree, split_folder)
    truth = _ground_truth(tree, splits)
    samples = [
        replace(sample, split=split)
        for split, folder in splits.items()
        for name in classes_of(tree, folder)
        for sample in _class_samples(tree, f"{folder}/{name}", truth)
    ]
    _check_ground_truth(tree, truth, samples)
    layout = _layout_name(tree, splits, samples)
    if layout == LOCO and not settings.mask_rules.classes:
        settings = replace(settings, mask_rules=replace(settings.mask_rules, binary=True))
    private = [folder for folder in _PRIVATE_TESTS if tree.images_below(folder)]
    others = [name for folder in private for name in tree.files_below(folder)]
    others += [name for name in (_LOCO_FILE,) if name in tree.files]
    return finish_samples(
        tree.root,
        samples,
        settings,
        layout=layout,
        warnings=[_no_labels(tree, folder) for folder in private],
        other_files=others,
    )


def split_folders(tree: FileTree, folder: str = "") -> dict[str, str]:
    """The folder of each split, in the order train, val, test.

    Raises DataError where a split has two folders.
    """
    found: dict[str, str] = {}
    for name in tree.subfolders(folder):
        split = split_of(name)
        if not split or not tree.images_below(f"{folder}/{name}" if folder else name):
            continue
        if split in found:
            raise DataError(
                f"{tree.root / folder}: {found[split]} and {name} both are names of the {split} "
                "split. Join the folders, or leave one out with data.exclude."
            )
        found[split] = name
    return {split: found[split] for split in (TRAIN, VAL, TEST) if split in found}


def classes_of(tree: FileTree, folder: str) -> list[str]:
    """The class folders of a split folder: those with images, without the ground truth."""
    return [
        name
        for name in tree.subfolders(folder)
        if fold(name) != "ground truth" and tree.files_below(f"{folder}/{name}")
    ]


def looks_like_mvtec(tree: FileTree, folder: str = "") -> bool:
    """Whether a folder has class folders in train or test, and in train no class but a good one."""
    at = f"{folder}/" if folder else ""
    splits = {
        split_of(name): f"{at}{name}"
        for name in tree.subfolders(folder)
        if split_of(name) and any(map(tree.images_in, _paths(tree, f"{at}{name}")))
    }
    training = classes_of(tree, splits[TRAIN]) if TRAIN in splits else []
    validation = classes_of(tree, splits[VAL]) if VAL in splits else []
    return bool(training) and len({fold(name) for name in (*training, *validation)}) == 1


def is_mvtec(tree: FileTree) -> bool:
    """Whether the root looks like a category, and has no other folders of images."""
    others = [
        name
        for name in tree.subfolders()
        if not split_of(name) and fold(name) != "ground truth" and name not in _PRIVATE_TESTS
    ]
    return looks_like_mvtec(tree) and not any(map(tree.images_below, others))


def categories_in(tree: FileTree) -> list[str]:
    """Subfolders of the root that look like categories themselves."""
    return [name for name in tree.subfolders() if looks_like_mvtec(tree, name)]


def describe(tree: FileTree) -> str:
    """What the root holds instead, and a remedy that fits."""
    found = (
        f"the subfolders {join_names(tree.subfolders())} and {len(tree.images_in())} images "
        "beside them."
    )
    return f"{found} {_remedy(tree)}"


def _remedy(tree: FileTree) -> str:
    categories = categories_in(tree)
    if categories:
        return (
            f"Its subfolders look like MVTec AD categories ({join_names(categories)}): set "
            f"data.root={tree.root}/{categories[0]} or another one."
        )
    if any(split_of(name) for name in tree.subfolders()):
        return "Put the images into train/good and test/<class>."
    if any(tree.images_in(name) for name in tree.subfolders()):
        return "This looks like one subfolder a class: use data=folder."
    if any(name.lower().endswith((".csv", ".parquet")) for name in tree.files):
        return "There is a table in it: use data=manifest with data.path."
    if tree.images:
        return "Sort the images into one subfolder a class and use data=folder, or try data=auto."
    return "Check data.root."


def _refuse_defects_in_training(
    tree: FileTree, splits: dict[str, str], settings: LayoutSettings
) -> None:
    wanted = settings.class_map
    for split in (TRAIN, VAL):
        if split not in splits:
            continue
        folder = splits[split]
        names = {wanted.get(readable(name), readable(name)) for name in classes_of(tree, folder)}
        others = sorted(
            name for name in names if name is not None and not _is_good(name, settings.good_class)
        )
        if others:
            raise DataError(
                f"{tree.root / folder}: expected good images only, in {folder}/good; found "
                f"{join_names(others)}. For classes in {folder} use data=folder, which takes "
                "train, val and test as the split; else move them to test/, or name the flawless "
                "class with data.good_class."
            )


def _is_good(name: str, good_class: str | None) -> bool:
    return is_good_name(name) if good_class is None else fold(name) == fold(good_class)


def _refuse_other_content(tree: FileTree, split_folder: str) -> None:
    """Raise DataError for images that have no class folder of their own, or lie too deep."""
    loose = tree.images_in(split_folder)
    if loose:
        raise DataError(
            f"{tree.root / split_folder}: expected a folder for each class; found {len(loose)} "
            f"images beside them, such as {loose[0]}. Move them into the folder of their class, or "
            "leave them out with data.exclude."
        )
    for name in classes_of(tree, split_folder):
        folder = f"{split_folder}/{name}"
        inner = [each for each in tree.subfolders(folder) if tree.images_below(f"{folder}/{each}")]
        if inner:
            raise DataError(
                f"{tree.root / folder}: expected images, found images in the subfolders "
                f"{join_names(inner)}. Move them up, or use data=folder, which reads any depth."
            )
        if not tree.images_in(folder):
            raise DataError(
                f"{tree.root / folder}: expected images, found "
                f"{join_names([each.rpartition('/')[2] for each in tree.files_below(folder)])}. "
                "Convert these files to PNG, or leave the folder out with data.exclude."
            )


def _ground_truth(tree: FileTree, splits: dict[str, str]) -> str | None:
    """The folder of the masks: `ground_truth` beside the splits, or in the test split (AD 2)."""
    places = ["", *([splits[TEST]] if TEST in splits else [])]
    found = [
        f"{place}/{name}" if place else name
        for place in places
        for name in tree.subfolders(place)
        if fold(name) == "ground truth"
    ]
    if len(found) > 1:
        raise DataError(
            f"{tree.root}: {join_names(found)} all hold masks. Join them, or leave the others out "
            "with data.exclude."
        )
    return found[0] if found else None


def _class_samples(tree: FileTree, folder: str, truth: str | None) -> Iterator[FoundSample]:
    """The images of one class folder; masks are expected where the class has a folder of them."""
    name = folder.rpartition("/")[2]
    images = tree.images_in(folder)
    masks = None if truth is None else _find_folder(tree, truth, name)
    if masks is None:
        yield from (FoundSample(image, readable(name)) for image in images)
        return
    known = _masks_by_stem(tree, masks)
    for image in images:
        stem = match_stem(image)
        yield FoundSample(image, readable(name), known.get(stem) or f"{masks}/{stem}_mask.png")


def _find_folder(tree: FileTree, parent: str, name: str) -> str | None:
    """A subfolder by its name, whatever Unicode form it has."""
    return next(
        (
            f"{parent}/{each}"
            for each in tree.subfolders(parent)
            if readable(each) == readable(name)
        ),
        None,
    )


def _masks_by_stem(tree: FileTree, folder: str) -> dict[str, str]:
    """Masks of a class: folders of them (LOCO), else `<stem>_mask` before `<stem>`."""
    plain = {match_stem(mask): mask for mask in tree.images_in(folder)}
    named = {
        stem.removesuffix("_mask"): mask for stem, mask in plain.items() if stem.endswith("_mask")
    }
    folders = {
        readable(name): f"{folder}/{name}"
        for name in tree.subfolders(folder)
        if tree.images_in(f"{folder}/{name}")
    }
    return plain | named | folders


def _check_ground_truth(tree: FileTree, truth: str | None, samples: Sequence[FoundSample]) -> None:
    """Raise DataError for a folder of masks that belongs to no class."""
    if truth is None:
        return
    classes = {sample.class_name for sample in samples}
    foreign = [
        name
        for name in tree.subfolders(truth)
        if readable(name) not in classes and tree.images_below(f"{truth}/{name}")
    ]
    if foreign:
        raise DataError(
            f"{tree.root / truth}: expected folders named like the classes "
            f"({join_names(sorted(classes))}); found {join_names(foreign)}. Rename them, or leave "
            "them out with data.exclude."
        )


def _layout_name(tree: FileTree, splits: dict[str, str], samples: Iterable[FoundSample]) -> str:
    if splits.get(TEST) == _PUBLIC_TEST:
        return AD2
    masks = {sample.mask for sample in samples if sample.mask is not None}
    if any(map(tree.has_folder, masks)):
        return LOCO
    return AD if VAL not in splits else f"{AD} with a validation split"


def _no_labels(tree: FileTree, folder: str) -> str:
    return (
        f"{folder}: its {len(tree.images_below(folder))} images have no labels and are not used; "
        "predict.py reads them."
    )


def _paths(tree: FileTree, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in tree.subfolders(folder)]
