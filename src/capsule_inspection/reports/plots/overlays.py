"""Heat, masks and outlines drawn over an image, as arrays and PNG files.

Colours: Okabe and Ito 2008, first those with contrast on a black or red capsule; the n-th class
has the same colour in every picture of every run. torchvision's mask drawing needs torch, which
reports do not import. No matplotlib figures: an image takes a few milliseconds. Heat has the
colours of "inferno", dark to bright.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.reports.plots import style
from capsule_inspection.types import IGNORE_INDEX

if TYPE_CHECKING:
    from matplotlib.patches import Patch

COLOURS = (style.SKY, style.YELLOW, style.GREEN, style.PURPLE,
           style.ORANGE, style.BLUE, style.VERMILION)  # fmt: skip
"""Of class 1, class 2 and so on. Further classes have them again, first paler and then darker."""

OPACITY = 0.6
"""Of filled regions and high heat: the defect stays visible."""

CLEAR_BELOW, FULL_FROM = 0.25, 0.6
"""Heat up to which the image is unchanged, and heat from which the opacity is highest."""

_PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
)
"""Of images this takes 0.4 of the time of level 1 alone, and 0.8 of the bytes."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height."""

FULL: Box = (0.0, 0.0, 1.0, 1.0)
LINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
_TINTS = ((0.0, 0.0), (0.6, 1.0), (0.5, 0.0))
"""For each repetition of the colours, the fraction of grey and the grey: black 0, white 1."""

_LINE_PER_PX, _RIM_BRIGHTNESS = 1 / 220, 0.3
"""Line width relative to the image; brightness of its dark rim: yellow has no contrast on white."""

_HATCH_PER_PX, _HATCH_GREY = 1 / 60, 150
"""Distance of the lines over ignored pixels relative to the image, and their colour."""

PANEL_PX, _MISSING_GREY = 600, 200
"""Width of pictures in grids, about twice that of a panel; grey in place of a missing image."""

_CROP_SCALE, _MIN_CROP = 1.6, 1 / 5
"""Size of an enlarged crop relative to its region, and its smallest fraction of the image."""


def colours_of(num_classes: int) -> np.ndarray:
    """The colour of each class, the background's black: (C, 3) uint8.

    From the 22nd class on the colours repeat.
    """
    colours = np.zeros((num_classes, 3))
    for label in range(1, num_classes):
        round_, place = divmod(label - 1, len(COLOURS))
        fraction, grey = _TINTS[round_ % len(_TINTS)]
        colours[label] = (1 - fraction) * _rgb(COLOURS[place]) + fraction * grey
    return np.round(255 * colours).astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    """Red, green and blue of `#rrggbb`, from 0 to 1."""
    return np.array([*bytes.fromhex(colour[1:])]) / 255


def class_patches(defects: Sequence[str]) -> list[Patch]:
    """Legend handles with the colours of the defect classes, which are 1, 2 and so on."""
    from matplotlib.patches import Patch

    colours = colours_of(1 + len(defects))[1:] / 255
    return [
        Patch(facecolor=tuple(colour), edgecolor=style.GREY, lw=0.5, label=style.shorten(name))
        for colour, name in zip(colours, defects, strict=True)
    ]


def ignored_patch() -> Patch:
    """Legend handle of ignored pixels."""
    from matplotlib.patches import Patch

    grey = str(_HATCH_GREY / 255)
    return Patch(facecolor="none", edgecolor=grey, hatch="////", lw=0.5, label="ignored")


