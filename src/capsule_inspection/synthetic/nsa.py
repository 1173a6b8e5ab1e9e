"""Natural synthetic anomalies (NSA): a patch of another good image, with seams that hardly show.

Source: Schlueter et al. 2022, "Natural synthetic anomalies" (Poisson blending, gamma-distributed
sizes, kept only where the change is visible); feathered patches and thin scars from Li et al. 2021,
"CutPaste". Differs: irregular shapes, and some patches are made fainter.
Works on any part: all lengths scale with the square root of the part's area.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects import SyntheticDefect
from capsule_inspection.synthetic.texture import (
    Array,
    blend,
    disc,
    fill_shape,
    rotation,
    rough_blob,
)
from capsule_inspection.types import DataError

Window = tuple[slice, slice]

_SMALLEST_SIDE_PX = 32
"""Shorter sides are too small for a patch and its rim."""
_ATTEMPTS = 24
_SIDE_RANGE = (0.04, 0.40)
_SCAR_FRACTION = 0.2
_POISSON_FRACTION = 0.65
_MIXED_FRACTION = 0.4
_VISIBLE_LEVELS = 8.0
_SMALLEST_AREA = 25 / 212**2
"""25 pixels on a capsule in an image of 160x448."""
_SMALLEST_PATCH_PX = 6.0
"""cv2.seamlessClone of OpenCV 5 raises an error for a mask of less than about 3 pixels."""


def render_nsa_patch(
    image: Array, foreground: Array, source: Array, source_foreground: Array, rng: Generator
) -> SyntheticDefect:
    """Paste a random patch of a good image onto a copy of another one (or of the same).

    Shapes: image and source (H, W, 3) uint8 RGB; foreground and source_foreground (H, W), nonzero
    on the part, so not empty. Outside of the returned mask the image is unchanged.
    Raises DataError where the image is too small, or no patch is visible.
    """
    if min(image.shape[:2]) < _SMALLEST_SIDE_PX:
        raise DataError(
            f"the image is {image.shape[1]}x{image.shape[0]}; patches need at least "
            f"{_SMALLEST_SIDE_PX} pixels on each side. Use larger images."
        )
    places, origins = np.flatnonzero(foreground), np.flatnonzero(source_foreground)
    # Limited, so that patch and rim fit into a long and narrow image.
    extent = float(min(np.sqrt(len(places)), 3 * min(image.shape[:2])))
    smallest = max(8.0, _SMALLEST_AREA * extent**2)
    poisson = rng.random() < _POISSON_FRACTION
    for attempt in range(_ATTEMPTS):
        alpha = _draw_shape(image.shape[:2], extent, rng)
        patch = _cut_patch(source, int(rng.choice(origins)), alpha.shape[:2], rng)
        window = _place(alpha.shape[:2], image.shape[:2], int(rng.choice(places)))
        before = image[window]
        # Poisson blending hides a patch on a plain part altogether: later attempts do without.
        after = _mix(before, patch, alpha, rng, poisson=poisson and attempt < _ATTEMPTS // 2)
        core = _visible(before, after, extent)
        if core.sum() >= smallest:
            return _put_back(image, window, after, core, rim=_rim(extent))
    raise DataError(
        f"no visible patch could be pasted in {_ATTEMPTS} attempts: the part is "
        f"{len(places)} pixels large in an image of {image.shape[1]}x{image.shape[0]}, and the "
        "patches look like what they cover. Use larger images or another foreground."
    )


def _rim(extent: float) -> int:
    """Width in pixels of the rim over which a patch fades out."""
    return max(1, round(0.01 * extent))


def _draw_shape(size: tuple[int, int], extent: float, rng: Generator) -> Array:
    """Soft shape of a patch, float32 (h, w) in [0, 1], with an empty border; fits into `size`."""
    points = _scar(extent, rng) if rng.random() < _SCAR_FRACTION else _spot(extent, rng)
    border = 3 + 3 * _rim(extent)
    limit = np.array([size[1], size[0]]) - 2.0 * border - 2
    span = np.ptp(points, axis=0)
    points = (points - points.min(axis=0)) * np.clip(span, _SMALLEST_PATCH_PX, limit) / span
    width, height = (int(side) for side in np.ceil(np.ptp(points, axis=0)) + 2 * border + 1)
    feather = rng.uniform(0.1, 0.8) * _rim(extent)
    return fill_shape((height, width), points + border, blur_px=feather)


def _spot(extent: float, rng: Generator) -> Array:
    """Points (N, 2) of a rectangle, an ellipse or a torn blob; small ones are the most frequent."""
    sides = extent * np.clip(0.03 + rng.gamma(1.6, 0.085, 2), *_SIDE_RANGE)
    return _outline(sides / 2, rng.normal(0, 0.2), rng)


def _scar(extent: float, rng: Generator) -> Array:
    """Points (N, 2) of a long thin shape in any direction."""
    length = np.clip(rng.gamma(2.5, 0.1), 0.10, 0.55)
    sides = extent * np.array([length, rng.uniform(0.012, 0.05)])
    return _outline(np.maximum(sides / 2, 1.2), rng.uniform(0, np.pi), rng)


def _outline(radii: Array, angle: float, rng: Generator) -> Array:
    if rng.random() < 0.25:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * radii
        return corners @ rotation(angle).T
    roughness = 0.0 if rng.random() < 0.3 else rng.uniform(0.15, 0.45)
    radii_xy = (float(radii[0]), float(radii[1]))
    return rough_blob(np.zeros(2), radii_xy, angle, rng, roughness=roughness)


def _cut_patch(source: Array, origin: int, shape: tuple[int, int], rng: Generator) -> Array:
    """Region of the source around a pixel (its flat index), turned, resized and toned a little.

    Returns uint8 (h, w, 3) of the given shape; the source is mirrored at its border.
    """
    y, x = divmod(origin, source.shape[1])
    angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.15)
    matrix = rotation(angle) / rng.uniform(0.7, 1.4)
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    offset = np.array([x, y]) - matrix @ middle
    patch = cv2.warpAffine(
        source,
        np.column_stack([matrix, offset]),
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    contrast, tone = rng.uniform(0.85, 1.25), rng.normal(0, 7) + rng.normal(0, 3, 3)
    mean = patch.mean(axis=(0, 1))
    return np.clip(np.rint((patch - mean) * contrast + mean + tone), 0, 255).astype(np.uint8)


def _place(shape: tuple[int, int], size: tuple[int, int], place: int) -> Window:
    """Window of a shape in an image of a size, around a pixel (its flat index), wholly inside."""
    y, x = divmod(place, size[1])
    top = min(max(0, y - shape[0] // 2), size[0] - shape[0])
    left = min(max(0, x - shape[1] // 2), size[1] - shape[1])
    return slice(top, top + shape[0]), slice(left, left + shape[1])


def _mix(before: Array, patch: Array, alpha: Array, rng: Generator, *, poisson: bool) -> Array:
    """The patch blended into a window by Poisson's equation or feathered, float32 (h, w, 3)."""
    mode = cv2.MIXED_CLONE if rng.random() < _MIXED_FRACTION else cv2.NORMAL_CLONE
    strength = np.float32(min(1.0, rng.uniform(0.45, 1.5)))
    inside = (alpha > 0.5).astype(np.uint8) * np.uint8(255)
    x, y, width, height = cv2.boundingRect(inside)
    if poisson and min(width, height) >= _SMALLEST_PATCH_PX:
        centre = (x + width // 2, y + height // 2)
        mixed = cv2.seamlessClone(patch, np.ascontiguousarray(before), inside, centre, mode)
        return blend(before.astype(np.float32), mixed, np.full(alpha.shape, strength))
    return blend(before.astype(np.float32), patch, alpha * strength)


def _visible(before: Array, after: Array, extent: float) -> Array:
    """Where a change is visible, as uint8 (h, w): smoothed lightly, small gaps closed."""
    change = np.abs(after - before).max(axis=2)
    smooth = cv2.GaussianBlur(change, (0, 0), max(0.6, 0.005 * extent))
    core = (smooth > _VISIBLE_LEVELS).astype(np.uint8)
    return cv2.morphologyEx(core, cv2.MORPH_CLOSE, disc(2 * round(0.015 * extent)))


def _put_back(
    image: Array, window: Window, after: Array, core: Array, *, rim: int
) -> SyntheticDefect:
    """Keep the visible change, and fade it out over a rim, so that it has no sharp edge."""
    mask = cv2.dilate(core, disc(2 * rim))
    fade = cv2.GaussianBlur(
        cv2.dilate(core, disc(2 * (rim // 2))).astype(np.float32), (0, 0), rim / 2
    )
    faded = np.rint(blend(image[window].astype(np.float32), after, fade * mask))
    whole, whole_mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
    whole[window] = np.where(mask[..., None] > 0, faded, image[window]).astype(np.uint8)
    whole_mask[window] = mask
    return SyntheticDefect(whole, whole_mask)
