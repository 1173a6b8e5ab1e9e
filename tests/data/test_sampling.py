"""Sampling is a function of seed and epoch, balances classes, and mixes what is shown."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from capsule_inspection.data import sampling
from capsule_inspection.data.sampling import PAINTED, PASTED, PLAIN, Draw, Share, Shares

INDICES = list(range(100, 130))
LABELS = [0] * 20 + [1] * 7 + [2] * 3
DEFAULT = Shares(painted=0.4, pasted=0.2, defects=0.2)


def draws(
    kind: str, *, count: int = 30, seed: int = 0, epoch: int = 0, **settings: object
) -> list[Draw]:
    """An epoch of the first images, which is as long as the sampler tells."""
    if kind == "mixed":
        settings = {"shares": DEFAULT, "views": 3, **settings}
    sampler = sampling.EpochSampler(
        INDICES[:count],
        LABELS[:count],
        kind=kind,
        seed=seed,
        **settings,  # type: ignore[arg-type]
    )
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def label_of(draw: Draw) -> int:
    return LABELS[INDICES.index(draw.row)]


def in_turn(shared: list[list[Draw]]) -> list[Draw]:
    return [draw for step in zip(*shared, strict=True) for draw in step]


def spread(counts: list[int]) -> int:
    return max(counts, default=0) - min(counts, default=0)


def test_natural_sampling_shows_each_image_once_and_balanced_each_class_equally_often() -> None:
    assert sorted(draws("natural")) == [Draw(index, 0, PLAIN) for index in INDICES]
    drawn = draws("balanced")
    assert np.bincount([label_of(draw) for draw in drawn]).tolist() == [10, 10, 10]
    rows = [draw.row for draw in drawn]
    assert sorted(rows.count(index) for index in INDICES[27:]) == [3, 3, 4]


@pytest.mark.parametrize("kind", ["natural", "balanced", "mixed"])
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(kind: str) -> None:
    once = draws(kind, seed=3, epoch=5)
    assert once == draws(kind, seed=3, epoch=5)
    assert once != draws(kind, seed=3, epoch=6)
    assert once != draws(kind, seed=4, epoch=5)


def test_repeated_draws_of_an_image_are_numbered_whatever_is_done_to_it() -> None:
    assert sampling.number_draws([5, 7, 5, 5]) == [(5, 0, 0), (7, 0, 0), (5, 1, 0), (5, 2, 0)]
    found = sampling.number_draws([5, 5, 7, 5], [PLAIN, PAINTED, PAINTED, PASTED])
    assert found == [(5, 0, PLAIN), (5, 1, PAINTED), (7, 0, PAINTED), (5, 2, PASTED)]


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("kind", ["natural", "balanced"])
def test_processes_share_the_draws_of_one(kind: str, processes: int) -> None:
    shares = [Share(rank, processes) for rank in range(processes)]
    together = in_turn([draws(kind, count=29, epoch=4, share=share) for share in shares])
    assert together == draws(kind, count=29, epoch=4)[: 29 // processes * processes]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_evaluate_each_image_once_in_equally_many_batches(processes: int) -> None:
    for images in (4, 7, 8, 9, 16, 17, 64):
        all_draws = [Draw(index, 0) for index in range(images)]
        for batch_size in (1, 2, 8):
            shares = [
                Share(rank, processes).of_evaluation(all_draws, batch_size=batch_size)
                for rank in range(processes)
            ]
            assert sorted(d for share in shares for batch in share for d in batch) == all_draws
            assert len({len(share) for share in shares}) == 1
            assert all(batch for share in shares for batch in share)


def mix(
    shares: Shares = DEFAULT, count: int = 240, *, labels: list[int] = LABELS
) -> list[tuple[int, int, int]]:
    """Row, label and what is done to it, of each draw."""
    rng = np.random.default_rng(0)
    drawn = sampling.mixed_order(np.array(INDICES), np.array(labels), shares, count, rng)
    return [(row, labels[INDICES.index(row)], change) for row, change in zip(*drawn, strict=True)]


@pytest.mark.parametrize(
    "three",
    [
        *((0.4, 0.2, 0.2), (0.3, 0.3, 0.3), (0.1, 0.2, 0.3), (0.0, 0.0, 0.5), (0.5, 0.0, 0.5)),
        *((0.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        *((0.33, 0.21, 0.17), (0.05, 0.65, 0.02), (0.27, 0.65, 0.04)),
    ],
)
def test_shares_are_kept_to_one_draw_and_tenths_by_every_ten_successive_draws(three: tuple) -> None:
    order = {PAINTED: 0, PASTED: 1}
    drawn = [order.get(change, 2 if label else 3) for _, label, change in mix(Shares(*three))]
    counts = np.concatenate([np.zeros((1, 4)), np.eye(4)[drawn].cumsum(0)])
    four = np.array([*three, 1 - sum(three)])
    assert np.abs(counts - np.arange(241)[:, None] * four).max() < 1
    if all(10 * share == round(10 * share) for share in three):
        assert np.abs(counts[10:] - counts[:-10] - 10 * four).max() < 1e-9


def test_only_good_images_are_given_defects_and_all_of_a_part_take_turns() -> None:
    drawn = mix()
    assert all(change == PLAIN or label == 0 for _, label, change in drawn)
    labels = [label for _, label, _ in drawn if label]
    assert len(labels) == 48
    assert all(one != next_one for one, next_one in pairwise(labels))
    for change in (PLAIN, PAINTED, PASTED):
        rows = [row for row, label, found in drawn if found == change and not label]
        assert spread([rows.count(row) for row in INDICES[:20]]) <= 1, change
    defects = mix(Shares(0.0, 0.0, 1.0), 61)
    assert sorted(np.bincount([label for _, label, _ in defects])[1:]) == [30, 31]
    for members in (INDICES[20:27], INDICES[27:]):
        assert spread([[row for row, _, _ in defects].count(row) for row in members]) <= 1


def test_without_good_images_there_are_defects_alone() -> None:
    drawn = mix(labels=[1] * 20 + [2] * 10)
    assert {change for _, _, change in drawn} == {PLAIN}
    assert np.bincount([label for _, label, _ in drawn]).tolist() == [0, 120, 120]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (DEFAULT, {PAINTED: 120, PASTED: 60, PLAIN: 60}),
        (Shares(0.0, 0.0, 0.5), {PLAIN: 240}),
        (Shares(0.0, 0.0, 1.0), {PLAIN: 240}),
        (Shares(0.5, 0.0, 0.5), {PAINTED: 240}),
    ],
)
def test_without_defects_good_images_take_their_place(shares: Shares, expected: dict) -> None:
    drawn = mix(shares, labels=[0] * 30)
    assert Counter(change for _, _, change in drawn) == expected
    assert {label for _, label, _ in drawn} == {0}


def test_processes_share_a_mixed_epoch_stretch_by_stretch_and_each_sees_all_parts() -> None:
    alone = draws("mixed")
    assert len(alone) == 90
    assert [draw.change for draw in alone].count(PAINTED) == 36
    together = in_turn([draws("mixed", share=Share(rank, 2)) for rank in range(2)])
    for start in range(0, len(alone), 16):
        assert sorted(together[start : start + 16]) == sorted(alone[start : start + 16])
    for rank in range(2):
        drawn = draws("mixed", shares=Shares(0.25, 0.25, 0.25), views=8, share=Share(rank, 2))
        changes = [draw.change for draw in drawn]
        assert all(0.1 < changes.count(change) / len(changes) < 0.4 for change in (PAINTED, PASTED))


@pytest.mark.parametrize("shares", [DEFAULT, Shares(0.25, 0.25, 0.2), Shares(0.25, 0.25, 0.0)])
def test_what_is_shown_of_each_batch_has_the_shares_of_the_mixture(shares: Shares) -> None:
    shown_of = sampling.Shown(32, lambda epoch: 32 if epoch == 0 else 5)
    every, drawn = (
        draws("mixed", epoch=epoch, shares=shares, views=64, shown=shown_of) for epoch in (0, 1)
    )
    shown = [draw for place, draw in enumerate(drawn) if place % 32 < 5]
    assert len(every) == len(drawn) == 64 * len(INDICES)
    for share, change in ((shares.painted, PAINTED), (shares.pasted, PASTED)):
        for found in (every, shown):
            of_change = sum(draw.change == change for draw in found)
            assert of_change == pytest.approx(share * len(found), abs=1)
    seen = Counter(label_of(draw) for draw in shown if draw.change == PLAIN and label_of(draw))
    assert spread(list(seen.values())) <= 1
    assert sum(seen.values()) == pytest.approx(shares.defects * len(shown), abs=1)


@pytest.mark.parametrize("shares", [None, DEFAULT])
@pytest.mark.parametrize("left_out", [0, 7])
def test_an_epoch_is_as_long_as_with_the_images_left_out_and_draws_none_twice(
    shares: Shares | None, left_out: int
) -> None:
    drawn = draws("balanced", shares=shares, views=2, left_out=left_out)
    assert len(drawn) == 2 * (len(INDICES) + left_out)
    assert len({(draw.row, draw.number) for draw in drawn}) == len(drawn)
