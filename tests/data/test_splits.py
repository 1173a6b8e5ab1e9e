"""Splits: parts that are whole, proportional, disjoint and the same for the same images."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from capsule_inspection.data import splits
from capsule_inspection.types import LEFT_OUT, DataError, DataIndex, Sample
from capsule_inspection.types import ConfigurationError as BadSetting

SIXTY = {"train": 0.6, "val": 0.2, "test": 0.2}
HALVES = {"train": 0.5, "val": 0.5}
REAL = (175, 18, 18, 17, 18, 16)
Splitter = Callable[..., DataIndex]
holdout: Splitter = partial(splits.holdout, fractions=SIXTY, seed=0)
kfold: Splitter = partial(splits.kfold, folds=5, fold=0, val_fraction=0.2, seed=0)
one_class: Splitter = partial(splits.one_class, folds=5, fold=0, val_fraction=0.1, seed=0)
val_as_test: Splitter = partial(splits.val_as_test, seed=0)
hold_out_good: Splitter = partial(splits.hold_out_good, split="calibration", fraction=0.2, seed=0)


def make_index(*counts: int, groups: dict[int, str] | None = None) -> DataIndex:
    """`counts[label]` images of each label; `groups` names the group of some rows."""
    samples = []
    for label in (label for label, count in enumerate(counts) for _ in range(count)):
        row = len(samples)
        path, sha256 = f"{label}/{row:05d}.png", hashlib.sha256(str(row).encode()).hexdigest()
        group = (groups or {}).get(row, path)
        samples.append(Sample(path, label, None, sha256, 10, 10, 1, 0, group))
    classes = tuple(f"class{label}" for label in range(len(counts)))
    return DataIndex(Path("/images"), classes, tuple(samples))


def random_index(seed: int) -> DataIndex:
    """Classes of 8 to 60 images, a third of them in groups of one label of 2 or 3."""
    draw = random.Random(seed)
    counts = tuple(draw.randint(8, 60) for _ in range(draw.randint(1, 6)))
    groups, start = {}, 0
    for label, count in enumerate(counts):
        row, end = start, start + count // 3
        while row < end:
            size = draw.randint(2, 3)
            groups |= dict.fromkeys(range(row, row + size), f"group {label} {row}")
            row += size
        start += count
    return make_index(*counts, groups=groups)


SEVERAL = [(make_index(*REAL), 1), *((random_index(seed), 2) for seed in range(25))]
"""Indices, and by how many images a part of a class may be off: groups of 3 fit to two."""


def stages(index: DataIndex) -> dict[str, str]:
    return {sample.sha256: sample.split for sample in index.samples}


def counts_of(index: DataIndex, stage: str) -> Counter[int]:
    return Counter(sample.label for sample in index.samples if sample.split == stage)


def sizes_of(index: DataIndex) -> Counter[str]:
    return Counter(sample.split for sample in index.samples)


def assert_groups_whole(index: DataIndex) -> None:
    parts = {(sample.group, sample.split) for sample in index.samples}
    assert len({sample.group for sample in index.samples}) == len(parts)


def shuffled(index: DataIndex, seed: int) -> DataIndex:
    samples = random.Random(seed).sample(index.samples, len(index.samples))
    return replace(index, samples=tuple(samples))


def test_holdout_keeps_groups_whole_and_classes_proportional() -> None:
    for seed, (index, bound) in enumerate(SEVERAL):
        split = holdout(index, seed=seed)
        assert_groups_whole(split)
        for stage, share in SIXTY.items():
            found = counts_of(split, stage)
            for label, count in Counter(sample.label for sample in index.samples).items():
                assert found[label] >= 1, (seed, stage, label)
                assert abs(found[label] - share * count) < bound, (seed, stage, label)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_test_parts_of_all_folds_are_the_data_set(folds: int) -> None:
    for seed, (index, bound) in enumerate(SEVERAL[:13]):
        totals = Counter(sample.label for sample in index.samples)
        times: Counter[str] = Counter()
        sizes = []
        for fold in range(folds):
            split = kfold(index, folds=folds, fold=fold, val_fraction=0.25, seed=seed)
            assert_groups_whole(split)
            tested = [sample.sha256 for sample in split.samples if sample.split == "test"]
            times.update(tested)
            sizes.append(len(tested))
            test, val, train = (counts_of(split, stage) for stage in ("test", "val", "train"))
            for label, count in totals.items():
                assert abs(test[label] - count / folds) < bound, (seed, fold, label)
                assert abs(val[label] - (count - test[label]) / 4) < bound, (seed, fold, label)
                assert min(val[label], train[label]) >= 1, (seed, fold, label)
        assert times == Counter(sample.sha256 for sample in index.samples), seed
        assert bound > 1 or max(sizes) - min(sizes) <= 1, seed


def test_splits_keep_groups_whole_and_do_not_depend_on_the_order_of_the_images() -> None:
    for seed in range(10):
        index = random_index(seed)
        other = shuffled(index, seed)
        for make in (holdout, partial(kfold, folds=4, fold=1), val_as_test):
            split, of_other = make(index, seed=3), make(other, seed=3)
            assert_groups_whole(split)
            assert stages(split) == stages(of_other)
            assert [r.path for r in of_other.samples] == [r.path for r in other.samples]


def test_the_parts_of_a_seed_and_of_small_data_sets_are_these() -> None:
    # A change of these would silently make all recorded figures incomparable.
    split = holdout(make_index(10, 5))
    assert "".join(sample.split[1] for sample in split.samples) == "rerraarrrerrear"
    assert stages(holdout(make_index(10, 5), seed=1)) != stages(split)
    assert sizes_of(holdout(make_index(4, 2), fractions=HALVES)) == {"train": 3, "val": 3}
    assert sizes_of(kfold(make_index(10, 5), val_fraction=0)) == {"train": 12, "test": 3}
    assert sizes_of(val_as_test(make_index(219, 23, 22, 21, 23, 20))) == {"train": 262, "val": 66}
    assert sizes_of(splits.test_only(make_index(2, 1))) == {"test": 3}
    smallest = (
        holdout(make_index(50, 3)),
        kfold(make_index(20, 5)),
        kfold(make_index(20, 4), folds=2),
    )
    for found in smallest:
        assert all(counts_of(found, stage)[1] for stage in SIXTY)


SAME = dict.fromkeys((50, 51, 52), "same")
PAIRS = {0: "a", 2: "a", 3: "b", 4: "b", 1: "c", 5: "c"}
"""Each of two of three classes: wherever the third goes, one class is in one part."""
SMALL = make_index(20, 20)
REFUSED: list[tuple[Splitter, DataIndex, dict, type[Exception], str]] = [
    (holdout, make_index(50, 1, 2), {}, DataError, "1 has 1 image, at least 3 .*2 has 2 images"),
    (holdout, make_index(50, 3, groups=SAME), {}, DataError, "has 3 images in 1 groups that stay"),
    (holdout, make_index(2, 2, 2, groups=PAIRS), {"fractions": HALVES}, DataError, "stay together"),
    (kfold, make_index(20, 4), {}, DataError, "class1 has 4 images, at least 5"),
    (kfold, make_index(20, 3), {"folds": 2}, DataError, "class1 has 3 images, at least 4"),
    (val_as_test, make_index(1), {}, DataError, "split=val_as_test needs at least 2"),
    (
        val_as_test,
        make_index(2, groups={0: "a", 1: "a"}),
        {},
        DataError,
        "larger than the 1 images",
    ),
    (one_class, make_index(4, 9), {}, DataError, "at least 5 good images.*found 4"),
    (hold_out_good, make_index(3, 3), {}, DataError, "0 good training images; at least 2"),
    (one_class, SMALL, {"val_fraction": 0}, BadSetting, r"split\.val=0"),
]


@pytest.mark.parametrize(("make", "index", "change", "error", "message"), REFUSED)
def test_too_few_images_and_impossible_settings_are_refused_by_name(
    make: Splitter, index: DataIndex, change: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(index, **change)


def test_one_class_tests_every_defect_and_each_good_image_in_one_fold() -> None:
    times: Counter[str] = Counter()
    for fold in range(5):
        split = one_class(make_index(*REAL), fold=fold)
        assert counts_of(split, "test") == Counter(dict(enumerate((35, *REAL[1:]))))
        assert counts_of(split, "val") == {0: 14}
        assert counts_of(split, "train") == {0: 126}
        times.update(r.sha256 for r in split.samples if r.split == "test" and r.label == 0)
    assert len(times) == 175
    assert set(times.values()) == {1}
    # Good images that stay together with a defect are test images.
    index = make_index(20, 3, groups={0: "both", 20: "both", 5: "good", 6: "good"})
    split = one_class(index, folds=4, fold=1, val_fraction=0.2)
    assert split.samples[0].split == "test"
    assert_groups_whole(split)


def test_a_set_aside_stage_comes_from_the_good_training_images_alone() -> None:
    index = kfold(make_index(*REAL), val_fraction=0.15)
    aside = hold_out_good(index)
    assert counts_of(aside, "calibration") == {0: round(0.2 * counts_of(index, "train")[0])}
    assert counts_of(aside, "test") == counts_of(index, "test")
    assert counts_of(aside, "val") == counts_of(index, "val")
    assert hold_out_good(aside, fraction=0.5) is aside
    grouped = make_index(30, 4, groups={1: "a", 2: "a", 3: "b", 4: "b", 5: "b"})
    assert_groups_whole(hold_out_good(one_class(grouped), fraction=0.3))


def test_a_share_of_the_training_defects_is_kept_of_each_class_and_all_else() -> None:
    index = holdout(make_index(40, 20, 10))
    assert splits.subsample_defects(index, 1.0, seed=0) is index
    kept: dict[float, set[str]] = {}
    for share, counts in [(0.5, (6, 3)), (0.25, (3, 2)), (0.01, (1, 1)), (0.0, (0, 0))]:
        found = splits.subsample_defects(index, share, seed=0)
        train = [sample for sample in found.samples if sample.split == "train"]
        assert tuple(sum(r.label == label for r in train) for label in range(3)) == (24, *counts)
        for before, after in zip(index.samples, found.samples, strict=True):
            assert after.split in (before.split, LEFT_OUT)
            assert before.split == "train" or after.split == before.split
        kept[share] = {sample.path for sample in train}
    assert kept[0.01] < kept[0.25] < kept[0.5]
    assert splits.subsample_defects(index, 0.5, seed=1) != splits.subsample_defects(
        index, 0.5, seed=0
    )
