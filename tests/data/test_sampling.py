"""Sampling is a function of seed and epoch, and balances classes."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.data.sampling import EpochSampler, number_draws

INDICES = list(range(100, 130))
LABELS = [0] * 20 + [1] * 7 + [2] * 3


def draws(kind: str, *, seed: int = 0, epoch: int = 0) -> list[tuple[int, int]]:
    sampler = EpochSampler(INDICES, LABELS, kind=kind, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_natural_sampling_shows_each_image_once() -> None:
    assert sorted(draws("natural")) == [(index, 0) for index in INDICES]


def test_balanced_sampling_shows_each_class_equally_often() -> None:
    drawn = [LABELS[INDICES.index(index)] for index, _ in draws("balanced")]
    assert np.bincount(drawn).tolist() == [10, 10, 10]


def test_balanced_sampling_leaves_no_rare_image_out() -> None:
    drawn = [index for index, _ in draws("balanced")]
    counts = {index: drawn.count(index) for index in INDICES[27:]}
    assert sorted(counts.values()) == [3, 3, 4]


@pytest.mark.parametrize("kind", ["natural", "balanced"])
def test_the_same_seed_and_epoch_give_the_same_order(kind: str) -> None:
    assert draws(kind, seed=3, epoch=5) == draws(kind, seed=3, epoch=5)
    assert draws(kind, seed=3, epoch=5) != draws(kind, seed=3, epoch=6)
    assert draws(kind, seed=3, epoch=5) != draws(kind, seed=4, epoch=5)


def test_an_epoch_is_as_long_as_the_training_part() -> None:
    sampler = EpochSampler(INDICES, LABELS, kind="balanced", seed=0)
    assert len(sampler) == len(list(sampler)) == len(INDICES)


def test_repeated_draws_of_an_image_are_numbered() -> None:
    assert number_draws([5, 7, 5, 5]) == [(5, 0), (7, 0), (5, 1), (5, 2)]
