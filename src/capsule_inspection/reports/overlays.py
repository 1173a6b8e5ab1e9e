"""Marked pixels over the image that they are marked in, in a colour for each class.

Colours: Okabe and Ito 2008, those first that stand out on a capsule, black or red; the n-th class
has the same in every picture of every run. Arrays only: no files, no matplotlib figure. OpenCV is
imported when called.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from capsule_inspection.reports import style

COLOURS = (
    style.SKY,
    style.YELLOW,
    style.GREEN,
    style.PURPLE,
    style.ORANGE,
    style.BLUE,
    style.VERMILION,
)
"""Of class 1, class 2 and so on. Further classes have them again, first paler and then darker."""

OPACITY = 0.6
"""Of what is filled: the defect must still be seen through it."""

_TINTS = ((0.0, 0.0), (0.6, 1.0), (0.5, 0.0))
"""How much of each round of colours is another grey, and which: black 0, white 1."""

_LINE_PER_PX = 1 / 220
_RIM_LIGHT = 0.3
"""What is left of the light beside an outline: yellow would vanish on white without its rim."""


def colours_of(num_classes: int) -> np.ndarray:
    """The colour of each class, the background's black: (C, 3) uint8.

    From the 22nd class on colours come a second time.
    """
    colours = np.zeros((num_classes, 3))
    for label in range(1, num_classes):
        round_, place = divmod(label - 1, len(COLOURS))
        share, grey = _TINTS[round_ % len(_TINTS)]
        colours[label] = (1 - share) * np.array(to_rgb(COLOURS[place])) + share * grey
    return np.round(255 * colours).astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, *, truth: np.ndarray | None = None) -> np.ndarray:
    """The image, what is marked filled half transparent and true defects outlined: (H, W, 3) uint8.

    Shapes: image (H, W, 3) uint8; mask and truth (H, W) class indices, 0 for none.
    Raises ValueError where sizes differ.
    """
    sizes = [array.shape[:2] for array in (image, mask, truth) if array is not None]
    if len(set(sizes)) > 1:
        raise ValueError(f"image, mask and truth must have one size, found {sizes}")
    filled = fill(image, mask)
    return filled if truth is None else _outlined(filled, truth)


def fill(image: np.ndarray, mask: np.ndarray, *, opacity: float = OPACITY) -> np.ndarray:
    """The image with the pixels of each class in its colour; shapes as those of `overlay`."""
    colours = colours_of(1 + int(mask.max(initial=0)))
    marked = mask > 0
    filled = image.copy()
    mixed = (1 - opacity) * image[marked] + opacity * colours[mask[marked]]
    filled[marked] = np.round(mixed).astype(np.uint8)
    return filled


def _outlined(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Lines just outside of the defects, so that none is hidden, each with a dark rim."""
    labels = [int(label) for label in np.unique(truth) if label]
    drawn = image.copy()
    width = max(1, round(image.shape[1] * _LINE_PER_PX))
    for label in labels:
        rim = _grown(truth == label, width + max(1, width // 2)) & (truth == 0)
        drawn[rim] = np.round(_RIM_LIGHT * image[rim]).astype(np.uint8)
    for label in labels:
        line = _grown(truth == label, width) & (truth != label)
        drawn[line] = colours_of(label + 1)[label]
    return drawn


def _grown(region: np.ndarray, by_px: int) -> np.ndarray:
    import cv2

    square = np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)
    return cv2.dilate(region.astype(np.uint8), square) > 0
