"""Splits: parts that are whole, proportional, disjoint and the same for the same images."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from capsule_inspection.contracts import (
    LEFT_OUT,
    ConfigurationError,
    DataError,
    DataIndex,
    ImageRecord,
)
from capsule_inspection.data import splits
from capsule_inspection.data.manifest import write_split_csv

SIXTY = {"train": 0.6, "val": 0.2, "test": 0.2}
REAL = (175, 18, 18, 17, 18, 16)


def make_index(counts: tuple[int, ...], *, groups: dict[int, str] | None = None) -> DataIndex:
    """`counts[label]` images of each label; `groups` names the group of some rows."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    records = tuple(
        ImageRecord(
            path=f"{label}/{row:05d}.png",
            label=label,
            mask=None,
            sha256=hashlib.sha256(str(row).encode()).hexdigest(),
            width=10,
            height=10,
            size_bytes=1,
            modified_ns=0,
            group=(groups or {}).get(row, f"{label}/{row:05d}.png"),
        )
        for row, label in enumerate(labels)
    )
    return DataIndex(
        Path("/images"), tuple(f"class{label}" for label in range(len(counts))), records
    )


def random_index(seed: int) -> DataIndex:
    """Classes of 8 to 60 images, a third of them in groups of one label of 2 or 3."""
    draw = random.Random(seed)
    counts = tuple(draw.randint(8, 60) for _ in range(draw.randint(1, 6)))
    groups, row = {}, 0
    for label, count in enumerate(counts):
        end, row = row + count // 3, row
        start = row
        while row < end:
            for member in range(row, min(row + draw.randint(2, 3), end)):
                groups[member] = f"group {label} {row}"
                row = member + 1
        row = start + count
    return make_index(counts, groups=groups)


def stages(index: DataIndex) -> dict[str, str]:
    return {record.sha256: record.split for record in index.records}


def counts_of(index: DataIndex, stage: str) -> Counter[int]:
    return Counter(record.label for record in index.records if record.split == stage)


def assert_groups_whole(index: DataIndex) -> None:
    assert len({record.group for record in index.records}) == len(
        {(record.group, record.split) for record in index.records}
    )


def shuffled(index: DataIndex, seed: int) -> DataIndex:
    records = list(index.records)
    random.Random(seed).shuffle(records)
    return replace(index, records=tuple(records))


def test_holdout_of_the_real_counts_is_proportional_to_one_image() -> None:
    split = splits.holdout(make_index(REAL), fractions=SIXTY, seed=0)
    for stage, share in SIXTY.items():
        for label, count in enumerate(REAL):
            assert abs(counts_of(split, stage)[label] - share * count) < 1


@pytest.mark.parametrize("seed", range(25))
def test_holdout_keeps_groups_whole_and_classes_proportional(seed: int) -> None:
    index = random_index(seed)
    split = splits.holdout(index, fractions=SIXTY, seed=seed)
    assert_groups_whole(split)
    totals = Counter(record.label for record in index.records)
    for stage, share in SIXTY.items():
        found = counts_of(split, stage)
        for label, count in totals.items():
            assert found[label] >= 1
            assert abs(found[label] - share * count) < 2  # groups of 3 fit to two images


@pytest.mark.parametrize("seed", range(10))
def test_splits_do_not_depend_on_the_order_of_the_images(seed: int) -> None:
    index = random_index(seed)
    other = shuffled(index, seed)
    makers = (
        lambda each: splits.holdout(each, fractions=SIXTY, seed=3),
        lambda each: splits.kfold(each, folds=4, fold=1, val_fraction=0.2, seed=3),
        lambda each: splits.origin(each, seed=3),
    )
    for make in makers:
        assert stages(make(index)) == stages(make(other))
        assert [record.path for record in make(other).records] == [r.path for r in other.records]


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    index = make_index(REAL)
    first, again, other = (splits.holdout(index, fractions=SIXTY, seed=s) for s in (1, 1, 2))
    assert first == again
    assert stages(first) != stages(other)


def test_holdout_is_frozen() -> None:
    # A change of these would silently make all recorded figures incomparable.
    split = splits.holdout(make_index((10, 5)), fractions=SIXTY, seed=0)
    marks = "".join(record.split[1] for record in split.records)
    assert marks == "rerraarrrerrear"


