"""Probabilities of large images from overlapping tiles, of the size that a network has learnt on.

Where tiles overlap they are averaged, each weighing less towards its edge, where it sees less of
the surroundings. Pure torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_EDGE_WEIGHT = 0.02
"""Of a tile's outermost pixels against its middle, so that the image's border has a weight."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `size` (h, w) pixels that overlap by the share `overlap` of it, at least.

    `batch_size` is how many a network is shown together, None for all of them: no more than so many
    times the area of the images as tiles overlap.
    """

    size: tuple[int, int]
    overlap: float
    batch_size: int | None = 32

    def starts(self, side: int, axis: int) -> list[int]:
        """Where tiles begin along one side of an image, the last one ending with it."""
        length = min(self.size[axis], side)
        step = max(1, round(length * (1 - self.overlap)))
        count = 1 + -(-(side - length) // step)
        return [round(float(place)) for place in _evenly(side - length, count)]


def tiled_probabilities(
    network: Callable[[Tensor], Tensor], image: Tensor, tiling: Tiling
) -> Tensor:
    """Blended class probabilities (N, C, H, W), float32, of images (N, 3, H, W).

    `network` maps images to logits (N, C, h, w); it sees about `tiling.batch_size` tiles at a time.
    """
    height, width = (int(side) for side in image.shape[2:])  # numbers also in a traced graph
    rows, columns = min(tiling.size[0], height), min(tiling.size[1], width)
    weight = tile_weight(rows, columns).to(image.device)
    places = [(top, left) for top in tiling.starts(height, 0) for left in tiling.starts(width, 1)]
    total, weights = None, image.new_zeros((height, width), dtype=torch.float32)
    count = image.shape[0]  # which, unlike len, is followed where a graph is traced
    together = len(places)
    if tiling.batch_size is not None:
        together = max(1, tiling.batch_size // count)
    for first in range(0, len(places), together):
        windows = [
            (slice(top, top + rows), slice(left, left + columns))
            for top, left in places[first : first + together]
        ]
        logits = network(torch.cat([image[:, :, *window] for window in windows]))
        found = logits.float().softmax(1).unflatten(0, (len(windows), count))
        if total is None:
            total = found.new_zeros((*found.shape[1:3], height, width))
        for window, of_window in zip(windows, found, strict=True):
            total[:, :, *window] += of_window * weight
            weights[window] += weight
    assert total is not None
    return total / weights


def _evenly(last: int, count: int) -> np.ndarray:
    """`count` places from 0 to `last`: those of torch.linspace, which no exported graph has."""
    step = np.float32(last) / np.float32(max(1, count - 1))
    number = np.arange(count, dtype=np.float32)
    return np.where(number < count // 2, number * step, last - step * (count - 1 - number))


def tile_weight(rows: int, columns: int) -> Tensor:
    """Weight of a tile's pixels, (rows, columns): a tent, 1 in the middle."""
    sides = []
    for count in (rows, columns):
        place = (torch.arange(count) + 0.5) / count
        sides.append((1 - (2 * place - 1).abs()).clamp_min(_EDGE_WEIGHT))
    return sides[0][:, None] * sides[1][None, :]
