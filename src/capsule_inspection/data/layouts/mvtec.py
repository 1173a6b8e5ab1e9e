"""The layouts of MVTec AD, MVTec AD 2 and MVTec LOCO AD, of one category.

Sources: Bergmann et al. 2021 (AD): `train/good`, `test/<class>`,
`ground_truth/<class>/<stem>_mask`; Heckler-Kram et al. 2025 (AD 2): also `validation/good`, and
`test_public` with the ground truth in it, `test_private` without any; Bergmann et al. 2022 (LOCO):
`ground_truth/<class>/<stem>/000.png`, several masks for an image.
They are class folders with splits and masks, as folder.py reads them; here is what is stricter.
"""

from __future__ import annotations

from dataclasses import replace

from capsule_inspection.data.layouts.folder import find_folder_samples
from capsule_inspection.data.layouts.names import fold, is_good_name, readable, split_of
from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

_PRIVATE_TESTS = ("test_private", "test_private_mixed")
_LOCO_FILE = "defects_config.json"


def find_mvtec_samples(tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of a category, with their splits.

    Raises DataError where the folder is not of this layout.
    """
    classes = class_folders(tree)
    if not classes:
        raise DataError(
            f"{tree.root}: expected a category folder of MVTec AD with train/good, test/<class> or "
            f"both; found the subfolders {join_names(tree.subfolders())} and "
            f"{len(tree.images_in())} images beside them. {_remedy(tree)}"
        )
    for name in classes:
        _refuse_defects_in_training(tree, name, settings)
    private = {name: tree.images_below(name) for name in _PRIVATE_TESTS if tree.images_below(name)}
    public = tuple(name for name in tree.files if name.partition("/")[0] not in private)
    found = find_folder_samples(replace(tree, files=public) if private else tree, settings)
    rules = found.mask_rules
    if any(sample.mask is not None and tree.has_folder(sample.mask) for sample in found.samples):
        layout, rules = "MVTec LOCO AD", replace(rules, binary=not rules.classes)
    elif "test_public" in tree.subfolders():
        layout = "MVTec AD 2"
    else:
        has_val = any(sample.split == VAL for sample in found.samples)
        layout = "MVTec AD with a validation split" if has_val else "MVTec AD"
    warnings = [
        f"{folder}: {numbered(len(images), 'image')} without labels, not used; predict.py reads "
        "such images."
        for folder, images in private.items()
    ]
    return replace(
        found,
        layout=layout,
        mask_rules=rules,
        warnings=(*found.warnings, *warnings),
        other_files=found.other_files | private.keys() | ({_LOCO_FILE} & set(tree.files)),
    )


def class_folders(tree: FileTree, folder: str = "") -> list[str]:
    """The class folders in the folders of splits, as `train/good`, without the ground truth."""
    at = f"{folder}/" if folder else ""
    return [
        f"{at}{split}/{name}"
        for wanted in (TRAIN, VAL, TEST)
        for split in tree.subfolders(folder)
        if split_of(split) == wanted
        for name in tree.subfolders(f"{at}{split}")
        if not is_ground_truth(name)
    ]


def is_ground_truth(folder: str) -> bool:
    """Whether a folder is named like that of the masks."""
    return fold(folder) == "ground truth"


def looks_like_mvtec(tree: FileTree, folder: str = "") -> bool:
    """Whether train has class folders, and in train and val is no class but a good one."""
    found = class_folders(tree, folder)
    splits = {name: split_of(name.split("/")[-2]) for name in found if tree.images_in(name)}
    training = [name for name, split in splits.items() if split in (TRAIN, VAL)]
    # Not as in DAGM, where images are in Train and masks in Train/Label.
    loose = any(tree.images_in(name.rpartition("/")[0]) for name in training)
    names = {fold(name.rpartition("/")[2]) for name in training}
    return TRAIN in splits.values() and len(names) == 1 and not loose


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


def _refuse_defects_in_training(tree: FileTree, folder: str, settings: LayoutSettings) -> None:
    """Raise DataError for a class folder in train or val that is not that of the good class."""
    split, name = folder.split("/")
    mapped = settings.class_map.get(readable(name), readable(name))
    if mapped is None or split_of(split) == TEST:
        return
    wanted = settings.good_class
    if not (is_good_name(mapped) if wanted is None else fold(mapped) == fold(wanted)):
        raise DataError(
            f"{tree.root / split}: expected good images only, in {split}/good; found {mapped}. For "
            f"classes in {split} use data=folder, which takes train, val and test as the split; "
            "else move them to test/, or name the flawless class with data.good_class."
        )
