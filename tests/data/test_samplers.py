"""Sampling is a function of seed and epoch, balances classes, and keeps mixture weights."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from capsule_inspection.data import samplers
from capsule_inspection.data.samplers import (
    COPY_PASTE,
    NO_DEFECT,
    SYNTHETIC,
    DistributedShard,
    MixtureWeights,
    SampleRef,
)

INDICES = list(range(100, 130))
LABELS = [0] * 20 + [1] * 7 + [2] * 3
DEFAULT = MixtureWeights(synthetic=0.4, copy_paste=0.2, real=0.2)


def draw(
    order: str, *, count: int = 30, seed: int = 0, epoch: int = 0, **settings: Any
) -> list[SampleRef]:
    """An epoch of the first images, which is as long as the sampler's length."""
    indices, labels = INDICES[:count], LABELS[:count]
    sampler: samplers.EpochSampler
    if order == "mixture":
        usual = {"weights": DEFAULT, "repeats": 3, "batch_size": 32}
        usual["effective_batch_size"] = lambda epoch: 32
        sampler = samplers.MixtureSampler(indices, labels, seed=seed, **(usual | settings))
    else:
        sampler = samplers.EpochSampler(indices, labels, order=order, seed=seed, **settings)
    sampler.set_epoch(epoch)
    refs = list(sampler)
    assert len(refs) == len(sampler)
    return refs


def label_of(ref: SampleRef) -> int:
    return LABELS[INDICES.index(ref.row)]


def in_turn(shards: list[list[SampleRef]]) -> list[SampleRef]:
    return [ref for step in zip(*shards, strict=True) for ref in step]


def spread(counts: list[int]) -> int:
    return max(counts, default=0) - min(counts, default=0)


def test_natural_sampling_shows_each_image_once_and_balanced_each_class_equally_often() -> None:
    assert sorted(draw("natural")) == [SampleRef(index, 0, NO_DEFECT) for index in INDICES]
    drawn = draw("balanced")
    assert np.bincount([label_of(ref) for ref in drawn]).tolist() == [10, 10, 10]
    rows = [ref.row for ref in drawn]
    assert sorted(rows.count(index) for index in INDICES[27:]) == [3, 3, 4]


@pytest.mark.parametrize("order", ["natural", "balanced", "mixture"])
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(order: str) -> None:
    once = draw(order, seed=3, epoch=5)
    assert once == draw(order, seed=3, epoch=5)
    assert once != draw(order, seed=3, epoch=6)
    assert once != draw(order, seed=4, epoch=5)


def test_repeats_of_an_image_are_numbered_whatever_defect_is_added() -> None:
    assert samplers.number_repeats([5, 7, 5, 5]) == [(5, 0, 0), (7, 0, 0), (5, 1, 0), (5, 2, 0)]
    found = samplers.number_repeats([5, 5, 7, 5], [NO_DEFECT, SYNTHETIC, SYNTHETIC, COPY_PASTE])
    assert found == [(5, 0, NO_DEFECT), (5, 1, SYNTHETIC), (7, 0, SYNTHETIC), (5, 2, COPY_PASTE)]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("order", ["natural", "balanced"])
