"""Assigns the images of a data index to splits; each function returns a new index.

stratification.py divides the images.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from capsule_inspection.data.layouts.samples import relative_posix
from capsule_inspection.data.long_lists import list_lines
from capsule_inspection.data.manifest import read_split
from capsule_inspection.data.stratification import Group, divide, shuffle_groups, sort_key
from capsule_inspection.types import (
    LEFT_OUT,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
    Sample,
)

log = logging.getLogger(__name__)

_TRAIN_FRACTION = 0.8
"""Fraction of training images of `split=val_as_test`."""


def assign_split(index: DataIndex, split: DictConfig) -> DataIndex:
    """The index with its images assigned to splits, as `conf/split` configures.

    Raises DataError where the images do not allow it.
    """
    if split.name not in ("manifest", "test_only") and any(row.split for row in index.samples):
        log.warning(
            "the manifest's column split is not used: split=%s assigns the images anew. To use "
            "it, set split=manifest split.path=<the manifest>.",
            split.name,
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
    _require(index, groups, minimum=len(splits), reason=f"one for each of {', '.join(splits)}")
    parts = divide(index, groups, [fractions[split] for split in splits])
    return _assign(index, dict(zip(splits, parts, strict=True)))


def kfold(index: DataIndex, *, folds: int, fold: int, val_fraction: float, seed: int) -> DataIndex:
    """Cross-validation: fold `fold` of `folds` is the test split, `val_fraction` of the rest val.

    The test splits of all folds partition the images. Raises DataError where a class has too few
    groups.
    """
    groups = shuffle_groups(index, seed=seed, purpose="kfold")
    # With two folds of a class of three, the larger would leave one image for train and val.
    minimum = 4 if folds == 2 and val_fraction > 0 else folds
    _require(index, groups, minimum=minimum, reason=f"for split.folds={folds}")
    test = divide(index, groups, [1 / folds] * folds)[fold]
    rest = _without(groups, test)
    if val_fraction > 0:
        train, val = divide(index, rest, [1 - val_fraction, val_fraction])
        return _assign(index, {TRAIN: train, VAL: val, TEST: test})
    return _assign(index, {TRAIN: [row for group in rest for row in group.rows], TEST: test})


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
    return _assign(index, {VAL: val}, rest=TRAIN)


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
    rest = _without(good, divide(index, good, [1 / folds] * folds)[fold])
    train, val = divide(index, rest, [1 - val_fraction, val_fraction])
    return _assign(index, {TRAIN: train, VAL: val}, rest=TEST)


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
    return _assign(index, {split: moved})


def subsample_defects(index: DataIndex, fraction: float, *, seed: int) -> DataIndex:
    """The index with only a fraction of each defect's training images, at least one; none for 0.

    A smaller fraction is a subset of a larger one. Validation and test are unchanged. The excluded
    images are in the split `left_out`, so that the number of steps in an epoch stays the same.
    """
    if fraction == 1:
        return index
    left_out: list[int] = []
    for label in range(1, len(index.classes)):
        members = [
            row
            for row, sample in enumerate(index.samples)
            if sample.split == TRAIN and sample.label == label
        ]
        members.sort(key=lambda row: sort_key(index.samples[row].sha256, seed=seed, purpose="keep"))
        left_out += members[math.ceil(fraction * len(members)) :]
    return _assign(index, {LEFT_OUT: left_out})


def test_only(index: DataIndex) -> DataIndex:
    """Every image is a test image: for evaluating on other data."""
    return _assign(index, {}, rest=TEST)


def from_manifest(index: DataIndex, path: Path) -> DataIndex:
    """The splits that a frozen `split.csv` (or a manifest with a column split) gives the images.

    Images are matched by content, and by path where their content is not in the file. Raises
    DataError that lists images without a row, and for an unknown split.
    """
    rows = read_split(path)
    if not any(row.split for row in rows):
        raise DataError(f"{path}: gives no image a split. Fill the column split.")
    names = [relative_posix(index.root / row.path, index.root) for row in rows]
    by_path = {name: row.split for name, row in zip(names, rows, strict=True)}
    by_content = {row.sha256: row.split for row in rows if row.sha256}
    by_both = {(row.sha256, name): row.split for name, row in zip(names, rows, strict=True)}
    missing, changed, samples = [], 0, []
    for sample in index.samples:
        split = by_both.get((sample.sha256, sample.path), by_content.get(sample.sha256))
        if split is None:
            split = by_path.get(sample.path)
            changed += split is not None
        if split is None:
            missing.append(sample.path)
        samples.append(replace(sample, split=split or ""))
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(index)} images have no row, by content or by path:"
            f"{list_lines(missing)}"
            "Point split.path to the split of these images, or choose another split."
        )
    if by_content and changed:
        log.warning("%s: %d images have changed since; matched by path.", path, changed)
    if len(rows) > len(index):
        log.warning("%s: has %d rows, the data set %d images.", path, len(rows), len(index))
    _warn_of_leaks(samples, path)
    return replace(index, samples=tuple(samples))


def _warn_of_leaks(samples: Sequence[Sample], path: Path) -> None:
    """Warn of equal images, or images of one part, in train and in another split."""
    of_group: dict[str, dict[str, str]] = {}
    for sample in samples:
        if sample.split in SPLITS:
            of_group.setdefault(sample.group, {}).setdefault(sample.split, sample.path)
    leaks = [paths for paths in of_group.values() if len(paths) > 1 and TRAIN in paths]
    if leaks:
        log.warning(
            "%s: %d groups of equal or nearly equal images are in train and in another split "
            "(%s): metrics of that split are optimistic.",
            path,
            len(leaks),
            "; ".join(f"{split} {name}" for split, name in leaks[0].items()),
        )


def _without(groups: Sequence[Group], rows: Iterable[int]) -> list[Group]:
    taken = set(rows)
    return [group for group in groups if taken.isdisjoint(group.rows)]


def _require(index: DataIndex, groups: Sequence[Group], *, minimum: int, reason: str) -> None:
    """Raise DataError that names all classes with fewer groups than the minimum."""
    images = Counter(sample.label for sample in index.samples)
    counts = Counter(label for group in groups for label in group.labels)
    short = [
        f"class {index.classes[label]} has {_describe_count(images[label], counts[label])}, "
        f"at least {minimum} are needed"
        for label in sorted(images)
        if counts[label] < minimum
    ]
    if short:
        raise DataError(
            f"{index.root}: too few images for this split ({reason}): {'; '.join(short)}. "
            "Add images, leave the class out, or choose another split."
        )


def _describe_count(images: int, groups: int) -> str:
    found = f"{images} image{'s' * (images != 1)}"
    return found if images == groups else f"{found} in {groups} groups that stay together"


def _assign(
    index: DataIndex, rows: Mapping[str, Iterable[int]], *, rest: str | None = None
) -> DataIndex:
    """The index with rows in new splits; the others in `rest`, or unchanged where it is None."""
    split_of = {row: split for split, members in rows.items() for row in members}
    samples = tuple(
        replace(sample, split=split_of.get(row, sample.split if rest is None else rest))
        for row, sample in enumerate(index.samples)
    )
    return replace(index, samples=samples)
