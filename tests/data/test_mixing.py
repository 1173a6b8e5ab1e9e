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
Raw = dict[str, Tensor]


def raw(changes: int | list[int] = PLAIN, *, draw: int = 0, first: int = 0) -> Raw:
    """Images of noise by their row; the last two have real defects and are never changed."""
    rows = range(first, COUNT)
    images = [np.random.default_rng(row).integers(60, 180, (*SIZE, 3), np.uint8) for row in rows]
    mask, foreground = np.zeros((COUNT, *SIZE), np.uint8), np.zeros((COUNT, *SIZE), bool)
    mask[-2:, 20:26, 30:40] = REAL
    foreground[:, 8:40, 10:70] = True
    change = [changes] * COUNT if isinstance(changes, int) else changes
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
    }


def make_pool(kinds: Mapping[str, tuple[int, int]], *, rows: int = 6) -> PaintedPool:
    """Each row has one variant of each kind: a square of 6 pixels, with a corner that is not of it.

    `kinds` says where it lies; its colour tells which one it is.
    """
    entries = np.zeros(rows * len(kinds), painted._SLOT)
    pixels = []
    for place in range(len(entries)):
        row, number = divmod(place, len(kinds))
        kind, (y0, x0) = list(kinds.items())[number]
        entries[place] = (row, kind, y0, x0, 6, 6, place * 6 * 6 * 4)
        patch = np.full((6, 6, 4), 10 * (number + 1), np.uint8)
        patch[..., 3] = 1
        patch[0, 0, 3] = 0
        pixels.append(patch.ravel())
    return PaintedPool(Path("pool"), entries, np.concatenate(pixels))


POOL = make_pool({"crack": (10, 20), "natural": (20, 30), "poke": (30, 60)})


