"""Probabilities of large images from overlapping tiles, of the size that a network has learnt on.

Where tiles overlap they are averaged, each weighing less towards its edge, where it sees less of
the surroundings. Pure torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_EDGE_WEIGHT = 0.02
"""Of a tile's outermost pixels against its middle, so that the image's border has a weight."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `size` (h, w) pixels that overlap by the share `overlap` of it, at least."""

    size: tuple[int, int]
    overlap: float
    batch_size: int = 32

    def starts(self, side: int, axis: int) -> list[int]:
        """Where tiles begin along one side of an image, the last one ending with it."""
        length = min(self.size[axis], side)
        step = max(1, round(length * (1 - self.overlap)))
        count = 1 + -(-(side - length) // step)
        return [round(place) for place in torch.linspace(0, side - length, count).tolist()]


def tiled_probabilities(
    network: Callable[[Tensor], Tensor], image: Tensor, tiling: Tiling
) -> Tensor:
    """Blended class probabilities (N, C, H, W), float32, of images (N, 3, H, W).

    `network` maps images to logits (N, C, h, w); it sees about `tiling.batch_size` tiles at a time.
    """
    height, width = image.shape[2:]
    rows, columns = min(tiling.size[0], height), min(tiling.size[1], width)
    weight = tile_weight(rows, columns).to(image.device)
    places = [(top, left) for top in tiling.starts(height, 0) for left in tiling.starts(width, 1)]
    total, weights = None, image.new_zeros((height, width), dtype=torch.float32)
    together = max(1, tiling.batch_size // len(image))
    for first in range(0, len(places), together):
        windows = [
            (slice(top, top + rows), slice(left, left + columns))
            for top, left in places[first : first + together]
        ]
        logits = network(torch.cat([image[:, :, *window] for window in windows]))
        found = logits.float().softmax(1).unflatten(0, (len(windows), len(image)))
        if total is None:
            total = found.new_zeros((*found.shape[1:3], height, width))
        for window, of_window in zip(windows, found, strict=True):
            total[:, :, *window] += of_window * weight
            weights[window] += weight
    assert total is not None
    return total / weights


def tile_weight(rows: int, columns: int) -> Tensor:
    """Weight of a tile's pixels, (rows, columns): a tent, 1 in the middle."""
    sides = []
    for count in (rows, columns):
        place = (torch.arange(count) + 0.5) / count
        sides.append((1 - (2 * place - 1).abs()).clamp_min(_EDGE_WEIGHT))
    return sides[0][:, None] * sides[1][None, :]
