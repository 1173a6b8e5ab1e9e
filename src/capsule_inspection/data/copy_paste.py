"""Copy-paste augmentation: real defects of training images, pasted onto good ones.

Source: Ghiasi et al. 2021 (arXiv:2012.07177), section 3. Differs: parts lie alike in their crops,
so a defect keeps its place, moved a little; its edge is blended and its colours are shifted to
those around it. Pure numpy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.types import GOOD_LABEL, IGNORE_INDEX

_FEATHER = 0.012
"""How far a pasted defect fades into its surroundings, as a fraction of the image's height."""
_MAX_SHIFT = 0.04
"""How far a defect is moved at most, along and across, as a fraction of the image's width."""
_ON_PART = 0.9
"""Fraction of a defect that must lie on the part, unless less of it did on its own image."""
_NEAR_TRIES, _FAR_TRIES = 4, 16
"""Positions near a defect's own, and positions anywhere on the part."""
_FLIP_PROBABILITY = 0.5


@dataclass(frozen=True)
class CopyPasteSource:
    """The defect of one image with its surroundings.

    Shapes: image (h, w, 3) float32 levels; mask (h, w) uint8, class indices; alpha (h, w) float32,
    1 on the defect, fading to 0. y0 and x0 are its position; `on_part` is the fraction of its mask
    on the part; `label` is the class of its image, whose mask may contain others too.
    """

    image: np.ndarray
    mask: np.ndarray
    alpha: np.ndarray
    y0: int
    x0: int
    on_part: float
    label: int


def extract_sources(
    images: np.ndarray, masks: np.ndarray, foregrounds: np.ndarray, labels: Sequence[int]
) -> list[CopyPasteSource]:
    """A source of each image that has a mask.

    Shapes: (N, H, W, 3), (N, H, W), (N, H, W) uint8; labels (N,).
    """
    rows = zip(images, masks, foregrounds, labels, strict=True)
    return [_extract_source(*row) for row in rows if defect_pixels(row[1]).any()]


def _extract_source(
    image: np.ndarray, mask: np.ndarray, foreground: np.ndarray, label: int
) -> CopyPasteSource:
    is_defect = defect_pixels(mask)
    reach = max(2, round(_FEATHER * mask.shape[0]))
    grown = cv2.dilate(is_defect.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1)))
    alpha = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), reach / 2)
    alpha[is_defect] = 1
    x0, y0, width, height = cv2.boundingRect((alpha > 0.02).astype(np.uint8))
    window = (slice(y0, y0 + height), slice(x0, x0 + width))
    return CopyPasteSource(
        image=image[window].astype(np.float32),
        mask=mask[window].copy(),
        alpha=alpha[window],
        y0=y0,
        x0=x0,
        on_part=float((foreground[is_defect] > 0).mean()),
        label=label,
    )


def paste_defect(
    sources: Sequence[CopyPasteSource],
    image: np.ndarray,
    mask: np.ndarray,
    foreground: np.ndarray,
    rng: Generator,
) -> int:
    """Paste the defect of a random source onto a good image, in place; returns its label.

    Half of the defects are mirrored at the image's long axis. A defect that reaches the edge of its
    part keeps its position. One from the inside of its part is moved onto the part. Where there is
    no position for it nothing is pasted, and the label is the good one.
    Shapes: image (H, W, 3) uint8; mask and foreground (H, W).
    """
    source = sources[int(rng.integers(len(sources)))]
    is_flipped = bool(rng.random() < _FLIP_PROBABILITY)
    (height, width), (rows, columns) = mask.shape, source.mask.shape
    y0, x0, across = source.y0, source.x0, slice(None)
    down = across
    if is_flipped and width >= height:
        y0, down = height - y0 - rows, slice(None, None, -1)
    elif is_flipped:
        x0, across = width - x0 - columns, slice(None, None, -1)
    pixels, defect, alpha = (of[down, across] for of in (source.image, source.mask, source.alpha))
    for y, x in _positions((y0, x0), foreground, source, rng):
        window = (slice(y, y + rows), slice(x, x + columns))
        on_part = float((foreground[window][defect_pixels(defect)] > 0).mean())
        if on_part >= min(_ON_PART, source.on_part - 0.1):
            _blend(image[window], mask[window], pixels, defect, alpha)
            return source.label
    return GOOD_LABEL


def _positions(
    own: tuple[int, int], foreground: np.ndarray, source: CopyPasteSource, rng: Generator
) -> Iterator[tuple[int, int]]:
    """Positions to try, within the image: near the defect's own, its own, then on the part."""
    (height, width), (rows, columns) = foreground.shape, source.mask.shape

    def inside(y0: int, x0: int) -> tuple[int, int]:
        return min(max(y0, 0), height - rows), min(max(x0, 0), width - columns)

    is_movable = source.on_part >= _ON_PART
    if is_movable:
        reach = _MAX_SHIFT * width
        for _ in range(_NEAR_TRIES):
            dy, dx = rng.uniform(-reach, reach, 2)
            yield inside(own[0] + round(dy), own[1] + round(dx))
    yield inside(*own)
    if is_movable and foreground.any():
        for pixel in rng.choice(np.flatnonzero(foreground), _FAR_TRIES).tolist():
            y, x = divmod(pixel, width)
            yield inside(y - rows // 2, x - columns // 2)


def _blend(
    image: np.ndarray, mask: np.ndarray, pixels: np.ndarray, defect: np.ndarray, alpha: np.ndarray
) -> None:
    """Blend pixels into a window of an image in place, shifted to the colours around the defect.

    Pixels that the defect's own mask ignores are ignored where they are blended in.
    """
    is_blended = alpha > 0.02
    ring = is_blended & (defect == 0)
    shift = (image[ring] - pixels[ring]).mean(0) if ring.any() else np.zeros(3, np.float32)
    weight = alpha[..., None]
    image[:] = np.clip(image + weight * (pixels + shift - image), 0, 255).round()
    mask[(defect == IGNORE_INDEX) & is_blended] = IGNORE_INDEX
    mask[defect_pixels(defect)] = defect[defect_pixels(defect)]
