"""Assigns the images of a data index to splits; each function returns a new index.

stratification.py divides the images, given_split.py has splits that are not drawn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig

from capsule_inspection.data.given_split import from_dataset, from_manifest
from capsule_inspection.data.split_choice import brings_split, choose_split, describe_splits
from capsule_inspection.data.stratification import (
    assign_rows,
    divide,
    require_groups,
    shuffle_groups,
    sort_key,
    without_rows,
)
from capsule_inspection.types import (
    GOOD_LABEL,
    LEFT_OUT,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
)

log = logging.getLogger(__name__)

_TRAIN_FRACTION = 0.8
"""Fraction of training images of `split=val_as_test`."""


def assign_split(
    index: DataIndex, config: DictConfig, *, one_class: bool = False, every_class: bool = True
) -> DataIndex:
    """The index with its images assigned to splits, as `config.split` configures.

    `split=auto` is replaced in the configuration by the split that it stands for, so that a run
    keeps it; see `choose_split` for `one_class` and `every_class`. Raises DataError where the
    images do not allow the split.
    """
    if config.split.name == "auto":
        config.split = choose_split(
            index, config.split, one_class=one_class, every_class=every_class
        )
    elif config.split.name not in ("manifest", "dataset", "test_only") and brings_split(index):
        log.info(
            "The data set's own split (%s) is not used: split=%s assigns the images anew. To use "
            "it, set split=dataset.",
            describe_splits(index),
            config.split.name,
        )
    return _assign_by_name(index, config.split)


def _assign_by_name(index: DataIndex, split: DictConfig) -> DataIndex:
    if split.name == "dataset":
        return from_dataset(
            index, val_fraction=split.val, test_fraction=split.test, seed=split.seed
        )
    if split.name == "holdout":
        train = 1 - split.val - split.test
        fractions = {TRAIN: train, VAL: split.val, TEST: split.test}
        return holdout(index, fractions=fractions, seed=split.seed)
    if split.name in ("kfold", "one_class"):
        by_fold = kfold if split.name == "kfold" else one_class
        return by_fold(
            index, folds=split.folds, fold=split.fold, val_fraction=split.val, seed=split.seed
        )
    if split.name == "val_as_test":
        return val_as_test(index, seed=split.seed)
    if split.name == "test_only":
        return test_only(index)
    return from_manifest(index, Path(split.path))


def holdout(index: DataIndex, *, fractions: Mapping[str, float], seed: int) -> DataIndex:
    """Stratified splits of the given sizes, as {"train": 0.6, "val": 0.2, "test": 0.2}.

    A split of size 0 is left out. Raises DataError where a class has fewer groups than there are
    splits.
    """
    splits = [split for split in SPLITS if fractions.get(split, 0) > 0]
    groups = shuffle_groups(index, seed=seed, purpose="holdout")
    require_groups(
        index, groups, minimum=len(splits), reason=f"one for each of {', '.join(splits)}"
    )
    parts = divide(index, groups, [fractions[split] for split in splits])
    return assign_rows(index, dict(zip(splits, parts, strict=True)))


def kfold(index: DataIndex, *, folds: int, fold: int, val_fraction: float, seed: int) -> DataIndex:
    """Cross-validation: fold `fold` of `folds` is the test split, `val_fraction` of the rest val.

    The test splits of all folds partition the images. Raises DataError where a class has too few
    groups.
    """
    groups = shuffle_groups(index, seed=seed, purpose="kfold")
    # With two folds of a class of three, the larger would leave one image for train and val.
    minimum = 4 if folds == 2 and val_fraction > 0 else folds
    require_groups(index, groups, minimum=minimum, reason=f"for split.folds={folds}")
    test = divide(index, groups, [1 / folds] * folds)[fold]
    rest = without_rows(groups, test)
    if val_fraction > 0:
        train, val = divide(index, rest, [1 - val_fraction, val_fraction])
        return assign_rows(index, {TRAIN: train, VAL: val, TEST: test})
    return assign_rows(index, {TRAIN: [row for group in rest for row in group.rows], TEST: test})


def val_as_test(index: DataIndex, *, seed: int) -> DataIndex:
    """Random, not stratified, 80% train and 20% val, no test images.

    The caller reuses val as test and reports the metrics as optimistic. Of N images int(0.8 N) are
    for training, as with torch's random_split, unless groups forbid it.
    """
    if len(index) < 2:
        raise DataError(f"{index.root}: {len(index)} images; split=val_as_test needs at least 2.")
    wanted = len(index) - int(_TRAIN_FRACTION * len(index))
    val: list[int] = []
    # The purpose is part of the seed: another one would give another split.
    for group in shuffle_groups(index, seed=seed, purpose="origin"):
        if len(val) + len(group.rows) <= wanted:
            val += group.rows
    if not val:
        raise DataError(
            f"{index.root}: every group of images that stay together is larger than the {wanted} "
            "images of the val split of split=val_as_test. Check the groups, or set "
            "data.near_duplicates=off."
        )
    return assign_rows(index, {VAL: val}, rest=TRAIN)


def one_class(
    index: DataIndex, *, folds: int, fold: int, val_fraction: float, seed: int
) -> DataIndex:
    """Cross-validation over the good images: the test split is one of `folds`, and every defect.

    `val_fraction` of the other good images are val, the rest is for training. Good images that stay
    together with a defect are test images too. Raises ConfigurationError without validation
    images, DataError where there are too few good images.
    """
    if val_fraction == 0:
        raise ConfigurationError(
            "split.val=0: split=one_class needs good images to choose the epoch on. Set it above 0."
        )
    groups = shuffle_groups(index, seed=seed, purpose="one_class")
    good = [group for group in groups if group.is_good]
    if len(good) < max(folds, 4):
        raise DataError(
            f"{index.root}: split=one_class with split.folds={folds} needs at least "
            f"{max(folds, 4)} good images (groups of them that stay together), found {len(good)}. "
            "Add good images, or use fewer folds."
        )
    rest = without_rows(good, divide(index, good, [1 / folds] * folds)[fold])
    train, val = divide(index, rest, [1 - val_fraction, val_fraction])
    return assign_rows(index, {TRAIN: train, VAL: val}, rest=TEST)


def hold_out_good(index: DataIndex, *, split: str, fraction: float, seed: int) -> DataIndex:
    """The index with a fraction of the good training images moved to a split of their own.

    An index that already has images in this split is returned unchanged. Raises DataError where
    there are too few good training images to divide.
    """
    if any(sample.split == split for sample in index.samples):
        log.info("The split has %s images of its own; none are added.", split)
        return index
    groups = [
        group
        for group in shuffle_groups(index, seed=seed, purpose=split)
        if group.is_good and all(index.samples[row].split == TRAIN for row in group.rows)
    ]
    if len(groups) < 2:
        raise DataError(
            f"{index.root}: {len(groups)} good training images; at least 2 are needed, one to "
            f"train on and one for {split}. Add good images, or make val and test smaller."
        )
    _, moved = divide(index, groups, [1 - fraction, fraction])
    return assign_rows(index, {split: moved})


def subsample_defects(index: DataIndex, fraction: float, *, seed: int) -> DataIndex:
    """The index with only a fraction of each defect's training images, at least one; none for 0.

    A smaller fraction is a subset of a larger one. Validation and test are unchanged. The excluded
    images are in the split `left_out`, so that the number of steps in an epoch stays the same.
    """
    return _subsample(index, range(1, len(index.classes)), fraction, seed=seed)


def subsample_good(index: DataIndex, fraction: float, *, seed: int) -> DataIndex:
    """The index with only a fraction of the good training images; see `subsample_defects`."""
    return _subsample(index, [GOOD_LABEL], fraction, seed=seed)


def _subsample(index: DataIndex, labels: Iterable[int], fraction: float, *, seed: int) -> DataIndex:
    if fraction == 1:
        return index
    left_out: list[int] = []
    for label in labels:
        members = [
            row
            for row, sample in enumerate(index.samples)
            if sample.split == TRAIN and sample.label == label
        ]
        members.sort(key=lambda row: sort_key(index.samples[row].sha256, seed=seed, purpose="keep"))
        left_out += members[math.ceil(fraction * len(members)) :]
    return assign_rows(index, {LEFT_OUT: left_out})


def test_only(index: DataIndex) -> DataIndex:
    """Every image is a test image: for evaluating on other data."""
    return assign_rows(index, {}, rest=TEST)
