"""Sampling is a function of seed and epoch, and balances classes."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.data.sampling import EpochSampler, Share, number_draws

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


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("kind", ["natural", "balanced"])
def test_processes_share_the_draws_of_one(kind: str, processes: int) -> None:
    shared = []
    for rank in range(processes):
        share = Share(rank, processes)
        sampler = EpochSampler(INDICES[:-1], LABELS[:-1], kind=kind, seed=0, share=share)
        sampler.set_epoch(4)
        shared.append(list(sampler))
        assert len(shared[-1]) == len(sampler) == 29 // processes
    whole = EpochSampler(INDICES[:-1], LABELS[:-1], kind=kind, seed=0)
    whole.set_epoch(4)
    together = [draw for step in zip(*shared, strict=True) for draw in step]
    assert together == list(whole)[: len(together)]
    assert 29 - len(together) < processes


@pytest.mark.parametrize("images", [4, 7, 8, 9, 16, 17, 64])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_evaluate_each_image_once_in_equally_many_batches(
    images: int, batch_size: int, processes: int
) -> None:
    all_draws = [(index, 0) for index in range(images)]
    shares = [
        Share(rank, processes).of_evaluation(all_draws, batch_size=batch_size)
        for rank in range(processes)
    ]
    assert sorted(draw for share in shares for batch in share for draw in batch) == all_draws
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)
