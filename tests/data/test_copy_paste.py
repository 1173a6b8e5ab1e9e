"""Copy-paste of real defects onto good images: position, changed pixels, and label."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from capsule_inspection.data.copy_paste import CopyPasteSource, extract_sources, paste_defect
from capsule_inspection.types import IGNORE_INDEX

SIZE = (120, 200)
REACH_PX = 3 * 2
"""No farther than this from its mask does a defect fade: its reach is 2 pixels in this height."""
MAX_SHIFT_PX = 0.04 * 200


def block(
    rows: slice, columns: slice, *, label: int = 3, size: tuple[int, int] = SIZE
) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = label
    return mask


PART = block(slice(20, 100), slice(20, 180), label=1)
"""The part lies in the middle of the image, as a bar."""
EVERYWHERE, NOTHING = np.ones(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
INSIDE = block(slice(40, 50), slice(60, 80))
CORNER = block(slice(0, 9), slice(0, 12))
OVER_THE_EDGE = block(slice(10, 32), slice(60, 80))
LOPSIDED = INSIDE.copy()
LOPSIDED[38:40, 60:62] = 3


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (*SIZE, 3), dtype=np.uint8)


def sources_of(*masks: np.ndarray, foreground: np.ndarray = PART) -> list[CopyPasteSource]:
    images = np.stack([noise(100 + number) for number in range(len(masks))])
    labels = [3] * len(masks)
    return extract_sources(images, np.stack(masks), np.stack([foreground] * len(masks)), labels)


def pasted(
    sources: list[CopyPasteSource], *, seed: int = 0, foreground: np.ndarray = PART
) -> tuple[np.ndarray, np.ndarray]:
    image, mask = noise(0), np.zeros(foreground.shape, np.uint8)
    image = image.reshape(*foreground.shape, 3)
    paste_defect(sources, image, mask, foreground, np.random.default_rng(seed))
    return image, mask


def test_ignored_pixels_are_pasted_as_ignored_and_no_source_is_of_them_alone() -> None:
    mask = np.where(INSIDE > 0, INSIDE, 0)
    mask[38:52, 58:82][INSIDE[38:52, 58:82] == 0] = IGNORE_INDEX  # a rim of 2 pixels
    mask[90:, 150:] = IGNORE_INDEX  # far from the defect
    only_ignored = np.full(SIZE, IGNORE_INDEX, np.uint8)
    (source,) = sources = sources_of(mask, only_ignored)
    assert source.mask.shape < (40, 60)
    _, found = pasted(sources)
    x, y, width, height = box_of(found == 3)
    assert (width, height) == (20, 10)
    assert (found == 3).sum() == 200
    assert box_of(found == IGNORE_INDEX) == (x - 2, y - 2, 24, 14)
    _, expected = pasted(sources_of(INSIDE))
    np.testing.assert_array_equal(found == 3, expected == 3)


def test_ignored_pixels_of_the_image_stay_so_where_no_defect_is_pasted() -> None:
    image, mask = noise(0), np.full(SIZE, IGNORE_INDEX, np.uint8)
    paste_defect(sources_of(INSIDE), image, mask, PART, np.random.default_rng(0))
    assert (mask == 3).sum() == 200
    assert set(np.unique(mask)) == {3, IGNORE_INDEX}


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of a mask."""
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return x, y, width, height


def test_every_image_with_a_mask_is_a_source_with_an_edge_that_fades() -> None:
    images, masks = np.stack([noise(100)] * 3), np.stack([INSIDE, NOTHING, OVER_THE_EDGE])
    source, over = extract_sources(images, masks, np.stack([PART] * 3), [3, 3, 3])
    images[:], masks[:] = 0, 0  # a source keeps a copy
    rows, columns = source.mask.shape
    window = (slice(source.y0, source.y0 + rows), slice(source.x0, source.x0 + columns))
    assert np.array_equal(source.mask, INSIDE[window])
    assert np.array_equal(source.image, noise(100)[window].astype(np.float32))
    assert np.count_nonzero(source.mask) == np.count_nonzero(INSIDE)
    assert (source.alpha[source.mask > 0] == 1).all()
    assert 0 <= source.alpha.min() <= source.alpha.max() == 1
    assert source.alpha[0].max() < 0.2
    assert rows <= 10 + 2 * REACH_PX
    assert columns <= 20 + 2 * REACH_PX
    assert [source.on_part, over.on_part] == [1.0, pytest.approx(12 / 22)]
    assert sources_of(CORNER)[0].on_part == 0
    assert sources_of(NOTHING) == []


def test_outside_of_the_faded_edge_the_image_is_unchanged() -> None:
    reach = np.ones((2 * REACH_PX + 1,) * 2, np.uint8)
    for defect, seed in itertools.product((INSIDE, OVER_THE_EDGE, CORNER), range(12)):
        image, found = pasted(sources_of(defect), seed=seed)
        far = cv2.dilate((found > 0).astype(np.uint8), reach) == 0
        assert np.array_equal(image[far], noise(0)[far]), seed
        assert not np.array_equal(image, noise(0)), seed


def test_the_mask_is_that_of_the_source_and_other_labels_stay() -> None:
    two = INSIDE.copy()
    two[52:56, 60:64] = 5
    own = two[40:56, 60:80]
    for seed in range(12):
        _, found = pasted(sources_of(two), seed=seed)
        assert np.bincount(found.ravel()).tolist() == np.bincount(two.ravel()).tolist()
        x, y, width, height = box_of(found)
        assert (height, width) == own.shape
        cut = found[y : y + height, x : x + width]
        assert np.array_equal(cut, own) or np.array_equal(cut, own[::-1])
    mask = block(slice(90, 95), slice(150, 160), label=1)
    paste_defect(sources_of(INSIDE), noise(0), mask, PART, np.random.default_rng(0))
    assert np.bincount(mask.ravel())[1:].tolist() == [50, 0, 200]


