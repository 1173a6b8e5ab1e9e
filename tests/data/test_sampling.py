"""Sampling is a function of seed and epoch, balances classes, and mixes what is shown."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from capsule_inspection.data.sampling import (
    PAINTED,
    PASTED,
    PLAIN,
    Draw,
    EpochSampler,
    Share,
    Shares,
    Shown,
    mixed_order,
    number_draws,
)

INDICES = list(range(100, 130))
LABELS = [0] * 20 + [1] * 7 + [2] * 3


def draws(kind: str, *, seed: int = 0, epoch: int = 0) -> list[Draw]:
    sampler = EpochSampler(INDICES, LABELS, kind=kind, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_natural_sampling_shows_each_image_once() -> None:
    assert sorted(draws("natural")) == [Draw(index, 0, PLAIN) for index in INDICES]


def test_balanced_sampling_shows_each_class_equally_often() -> None:
    drawn = [LABELS[INDICES.index(draw.row)] for draw in draws("balanced")]
    assert np.bincount(drawn).tolist() == [10, 10, 10]


def test_balanced_sampling_leaves_no_rare_image_out() -> None:
    drawn = [draw.row for draw in draws("balanced")]
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
    assert number_draws([5, 7, 5, 5]) == [(5, 0, 0), (7, 0, 0), (5, 1, 0), (5, 2, 0)]


def test_numbers_go_on_whatever_is_done_to_an_image() -> None:
    changes = [PLAIN, PAINTED, PAINTED, PASTED]
    assert number_draws([5, 5, 7, 5], changes) == [
        Draw(5, 0, PLAIN),
        Draw(5, 1, PAINTED),
        Draw(7, 0, PAINTED),
        Draw(5, 2, PASTED),
    ]


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
    all_draws = [Draw(index, 0) for index in range(images)]
    shares = [
        Share(rank, processes).of_evaluation(all_draws, batch_size=batch_size)
        for rank in range(processes)
    ]
    assert sorted(draw for share in shares for batch in share for draw in batch) == all_draws
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)


DEFAULT = Shares(painted=0.4, pasted=0.2, defects=0.2)


def mix(
    shares: Shares = DEFAULT, count: int = 240, *, seed: int = 0, labels: list[int] = LABELS
) -> list[tuple[int, int, int]]:
    """Row, label and what is done to it, of each draw."""
    rows = np.array(INDICES)
    drawn = mixed_order(rows, np.array(labels), shares, count, np.random.default_rng(seed))
    return [(row, labels[INDICES.index(row)], change) for row, change in zip(*drawn, strict=True)]


def parts_of(drawn: list[tuple[int, int, int]]) -> np.ndarray:
    """Painted, pasted, defect, good, counted up to each draw: (draws + 1, 4)."""
    parts = [{PAINTED: 0, PASTED: 1}.get(change, 2 if label else 3) for _, label, change in drawn]
    return np.concatenate([np.zeros((1, 4)), np.eye(4)[parts].cumsum(0)])


def as_four(shares: Shares) -> np.ndarray:
    first = [shares.painted, shares.pasted, shares.defects]
    return np.array([*first, 1 - sum(first)])


@pytest.mark.parametrize(
    "shares",
    [
        DEFAULT,
        Shares(0.3, 0.3, 0.3),
        Shares(0.1, 0.2, 0.3),
        Shares(0.0, 0.0, 0.5),
        Shares(0.5, 0.0, 0.5),
        Shares(0.0, 0.0, 0.0),
        Shares(0.0, 1.0, 0.0),
    ],
)
def test_every_ten_successive_draws_have_their_shares_of_everything(shares: Shares) -> None:
    counts = parts_of(mix(shares))
    of_ten = counts[10:] - counts[:-10]
    assert np.abs(of_ten - 10 * as_four(shares)).max() < 1e-9


@pytest.mark.parametrize(
    "shares", [Shares(0.33, 0.21, 0.17), Shares(0.05, 0.65, 0.02), Shares(0.27, 0.65, 0.04)]
)
def test_uneven_shares_are_never_more_than_a_draw_behind_or_ahead(shares: Shares) -> None:
    counts = parts_of(mix(shares))
    expected = np.arange(241)[:, None] * as_four(shares)
    assert np.abs(counts - expected).max() < 1


def test_only_good_images_are_given_defects_and_real_ones_stay_as_they_are() -> None:
    for _, label, change in mix():
        assert change == PLAIN or label == 0


def test_each_class_of_defects_comes_equally_often_and_each_of_its_images_too() -> None:
    drawn = mix(Shares(0.0, 0.0, 1.0), 61)
    assert sorted(np.bincount([label for _, label, _ in drawn])[1:]) == [30, 31]
    rows = [row for row, _, _ in drawn]
    for label in (1, 2):
        counts = [rows.count(row) for row, own in zip(INDICES, LABELS, strict=True) if own == label]
        assert max(counts) - min(counts) <= 1, label


def test_classes_of_defects_take_turns() -> None:
    labels = [label for _, label, _ in mix() if label]
    assert len(labels) == 48
    assert all(one != next_one for one, next_one in pairwise(labels))


def test_good_images_take_turns_in_each_of_their_parts() -> None:
    for change in (PLAIN, PAINTED, PASTED):
        rows = [row for row, label, found in mix() if found == change and not label]
        counts = [rows.count(row) for row in INDICES[:20]]
        assert max(counts) - min(counts) <= 1, change


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
def test_without_defects_good_images_take_their_place(
    shares: Shares, expected: dict[int, int]
) -> None:
    drawn = mix(shares, labels=[0] * 30)
    changes = [change for _, _, change in drawn]
    assert {change: changes.count(change) for change in set(changes)} == expected
    assert {label for _, label, _ in drawn} == {0}


def mixed_draws(
    *, seed: int = 0, epoch: int = 0, views: int = 3, share: Share | None = None
) -> list[Draw]:
    sampler = EpochSampler(
        INDICES,
        LABELS,
        kind="mixed",
        seed=seed,
        shares=DEFAULT,
        views=views,
        share=share or Share(),
    )
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_a_mixed_epoch_is_a_function_of_seed_and_epoch_alone() -> None:
    assert mixed_draws(seed=3, epoch=5) == mixed_draws(seed=3, epoch=5)
    assert mixed_draws(seed=3, epoch=5) != mixed_draws(seed=3, epoch=6)
    assert mixed_draws(seed=3, epoch=5) != mixed_draws(seed=4, epoch=5)


def test_a_mixed_epoch_has_as_many_draws_as_views_of_all_images_and_none_twice() -> None:
    found = mixed_draws(views=3)
    assert len(found) == 90
    assert len({(draw.row, draw.number) for draw in found}) == 90
    assert [draw.change for draw in found].count(PAINTED) == 36


def test_processes_share_a_mixed_epoch_stretch_by_stretch() -> None:
    first, second = (mixed_draws(share=Share(rank, 2)) for rank in range(2))
    together = [draw for step in zip(first, second, strict=True) for draw in step]
    alone = mixed_draws()
    for start in range(0, len(alone), 16):
        assert sorted(together[start : start + 16]) == sorted(alone[start : start + 16])


def test_no_process_sees_some_of_the_parts_only() -> None:
    quarters = Shares(0.25, 0.25, 0.25)
    for rank in range(2):
        sampler = EpochSampler(
            INDICES, LABELS, kind="mixed", seed=0, shares=quarters, views=8, share=Share(rank, 2)
        )
        changes = [draw.change for draw in sampler]
        assert all(0.1 < changes.count(change) / len(changes) < 0.4 for change in (PAINTED, PASTED))


@pytest.mark.parametrize("shares", [DEFAULT, Shares(0.25, 0.25, 0.2), Shares(0.25, 0.25, 0.0)])
def test_what_is_shown_of_each_batch_has_the_shares_of_the_mixture(shares: Shares) -> None:
    sampler = EpochSampler(
        INDICES,
        LABELS,
        kind="mixed",
        seed=0,
        shares=shares,
        views=64,
        shown=Shown(32, lambda epoch: 32 if epoch == 0 else 5),
    )
    every = list(sampler)
    sampler.set_epoch(1)
    drawn = list(sampler)
    shown = [draw for place, draw in enumerate(drawn) if place % 32 < 5]
    assert len(every) == len(drawn) == 64 * len(INDICES)
    for share, change in ((shares.painted, PAINTED), (shares.pasted, PASTED)):
        for found in (every, shown):
            of_change = sum(draw.change == change for draw in found)
            assert of_change == pytest.approx(share * len(found), abs=1)
    plain = [LABELS[INDICES.index(draw.row)] for draw in shown if draw.change == PLAIN]
    seen = Counter(label for label in plain if label)
    assert max(seen.values(), default=0) - min(seen.values(), default=0) <= 1
    assert sum(seen.values()) == pytest.approx(shares.defects * len(shown), abs=1)


@pytest.mark.parametrize("shares", [None, DEFAULT])
@pytest.mark.parametrize("left_out", [0, 7])
def test_an_epoch_is_as_long_as_with_the_images_left_out(
    shares: Shares | None, left_out: int
) -> None:
    sampler = EpochSampler(
        INDICES, LABELS, kind="balanced", seed=0, shares=shares, views=2, left_out=left_out
    )
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 2 * (len(INDICES) + left_out)
    assert len({(draw.row, draw.number) for draw in drawn}) == len(drawn)
