"""Tiles: every pixel is covered, and seams leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from capsule_inspection.models.tiling import Tiling, tile_weight, tiled_probabilities


def convolution(size: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, size, padding=size // 2)


def see(network: Callable[[Tensor], Tensor], image: Tensor, tiling: Tiling) -> Tensor:
    with torch.no_grad():
        return tiled_probabilities(network, image, tiling)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 260), st.integers(1, 40), st.floats(0, 0.9))
def test_tiles_cover_every_pixel_overlap_enough_and_end_with_the_image(
    side: int, length: int, overlap: float
) -> None:
    tiling = Tiling((length, 2 * length), overlap)
    for axis in (0, 1):
        tile = min(tiling.size[axis], side)
        starts = tiling.starts(side, axis)
        assert starts[0] == 0
        assert starts[-1] == side - tile
        steps = [later - earlier for earlier, later in pairwise(starts)]
        assert all(0 < step <= tile for step in steps)
        # Places are whole pixels, so the overlap is as wished to half a pixel.
        assert all(step <= max(1, (1 - overlap) * tile + 0.5) for step in steps)


def test_there_are_no_more_tiles_than_the_overlap_needs_and_they_lie_evenly() -> None:
    assert Tiling((10, 10), 0.0).starts(30, 0) == [0, 10, 20]
    assert Tiling((10, 10), 0.0).starts(31, 0) == [0, 7, 14, 21]
    assert Tiling((10, 10), 0.5).starts(20, 1) == [0, 5, 10]
    assert Tiling((10, 20), 0.5).starts(20, 1) == [0]
    assert Tiling((10, 20), 0.5).starts(4, 0) == [0]
    for side in range(40, 700, 3):
        for overlap in (0.1, 0.25, 0.5):
            starts = Tiling((33, 33), overlap).starts(side, 0)
            places = torch.linspace(0, side - 33, len(starts)).tolist()
            assert starts == [round(place) for place in places]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_pointwise_model_gives_the_same_with_and_without_tiles(overlap: float) -> None:
    network = convolution(1)
    for size in ((40, 70), (16, 24), (17, 25), (9, 100)):
        image = torch.randn(2, 3, *size)
        found = see(network, image, Tiling((16, 24), overlap))
        torch.testing.assert_close(found, network(image).softmax(1).detach())


def test_a_tile_as_large_as_the_image_changes_nothing() -> None:
    network, image = convolution(5), torch.randn(2, 3, 20, 30)
    for tile in ((20, 30), (21, 100), (500, 30)):
        found = see(network, image, Tiling(tile, 0.5))
        torch.testing.assert_close(found, network(image).softmax(1).detach())


def test_the_model_gets_tiles_of_all_images_in_one_batch() -> None:
    seen: list[Tensor] = []

    def network(image: Tensor) -> Tensor:
        seen.append(image.clone())
        return image[:, :2]

    image, tiling = torch.randn(3, 3, 24, 40), Tiling((16, 20), 0.5)
    see(network, image, tiling)
    places = [(top, left) for top in tiling.starts(24, 0) for left in tiling.starts(40, 1)]
    assert places == [(0, 0), (0, 10), (0, 20), (8, 0), (8, 10), (8, 20)]
    for tiles, (top, left) in zip(torch.cat(seen).split(3), places, strict=True):
        assert torch.equal(tiles, image[:, :, top : top + 16, left : left + 20])


def test_the_batch_size_limits_the_tiles_and_changes_nothing() -> None:
    network, image = convolution(3), torch.randn(2, 3, 24, 40)  # of each image 6 tiles
    sizes: list[int] = []

    def watching(image: Tensor) -> Tensor:
        sizes.append(len(image))
        return network(image)

    expected = see(network, image, Tiling((16, 20), 0.5))
    for batch_size, together in ((1, 2), (2, 2), (5, 4), (6, 6), (100, 12), (None, 12)):
        sizes.clear()
        found = see(watching, image, Tiling((16, 20), 0.5, batch_size))
        assert (max(sizes), sum(sizes)) == (together, 12)
        torch.testing.assert_close(found, expected)


def test_a_tile_counts_more_where_a_pixel_is_near_its_middle() -> None:
    def by_place(image: Tensor) -> Tensor:
        """Class 1 for the tiles that begin at the left, class 0 for the others."""
        sign = torch.where(image[:, 0, :1, :1] == 0, 20.0, -20.0).expand_as(image[:, 0])
        return torch.stack([-sign, sign], 1)

    image = torch.arange(30.0).expand(1, 3, 20, 30)
    found = see(by_place, image, Tiling((20, 20), 0.5))[0, 1, 10]
    assert found[:10].tolist() == pytest.approx([1.0] * 10, abs=1e-4)
    assert found[20:].tolist() == pytest.approx([0.0] * 10, abs=1e-4)
    between = found[10:20]
    assert bool((between[1:] < between[:-1]).all())
    assert float(between.mean()) == pytest.approx(0.5, abs=1e-4)


def test_weights_are_a_tent_above_nothing() -> None:
    for size in ((1, 1), (2, 5), (16, 24), (33, 64)):
        weight = tile_weight(*size)
        assert weight.shape == size
        assert float(weight.min()) > 0
        torch.testing.assert_close(weight, weight.flip(0))
        torch.testing.assert_close(weight, weight.flip(1))
        assert float(weight.max()) == float(weight[size[0] // 2, size[1] // 2])


def test_blending_is_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = see(convolution(1), torch.randn(1, 3, 20, 30), Tiling((8, 8), 0.5))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 20, 30))
