"""Large images seen in tiles: every pixel is covered, and seams leave no trace."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from capsule_inspection.networks.tiling import Tiling, tile_weight, tiled_probabilities

SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257]
OVERLAPS = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9]


def pixelwise() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1)


def see(network: nn.Module, image: Tensor, tiling: Tiling) -> Tensor:
    with torch.no_grad():
        return tiled_probabilities(network, image, tiling)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("length", [1, 5, 8, 16, 33])
def test_tiles_cover_every_pixel_overlap_enough_and_end_with_the_image(
    overlap: float, length: int
) -> None:
    tiling = Tiling((length, 2 * length), overlap)
    for side in SIZES:
        for axis in (0, 1):
            tile = min(tiling.size[axis], side)
            starts = tiling.starts(side, axis)
            assert starts[0] == 0
            assert starts[-1] == side - tile
            steps = [later - earlier for earlier, later in pairwise(starts)]
            assert all(0 < step <= tile for step in steps), (side, axis)
            # Places are whole pixels, so the overlap is as wished to half a pixel.
            assert all(step <= max(1, (1 - overlap) * tile + 0.5) for step in steps), (side, axis)


def test_there_are_no_more_tiles_than_the_overlap_asks_for() -> None:
    assert Tiling((10, 10), 0.0).starts(30, 0) == [0, 10, 20]
    assert Tiling((10, 10), 0.0).starts(31, 0) == [0, 7, 14, 21]
    assert Tiling((10, 10), 0.5).starts(20, 1) == [0, 5, 10]
    assert Tiling((10, 20), 0.5).starts(20, 1) == [0]
    assert Tiling((10, 20), 0.5).starts(4, 0) == [0]


@pytest.mark.parametrize("size", [(40, 70), (16, 24), (17, 25), (9, 100)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_network_that_sees_single_pixels_answers_as_without_tiles(
    size: tuple[int, int], overlap: float
) -> None:
    network, image = pixelwise(), torch.randn(2, 3, *size)
    found = see(network, image, Tiling((16, 24), overlap))
    with torch.no_grad():
        torch.testing.assert_close(found, network(image).softmax(1))


def test_a_constant_network_stays_constant_at_seams_and_borders() -> None:
    constant = torch.tensor([0.3, -1.0, 2.0])

    class Constant(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return constant[None, :, None, None].expand(len(image), 3, *image.shape[2:])

    found = see(Constant(), torch.randn(2, 3, 37, 61), Tiling((10, 12), 0.3))
    expected = constant.softmax(0)[None, :, None, None].expand(2, 3, 37, 61)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("tile", [(20, 30), (21, 100), (500, 30)])
def test_a_tile_as_large_as_the_image_is_the_network_itself(tile: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network, image = nn.Conv2d(3, 4, 5, padding=2), torch.randn(2, 3, 20, 30)
    with torch.no_grad():
        torch.testing.assert_close(
            see(network, image, Tiling(tile, 0.5)), network(image).softmax(1)
        )


def test_probabilities_sum_to_one_whatever_the_network_says_of_each_tile() -> None:
    torch.manual_seed(0)

    class Moody(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 5 * torch.randn(len(image), 4, *image.shape[2:])

    found = see(Moody(), torch.zeros(2, 3, 41, 53), Tiling((16, 16), 0.4))
    assert found.shape == (2, 4, 41, 53)
    assert float(found.min()) >= 0
    torch.testing.assert_close(found.sum(1), torch.ones(2, 41, 53))


def test_the_network_sees_tiles_of_the_asked_size_and_of_all_images_at_once() -> None:
    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Tensor] = []

        def forward(self, image: Tensor) -> Tensor:
            self.seen.append(image.clone())
            return image[:, :2]

    network, image = Watching(), torch.randn(3, 3, 24, 40)
    tiling = Tiling((16, 20), 0.5)
    see(network, image, tiling)
    places = [(top, left) for top in tiling.starts(24, 0) for left in tiling.starts(40, 1)]
    assert places == [(0, 0), (0, 10), (0, 20), (8, 0), (8, 10), (8, 20)]
    seen = torch.cat(network.seen).split(3)
    for tiles, (top, left) in zip(seen, places, strict=True):
        assert torch.equal(tiles, image[:, :, top : top + 16, left : left + 20])


@pytest.mark.parametrize(("batch_size", "together"), [(1, 2), (2, 2), (5, 4), (6, 6), (100, 12)])
def test_the_network_sees_about_as_many_tiles_at_a_time_as_asked(
    batch_size: int, together: int
) -> None:
    sizes = []

    def network(image: Tensor) -> Tensor:
        sizes.append(len(image))
        return image

    torch.manual_seed(0)
    image = torch.randn(2, 3, 24, 40)  # of each image 6 tiles
    found = tiled_probabilities(network, image, Tiling((16, 20), 0.5, batch_size))
    assert max(sizes) == together
    assert sum(sizes) == 12
    torch.testing.assert_close(found, image.softmax(1))


def test_where_tiles_overlap_the_one_counts_more_in_whose_middle_a_pixel_lies() -> None:
    class ByPlace(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            """Class 1 for the tiles that begin at the left, class 0 for the others."""
            sign = torch.where(image[:, 0, :1, :1] == 0, 20.0, -20.0).expand_as(image[:, 0])
            return torch.stack([-sign, sign], 1)

    image = torch.arange(30.0).expand(1, 3, 20, 30)
    found = see(ByPlace(), image, Tiling((20, 20), 0.5))[0, 1, 10]
    assert found[:10].tolist() == pytest.approx([1.0] * 10, abs=1e-4)
    assert found[20:].tolist() == pytest.approx([0.0] * 10, abs=1e-4)
    between = found[10:20]
    assert bool((between[1:] < between[:-1]).all())
    assert float(between.mean()) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 24), (33, 64)])
def test_weights_are_a_tent_above_nothing(size: tuple[int, int]) -> None:
    weight = tile_weight(*size)
    assert weight.shape == size
    assert float(weight.min()) > 0
    torch.testing.assert_close(weight, weight.flip(0))
    torch.testing.assert_close(weight, weight.flip(1))
    assert float(weight.max()) == float(weight[size[0] // 2, size[1] // 2])


def test_half_precision_is_for_the_network_alone() -> None:
    network, image = pixelwise(), torch.randn(1, 3, 20, 30)
    with torch.autocast("cpu", torch.bfloat16):
        found = see(network, image, Tiling((8, 8), 0.5))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 20, 30))


def test_tiles_begin_where_torch_would_place_them_evenly() -> None:
    for side in range(40, 700, 3):
        for overlap in (0.1, 0.25, 0.5):
            starts = Tiling((33, 33), overlap).starts(side, 0)
            places = torch.linspace(0, side - 33, len(starts)).tolist()
            assert starts == [round(place) for place in places]


def test_all_tiles_at_once_give_the_same() -> None:
    network, image = nn.Conv2d(3, 4, 3, padding=1), torch.randn(3, 3, 40, 70)
    few = see(network, image, Tiling((16, 24), 0.25, batch_size=4))
    torch.testing.assert_close(see(network, image, Tiling((16, 24), 0.25, batch_size=None)), few)
