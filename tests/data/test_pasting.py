"""Real defects on good images: where they come to lie, what they change, and what they leave."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.data.pasting import Donor, make_donors, paste

SIZE = (120, 200)
REACH_PX = 3 * 2
"""No farther than this from its mask does a defect fade: its reach is 2 pixels in this height."""
MOVED_PX = 0.04 * 200


def part() -> np.ndarray:
    """The part lies in the middle of the image, as a bar."""
    foreground = np.zeros(SIZE, np.uint8)
    foreground[20:100, 20:180] = 1
    return foreground


def marked(rows: slice, columns: slice, *, label: int = 3) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[rows, columns] = label
    return mask


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (*SIZE, 3), dtype=np.uint8)


def donors_of(*masks: np.ndarray, foreground: np.ndarray | None = None) -> list[Donor]:
    images = np.stack([noise(100 + number) for number in range(len(masks))])
    parts = np.stack([part() if foreground is None else foreground] * len(masks))
    return make_donors(images, np.stack(masks), parts, [3] * len(masks))


def pasted(
    donors: list[Donor], *, seed: int = 0, foreground: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    image, mask = noise(0), np.zeros(SIZE, np.uint8)
    lies_on = part() if foreground is None else foreground
    paste(donors, image, mask, lies_on, np.random.default_rng(seed))
    return image, mask


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of what is marked."""
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return x, y, width, height


INSIDE = marked(slice(40, 50), slice(60, 80))
CORNER = marked(slice(0, 9), slice(0, 12))
OVER_THE_EDGE = marked(slice(10, 32), slice(60, 80))


def test_every_image_with_a_mask_lends_its_defect_and_no_other() -> None:
    donors = donors_of(INSIDE, np.zeros(SIZE, np.uint8), OVER_THE_EDGE)
    assert len(donors) == 2
    assert donors_of(np.zeros(SIZE, np.uint8)) == []


def test_a_donor_is_its_defect_with_an_edge_that_fades() -> None:
    (donor,) = donors_of(INSIDE)
    rows, columns = donor.mask.shape
    window = (slice(donor.y0, donor.y0 + rows), slice(donor.x0, donor.x0 + columns))
    assert np.array_equal(donor.mask, INSIDE[window])
    assert np.array_equal(donor.image, noise(100)[window].astype(np.float32))
    assert np.count_nonzero(donor.mask) == np.count_nonzero(INSIDE)
    assert (donor.alpha[donor.mask > 0] == 1).all()
    assert 0 <= donor.alpha.min() <= donor.alpha.max() == 1
    assert donor.alpha[0].max() < 0.2
    assert rows <= 10 + 2 * REACH_PX
    assert columns <= 20 + 2 * REACH_PX
    assert donor.on_part == 1.0


def test_a_donor_knows_how_much_of_it_lies_on_its_part() -> None:
    (donor,) = donors_of(OVER_THE_EDGE)
    assert donor.on_part == pytest.approx(12 / 22)
    (beside,) = donors_of(CORNER)
    assert beside.on_part == 0


def test_a_donor_is_a_copy_that_does_not_keep_the_cache() -> None:
    images, masks = np.stack([noise(1)]), np.stack([INSIDE.copy()])
    (donor,) = make_donors(images, masks, np.stack([part()]), [3])
    before = donor.image.copy(), donor.mask.copy()
    images[:], masks[:] = 0, 0
    assert np.array_equal(donor.image, before[0])
    assert np.array_equal(donor.mask, before[1])


