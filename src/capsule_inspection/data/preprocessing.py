"""Preprocessing of one image: find the part, crop it, resize it to the network's input.

Training (through the image cache) and prediction use the same preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Box, Roi


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of the crop; `roi` and `margin` as in `roi.crop_box`.

    `image_size` is (height, width); without `enlarge` small crops keep their resolution.
    """

    roi: Roi
    margin: float
    image_size: tuple[int, int]
    enlarge: bool = True


@dataclass(frozen=True, eq=False)
class PreprocessedImage:
    """A cropped and resized image.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W) uint8, 1 on the part, or everywhere on the
    image where none is found. `box` is the crop in source pixels, and may reach beyond the source;
    `content_box` is x0, y0, x1, y1 of the target's area that is not padding. `roi_found` is false
    where roi=auto found no part. `size` is (height, width) of the source in pixels.
    """

    image: np.ndarray
    foreground: np.ndarray
    box: Box
    content_box: tuple[int, int, int, int]
    roi_found: bool
    size: tuple[int, int]

    @property
    def valid(self) -> np.ndarray:
        """False on padding, bool (H, W)."""
        x0, y0, x1, y1 = self.content_box
        valid = np.zeros(self.foreground.shape, bool)
        valid[y0:y1, x0:x1] = True
        return valid

    def to_source(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """A box of the target (x0, y0, x1, y1; the last two exclusive) in source pixels."""
        height, width = self.foreground.shape
        across = (self.box.x1 - self.box.x0) / width
        down = (self.box.y1 - self.box.y0) / height
        edges = (
            self.box.x0 + box[0] * across,
            self.box.y0 + box[1] * down,
            self.box.x0 + box[2] * across,
            self.box.y0 + box[3] * down,
        )
        limits = (self.size[1], self.size[0]) * 2
        x0, y0, x1, y1 = (
            min(max(round(edge), 0), limit) for edge, limit in zip(edges, limits, strict=True)
        )
        return x0, y0, x1, y1

    @property
    def source_px_per_px(self) -> float:
        """The number of source pixels that one pixel of the target covers."""
        area = (self.box.x1 - self.box.x0) * (self.box.y1 - self.box.y0)
        return area / self.foreground.size


def preprocess(image: np.ndarray, config: PreprocessConfig) -> PreprocessedImage:
    """Find the part in an image, (h, w, 3) uint8 RGB, and crop it.

    Raises ConfigurationError, naming data.roi, for a box outside of the image.
    """
    # Here, so that a warm start does not import OpenCV.
    from capsule_inspection.data.roi import find_foreground

    return crop_image(image, find_foreground(image), config)


def crop_image(
    image: np.ndarray, foreground: np.ndarray | None, config: PreprocessConfig
) -> PreprocessedImage:
    """As `preprocess`, for a foreground that is known; None where no part was found."""
    from capsule_inspection.data.crop import crop_mask, resize_crop
    from capsule_inspection.data.roi import crop_box

    size = (image.shape[0], image.shape[1])
    crop = crop_box(
        size,
        roi=config.roi,
        image_size=config.image_size,
        margin=config.margin,
        foreground=foreground,
        enlarge=config.enlarge,
    )
    pixels, content_box = resize_crop(image, box=crop.box, image_size=config.image_size)
    part = np.ones(size, np.uint8) if foreground is None else foreground
    return PreprocessedImage(
        image=pixels,
        foreground=crop_mask(part, box=crop.box, image_size=config.image_size),
        box=crop.box,
        content_box=content_box,
        roi_found=crop.roi_found,
        size=size,
    )
