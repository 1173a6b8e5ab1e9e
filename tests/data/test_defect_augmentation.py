"""Defects added to good images: which ones, where, and which crop of the image is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from capsule_inspection.data import defect_bank
from capsule_inspection.data.copy_paste import CopyPasteSource, extract_sources
from capsule_inspection.data.defect_augmentation import DefectAugmentation, dominant_class
from capsule_inspection.data.defect_bank import SyntheticDefectBank
from capsule_inspection.data.samplers import COPY_PASTE, NO_DEFECT, SYNTHETIC, MixtureWeights
from capsule_inspection.data.training_crops import CropSchedule
from capsule_inspection.types import IGNORE_INDEX

COUNT, SIZE = 8, (48, 80)
LABELS = {"crack": 2, "poke": 5}
REAL, PASTED = 3, 4
"""Classes of a real defect in the batch, and of the copy-paste source."""
BOTH = [SYNTHETIC, COPY_PASTE] * 4
Raw = dict[str, Tensor]


def raw(added: int | list[int] = NO_DEFECT, *, repeat: int = 0, first: int = 0) -> Raw:
    """Images of noise by their row; the last two have real defects and are never changed."""
    rows = range(first, COUNT)
    images = [np.random.default_rng(row).integers(60, 180, (*SIZE, 3), np.uint8) for row in rows]
    mask, foreground = np.zeros((COUNT, *SIZE), np.uint8), np.zeros((COUNT, *SIZE), bool)
    mask[-2:, 20:26, 30:40] = REAL
    foreground[:, 8:40, 10:70] = True
    added = [added] * COUNT if isinstance(added, int) else list(added)
    added[-2:] = [NO_DEFECT, NO_DEFECT]
    return {
        "image": torch.from_numpy(np.stack(images)),
        "mask": torch.from_numpy(mask[first:]),
        "valid": torch.ones(COUNT - first, *SIZE, dtype=torch.bool),
        "foreground": torch.from_numpy(foreground[first:]),
        "label": torch.tensor([0] * 6 + [REAL] * 2)[first:],
        "index": torch.arange(first, COUNT),
        "repeat": torch.full((COUNT - first,), repeat),
        "added_defect": torch.tensor(added)[first:],
        "place": torch.arange(SIZE[0] * SIZE[1]).expand(COUNT - first, -1).reshape(-1, *SIZE),
    }


def make_bank(types: Mapping[str, tuple[int, int]], *, rows: int = 6) -> SyntheticDefectBank:
    """Each row has one variant of each type: a square of 6 pixels, with a corner that is not of it.

    `types` has its position; its colour tells the type.
    """
    entries = np.zeros(rows * len(types), defect_bank._SLOT)
    pixels = np.ones((len(entries), 6, 6, 4), np.uint8)
    pixels[:, 0, 0, 3] = 0
    for place in range(len(entries)):
        row, number = divmod(place, len(types))
        name, (y0, x0) = list(types.items())[number]
        entries[place] = (row, name, y0, x0, 6, 6, place * 6 * 6 * 4)
        pixels[place, ..., :3] = 10 * (number + 1)
    return SyntheticDefectBank(Path("bank"), entries, pixels.ravel())


BANK = make_bank({"crack": (10, 20), "nsa": (20, 30), "poke": (30, 60)})


def make_source(*, beside: int = PASTED, label: int = PASTED) -> CopyPasteSource:
    """A defect of PASTED, and a larger one of the class `beside` it."""
    image = np.random.default_rng(50).integers(60, 180, (*SIZE, 3), np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[16:20, 40:50], mask[16:20, 43:50] = PASTED, beside
    (source,) = extract_sources(image[None], mask[None], raw()["foreground"][:1].numpy(), [label])
    return source


def augmentation(
    *, crop_size: tuple[int, int] | None = None, full_from: int | None = None, **changed: Any
) -> DefectAugmentation:
    usual: dict = {"seed": 1, "bank": BANK, "labels": LABELS, "sources": [make_source()]}
    return DefectAugmentation(CropSchedule(crop_size, full_from), **(usual | changed))


def add(batch: Raw, *, epoch: int = 3, by: DefectAugmentation | None = None) -> Raw:
    return (by or augmentation())(batch, training=True, epoch=epoch)


def values(mask: Tensor) -> set[int]:
    return set(mask.unique().tolist())


def assert_equal(found: Raw, expected: Raw) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_samples_without_defect_and_validation_are_left_as_they_are() -> None:
    assert_equal(add(raw(NO_DEFECT)), raw(NO_DEFECT))
    cropping = augmentation(crop_size=(16, 24))
    for added in (NO_DEFECT, SYNTHETIC, COPY_PASTE):
        assert_equal(cropping(raw(added), training=False, epoch=3), raw(added))


def test_masks_get_the_class_of_the_added_defect_where_the_image_is_changed() -> None:
    changes = [
        SYNTHETIC,
        COPY_PASTE,
        NO_DEFECT,
        COPY_PASTE,
        SYNTHETIC,
        SYNTHETIC,
        NO_DEFECT,
        NO_DEFECT,
    ]
    allowed = {NO_DEFECT: {REAL}, SYNTHETIC: {2, 5}, COPY_PASTE: {PASTED}}
    seen: set[int] = set()
    for epoch in range(4):
        batch, before = raw(changes), raw(changes)
        found = add(batch, epoch=epoch)
        assert_equal(batch, before)  # the batch that comes in is not changed
        for n, added in enumerate(changes):
            classes = values(found["mask"][n]) - {0}
            assert classes <= allowed[added], n
            changed = (found["image"][n] != before["image"][n]).any(-1)
            assert bool(changed.any()) == (added != NO_DEFECT), n
            assert bool(classes) == (added != NO_DEFECT or n >= 6), n
            if added == SYNTHETIC:
                assert bool((found["mask"][n][changed] > 0).all()), n
            seen |= classes
        assert torch.equal(found["mask"][6:], before["mask"][6:])
    assert seen == {2, 5, PASTED, REAL}


def test_added_defects_take_the_place_of_ignored_pixels_which_have_no_class() -> None:
    batch = raw(BOTH)
    batch["mask"][batch["mask"] == 0] = IGNORE_INDEX
    plain, found = add(raw(BOTH)), add(batch)
    assert_equal({**found, "mask": found["mask"] % IGNORE_INDEX}, plain)
    assert torch.equal(found["mask"] == IGNORE_INDEX, plain["mask"] == 0)
    assert dominant_class(np.array([[IGNORE_INDEX, IGNORE_INDEX, 2]])) == 2
    assert dominant_class(np.array([[IGNORE_INDEX]])) == 0


def test_without_a_bank_defects_are_pasted_and_without_any_images_stay_clean() -> None:
    assert values(add(raw(SYNTHETIC), by=augmentation(bank=None))["mask"][:6]) == {0, PASTED}
    lone = add(raw(COPY_PASTE), by=augmentation(sources=[]))
    assert not lone["mask"][:6].any()
    assert torch.equal(lone["image"], raw()["image"])
    few = add(raw(SYNTHETIC), by=augmentation(bank=make_bank({"crack": (10, 20)}, rows=3)))
    assert all(few["mask"][n].any() for n in range(3))
    assert not few["mask"][3:6].any()
    assert torch.equal(few["image"][3:], raw()["image"][3:])


def test_some_images_get_two_synthetic_defects() -> None:
    masks = [add(raw(SYNTHETIC), epoch=epoch)["mask"][:6] for epoch in range(20)]
    pairs = [values(mask) == {0, 2, 5} for of_epoch in masks for mask in of_epoch]
    # 3 in 10 get a second one, and in half of these it is of the other kind.
    assert 0.05 < np.mean(pairs) < 0.3


@pytest.mark.parametrize(
    ("numbers", "labels", "expected"),
    [
        *(([number], {"poke": 5, "scratch": 1}, {5: 35}) for number in (0.0, 0.33, 0.99)),
        ([0.0], LABELS, {2: 35}),
        ([0.49], LABELS, {2: 35}),
        ([0.5], LABELS, {5: 35}),
        ([0.99], LABELS, {5: 35}),
        ([0.0, 0.5, 0.99], None, {1: 3 * 35}),
        ([0.5], {"scratch": 1}, {}),
        ([0.5], {}, {}),
    ],
)
def test_labels_choose_the_types_and_give_them_their_class(
    numbers: Any, labels: dict[str, int] | None, expected: dict[int, int]
) -> None:
    before = raw()["image"][2].numpy()
    image, mask = before.copy(), np.zeros(SIZE, np.uint8)
    assert BANK.add(image, mask, 2, numbers, labels=labels) == bool(expected)
    assert {k: np.count_nonzero(mask == k) for k in np.unique(mask[mask > 0])} == expected
    assert mask[30, 60] == 0  # the corner that is not of the defect
    assert (image[mask == 5] == 30).all()
    assert np.array_equal(image[mask == 0], before[mask == 0])


def test_numbers_and_crops_belong_to_seed_epoch_image_and_repeat_whatever_the_batch() -> None:
    once = add(raw(BOTH))
    assert_equal(add(raw(BOTH)), once)
    for other in (
        add(raw(BOTH), epoch=4),
        add(raw(BOTH, repeat=1)),
        add(raw(BOTH), by=augmentation(seed=2)),
    ):
        assert not torch.equal(once["image"], other["image"])
    for cropping in (augmentation(), augmentation(crop_size=(16, 24))):
        whole, later = add(raw(BOTH), by=cropping), add(raw(BOTH, first=3), by=cropping)
        for key in ("image", "mask", "index"):
            assert torch.equal(later[key], whole[key][3:]), key


@pytest.mark.parametrize("added", [SYNTHETIC, COPY_PASTE])
def test_crops_contain_a_part_of_the_defect_and_all_is_cropped_alike(added: int) -> None:
    cropping, whole = augmentation(crop_size=(16, 24)), augmentation()
    seen = set()
    for epoch in range(8):
        found = add(raw(added), by=cropping, epoch=epoch)
        # What is cut out is three tenths larger, for augmentation to turn and move.
        assert found["image"].shape == (8, 21, 31, 3)
        for key in ("mask", "valid", "foreground"):
            assert found[key].shape == (8, 21, 31), key
        assert found["index"].tolist() == list(range(8))
        uncut = add(raw(added), by=whole, epoch=epoch)
        for n in range(8):
            assert bool(found["mask"][n].any()), (epoch, n)
            place = found["place"][n]
            assert bool((place == place[0, 0] + uncut["place"][n][:21, :31]).all()), (epoch, n)
            for key in ("image", "mask"):
                assert torch.equal(uncut[key][n].flatten(0, 1)[place], found[key][n]), (epoch, n)
        seen.add(found["image"][7].numpy().tobytes())
    assert len(seen) > 5  # crops move about the defect


def test_crops_of_clean_images_lie_on_the_part() -> None:
    for epoch in range(10):
        found = add(raw(NO_DEFECT), by=augmentation(crop_size=(8, 8)), epoch=epoch)
        assert all(bool(part.any()) for part in found["foreground"])


def test_from_an_epoch_on_fewer_full_images_are_used() -> None:
    cropping = augmentation(crop_size=(24, 40), full_from=2)
    assert [cropping.crops.size_at(epoch) for epoch in range(3)] == [(24, 40), (24, 40), None]
    whole = add(raw(SYNTHETIC), by=cropping, epoch=2)
    # 8 crops of 24 x 40 have the pixels of two images of 48 x 80.
    assert whole["image"].shape == (2, *SIZE, 3)
    assert whole["index"].tolist() == [0, 1]
    assert augmentation(crop_size=(24, 40)).crops.size_at(10_000) == (24, 40)
    assert augmentation(crop_size=None, full_from=2).crops.size_at(0) is None


def labels_found(relabelling: DefectAugmentation, added: int) -> set[int]:
    """Classes of good images in six epochs; real defects keep theirs."""
    labels: set[int] = set()
    for epoch in range(6):
        found = add(raw(added), epoch=epoch, by=relabelling)
        labels |= set(found["label"][:6].tolist())
        assert found["label"].dtype == torch.int64
        assert found["label"][6:].tolist() == [REAL] * 2
    return labels


def test_images_are_labelled_by_the_one_defect_that_they_get() -> None:
    relabelling = augmentation(relabel=True)
    for added, classes in ((SYNTHETIC, {2, 5}), (COPY_PASTE, {PASTED}), (NO_DEFECT, {0})):
        assert labels_found(relabelling, added) == classes
        for epoch in range(6):
            found = add(raw(added), by=relabelling, epoch=epoch)
            for mask, label in zip(found["mask"], found["label"], strict=True):
                assert values(mask) <= {0, int(label)}


def test_an_image_has_the_class_of_most_synthetic_pixels_and_a_real_one_its_own() -> None:
    mask = np.zeros((6, 8), np.uint8)
    assert dominant_class(mask) == 0
    mask[:2, :3], mask[3, 3] = 3, 1
    assert dominant_class(mask) == 3
    batch = raw(NO_DEFECT)
    batch["label"][-1] = 1
    assert add(batch, by=augmentation(relabel=True))["label"][-2:].tolist() == [REAL, 1]


def test_a_pasted_defect_has_the_class_of_its_image_whatever_else_its_mask_shows() -> None:
    sources = [make_source(beside=5), make_source(label=1, beside=5)]
    relabelling = augmentation(sources=sources, relabel=True)
    assert relabelling.added_classes() == {1, 2, PASTED, 5}
    assert augmentation(sources=sources, bank=None).added_classes() == {1, PASTED}
    shown = relabelling.class_frequencies(MixtureWeights(0.0, 0.5, 0.0), (6, 0, 0, 0, 0, 0))
    assert shown == pytest.approx([0.5, 0.25, 0, 0, 0.25, 0])
    assert labels_found(relabelling, COPY_PASTE) == {1, PASTED}


def test_the_frequency_of_each_class_is_known() -> None:
    each = (6, 1, 1, 1, 1, 1)
    for without, counts, expected in (
        ({}, each, [0.25, 0.05, 0.175, 0.05, 0.3, 0.175]),
        ({"bank": None}, each, [0.25, 0.05, 0.05, 0.05, 0.55, 0.05]),
        ({"sources": []}, each, [0.5, 0.05, 0.175, 0.05, 0.05, 0.175]),
        ({"sources": []}, (6, 0, 0, 0, 0, 0), [2 / 3, 0.0, 1 / 6, 0.0, 0.0, 1 / 6]),
    ):
        found = augmentation(relabel=True, **without)
        assert found.class_frequencies(MixtureWeights(0.25, 0.25, 0.25), counts) == pytest.approx(
            expected
        )