def test_stage_of_size_zero_is_left_out() -> None:
    split = splits.holdout(make_index((4, 2)), fractions={"train": 0.5, "val": 0.5}, seed=0)
    assert Counter(record.split for record in split.records) == {"train": 3, "val": 3}


def test_class_with_as_many_images_as_stages_has_one_in_each() -> None:
    split = splits.holdout(make_index((50, 3)), fractions=SIXTY, seed=0)
    assert [counts_of(split, stage)[1] for stage in SIXTY] == [1, 1, 1]


def test_too_few_images_are_named_with_class_number_and_need() -> None:
    with pytest.raises(DataError, match=r"class1 has 1 image, at least 3 .*class2 has 2 images"):
        splits.holdout(make_index((50, 1, 2)), fractions=SIXTY, seed=0)


def test_images_in_one_group_count_once() -> None:
    index = make_index((50, 3), groups={50: "same", 51: "same", 52: "same"})
    with pytest.raises(DataError, match="class1 has 3 images in 1 groups that stay together"):
        splits.holdout(index, fractions=SIXTY, seed=0)


def test_groups_that_keep_a_class_out_of_a_part_are_an_error() -> None:
    # Three groups, each of two of three classes: wherever the third goes, one class is in one part.
    groups = {0: "a", 2: "a", 3: "b", 4: "b", 1: "c", 5: "c"}
    with pytest.raises(DataError, match="images that stay together"):
        splits.holdout(
            make_index((2, 2, 2), groups=groups), fractions={"train": 0.5, "val": 0.5}, seed=0
        )


