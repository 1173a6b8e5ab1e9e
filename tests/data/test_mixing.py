"""Batches to learn segmentation from: what is done to each image, and what is shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from capsule_inspection.data import painted
from capsule_inspection.data.mixing import DefectMixing, label_given
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.data.pasting import Donor, make_donors
from capsule_inspection.data.sampling import PAINTED, PASTED, PLAIN, Shares
from capsule_inspection.data.windows import Windows

COUNT, SIZE = 8, (48, 80)
LABELS = {"crack": 2, "poke": 5}
REAL, LENT = 3, 4
"""Classes of a real defect in the batch, and of one that donors lend."""
BOTH = [PAINTED, PASTED] * 4
Raw = dict[str, Tensor]


def raw(changes: int | list[int] = PLAIN, *, draw: int = 0, first: int = 0) -> Raw:
    """Images of noise by their row; the last two have real defects and are never changed."""
    rows = range(first, COUNT)
    images = [np.random.default_rng(row).integers(60, 180, (*SIZE, 3), np.uint8) for row in rows]
    mask, foreground = np.zeros((COUNT, *SIZE), np.uint8), np.zeros((COUNT, *SIZE), bool)
    mask[-2:, 20:26, 30:40] = REAL
    foreground[:, 8:40, 10:70] = True
    change = [changes] * COUNT if isinstance(changes, int) else list(changes)
    change[-2:] = [PLAIN, PLAIN]
    return {
        "image": torch.from_numpy(np.stack(images)),
        "mask": torch.from_numpy(mask[first:]),
        "valid": torch.ones(COUNT - first, *SIZE, dtype=torch.bool),
        "foreground": torch.from_numpy(foreground[first:]),
        "label": torch.tensor([0] * 6 + [REAL] * 2)[first:],
        "index": torch.arange(first, COUNT),
        "draw": torch.full((COUNT - first,), draw),
        "change": torch.tensor(change)[first:],
        "place": torch.arange(SIZE[0] * SIZE[1]).expand(COUNT - first, -1).reshape(-1, *SIZE),
    }


def make_pool(kinds: Mapping[str, tuple[int, int]], *, rows: int = 6) -> PaintedPool:
    """Each row has one variant of each kind: a square of 6 pixels, with a corner that is not of it.

    `kinds` says where it lies; its colour tells which one it is.
    """
    entries = np.zeros(rows * len(kinds), painted._SLOT)
    pixels = np.ones((len(entries), 6, 6, 4), np.uint8)
    pixels[:, 0, 0, 3] = 0
    for place in range(len(entries)):
        row, number = divmod(place, len(kinds))
        kind, (y0, x0) = list(kinds.items())[number]
        entries[place] = (row, kind, y0, x0, 6, 6, place * 6 * 6 * 4)
        pixels[place, ..., :3] = 10 * (number + 1)
    return PaintedPool(Path("pool"), entries, pixels.ravel())


POOL = make_pool({"crack": (10, 20), "natural": (20, 30), "poke": (30, 60)})


def make_donor(*, beside: int = LENT, label: int = LENT) -> Donor:
    """A defect of LENT, and a larger one of the class `beside` it."""
    image = np.random.default_rng(50).integers(60, 180, (*SIZE, 3), np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[16:20, 40:50], mask[16:20, 43:50] = LENT, beside
    (donor,) = make_donors(image[None], mask[None], raw()["foreground"][:1].numpy(), [label])
    return donor


def mixing(
    *, window: tuple[int, int] | None = None, whole_from: int | None = None, **changed: Any
) -> DefectMixing:
    usual: dict = {"seed": 1, "pool": POOL, "labels": LABELS, "donors": [make_donor()]}
    return DefectMixing(Windows(window, whole_from), **(usual | changed))


def spoil(batch: Raw, *, epoch: int = 3, mixed: DefectMixing | None = None) -> Raw:
    return (mixed or mixing()).spoil(batch, training=True, epoch=epoch)


def values(mask: Tensor) -> set[int]:
    return set(mask.unique().tolist())


def assert_equal(found: Raw, expected: Raw) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_plain_draws_and_validation_are_left_as_they_are() -> None:
    assert_equal(spoil(raw(PLAIN)), raw(PLAIN))
    windowed = mixing(window=(16, 24))
    for change in (PLAIN, PAINTED, PASTED):
        assert_equal(windowed.spoil(raw(change), training=False, epoch=3), raw(change))


def test_good_images_get_the_class_of_their_draws_defect_where_they_are_changed() -> None:
    changes = [PAINTED, PASTED, PLAIN, PASTED, PAINTED, PAINTED, PLAIN, PLAIN]
    allowed = {PLAIN: {REAL}, PAINTED: {2, 5}, PASTED: {LENT}}
    seen: set[int] = set()
    for epoch in range(4):
        batch, before = raw(changes), raw(changes)
        found = spoil(batch, epoch=epoch)
        assert_equal(batch, before)  # the batch that comes in is not changed
        for n, change in enumerate(changes):
            marks = values(found["mask"][n]) - {0}
            assert marks <= allowed[change], n
            changed = (found["image"][n] != before["image"][n]).any(-1)
            assert bool(changed.any()) == (change != PLAIN), n
            assert bool(marks) == (change != PLAIN or n >= 6), n
            if change == PAINTED:
                assert bool((found["mask"][n][changed] > 0).all()), n
            seen |= marks
        assert torch.equal(found["mask"][6:], before["mask"][6:])
    assert seen == {2, 5, LENT, REAL}


def test_without_a_pool_defects_are_pasted_and_where_none_can_be_had_images_stay_clean() -> None:
    assert values(spoil(raw(PAINTED), mixed=mixing(pool=None))["mask"][:6]) == {0, LENT}
    lone = spoil(raw(PASTED), mixed=mixing(donors=[]))
    assert not lone["mask"][:6].any()
    assert torch.equal(lone["image"], raw()["image"])
    few = spoil(raw(PAINTED), mixed=mixing(pool=make_pool({"crack": (10, 20)}, rows=3)))
    assert all(few["mask"][n].any() for n in range(3))
    assert not few["mask"][3:6].any()
    assert torch.equal(few["image"][3:], raw()["image"][3:])


def test_some_images_get_two_synthetic_defects() -> None:
    masks = [spoil(raw(PAINTED), epoch=epoch)["mask"][:6] for epoch in range(20)]
    pairs = [values(mask) == {0, 2, 5} for of_epoch in masks for mask in of_epoch]
    # 3 in 10 get a second one, and in half of these it is of the other kind.
    assert 0.05 < np.mean(pairs) < 0.3


@pytest.mark.parametrize(
    ("numbers", "labels", "expected"),
    [
        *((number, {"poke": 5, "scratch": 1}, {5: 35}) for number in (0.0, 0.33, 0.99)),
        (0.0, LABELS, {2: 35}),
        (0.49, LABELS, {2: 35}),
        (0.5, LABELS, {5: 35}),
        (0.99, LABELS, {5: 35}),
        ([0.0, 0.5, 0.99], None, {1: 3 * 35}),
        (0.5, {"scratch": 1}, {}),
        (0.5, {}, {}),
    ],
)
def test_labels_choose_the_kinds_and_give_them_their_class(
    numbers: Any, labels: dict[str, int] | None, expected: dict[int, int]
) -> None:
    before = raw()["image"][2].numpy()
    image, mask = before.copy(), np.zeros(SIZE, np.uint8)
    assert POOL.paint(image, mask, 2, numbers, labels=labels) == bool(expected)
    assert {k: np.count_nonzero(mask == k) for k in np.unique(mask[mask > 0])} == expected
    assert mask[30, 60] == 0  # the corner that is not of the defect
    assert (image[mask == 5] == 30).all()
    assert np.array_equal(image[mask == 0], before[mask == 0])


def test_numbers_and_windows_belong_to_seed_epoch_image_and_draw_whatever_the_batch() -> None:
    once = spoil(raw(BOTH))
    assert_equal(spoil(raw(BOTH)), once)
    for other in (
        spoil(raw(BOTH), epoch=4),
        spoil(raw(BOTH, draw=1)),
        spoil(raw(BOTH), mixed=mixing(seed=2)),
    ):
        assert not torch.equal(once["image"], other["image"])
    for mixed in (mixing(), mixing(window=(16, 24))):
        whole, later = spoil(raw(BOTH), mixed=mixed), spoil(raw(BOTH, first=3), mixed=mixed)
        for key in ("image", "mask", "index"):
            assert torch.equal(later[key], whole[key][3:]), key


@pytest.mark.parametrize("change", [PAINTED, PASTED])
def test_windows_contain_a_part_of_the_defect_and_all_is_cut_alike(change: int) -> None:
    mixed, whole = mixing(window=(16, 24)), mixing()
    seen = set()
    for epoch in range(8):
        found = spoil(raw(change), mixed=mixed, epoch=epoch)
        # What is cut out is three tenths larger, for augmentation to turn and move.
        assert found["image"].shape == (8, 21, 31, 3)
        for key in ("mask", "valid", "foreground"):
            assert found[key].shape == (8, 21, 31), key
        assert found["index"].tolist() == list(range(8))
        uncut = spoil(raw(change), mixed=whole, epoch=epoch)
        for n in range(8):
            assert bool(found["mask"][n].any()), (epoch, n)
            place = found["place"][n]
            assert bool((place == place[0, 0] + uncut["place"][n][:21, :31]).all()), (epoch, n)
            for key in ("image", "mask"):
                assert torch.equal(uncut[key][n].flatten(0, 1)[place], found[key][n]), (epoch, n)
        seen.add(found["image"][7].numpy().tobytes())
    assert len(seen) > 5  # windows move about the defect


def test_windows_of_clean_images_lie_on_the_part() -> None:
    for epoch in range(10):
        found = spoil(raw(PLAIN), mixed=mixing(window=(8, 8)), epoch=epoch)
        assert all(bool(part.any()) for part in found["foreground"])


def test_from_an_epoch_on_fewer_images_are_seen_as_a_whole() -> None:
    mixed = mixing(window=(24, 40), whole_from=2)
    assert [mixed.window_at(epoch) for epoch in range(3)] == [(24, 40), (24, 40), None]
    whole = spoil(raw(PAINTED), mixed=mixed, epoch=2)
    # 8 windows of 24 x 40 have the pixels of two images of 48 x 80.
    assert whole["image"].shape == (2, *SIZE, 3)
    assert whole["index"].tolist() == [0, 1]
    assert mixing(window=(24, 40)).window_at(10_000) == (24, 40)
    assert mixing(window=None, whole_from=2).window_at(0) is None


def labels_seen(named: DefectMixing, change: int) -> set[int]:
    """Classes of good images in six epochs; real defects keep theirs."""
    labels: set[int] = set()
    for epoch in range(6):
        found = spoil(raw(change), epoch=epoch, mixed=named)
        labels |= set(found["label"][:6].tolist())
        assert found["label"].dtype == torch.int64
        assert found["label"][6:].tolist() == [REAL] * 2
    return labels


def test_images_are_named_by_the_one_defect_that_they_get() -> None:
    named = mixing(names_images=True)
    for change, classes in ((PAINTED, {2, 5}), (PASTED, {LENT}), (PLAIN, {0})):
        assert labels_seen(named, change) == classes
        for epoch in range(6):
            found = spoil(raw(change), mixed=named, epoch=epoch)
            for mask, label in zip(found["mask"], found["label"], strict=True):
                assert values(mask) <= {0, int(label)}


def test_an_image_has_the_class_of_most_synthetic_pixels_and_a_real_one_its_own() -> None:
    mask = np.zeros((6, 8), np.uint8)
    assert label_given(mask) == 0
    mask[:2, :3], mask[3, 3] = 3, 1
    assert label_given(mask) == 3
    batch = raw(PLAIN)
    batch["label"][-1] = 1
    assert spoil(batch, mixed=mixing(names_images=True))["label"][-2:].tolist() == [REAL, 1]


def test_a_pasted_defect_has_the_class_of_its_image_whatever_else_its_mask_shows() -> None:
    donors = [make_donor(beside=5), make_donor(label=1, beside=5)]
    named = mixing(donors=donors, names_images=True)
    assert named.given() == {1, 2, LENT, 5}
    assert mixing(donors=donors, pool=None).given() == {1, LENT}
    shown = named.frequencies(Shares(0.0, 0.5, 0.0), (6, 0, 0, 0, 0, 0))
    assert shown == pytest.approx([0.5, 0.25, 0, 0, 0.25, 0])
    assert labels_seen(named, PASTED) == {1, LENT}


def test_how_often_each_class_is_shown_is_known() -> None:
    each = (6, 1, 1, 1, 1, 1)
    for without, counts, expected in (
        ({}, each, [0.25, 0.05, 0.175, 0.05, 0.3, 0.175]),
        ({"pool": None}, each, [0.25, 0.05, 0.05, 0.05, 0.55, 0.05]),
        ({"donors": []}, each, [0.5, 0.05, 0.175, 0.05, 0.05, 0.175]),
        ({"donors": []}, (6, 0, 0, 0, 0, 0), [2 / 3, 0.0, 1 / 6, 0.0, 0.0, 1 / 6]),
    ):
        found = mixing(names_images=True, **without)
        assert found.frequencies(Shares(0.25, 0.25, 0.25), counts) == pytest.approx(expected)
