"""`split=auto`: the data set's own split where it suits the task, else the task's default."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from capsule_inspection.data.splits import assign_split
from capsule_inspection.types import ConfigurationError, DataError, DataIndex, Sample

Compose = Callable[..., DictConfig]
CLASSES = ("good", "crack", "dent")
FULL = {"train": (8, 6, 6), "val": (4, 3, 3), "test": (4, 3, 3)}
ONE_CLASS = {"train": (12, 0, 0), "val": (4, 0, 0), "test": (4, 3, 3)}
MVTEC = {"train": (12, 0, 0), "test": (5, 5, 5)}


def index_of(splits: dict[str, tuple[int, ...]], groups: dict[int, str] | None = None) -> DataIndex:
    """Numbers of images of each class in each split of a data set."""
    samples: list[Sample] = []
    for split, counts in splits.items():
        for label in (label for label, count in enumerate(counts) for _ in range(count)):
            row = len(samples)
            sha256 = hashlib.sha256(str(row).encode()).hexdigest()
            group = (groups or {}).get(row, str(row))
            samples.append(Sample(f"{row}.png", label, None, sha256, 9, 9, 1, 0, group, split))
    return DataIndex(Path("/parts"), CLASSES, tuple(samples))


def sizes(index: DataIndex) -> dict[str, int]:
    return dict(Counter(sample.split for sample in index.samples))


@pytest.fixture
def assign(compose: Compose) -> Callable[..., tuple[DataIndex, DictConfig]]:
    """The index with its split, and the configuration, in which auto is replaced."""

    def assign(
        index: DataIndex, *settings: str, one_class: bool = False, every_class: bool = True
    ) -> tuple[DataIndex, DictConfig]:
        key = ("model=autoencoder" if one_class else "model=custom_resnet", *settings)
        if key not in COMPOSED:
            COMPOSED[key] = compose("train", *key)
        config = COMPOSED[key].copy()
        return assign_split(index, config, one_class=one_class, every_class=every_class), config

    return assign


COMPOSED: dict[tuple[str, ...], DictConfig] = {}
"""Composing takes most of the time of these tests."""
Assign = Callable[..., tuple[DataIndex, DictConfig]]


def test_the_split_that_a_data_set_brings_is_used_and_said(
    assign: Assign, caplog: pytest.LogCaptureFixture
) -> None:
    index = index_of(FULL)
    with caplog.at_level(logging.INFO):
        found, config = assign(index)
    assert found == index
    assert config.split == {"name": "dataset", "val": 0.2, "test": 0.2, "seed": 0}
    assert "own split is used: train 20, val 10, test 10" in caplog.text
    assert assign(index, "split=dataset")[0] == index
    assert assign(index_of(ONE_CLASS), one_class=True)[0] == index_of(ONE_CLASS)


@pytest.mark.parametrize(
    ("splits", "one_class", "name", "reason"),
    [
        ({"": (12, 8, 8)}, False, "holdout", ""),
        ({"train": (12, 8, 8)}, False, "holdout", ""),
        (MVTEC, False, "holdout", r"\(train 12, test 15\) trains on good images only"),
        (ONE_CLASS, False, "holdout", "trains on good images only"),
        (MVTEC, True, "one_class", "has no val images"),
        (FULL, True, "one_class", "has defects in train or val"),
    ],
)
def test_otherwise_the_split_is_the_one_that_the_task_had(
    assign: Assign,
    caplog: pytest.LogCaptureFixture,
    splits: dict[str, tuple[int, ...]],
    one_class: bool,
    name: str,
    reason: str,
) -> None:
    with caplog.at_level(logging.INFO):
        found, config = assign(index_of(splits), one_class=one_class)
    explicit, same = assign(index_of(splits), f"split={name}", one_class=one_class)
    assert found == explicit
    assert config.split == same.split
    assert bool(caplog.text) == bool(reason)
    assert re.search(
        f"split=auto: split={name} is used, since .*{reason}" if reason else "", caplog.text
    )


def test_what_a_data_set_does_not_bring_is_taken_from_its_training_images(assign: Assign) -> None:
    groups = dict.fromkeys((0, 1, 40), "one part")  # rows 0 and 1 are in train, 40 in test
    index = index_of({"train": (20, 10, 10), "test": (6, 3, 3)}, groups)
    found, _ = assign(index)
    assert sizes(found) == {"train": 32, "val": 8, "test": 12}
    assert [s.split == "test" for s in found.samples] == [row >= 40 for row in range(52)]
    assert found.samples[0].split == found.samples[1].split
    assert assign(index)[0] == found
    assert sizes(assign(index, "split.val=0.3")[0])["val"] == 12
    both, _ = assign(index_of({"train": (20, 10, 10), "val": (6, 3, 3)}))
    assert sizes(both) == {"train": 32, "test": 8, "val": 12}


def test_what_is_odd_in_the_own_split_is_warned_of(
    assign: Assign, caplog: pytest.LogCaptureFixture
) -> None:
    leaks = dict.fromkeys((0, 25), "one part")
    assign(index_of({"train": (8, 6, 6), "val": (4, 2, 2), "test": (4, 3), "": (2,)}, leaks))
    assert "gives 2 images no split (35.png, 36.png)" in caplog.text
    assert "test split has no image of dent" in caplog.text
    assert "1 group of equal or nearly equal images" in caplog.text


def test_an_explicit_split_is_obeyed_and_says_that_the_own_one_is_not_used(
    assign: Assign, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found, config = assign(index_of(FULL), "split=kfold", "split.fold=1")
    assert config.split.name == "kfold"
    assert found != index_of(FULL)
    assert "own split (train 20, val 10, test 10) is not used" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assign(index_of(MVTEC), "split=kfold")
    assert not caplog.records


def test_folds_of_one_class_models_need_no_further_setting(assign: Assign) -> None:
    found, config = assign(index_of(ONE_CLASS), "split.fold=2", one_class=True)
    assert (config.split.name, config.split.fold, config.split.folds) == ("one_class", 2, 5)
    assert found == assign(index_of(ONE_CLASS), "split=one_class", "split.fold=2")[0]


LACKING = {**FULL, "train": (8, 6, 0)}
REFUSED: dict[str, tuple[dict[str, tuple[int, ...]], list[str], type[Exception], str]] = {
    "a class is not in train": (
        LACKING,
        [],
        DataError,
        r"no training image of dent.*data\.class_map=\{dent:null\}.*split=holdout",
    ),
    "no training images": ({"val": (4, 4), "test": (4, 4)}, [], DataError, "no training images"),
    "half of the images have no split": (
        {"test": (4, 4), "": (8, 8)},
        [],
        DataError,
        r"for some images \(test 8 of 24\), and none for the others",
    ),
    "dataset without a split": ({"": (9, 9)}, ["split=dataset"], DataError, "found no split"),
    "dataset with one split": ({"train": (9, 9)}, ["split=dataset"], DataError, "found train 18"),
    "a fraction of what is brought": (FULL, ["split.val=0.3"], ConfigurationError, "split=holdout"),
    "a seed for nothing": (FULL, ["split.seed=3"], ConfigurationError, "does not use it"),
    "one image for two splits": (
        {"train": (8, 1), "test": (3, 3)},
        [],
        DataError,
        r"val are taken from train\): class crack has 1 image",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_split_that_cannot_be_used_is_refused_with_a_remedy(assign: Assign, case: str) -> None:
    splits, settings, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        assign(index_of(splits), *settings)


def test_classes_without_training_images_are_no_fault_where_classes_do_not_count(
    assign: Assign,
) -> None:
    assert assign(index_of(LACKING), every_class=False)[0] == index_of(LACKING)