@pytest.mark.parametrize(
    "fractions",
    [
        {"train": 0.6, "val": 0.2},
        {"train": 1.2, "val": -0.2},
        {"train": 0.5, "dev": 0.5},
        {"val": 0.5, "test": 0.5},
    ],
)
def test_impossible_fractions_are_refused_by_their_key(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"split\.val"):
        splits.holdout(make_index((9, 9)), fractions=fractions, seed=0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_test_parts_of_all_folds_are_the_data_set(seed: int, folds: int) -> None:
    index = random_index(seed)
    times: Counter[str] = Counter()
    sizes = []
    for fold in range(folds):
        split = splits.kfold(index, folds=folds, fold=fold, val_fraction=0.25, seed=seed)
        assert_groups_whole(split)
        test = [record.sha256 for record in split.records if record.split == "test"]
        times.update(test)
        sizes.append(len(test))
        for label, count in Counter(record.label for record in index.records).items():
            assert abs(counts_of(split, "test")[label] - count / folds) < 2
            assert counts_of(split, "val")[label] >= 1
            assert counts_of(split, "train")[label] >= 1
    assert times == Counter(record.sha256 for record in index.records)


def test_folds_of_the_real_counts_are_equal_to_one_image() -> None:
    index = make_index(REAL)
    sizes = []
    for fold in range(5):
        split = splits.kfold(index, folds=5, fold=fold, val_fraction=0.2, seed=0)
        sizes.append(sum(counts_of(split, "test").values()))
        for label, count in enumerate(REAL):
            rest = count - counts_of(split, "test")[label]
            assert abs(counts_of(split, "test")[label] - count / 5) < 1
            assert abs(counts_of(split, "val")[label] - rest / 5) < 1
    assert max(sizes) - min(sizes) <= 1


def test_kfold_without_val_trains_on_all_the_rest() -> None:
    split = splits.kfold(make_index((10, 5)), folds=5, fold=0, val_fraction=0, seed=0)
    assert Counter(record.split for record in split.records) == {"train": 12, "test": 3}


@pytest.mark.parametrize(("folds", "count", "needed"), [(5, 4, 5), (2, 3, 4)])
def test_kfold_names_how_many_images_it_needs(folds: int, count: int, needed: int) -> None:
    enough = splits.kfold(make_index((20, needed)), folds=folds, fold=0, val_fraction=0.2, seed=0)
    assert all(counts_of(enough, stage)[1] for stage in ("train", "val", "test"))
    with pytest.raises(DataError, match=f"class1 has {count} images, at least {needed}"):
        splits.kfold(make_index((20, count)), folds=folds, fold=0, val_fraction=0.2, seed=0)


@pytest.mark.parametrize("fold", [-1, 5])
def test_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(ConfigurationError, match=r"split\.fold"):
        splits.kfold(make_index((20,)), folds=5, fold=fold, val_fraction=0.2, seed=0)


def test_origin_has_the_origins_66_validation_images() -> None:
    split = splits.origin(make_index((219, 23, 22, 21, 23, 20)), seed=0)
    assert Counter(record.split for record in split.records) == {"train": 262, "val": 66}


@pytest.mark.parametrize("seed", range(10))
def test_origin_keeps_groups_whole(seed: int) -> None:
    split = splits.origin(random_index(seed), seed=seed)
    assert_groups_whole(split)


def test_origin_of_one_image_is_an_error() -> None:
    with pytest.raises(DataError, match="split=origin needs at least 2"):
        splits.origin(make_index((1,)), seed=0)


def test_all_test_makes_every_image_a_test_image() -> None:
    split = splits.all_test(make_index((2, 1)))
    assert {record.split for record in split.records} == {"test"}


@pytest.fixture
def frozen(tmp_path: Path) -> tuple[DataIndex, Path]:
    split = splits.holdout(make_index((10, 6)), fractions=SIXTY, seed=0)
    write_split_csv(split, tmp_path / "split.csv")
    return split, tmp_path / "split.csv"


def test_manifest_gives_back_the_split_it_was_written_from(frozen: tuple[DataIndex, Path]) -> None:
    split, path = frozen
    bare = replace(split, records=tuple(replace(r, split="") for r in split.records))
    assert splits.from_manifest(bare, path) == split
    assert stages(splits.from_manifest(shuffled(bare, 1), path)) == stages(split)


def test_manifest_matches_renamed_images_by_content(frozen: tuple[DataIndex, Path]) -> None:
    split, path = frozen
    renamed = tuple(replace(r, path=f"new/{r.path}", split="") for r in split.records)
    assert stages(splits.from_manifest(replace(split, records=renamed), path)) == stages(split)


def test_manifest_matches_changed_images_by_path_and_says_so(
    frozen: tuple[DataIndex, Path], caplog: pytest.LogCaptureFixture
) -> None:
    split, path = frozen
    first, *rest = split.records
    changed = replace(split, records=(replace(first, sha256="0" * 64, split=""), *rest))
    with caplog.at_level(logging.WARNING):
        assert splits.from_manifest(changed, path).records[0].split == first.split
    assert "1 images have changed" in caplog.text


def test_images_that_the_manifest_lacks_are_listed(frozen: tuple[DataIndex, Path]) -> None:
    split, path = frozen
    new = [replace(split.records[0], path=f"new/{i}.png", sha256=str(i) * 64) for i in range(2)]
    with pytest.raises(DataError, match=r"(?s)2 of 18 images.*new/0\.png.*new/1\.png"):
        splits.from_manifest(replace(split, records=(*split.records, *new)), path)


def test_unknown_stage_in_a_manifest_is_an_error(frozen: tuple[DataIndex, Path]) -> None:
    split, path = frozen
    path.write_text(path.read_text().replace(",train\n", ",training\n"))
    with pytest.raises(DataError, match="training"):
        splits.from_manifest(split, path)


def test_missing_manifest_is_an_error(frozen: tuple[DataIndex, Path]) -> None:
    with pytest.raises(DataError, match="no such file"):
        splits.from_manifest(frozen[0], frozen[1].with_name("none.csv"))


def test_plain_manifest_is_matched_by_path(tmp_path: Path) -> None:
    index = replace(make_index((2, 1)), root=tmp_path)
    lines = ["path,label,split"]
    for record, stage in zip(index.records, ("train", "val", "test"), strict=True):
        index.path_of(record.path).parent.mkdir(exist_ok=True)
        index.path_of(record.path).write_bytes(b"x")
        lines.append(f"{record.path},{index.classes[record.label]},{stage}")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    split = splits.from_manifest(index, tmp_path / "split.csv")
    assert [record.split for record in split.records] == ["train", "val", "test"]


@pytest.mark.parametrize("fold", range(5))
def test_one_class_tests_every_defect_and_a_fold_of_the_good(fold: int) -> None:
    index = splits.one_class(make_index(REAL), folds=5, fold=fold, val_fraction=0.1, seed=0)
    assert counts_of(index, "test") == Counter(dict(enumerate((35, *REAL[1:]))))
    assert counts_of(index, "val") == Counter({0: 14})
    assert counts_of(index, "train") == Counter({0: 126})


def test_one_class_folds_hold_every_good_image_once() -> None:
    index = make_index(REAL)
    tested = [
        {
            record.sha256
            for record in splits.one_class(
                index, folds=5, fold=fold, val_fraction=0.1, seed=3
            ).records
            if record.split == "test" and record.label == 0
        }
        for fold in range(5)
    ]
    assert sum(map(len, tested)) == 175 == len(set().union(*tested))


def test_good_images_that_stay_together_with_a_defect_are_test_images() -> None:
    index = make_index((20, 3), groups={0: "both", 20: "both", 5: "good", 6: "good"})
    split = splits.one_class(index, folds=4, fold=1, val_fraction=0.2, seed=0)
    assert split.records[0].split == "test"
    assert_groups_whole(split)


def test_too_few_good_images_for_the_folds_are_named_with_how_many_it_takes() -> None:
    with pytest.raises(DataError, match=r"at least 5 good images.*found 4"):
        splits.one_class(make_index((4, 9)), folds=5, fold=0, val_fraction=0.1, seed=0)


def test_a_set_aside_stage_comes_from_the_good_training_images_alone() -> None:
    index = splits.kfold(make_index(REAL), folds=5, fold=0, val_fraction=0.15, seed=0)
    aside = splits.set_aside(index, stage="calibration", share=0.2, seed=0)
    good = counts_of(index, "train")[0]
    assert counts_of(aside, "calibration") == Counter({0: round(0.2 * good)})
    assert counts_of(aside, "test") == counts_of(index, "test")
    assert counts_of(aside, "val") == counts_of(index, "val")
    assert splits.set_aside(aside, stage="calibration", share=0.5, seed=0) is aside


def test_groups_stay_whole_when_a_stage_is_set_aside() -> None:
    index = make_index((30, 4), groups={1: "a", 2: "a", 3: "b", 4: "b", 5: "b"})
    split = splits.one_class(index, folds=5, fold=0, val_fraction=0.1, seed=0)
    assert_groups_whole(splits.set_aside(split, stage="calibration", share=0.3, seed=0))


def test_one_good_training_image_cannot_be_shared() -> None:
    index = splits.all_test(make_index((3, 3)))
    with pytest.raises(DataError, match="0 good training images; at least 2"):
        splits.set_aside(index, stage="calibration", share=0.2, seed=0)


def test_a_share_of_the_training_defects_is_kept_of_each_class_and_all_else() -> None:
    index = splits.holdout(make_index((40, 20, 10)), fractions=SIXTY, seed=0)
    assert splits.keep_defects(index, 1.0, seed=0) is index
    kept: dict[float, set[str]] = {}
    for share, counts in [(0.5, (6, 3)), (0.25, (3, 2)), (0.01, (1, 1)), (0.0, (0, 0))]:
        found = splits.keep_defects(index, share, seed=0)
        train = [record for record in found.records if record.split == "train"]
        assert tuple(sum(r.label == label for r in train) for label in (1, 2)) == counts
        assert sum(r.label == 0 for r in train) == 24
        for before, after in zip(index.records, found.records, strict=True):
            assert after.split in (before.split, LEFT_OUT)
            assert before.split == "train" or after.split == before.split
        kept[share] = {record.path for record in train}
    assert kept[0.01] < kept[0.25] < kept[0.5]
    assert splits.keep_defects(index, 0.5, seed=1) != splits.keep_defects(index, 0.5, seed=0)


def test_a_manifest_that_tears_equal_photographs_apart_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = make_index((4, 4), groups={0: "one", 1: "one"})
    told = ["train", "test", *["train"] * 5, "val"]
    records = [replace(r, split=stage) for r, stage in zip(index.records, told, strict=True)]
    write_split_csv(replace(index, records=tuple(records)), tmp_path / "split.csv")
    splits.from_manifest(index, tmp_path / "split.csv")
    first, second = (record.path for record in records[:2])
    assert "1 photographs, or groups" in caplog.text
    assert f"train {first}; test {second}" in caplog.text


def test_a_split_that_keeps_groups_whole_says_nothing(
    frozen: tuple[DataIndex, Path], caplog: pytest.LogCaptureFixture
) -> None:
    splits.from_manifest(*frozen)
    assert not caplog.records