@pytest.mark.parametrize("mask", [INSIDE, OVER_THE_EDGE, CORNER], ids=["in", "over", "corner"])
@pytest.mark.parametrize("seed", range(12))
def test_outside_of_the_faded_edge_the_image_is_unchanged(mask: np.ndarray, seed: int) -> None:
    image, found = pasted(donors_of(mask), seed=seed)
    near = cv2.dilate((found > 0).astype(np.uint8), np.ones((2 * REACH_PX + 1,) * 2, np.uint8))
    assert np.array_equal(image[near == 0], noise(0)[near == 0])
    assert not np.array_equal(image, noise(0))


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_is_the_donors_values_and_all(seed: int) -> None:
    two = marked(slice(40, 50), slice(60, 80), label=3)
    two[52:56, 60:64] = 5
    _, found = pasted(donors_of(two), seed=seed)
    assert np.bincount(found.ravel()).tolist() == np.bincount(two.ravel()).tolist()
    x, y, width, height = box_of(found)
    own = two[40:56, 60:80]
    assert (height, width) == own.shape
    cut = found[y : y + height, x : x + width]
    assert np.array_equal(cut, own) or np.array_equal(cut, own[::-1])


def test_a_marked_image_keeps_the_marks_that_a_defect_does_not_cover() -> None:
    mask = marked(slice(90, 95), slice(150, 160), label=1)
    paste(donors_of(INSIDE), noise(0), mask, part(), np.random.default_rng(0))
    assert np.bincount(mask.ravel())[1:].tolist() == [50, 0, 200]


CORNERS = {
    f"{y}-{x}": marked(slice(y, y + 9), slice(x, x + 12)) for y in (0, 111) for x in (0, 188)
}


@pytest.mark.parametrize("mask", CORNERS.values(), ids=CORNERS)
@pytest.mark.parametrize("seed", range(8))
def test_a_defect_at_the_rim_stays_whole_within_the_image(mask: np.ndarray, seed: int) -> None:
    everywhere = np.ones(SIZE, np.uint8)
    donors = donors_of(mask, foreground=everywhere)
    assert donors[0].on_part == 1.0  # so it is moved, and may run against the rim
    _, found = pasted(donors, seed=seed, foreground=everywhere)
    assert np.count_nonzero(found) == 9 * 12
    assert box_of(found)[2:] == (12, 9)


def test_a_defect_as_large_as_its_image_is_pasted_where_it_is() -> None:
    everywhere = np.ones(SIZE, np.uint8)
    image, found = pasted(
        donors_of(np.full(SIZE, 2, np.uint8), foreground=everywhere), foreground=everywhere
    )
    assert (found == 2).all()
    assert image.shape == (*SIZE, 3)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    donors = donors_of(INSIDE, marked(slice(60, 63), slice(100, 130)))
    once = [pasted(donors, seed=seed) for seed in range(10)]
    again = [pasted(donors, seed=seed) for seed in range(10)]
    for one, other in zip(once, again, strict=True):
        assert one[0].tobytes() == other[0].tobytes()
        assert one[1].tobytes() == other[1].tobytes()
    assert len({image.tobytes() for image, _ in once}) > 5


