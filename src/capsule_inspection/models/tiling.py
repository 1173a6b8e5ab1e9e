"""Class probabilities of large images from overlapping tiles of the size of training crops.

Overlapping tiles are averaged; a tile's weight decreases towards its edge, where it has less
context. Pure torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_EDGE_WEIGHT = 0.02
"""Weight of a tile's outermost pixels, so that the image's border has one."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `size` (h, w) pixels that overlap by at least the fraction `overlap` of it.

    `batch_size` is the number of tiles in a forward pass, None for all of them.
    """

    size: tuple[int, int]
    overlap: float
    batch_size: int | None = 32

    def starts(self, side: int, axis: int) -> list[int]:
        """Where tiles start along one side of an image; the last one ends with the image."""
        length = min(self.size[axis], side)
        step = max(1, round(length * (1 - self.overlap)))
        count = 1 + -(-(side - length) // step)
        return [round(float(start)) for start in _linspace(side - length, count)]


def tiled_probabilities(model: Callable[[Tensor], Tensor], image: Tensor, tiling: Tiling) -> Tensor:
    """Blended class probabilities (N, C, H, W), float32, of images (N, 3, H, W).

    `model` maps images to logits (N, C, h, w), about `tiling.batch_size` tiles at a time.
    """
    height, width = (int(side) for side in image.shape[2:])  # numbers also in a traced graph
    rows, columns = min(tiling.size[0], height), min(tiling.size[1], width)
    weight = tile_weight(rows, columns).to(image.device)
    corners = [(top, left) for top in tiling.starts(height, 0) for left in tiling.starts(width, 1)]
    total, weights = None, image.new_zeros((height, width), dtype=torch.float32)
    images = image.shape[0]  # unlike len, it stays symbolic where a graph is traced
    step = len(corners)
    if tiling.batch_size is not None:
        step = max(1, tiling.batch_size // images)
    for first in range(0, len(corners), step):
        tiles = [
            (slice(top, top + rows), slice(left, left + columns))
            for top, left in corners[first : first + step]
        ]
        logits = model(torch.cat([image[:, :, *tile] for tile in tiles]))
        probabilities = logits.float().softmax(1).unflatten(0, (len(tiles), images))
        if total is None:
            total = probabilities.new_zeros((*probabilities.shape[1:3], height, width))
        for tile, of_tile in zip(tiles, probabilities, strict=True):
            total[:, :, *tile] += of_tile * weight
            weights[tile] += weight
    assert total is not None
    return total / weights


def _linspace(last: int, count: int) -> np.ndarray:
    """`count` positions from 0 to `last`: those of torch.linspace, which exports to no graph."""
    step = np.float32(last) / np.float32(max(1, count - 1))
    number = np.arange(count, dtype=np.float32)
    return np.where(number < count // 2, number * step, last - step * (count - 1 - number))


def tile_weight(rows: int, columns: int) -> Tensor:
    """Weight of a tile's pixels, (rows, columns): a tent, 1 in the middle."""
    sides = []
    for count in (rows, columns):
        position = (torch.arange(count) + 0.5) / count
        sides.append((1 - (2 * position - 1).abs()).clamp_min(_EDGE_WEIGHT))
    return sides[0][:, None] * sides[1][None, :]
