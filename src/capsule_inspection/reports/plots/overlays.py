"""Masks drawn over an image, in a colour for each class.

Colours: Okabe and Ito 2008, first those with contrast on a black or red capsule; the n-th class
has the same colour in every plot of every run. OpenCV is imported when called.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from capsule_inspection.reports.plots import style

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
"""Of filled regions: the defect stays visible."""

_TINTS = ((0.0, 0.0), (0.6, 1.0), (0.5, 0.0))
"""For each repetition of the colours, the fraction of grey and the grey: black 0, white 1."""

_LINE_PER_PX = 1 / 220
_RIM_BRIGHTNESS = 0.3
"""Of the dark rim of an outline, relative to the image: yellow has no contrast on white."""


def colours_of(num_classes: int) -> np.ndarray:
    """The colour of each class, the background's black: (C, 3) uint8.

    From the 22nd class on the colours repeat.
    """
    colours = np.zeros((num_classes, 3))
    for label in range(1, num_classes):
        round_, place = divmod(label - 1, len(COLOURS))
        fraction, grey = _TINTS[round_ % len(_TINTS)]
        colours[label] = (1 - fraction) * np.array(to_rgb(COLOURS[place])) + fraction * grey
    return np.round(255 * colours).astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, *, target: np.ndarray | None = None) -> np.ndarray:
    """The image with the mask filled and the target mask outlined: (H, W, 3) uint8.

    Shapes: image (H, W, 3) uint8; mask and target (H, W) class indices, 0 for none.
    Raises ValueError where sizes differ.
    """
    sizes = [array.shape[:2] for array in (image, mask, target) if array is not None]
    if len(set(sizes)) > 1:
        raise ValueError(f"image, mask and target must have one size, found {sizes}")
    filled = fill(image, mask)
    return filled if target is None else _draw_outlines(filled, target)


def fill(image: np.ndarray, mask: np.ndarray, *, opacity: float = OPACITY) -> np.ndarray:
    """The image with the pixels of each class in its colour; shapes as those of `overlay`."""
    colours = colours_of(1 + int(mask.max(initial=0)))
    is_filled = mask > 0
    filled = image.copy()
    mixed = (1 - opacity) * image[is_filled] + opacity * colours[mask[is_filled]]
    filled[is_filled] = np.round(mixed).astype(np.uint8)
    return filled


def _draw_outlines(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Lines around the defects, just outside of them, each with a dark rim."""
    labels = [int(label) for label in np.unique(target) if label]
    drawn = image.copy()
    width = max(1, round(image.shape[1] * _LINE_PER_PX))
    for label in labels:
        rim = _dilate(target == label, width + max(1, width // 2)) & (target == 0)
        drawn[rim] = np.round(_RIM_BRIGHTNESS * image[rim]).astype(np.uint8)
    for label in labels:
        line = _dilate(target == label, width) & (target != label)
        drawn[line] = colours_of(label + 1)[label]
    return drawn


def _dilate(region: np.ndarray, by_px: int) -> np.ndarray:
    import cv2

    square = np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)
    return cv2.dilate(region.astype(np.uint8), square) > 0


def class_patches(defects: Sequence[str]) -> list[Patch]:
    """Legend handles with the colours of the defect classes, which are 1, 2 and so on."""
    colours = colours_of(1 + len(defects))[1:] / 255
    return [
        Patch(
            facecolor=tuple(colour), edgecolor=style.GREY, linewidth=0.5, label=style.shorten(name)
        )
        for colour, name in zip(colours, defects, strict=True)
    ]
