"""`split=auto`: whether the split that a data set brings suits the task, and what is used if not.

A data set brings a split by its folders (train, val, test) or by a column of a table. splits.py
assigns the images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Set

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import (
    GOOD_LABEL,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
)

log = logging.getLogger(__name__)
_SHOWN = 12


def choose_split(
    index: DataIndex, auto: DictConfig, *, one_class: bool, every_class: bool
) -> DictConfig:
    """The settings of the split that `split=auto` stands for; the log says which and why.

    A `one_class` task trains on good images only. Others need training images with defects, of
    `every_class` if so. Raises DataError where the data set's own split leaves training images out
    that the task needs, ConfigurationError for a setting that the split does not use.
    """
    fallback = auto.one_class if one_class else auto.holdout
    if auto.fold is not None or auto.folds is not None:
        reason = "split.fold and split.folds ask for cross-validation"
    elif not _own_splits(index):
        _refuse_half_named(index)
        return _with_values(fallback.copy(), auto, unused=set())
    else:
        _require_training(index, every_class=every_class and not one_class)
        reason = _one_class_obstacle(index) if one_class else _obstacle(index)
    if reason:
        log.info("split=auto: split=%s is used, since %s.", fallback.name, reason)
        return _with_values(fallback.copy(), auto, unused=set())
    log.info("split=auto: the data set's own split is used: %s.", describe_splits(index))
    own = OmegaConf.create({**auto.holdout, "name": "dataset"})
    brought = {VAL, TEST} & _own_splits(index)
    unused = {*brought, *({"seed"} if brought == {VAL, TEST} else ())}
    return _with_values(own, auto, unused=unused)


def brings_split(index: DataIndex) -> bool:
    """Whether a data set has a split of its own that is more than good images for training."""
    own = _own_splits(index)
    return TRAIN in own and (VAL in own or not _obstacle(index))


def describe_splits(index: DataIndex) -> str:
    """The numbers of images, as in "train 120, val 30, test 40"; "" without any split."""
    counts = Counter(sample.split for sample in index.samples)
    return ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])


def _own_splits(index: DataIndex) -> Set[str]:
    """The splits that the data set names; none where all images are of one."""
    own = {sample.split for sample in index.samples} & {TRAIN, VAL, TEST}
    return own if len(own) > 1 else set()


def _refuse_half_named(index: DataIndex) -> None:
    """Raise DataError where some images are of one split and the others of none."""
    if len({sample.split for sample in index.samples}) > 1:
        raise DataError(
            f"{index.root}: the data set names a split for some images "
            f"({describe_splits(index)} of {len(index)}), and "
            "none for the others. Name theirs too (train, val or test), or set split=holdout to "
            "assign all images anew."
        )


def _require_training(index: DataIndex, *, every_class: bool) -> None:
    """Raise DataError where the data set's own split has too little to train on."""
    train = _labels(index, TRAIN)
    remedy = "or set split=holdout to assign all images anew"
    if not train:
        raise DataError(
            f"{index.root}: the data set's own split has no training images "
            f"({describe_splits(index)}). Add them, {remedy}."
        )
    lacking = sorted((_labels(index, VAL) | _labels(index, TEST)) - train)
    if every_class and lacking and not _obstacle(index):
        names = [index.classes[label] for label in lacking]
        raise DataError(
            f"{index.root}: the data set's own split ({describe_splits(index)}) has no training "
            f"image of {list_first(names, _SHOWN)}, so it could never be predicted. Add some, "
            f'leave the class out ("data.class_map={{{names[0]}:null}}"), {remedy}.'
        )


def _obstacle(index: DataIndex) -> str:
    """Why a task that learns defects does not use the data set's own split; "" if it does."""
    if _labels(index, TRAIN) == {GOOD_LABEL}:
        return f"the data set's own split ({describe_splits(index)}) trains on good images only"
    return ""


def _one_class_obstacle(index: DataIndex) -> str:
    """As `_obstacle`, for a task that trains on good images only."""
    described = f"the data set's own split ({describe_splits(index)})"
    for split in (VAL, TEST):
        if not _labels(index, split):
            return f"{described} has no {split} images"
    if (_labels(index, TRAIN) | _labels(index, VAL)) != {GOOD_LABEL}:
        return f"{described} has defects in train or val"
    return ""


def _labels(index: DataIndex, split: str) -> set[int]:
    return {sample.label for sample in index.samples if sample.split == split}


def _with_values(chosen: DictConfig, auto: DictConfig, *, unused: Set[str]) -> DictConfig:
    """The chosen split with the values that are set in `split=auto`."""
    for key in ("val", "test", "folds", "fold", "seed"):
        if auto[key] is None:
            continue
        if key not in chosen or key in unused:
            raise ConfigurationError(
                f"split.{key}={auto[key]}: split=auto became split={chosen.name}, which does not "
                "use it. Remove it, or choose a split with such a setting: split=holdout (val, "
                "test, seed) or split=kfold (folds, fold, val, seed)."
            )
        chosen[key] = auto[key]
    return chosen
