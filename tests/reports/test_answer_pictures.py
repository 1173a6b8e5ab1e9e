"""Pictures of answers: what is low or unmarked stays as it was photographed."""

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from capsule_inspection.reports.answer_pictures import (
    CLEAR_BELOW,
    FULL_FROM,
    answer_picture,
    heat_scale,
    write_png,
)
from capsule_inspection.reports.overlays import OPACITY, colours_of, fill


def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 120, 3), np.uint8)


def test_low_heat_leaves_the_photograph_byte_for_byte():
    image = photograph()

    drawn = answer_picture(image, heat=np.full((40, 120), CLEAR_BELOW))

    assert np.array_equal(drawn, image)
    assert drawn is not image


@pytest.mark.parametrize("heat", [FULL_FROM, 0.8, 1.0])
def test_high_heat_has_the_colour_of_anomaly_maps_and_lets_the_part_through(heat):
    image = photograph()

    drawn = answer_picture(image, heat=np.full((40, 120), heat)).astype(float)

    colour = 255 * np.array(colormaps["inferno"](round(255 * heat))[:3])
    expected = (1 - OPACITY) * image + OPACITY * colour
    assert np.abs(drawn - expected).max() <= 1.5


def test_heat_of_single_precision_covers_more_where_it_is_higher():
    image = np.zeros((10, 256, 3), np.uint8)
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (10, 1))

    added = answer_picture(image, heat=heat).astype(int).sum(axis=2)

    assert (np.diff(added[0]) >= -2).all()
    assert added[0, 0] == 0 < added[0, -1]


def test_mask_is_filled_in_the_colours_of_its_classes_and_outlined():
    image = np.full((40, 120, 3), 100, np.uint8)
    mask = np.zeros((40, 120), np.uint8)
    mask[10:20, 10:20], mask[10:20, 60:70] = 1, 2

    drawn = answer_picture(image, mask=mask)

    assert np.array_equal(drawn[mask > 0], fill(image, mask)[mask > 0])
    assert drawn[15, 20].tolist() == colours_of(3)[1].tolist()
    assert drawn[15, 70].tolist() == colours_of(3)[2].tolist()
    assert np.array_equal(drawn[30:], image[30:])


def test_single_marked_pixel_is_seen_by_its_outline():
    image = np.full((192, 512, 3), 100, np.uint8)
    mask = np.zeros((192, 512), np.uint8)
    mask[90, 300] = 1

    changed = (answer_picture(image, mask=mask) != image).any(axis=2)

    assert changed.sum() >= 25


def test_photograph_without_an_answer_on_it_and_with_an_empty_mask_is_a_copy():
    image = photograph()

    for drawn in (answer_picture(image), answer_picture(image, mask=np.zeros((40, 120), np.uint8))):
        assert np.array_equal(drawn, image)
        assert not np.shares_memory(drawn, image)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(40, 120\), its heat \(40, 119\)"):
        answer_picture(photograph(), heat=np.zeros((40, 119)))
    with pytest.raises(ValueError, match="one size"):
        answer_picture(photograph(), mask=np.zeros((39, 120), np.uint8))


def test_scale_goes_from_clear_to_bright():
    scale = heat_scale(60, 8)

    assert scale.shape == (8, 60, 3)
    assert len(np.unique(scale[:, 0], axis=0)) == 2
    assert scale[0, -1].sum() > scale[0, 30].sum()


@pytest.mark.parametrize("name", ["a.png", "膠囊 #1 100%?<b>.png"])
def test_written_picture_is_read_back_as_it_was(tmp_path, name):
    path, image = tmp_path / "overlays" / name, photograph()

    write_png(path, image)

    read = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read[..., ::-1], image)
    assert [found.name for found in path.parent.iterdir()] == [name]
