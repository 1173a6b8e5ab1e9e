"""What of an image is shown in training: a window around what matters, later all of it.

On raw batches, before they go to the device; what is spoilt or mixed in is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.sampling import Share

ALONE = Share()
"""The only process of a training."""
_SHIFT = 0.7
"""Of a window's size: how far what was spoilt lies from its centre at most, on both sides."""
_ROOM = 0.15
"""Of a window's size: what is cut out beyond it on each side, for augmentation to turn and move."""


@dataclass(frozen=True)
class Windows:
    """A window of `size` (h, w) in pixels is seen of each image, None for the whole.

    From the epoch `whole_from` on the whole, of as many images as have the pixels of a batch of
    windows; None for never.
    """

    size: tuple[int, int] | None = None
    whole_from: int | None = None

    def at(self, epoch: int) -> tuple[int, int] | None:
        """The part of each image that is seen in an epoch of a training, None for the whole."""
        is_whole = self.whole_from is not None and epoch >= self.whole_from
        return None if is_whole else self.size

    def shown_of(self, drawn: int, *, epoch: int, image_size: tuple[int, int]) -> int:
        """How many images of a batch of so many are shown: fewer where they are whole ones."""
        if self.size is None or self.at(epoch) is not None:
            return drawn
        return whole_images(drawn, window=self.size, image_size=image_size)

    def of_batch(
        self, raw: Mapping[str, Tensor], epoch: int, share: Share = ALONE
    ) -> Mapping[str, Tensor]:
        """The batch, or its first images where whole ones take the place of windows.

        Of the images that the batch of all processes together would show each takes its `share`,
        and at least one.
        """
        height, width = raw["mask"].shape[1:]
        drawn = len(raw["mask"])
        shown = self.shown_of(drawn * share.processes, epoch=epoch, image_size=(height, width))
        count = max(1, len(range(share.rank, shown, share.processes)))
        return raw if count == drawn else {key: value[:count] for key, value in raw.items()}

    def place(
        self, mask: np.ndarray, foreground: np.ndarray, rng: np.random.Generator, *, epoch: int
    ) -> np.ndarray:
        """Row and column of the middle of an image's window: around its mask, else on the part."""
        centre = np.array(point_of_interest(mask, foreground, rng), np.float64)
        window = self.at(epoch)
        return centre if window is None else centre + _SHIFT * (rng.random(2) - 0.5) * window

    def cut(self, raw: Mapping[str, Tensor], centres: np.ndarray, epoch: int) -> dict[str, Tensor]:
        """The surroundings of each image's window, somewhat larger than it; all arrays alike."""
        window = self.at(epoch)
        return dict(raw) if window is None else cut_around(raw, centres, window=window)


WHOLE_IMAGES = Windows()


def point_of_interest(
    mask: np.ndarray, foreground: np.ndarray, rng: np.random.Generator
) -> tuple[int, int]:
    """Row and column of a random pixel of the mask, else of the foreground, else of the image."""
    for area in (mask, foreground):
        places = np.flatnonzero(area)
        if len(places):
            row, column = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
            return row, column
    return int(rng.integers(mask.shape[0])), int(rng.integers(mask.shape[1]))


def whole_images(windows: int, *, window: tuple[int, int], image_size: tuple[int, int]) -> int:
    """How many images have as many pixels as so many windows of them; at least one."""
    return max(1, round(windows * window[0] * window[1] / (image_size[0] * image_size[1])))


def cut_around(
    raw: Mapping[str, Tensor], centres: np.ndarray, *, window: tuple[int, int]
) -> dict[str, Tensor]:
    """The surroundings of a window in each image: all of `raw` that has pixels, cut alike.

    `centres` (N, 2) are rows and columns; what would reach beyond an image is moved back into it.
    Cut before anything is computed: of a window a tenth of an image large, nine tenths need not be
    made into numbers, turned and coloured.
    """
    height, width = raw["mask"].shape[1:]
    rows, columns = (
        min(side, round(part * (1 + 2 * _ROOM)))
        for side, part in zip((height, width), window, strict=True)
    )
    top = np.clip(np.rint(centres[:, 0] - rows / 2), 0, height - rows).astype(int)
    left = np.clip(np.rint(centres[:, 1] - columns / 2), 0, width - columns).astype(int)

    def cut(pixels: Tensor) -> Tensor:
        parts = [
            of_one[y : y + rows, x : x + columns]
            for of_one, y, x in zip(pixels, top, left, strict=True)
        ]
        return torch.stack(parts)

    return {key: value if value.ndim < 3 else cut(value) for key, value in raw.items()}