def test_every_donor_has_its_turn_and_half_of_the_defects_are_mirrored() -> None:
    lopsided = INSIDE.copy()
    lopsided[38:40, 60:62] = 3
    donors = donors_of(lopsided, marked(slice(60, 63), slice(100, 130), label=4))
    found = [pasted(donors, seed=seed)[1] for seed in range(200)]
    of_first = [mask for mask in found if mask.max() == 3]
    assert 70 < len(of_first) < 130
    mirrored = 0
    for mask in of_first:
        x, y, width, height = box_of(mask)
        mirrored += int(mask[y + height - 1, x + width // 2] == 0)
    assert 0.35 < mirrored / len(of_first) < 0.65


def test_a_defect_within_its_part_is_moved_a_little_along_and_across() -> None:
    places = np.array([box_of(pasted(donors_of(INSIDE), seed=seed)[1])[:2] for seed in range(60)])
    assert np.abs(places[:, 0] - 60).max() <= MOVED_PX + 1
    own, mirrored = 40, SIZE[0] - 50
    moved = np.minimum(np.abs(places[:, 1] - own), np.abs(places[:, 1] - mirrored))
    assert moved.max() <= MOVED_PX + 1
    assert len(set(places[:, 0].tolist())) > 5
    assert len(set(places[:, 1].tolist())) > 10


@pytest.mark.parametrize("seed", range(20))
def test_a_defect_that_reaches_over_the_parts_edge_is_not_moved_along(seed: int) -> None:
    _, found = pasted(donors_of(OVER_THE_EDGE), seed=seed)
    assert box_of(found) in {(60, 10, 20, 22), (60, 120 - 32, 20, 22)}


@pytest.mark.parametrize("seed", range(40))
def test_a_defect_near_the_edge_stays_on_the_part(seed: int) -> None:
    near_the_edge = marked(slice(21, 27), slice(60, 80))
    _, found = pasted(donors_of(near_the_edge), seed=seed)
    assert (part()[found > 0] > 0).mean() >= 0.9


@pytest.mark.parametrize("seed", range(20))
def test_where_the_part_lies_elsewhere_the_defect_is_moved_onto_it(seed: int) -> None:
    elsewhere = np.zeros(SIZE, np.uint8)
    elsewhere[5:60, 120:195] = 1
    _, found = pasted(donors_of(INSIDE), seed=seed, foreground=elsewhere)
    assert box_of(found)[2:] == (20, 10)
    assert (elsewhere[found > 0] > 0).mean() >= 0.9


@pytest.mark.parametrize("mask", [INSIDE, OVER_THE_EDGE], ids=["inside", "over the edge"])
def test_a_defect_that_finds_no_place_on_the_part_is_not_pasted(mask: np.ndarray) -> None:
    elsewhere = np.zeros(SIZE, np.uint8)
    elsewhere[108:112, 180:185] = 1
    image, found = noise(0), np.zeros(SIZE, np.uint8)
    label = paste(donors_of(mask), image, found, elsewhere, np.random.default_rng(0))
    assert label == 0
    assert not found.any()
    assert np.array_equal(image, noise(0))


def test_on_an_upright_image_defects_are_mirrored_from_side_to_side() -> None:
    upright = np.zeros((200, 120), np.uint8)
    upright[20:180, 20:100] = 1
    mask = np.zeros((200, 120), np.uint8)
    mask[30:40, 30:40] = 3
    donors = make_donors(
        np.zeros((1, 200, 120, 3), np.uint8), mask[np.newaxis], upright[np.newaxis], [3]
    )
    columns = []
    for seed in range(60):
        image, found = np.zeros((200, 120, 3), np.uint8), np.zeros((200, 120), np.uint8)
        paste(donors, image, found, upright, np.random.default_rng(seed))
        x, y, _, _ = box_of(found)
        assert abs(y - 30) <= 0.04 * 120 + 1
        columns.append(x)
    assert 10 < sum(x > 60 for x in columns) < 50


def plain(level: int) -> np.ndarray:
    return np.full((*SIZE, 3), level, np.uint8)


@pytest.mark.parametrize(("defect", "expected"), [(120, 50), (190, 120), (10, 0), (250, 180)])
def test_colours_are_shifted_to_those_around_the_defect(defect: int, expected: int) -> None:
    donor_image = plain(150)
    donor_image[INSIDE > 0] = defect
    donors = make_donors(donor_image[None], INSIDE[None], part()[None], [3])
    image, mask = plain(80), np.zeros(SIZE, np.uint8)
    paste(donors, image, mask, part(), np.random.default_rng(3))
    # A defect that is 30 levels darker than its surroundings is so on a darker part too.
    assert (image[mask > 0] == expected).all()
    assert (image[mask == 0] == 80).all()


def test_an_image_pasted_onto_itself_is_unchanged_where_it_is_not_moved() -> None:
    image, mask = noise(5), np.zeros(SIZE, np.uint8)
    symmetrical = OVER_THE_EDGE
    donors = make_donors(image[None], symmetrical[None], part()[None], [3])
    for seed in range(6):
        copy = image.copy()
        mask[:] = 0
        paste(donors, copy, mask, part(), np.random.default_rng(seed))
        if np.array_equal(mask, symmetrical):
            assert np.abs(copy.astype(int) - image).max() <= 1
            return
    pytest.fail("all six were mirrored")