def test_shards_together_are_the_samples_of_one_process(order: str, world_size: int) -> None:
    shards = [DistributedShard(rank, world_size) for rank in range(world_size)]
    together = in_turn([draw(order, count=29, epoch=4, shard=shard) for shard in shards])
    assert together == draw(order, count=29, epoch=4)[: 29 // world_size * world_size]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_evaluate_each_image_once_in_equally_many_batches(world_size: int) -> None:
    for images in (4, 7, 8, 9, 16, 17, 64):
        all_refs = [SampleRef(index, 0) for index in range(images)]
        for batch_size in (1, 2, 8):
            shards = [
                DistributedShard(rank, world_size).of_evaluation(all_refs, batch_size=batch_size)
                for rank in range(world_size)
            ]
            assert sorted(ref for shard in shards for batch in shard for ref in batch) == all_refs
            assert len({len(shard) for shard in shards}) == 1
            assert all(batch for shard in shards for batch in shard)


def mix(
    weights: MixtureWeights = DEFAULT, count: int = 240, *, labels: list[int] = LABELS
) -> list[tuple[int, int, int]]:
    """Row, label and added defect of each sample."""
    rng = np.random.default_rng(0)
    drawn = samplers.mixture_order(np.array(INDICES), np.array(labels), weights, count, rng)
    return [(row, labels[INDICES.index(row)], added) for row, added in zip(*drawn, strict=True)]


@pytest.mark.parametrize(
    "three",
    [
        *((0.4, 0.2, 0.2), (0.3, 0.3, 0.3), (0.1, 0.2, 0.3), (0.0, 0.0, 0.5), (0.5, 0.0, 0.5)),
        *((0.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        *((0.33, 0.21, 0.17), (0.05, 0.65, 0.02), (0.27, 0.65, 0.04)),
    ],
)
def test_weights_are_kept_to_one_sample_and_tenths_by_every_ten_samples(three: tuple) -> None:
    order = {SYNTHETIC: 0, COPY_PASTE: 1}
    mixed = mix(MixtureWeights(*three))
    drawn = [order.get(added, 2 if label else 3) for _, label, added in mixed]
    counts = np.concatenate([np.zeros((1, 4)), np.eye(4)[drawn].cumsum(0)])
    four = np.array([*three, 1 - sum(three)])
    assert np.abs(counts - np.arange(241)[:, None] * four).max() < 1
    if all(10 * weight == round(10 * weight) for weight in three):
        assert np.abs(counts[10:] - counts[:-10] - 10 * four).max() < 1e-9


def test_defects_are_added_to_good_images_alone_and_images_take_turns() -> None:
    drawn = mix()
    assert all(added == NO_DEFECT or label == 0 for _, label, added in drawn)
    labels = [label for _, label, _ in drawn if label]
    assert len(labels) == 48
    assert all(one != next_one for one, next_one in pairwise(labels))
    for added in (NO_DEFECT, SYNTHETIC, COPY_PASTE):
        rows = [row for row, label, found in drawn if found == added and not label]
        assert spread([rows.count(row) for row in INDICES[:20]]) <= 1, added
    defects = mix(MixtureWeights(0.0, 0.0, 1.0), 61)
    assert sorted(np.bincount([label for _, label, _ in defects])[1:]) == [30, 31]
    for members in (INDICES[20:27], INDICES[27:]):
        assert spread([[row for row, _, _ in defects].count(row) for row in members]) <= 1


def test_without_good_images_there_are_real_defects_alone() -> None:
    drawn = mix(labels=[1] * 20 + [2] * 10)
    assert {added for _, _, added in drawn} == {NO_DEFECT}
    assert np.bincount([label for _, label, _ in drawn]).tolist() == [0, 120, 120]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (DEFAULT, {SYNTHETIC: 120, COPY_PASTE: 60, NO_DEFECT: 60}),
        (MixtureWeights(0.0, 0.0, 0.5), {NO_DEFECT: 240}),
        (MixtureWeights(0.0, 0.0, 1.0), {NO_DEFECT: 240}),
        (MixtureWeights(0.5, 0.0, 0.5), {SYNTHETIC: 240}),
    ],
)
def test_without_defects_good_images_take_their_place(
    weights: MixtureWeights, expected: dict
) -> None:
    drawn = mix(weights, labels=[0] * 30)
    assert Counter(added for _, _, added in drawn) == expected
    assert {label for _, label, _ in drawn} == {0}


def test_shards_of_a_mixture_share_stretches_and_each_has_all_components() -> None:
    alone = draw("mixture")
    assert len(alone) == 90
    assert [ref.added_defect for ref in alone].count(SYNTHETIC) == 36
    together = in_turn([draw("mixture", shard=DistributedShard(rank, 2)) for rank in range(2)])
    for start in range(0, len(alone), 16):
        assert sorted(together[start : start + 16]) == sorted(alone[start : start + 16])
    for rank in range(2):
        drawn = draw(
            "mixture",
            weights=MixtureWeights(0.25, 0.25, 0.25),
            repeats=8,
            shard=DistributedShard(rank, 2),
        )
        added_defects = [ref.added_defect for ref in drawn]
        assert all(
            0.1 < added_defects.count(added) / len(added_defects) < 0.4
            for added in (SYNTHETIC, COPY_PASTE)
        )


@pytest.mark.parametrize(
    "weights", [DEFAULT, MixtureWeights(0.25, 0.25, 0.2), MixtureWeights(0.25, 0.25, 0.0)]
)
def test_the_used_samples_of_each_batch_keep_the_weights(weights: MixtureWeights) -> None:
    every, drawn = (
        draw(
            "mixture",
            epoch=epoch,
            weights=weights,
            repeats=64,
            effective_batch_size=lambda epoch: 32 if epoch == 0 else 5,
        )
        for epoch in (0, 1)
    )
    used = [ref for place, ref in enumerate(drawn) if place % 32 < 5]
    assert len(every) == len(drawn) == 64 * len(INDICES)
    for weight, added in ((weights.synthetic, SYNTHETIC), (weights.copy_paste, COPY_PASTE)):
        for found in (every, used):
            count = sum(ref.added_defect == added for ref in found)
            assert count == pytest.approx(weight * len(found), abs=1)
    real = Counter(label_of(ref) for ref in used if not ref.added_defect and label_of(ref))
    assert spread(list(real.values())) <= 1
    assert sum(real.values()) == pytest.approx(weights.real * len(used), abs=1)


@pytest.mark.parametrize("order", ["balanced", "mixture"])
@pytest.mark.parametrize("num_left_out", [0, 7])
def test_an_epoch_is_as_long_as_with_the_images_left_out_and_numbers_repeats(
    order: str, num_left_out: int
) -> None:
    refs = draw(order, repeats=2, num_left_out=num_left_out)
    assert len(refs) == 2 * (len(INDICES) + num_left_out)
    assert len({(ref.row, ref.repeat) for ref in refs}) == len(refs)