def test_a_defect_at_the_rim_or_as_large_as_the_image_stays_whole_within_it() -> None:
    for y, x in ((0, 0), (0, 188), (111, 0), (111, 188)):
        sources = sources_of(block(slice(y, y + 9), slice(x, x + 12)), foreground=EVERYWHERE)
        assert sources[0].on_part == 1.0  # so it is moved, and may run against the rim
        for seed in range(8):
            _, found = pasted(sources, seed=seed, foreground=EVERYWHERE)
            assert np.count_nonzero(found) == 9 * 12
            assert box_of(found)[2:] == (12, 9)
    large = sources_of(np.full(SIZE, 2, np.uint8), foreground=EVERYWHERE)
    assert (pasted(large, foreground=EVERYWHERE)[1] == 2).all()


def test_every_source_is_used_and_half_of_the_defects_are_mirrored() -> None:
    sources = sources_of(LOPSIDED, block(slice(60, 63), slice(100, 130), label=4))
    found = [pasted(sources, seed=seed)[1] for seed in range(200)]
    of_first = [mask for mask in found if mask.max() == 3]
    assert 70 < len(of_first) < 130
    mirrored = 0
    for mask in of_first:
        x, y, width, height = box_of(mask)
        mirrored += int(mask[y + height - 1, x + width // 2] == 0)
    assert 0.35 < mirrored / len(of_first) < 0.65


def test_on_an_upright_image_defects_are_mirrored_from_side_to_side() -> None:
    upright = block(slice(20, 180), slice(20, 100), size=(200, 120))
    mask = block(slice(30, 40), slice(30, 40), size=(200, 120))
    sources = extract_sources(np.zeros((1, 200, 120, 3), np.uint8), mask[None], upright[None], [3])
    boxes = [box_of(pasted(sources, seed=seed, foreground=upright)[1]) for seed in range(60)]
    assert all(abs(y - 30) <= 0.04 * 120 + 1 for _, y, _, _ in boxes)
    assert 10 < sum(x > 60 for x, _, _, _ in boxes) < 50


def test_a_defect_within_its_part_is_moved_a_little_along_and_across() -> None:
    places = np.array([box_of(pasted(sources_of(INSIDE), seed=seed)[1])[:2] for seed in range(60)])
    assert np.abs(places[:, 0] - 60).max() <= MAX_SHIFT_PX + 1
    own, mirrored = 40, SIZE[0] - 50
    moved = np.minimum(np.abs(places[:, 1] - own), np.abs(places[:, 1] - mirrored))
    assert moved.max() <= MAX_SHIFT_PX + 1
    assert len(set(places[:, 0].tolist())) > 5
    assert len(set(places[:, 1].tolist())) > 10


def test_a_defect_keeps_its_relation_to_the_part() -> None:
    for seed in range(40):
        _, over = pasted(sources_of(OVER_THE_EDGE), seed=seed)  # it is not moved along
        assert box_of(over) in {(60, 10, 20, 22), (60, 120 - 32, 20, 22)}
        _, near = pasted(sources_of(block(slice(21, 27), slice(60, 80))), seed=seed)
        assert (PART[near > 0] > 0).mean() >= 0.9
        elsewhere = block(slice(5, 60), slice(120, 195))
        _, moved = pasted(sources_of(INSIDE), seed=seed, foreground=elsewhere)
        assert box_of(moved)[2:] == (20, 10)
        assert (elsewhere[moved > 0] > 0).mean() >= 0.9


def test_a_defect_without_position_on_the_part_is_not_pasted() -> None:
    elsewhere = block(slice(108, 112), slice(180, 185))
    for defect in (INSIDE, OVER_THE_EDGE):
        image, found = noise(0), np.zeros(SIZE, np.uint8)
        assert (
            paste_defect(sources_of(defect), image, found, elsewhere, np.random.default_rng(0)) == 0
        )
        assert not found.any()
        assert np.array_equal(image, noise(0))


def test_colours_are_shifted_to_those_around_the_defect_and_the_mask_lies_on_them() -> None:
    # A defect that is 30 levels darker than its surroundings is so on a darker part too.
    for defect, expected in ((120, 50), (190, 120), (10, 0), (250, 180)):
        other = np.full((1, *SIZE, 3), 150, np.uint8)
        other[0][LOPSIDED > 0] = defect
        sources = extract_sources(other, LOPSIDED[None], PART[None], [3])
        for seed in range(6):  # some are mirrored
            image, mask = np.full((*SIZE, 3), 80, np.uint8), np.zeros(SIZE, np.uint8)
            assert paste_defect(sources, image, mask, PART, np.random.default_rng(seed)) == 3
            assert (image[mask > 0] == expected).all(), seed
            assert (image[mask == 0] == 80).all(), seed


def test_an_image_pasted_onto_itself_is_unchanged_where_it_is_not_moved() -> None:
    sources = extract_sources(noise(0)[None], OVER_THE_EDGE[None], PART[None], [3])
    of_seeds = [pasted(sources, seed=seed) for seed in range(6)]
    unmoved = [image for image, mask in of_seeds if np.array_equal(mask, OVER_THE_EDGE)]
    assert unmoved
    assert all(np.abs(image.astype(int) - noise(0)).max() <= 1 for image in unmoved)
