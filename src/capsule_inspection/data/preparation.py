"""One photograph made into what networks see: found, cut out, resized.

The same for the decoded cache, which training reads, and for a photograph that is predicted later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Box, Roi


@dataclass(frozen=True)
class Recipe:
    """How photographs are cut out: `roi` and `margin` as in `roi.crop_box`.

    `image_size` is (height, width); without `enlarge` small crops keep their resolution.
    """

    roi: Roi
    margin: float
    image_size: tuple[int, int]
    enlarge: bool = True


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photograph as networks see it.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W) uint8, 1 on the part, or everywhere on the
    photograph where none is seen. `box` is what was cut out, in source pixels, and may reach beyond
    the photograph; `inside` x0, y0, x1, y1 of the target's part that shows it. `found` is false
    where roi=auto saw no part. `size` is (height, width) of the photograph in pixels.
    """

    image: np.ndarray
    foreground: np.ndarray
    box: Box
    inside: tuple[int, int, int, int]
    found: bool
    size: tuple[int, int]

    @property
    def valid(self) -> np.ndarray:
        """False on padding, bool (H, W)."""
        x0, y0, x1, y1 = self.inside
        found = np.zeros(self.foreground.shape, bool)
        found[y0:y1, x0:x1] = True
        return found

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
        """How many pixels of the photograph one of the target stands for."""
        area = (self.box.x1 - self.box.x0) * (self.box.y1 - self.box.y0)
        return area / self.foreground.size


def prepare(image: np.ndarray, recipe: Recipe) -> Prepared:
    """Find the part in a photograph, (h, w, 3) uint8 RGB, and cut it out.

    Raises ConfigurationError, naming data.roi, for a box outside of the photograph.
    """
    # Here, so that a warm start does not import OpenCV.
    from capsule_inspection.data.cropping import cut_out, cut_out_mask
    from capsule_inspection.data.roi import crop_box, find_foreground

    size = (image.shape[0], image.shape[1])
    foreground = find_foreground(image)
    crop = crop_box(
        size,
        roi=recipe.roi,
        image_size=recipe.image_size,
        margin=recipe.margin,
        foreground=foreground,
        enlarge=recipe.enlarge,
    )
    pixels, inside = cut_out(image, box=crop.box, image_size=recipe.image_size)
    part = np.ones(size, np.uint8) if foreground is None else foreground
    return Prepared(
        image=pixels,
        foreground=cut_out_mask(part, box=crop.box, image_size=recipe.image_size),
        box=crop.box,
        inside=inside,
        found=crop.found,
        size=size,
    )