def compose(
    image: np.ndarray | None,
    *,
    heat: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    outlines: Sequence[np.ndarray] = (),
    crop: Box = FULL,
    width_px: int = PANEL_PX,
) -> np.ndarray:
    """A crop of the image with heat over it, a mask filled and masks outlined.

    Shapes: image (H, W, 3) uint8; heat (h, w) in [0, 1], transparent where it is low; mask and each
    of `outlines` (h, w) class indices, 0 for none; result (height, width_px, 3) uint8. Pixels that
    outlines ignore are hatched. All show the same region; sizes may differ. Without an image the
    heat is opaque, or the masks lie on grey.
    """
    layers = [layer for layer in (image, heat, mask, *outlines) if layer is not None]
    height, width = layers[0].shape[:2]
    ratio = (crop[3] - crop[1]) * height / ((crop[2] - crop[0]) * width)
    size = (width_px, max(1, round(width_px * ratio)))
    level = None if heat is None else _resize(heat.astype(np.float32), crop, size, LINEAR)
    if image is not None:
        drawn = _resize(image, crop, size, Image.Resampling.BICUBIC).copy()
        drawn = drawn if level is None else _blend_heat(drawn, level)
    elif level is not None:
        drawn = _heat_colours()[np.round(255 * level).astype(np.uint8)]
    else:
        drawn = np.full((size[1], size[0], 3), _MISSING_GREY, np.uint8)
    if mask is not None:
        mask = _resize(mask.astype(np.uint8), crop, size, NEAREST)
        colours = colours_of(1 + int(mask.max(initial=0)))[mask[mask > 0]]
        mixed = (1 - OPACITY) * drawn[mask > 0] + OPACITY * colours
        drawn[mask > 0] = np.round(mixed).astype(np.uint8)
    for regions in outlines:
        _draw_outlines(drawn, _resize(regions.astype(np.uint8), crop, size, NEAREST))
    return drawn


def crop_around(region: np.ndarray) -> Box:
    """The part of an image around a region (h, w), with the proportions of the image.

    All of it where the region is empty.
    """
    if not region.any():
        return FULL
    spans = [np.flatnonzero(region.any(axis=axis)) / region.shape[1 - axis] for axis in (0, 1)]
    low = np.array([span[0] for span in spans])
    high = np.array([span[-1] for span in spans]) + 1 / np.array(region.shape[::-1])
    size = min(1.0, max(_CROP_SCALE * float((high - low).max()), _MIN_CROP))
    left, top = ((low + high - size) / 2).clip(0, 1 - size).tolist()
    return left, top, left + size, top + size


def heat_legend(width_px: int, height_px: int) -> np.ndarray:
    """Heat from 0 at the left to 1 at the right, on light and on dark: (H, W, 3) uint8."""
    ground = np.full((height_px, width_px, 3), 225, np.uint8)
    ground[height_px // 2 :] = 40
    heat = np.broadcast_to(np.linspace(0, 1, width_px), (height_px, width_px))
    return _blend_heat(ground, heat)


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint8, with fast rather than strong compression."""
    written, buffer = cv2.imencode(".png", pixels[..., ::-1], _PNG_OPTIONS)
    assert written
    return bytes(buffer)


def _resize(
    array: np.ndarray, crop: Box, size: tuple[int, int], method: Image.Resampling
) -> np.ndarray:
    height, width = array.shape[:2]
    box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    return np.asarray(Image.fromarray(array).resize(size, method, box=box))


def _draw_outlines(image: np.ndarray, target: np.ndarray) -> None:
    """Draw lines around the regions, just outside of them, each with a dark rim."""
    _hatch(image, target == IGNORE_INDEX)
    labels = [int(label) for label in np.unique(target[defect_pixels(target)])]
    width = max(1, round(image.shape[1] * _LINE_PER_PX))
    for label in labels:
        rim = _dilate(target == label, width + max(1, width // 2)) & ~defect_pixels(target)
        image[rim] = np.round(_RIM_BRIGHTNESS * image[rim]).astype(np.uint8)
    for label in labels:
        line = _dilate(target == label, width) & (target != label)
        image[line] = colours_of(label + 1)[label]


def _hatch(image: np.ndarray, region: np.ndarray) -> None:
    """Draw grey diagonal lines over a region (h, w) bool."""
    if region.any():
        spacing = max(4, round(image.shape[1] * _HATCH_PER_PX))
        rows, columns = np.indices(region.shape)
        image[region & ((rows + columns) % spacing < max(1, spacing // 4))] = _HATCH_GREY


def _dilate(region: np.ndarray, by_px: int) -> np.ndarray:
    square = np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)
    return cv2.dilate(region.astype(np.uint8), square) > 0


def _blend_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image below the colours of the heat, by a table of 256 levels."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, np.newaxis]
    opacity = OPACITY * ((levels - CLEAR_BELOW) / (FULL_FROM - CLEAR_BELOW)).clip(0, 1)
    added = opacity * _heat_colours().astype(np.float32)
    level = np.round(255 * heat).astype(np.uint8)
    return np.round(image * (1 - opacity)[level] + added[level]).astype(np.uint8)


def _heat_colours() -> np.ndarray:
    """The colour of each of 256 levels of heat, (256, 3) uint8."""
    levels = np.arange(256, dtype=np.uint8)[:, np.newaxis]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