def make_donor(*, beside: int = LENT, label: int = LENT) -> Donor:
    """A defect of LENT, and a larger one of the class `beside` it."""
    image = np.random.default_rng(50).integers(60, 180, (*SIZE, 3), np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[16:20, 40:50], mask[16:20, 43:50] = LENT, beside
    (donor,) = make_donors(image[None], mask[None], raw()["foreground"][:1].numpy(), [label])
    return donor


def mixing(
    *,
    window: tuple[int, int] | None = None,
    whole_from: int | None = None,
    pool: PaintedPool | None = POOL,
    labels: Mapping[str, int] | None = None,
    donors: list[Donor] | None = None,
    seed: int = 1,
    names_images: bool = False,
) -> DefectMixing:
    return DefectMixing(
        Windows(window, whole_from),
        seed=seed,
        pool=pool,
        labels=LABELS if labels is None else labels,
        donors=[make_donor()] if donors is None else donors,
        names_images=names_images,
    )


def spoil(batch: Raw, *, epoch: int = 3, mixed: DefectMixing | None = None) -> Raw:
    return (mixed or mixing()).spoil(batch, training=True, epoch=epoch)


def values(mask: Tensor) -> set[int]:
    return set(mask.unique().tolist())


def test_images_as_they_are_stay_so_with_their_masks() -> None:
    found, before = spoil(raw(PLAIN)), raw(PLAIN)
    assert found.keys() == before.keys()
    assert all(torch.equal(found[key], before[key]) for key in before)
    assert not found["mask"][:6].any()
    assert values(found["mask"][6:]) == {0, REAL}


@pytest.mark.parametrize(("change", "expected"), [(PAINTED, {0, 2, 5}), (PASTED, {0, LENT})])
def test_good_images_get_the_class_of_their_defect_where_they_are_changed(
    change: int, expected: set[int]
) -> None:
    found, before = spoil(raw(change)), raw(change)
    assert values(found["mask"][:6]) == expected
    for n in range(6):
        assert found["mask"][n].any(), n
        changed = (found["image"][n] != before["image"][n]).any(-1)
        assert bool(changed.any()), n
        if change == PAINTED:
            assert bool((found["mask"][n][changed] > 0).all()), n
    assert torch.equal(found["mask"][6:], before["mask"][6:])
    assert torch.equal(found["image"][6:], before["image"][6:])


def test_the_batch_that_comes_in_is_not_changed() -> None:
    batch, before = raw([PAINTED, PASTED] * 4), raw([PAINTED, PASTED] * 4)
    spoil(batch)
    assert all(torch.equal(batch[key], before[key]) for key in before)


def test_each_image_has_what_its_own_draw_asks_for() -> None:
    changes = [PLAIN, PAINTED, PASTED, PLAIN, PAINTED, PASTED, PLAIN, PLAIN]
    found = spoil(raw(changes))
    for n, change in enumerate(changes[:6]):
        marks = values(found["mask"][n]) - {0}
        allowed = {PLAIN: set(), PAINTED: {2, 5}, PASTED: {LENT}}[change]
        assert marks <= allowed, n
        assert bool(marks) == bool(allowed), n


def test_without_a_pool_real_defects_are_pasted_instead_of_painted_ones() -> None:
    found = spoil(raw(PAINTED), mixed=mixing(pool=None))
    assert values(found["mask"][:6]) == {0, LENT}


def test_without_donors_what_was_to_be_pasted_stays_clean() -> None:
    found = spoil(raw(PASTED), mixed=mixing(donors=[]))
    assert not found["mask"][:6].any()
    assert torch.equal(found["image"], raw()["image"])


def test_a_good_image_on_which_nothing_was_painted_stays_clean() -> None:
    few = make_pool({"crack": (10, 20)}, rows=3)
    found = spoil(raw(PAINTED), mixed=mixing(pool=few))
    assert all(found["mask"][n].any() for n in range(3))
    assert not found["mask"][3:6].any()
    assert torch.equal(found["image"][3:], raw()["image"][3:])


def test_some_images_are_painted_with_two_defects() -> None:
    pairs = [
        values(spoil(raw(PAINTED), epoch=epoch)["mask"][n]) == {0, 2, 5}
        for epoch in range(20)
        for n in range(6)
    ]
    # 3 in 10 get a second one, and in half of these it is of the other kind.
    assert 0.05 < np.mean(pairs) < 0.3


def test_labels_give_painted_kinds_their_class_and_leave_the_others_out() -> None:
    for number in np.linspace(0, 0.99, 7).tolist():
        image, mask = raw()["image"][2].numpy().copy(), np.zeros(SIZE, np.uint8)
        assert POOL.paint(image, mask, 2, number, labels={"poke": 5, "scratch": 1})
        assert set(np.unique(mask)) == {0, 5}
        assert np.count_nonzero(mask) == 35
        assert mask[30, 60] == 0  # the corner that is not of the defect
        assert (image[mask > 0] == 30).all()


def test_labels_of_several_kinds_divide_the_uniform_numbers_among_them() -> None:
    found = []
    for number in (0.0, 0.49, 0.5, 0.99):
        image, mask = raw()["image"][0].numpy().copy(), np.zeros(SIZE, np.uint8)
        POOL.paint(image, mask, 0, number, labels=LABELS)
        found.append(int(mask.max()))
    assert found == [2, 2, 5, 5]


def test_a_row_of_kinds_without_a_label_is_not_painted() -> None:
    image, mask = raw()["image"][0].numpy().copy(), np.zeros(SIZE, np.uint8)
    assert not POOL.paint(image, mask, 0, 0.5, labels={"scratch": 1})
    assert not POOL.paint(image, mask, 0, 0.5, labels={})
    assert not mask.any()
    assert np.array_equal(image, raw()["image"][0].numpy())


def test_without_labels_every_kind_is_painted_as_one() -> None:
    image, mask = raw()["image"][0].numpy().copy(), np.zeros(SIZE, np.uint8)
    assert POOL.paint(image, mask, 0, [0.0, 0.5, 0.99])
    assert set(np.unique(mask)) == {0, 1}
    assert np.count_nonzero(mask) == 3 * 35


def test_numbers_belong_to_seed_epoch_image_and_draw_whatever_the_batch() -> None:
    changes = [PAINTED, PASTED] * 4
    once = spoil(raw(changes))
    assert all(torch.equal(value, once[key]) for key, value in spoil(raw(changes)).items())
    assert not torch.equal(once["image"], spoil(raw(changes), epoch=4)["image"])
    assert not torch.equal(once["image"], spoil(raw(changes, draw=1))["image"])
    assert not torch.equal(once["image"], spoil(raw(changes), mixed=mixing(seed=2))["image"])
    later = spoil(raw(changes, first=3))
    for key in ("image", "mask", "index"):
        assert torch.equal(later[key], once[key][3:]), key


def test_windows_belong_to_the_image_too() -> None:
    mixed = mixing(window=(16, 24))
    once = spoil(raw([PAINTED] * 8), mixed=mixed)
    later = spoil(raw([PAINTED] * 8, first=4), mixed=mixed)
    assert torch.equal(later["image"], once["image"][4:])


@pytest.mark.parametrize("change", [PAINTED, PASTED])
def test_windows_contain_a_part_of_the_defect_and_all_is_cut_alike(change: int) -> None:
    mixed, whole = mixing(window=(16, 24)), mixing()
    for epoch in range(10):
        found = spoil(raw(change), mixed=mixed, epoch=epoch)
        # What is cut out is three tenths larger, for augmentation to turn and move.
        assert found["image"].shape == (8, 21, 31, 3)
        for key in ("mask", "valid", "foreground"):
            assert found[key].shape == (8, 21, 31), key
        assert found["index"].tolist() == list(range(8))
        uncut = spoil(raw(change), mixed=whole, epoch=epoch)
        for n in range(8):
            assert bool(found["mask"][n].any()), (epoch, n)
            assert is_cut_of(found, uncut, n), (epoch, n)


def is_cut_of(found: Raw, whole: Raw, n: int) -> bool:
    """Whether image and mask are the same window of the whole ones."""
    rows, columns = found["mask"].shape[1:]
    for top in range(SIZE[0] - rows + 1):
        for left in range(SIZE[1] - columns + 1):
            window = (n, slice(top, top + rows), slice(left, left + columns))
            if torch.equal(whole["image"][window], found["image"][n]):
                return torch.equal(whole["mask"][window], found["mask"][n])
    return False


def test_windows_of_clean_images_lie_on_the_part() -> None:
    mixed = mixing(window=(8, 8))
    for epoch in range(10):
        found = spoil(raw(PLAIN), mixed=mixed, epoch=epoch)
        assert all(bool(part.any()) for part in found["foreground"])


def test_windows_move_about_the_defect_from_epoch_to_epoch() -> None:
    mixed = mixing(window=(16, 24))
    seen = {
        spoil(raw(), mixed=mixed, epoch=epoch)["image"][7].numpy().tobytes() for epoch in range(8)
    }
    assert len(seen) > 5


def test_from_an_epoch_on_fewer_images_are_seen_as_a_whole() -> None:
    mixed = mixing(window=(24, 40), whole_from=2)
    assert spoil(raw(PAINTED), mixed=mixed, epoch=1)["image"].shape == (8, 31, 52, 3)
    whole = spoil(raw(PAINTED), mixed=mixed, epoch=2)
    # 8 windows of 24 x 40 have the pixels of two images of 48 x 80.
    assert whole["image"].shape == (2, *SIZE, 3)
    assert whole["index"].tolist() == [0, 1]
    assert values(whole["mask"]) <= {0, 2, 5}
    assert [mixed.window_at(epoch) for epoch in range(3)] == [(24, 40), (24, 40), None]


def test_without_a_window_all_images_are_seen_as_a_whole() -> None:
    mixed = mixing(window=None, whole_from=2)
    for epoch in (0, 2):
        assert mixed.window_at(epoch) is None
        assert spoil(raw(PAINTED), mixed=mixed, epoch=epoch)["image"].shape == (8, *SIZE, 3)


def test_windows_are_for_ever_where_no_epoch_is_said() -> None:
    assert mixing(window=(24, 40)).window_at(10_000) == (24, 40)


@pytest.mark.parametrize("change", [PLAIN, PAINTED, PASTED])
def test_validation_is_left_as_it_is(change: int) -> None:
    batch = raw(change)
    found = mixing(window=(16, 24)).spoil(batch, training=False, epoch=3)
    assert found.keys() == batch.keys()
    assert all(torch.equal(found[key], raw(change)[key]) for key in batch)


@pytest.mark.parametrize(("change", "classes"), [(PAINTED, {2, 5}), (PASTED, {LENT}), (PLAIN, {0})])
def test_images_are_named_by_the_one_defect_that_they_get(change: int, classes: set[int]) -> None:
    named = mixing(names_images=True)
    labels: set[int] = set()
    for epoch in range(6):
        found = spoil(raw(change), epoch=epoch, mixed=named)
        assert found["label"].dtype == torch.int64
        labels |= set(found["label"][:6].tolist())
        for mask, label in zip(found["mask"], found["label"], strict=True):
            assert values(mask) <= {0, int(label)}
        assert found["label"][6:].tolist() == [REAL] * 2
    assert labels == classes


def test_the_class_of_painted_defects_is_that_of_most_pixels_and_good_without_any() -> None:
    mask = np.zeros((3, 6, 8), np.uint8)
    mask[0, :2, :3], mask[0, 3, 3], mask[1, 4, 4] = 3, 1, 2
    assert [label_given(of_one) for of_one in mask] == [3, 2, 0]


def test_a_pasted_defect_has_the_class_of_its_photograph_whatever_else_its_mask_shows() -> None:
    donors = [make_donor(beside=5), make_donor(label=1, beside=5)]
    named = mixing(donors=donors, names_images=True)
    assert named.given() == {1, 2, LENT, 5}
    assert mixing(donors=donors, pool=None).given() == {1, LENT}
    shown = named.frequencies(Shares(0.0, 0.5, 0.0), (6, 0, 0, 0, 0, 0))
    assert shown == pytest.approx([0.5, 0.25, 0, 0, 0.25, 0])
    labels: set[int] = set()
    for epoch in range(6):
        labels |= set(spoil(raw(PASTED), epoch=epoch, mixed=named)["label"][:6].tolist())
    assert labels == {1, LENT}


def test_real_defects_keep_their_name_whatever_their_mask_shows() -> None:
    batch = raw(PLAIN)
    batch["label"][-1] = 1
    assert spoil(batch, mixed=mixing(names_images=True))["label"][-2:].tolist() == [REAL, 1]


@pytest.mark.parametrize(
    ("pool", "donors", "counts", "expected"),
    [
        (POOL, None, (6, 1, 1, 1, 1, 1), [0.25, 0.05, 0.175, 0.05, 0.3, 0.175]),
        (None, None, (6, 1, 1, 1, 1, 1), [0.25, 0.05, 0.05, 0.05, 0.55, 0.05]),
        (POOL, [], (6, 1, 1, 1, 1, 1), [0.5, 0.05, 0.175, 0.05, 0.05, 0.175]),
        (POOL, [], (6, 0, 0, 0, 0, 0), [2 / 3, 0.0, 1 / 6, 0.0, 0.0, 1 / 6]),
    ],
)
def test_how_often_each_class_is_shown_is_known(
    pool: PaintedPool | None, donors: list[Donor] | None, counts: tuple[int, ...], expected: Any
) -> None:
    found = mixing(pool=pool, donors=donors, names_images=True)
    shown = found.frequencies(Shares(0.25, 0.25, 0.25), counts)
    assert shown == pytest.approx(expected)
