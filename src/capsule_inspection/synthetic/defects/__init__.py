"""Renders a synthetic defect and its mask onto any image of a capsule.

The image may be rendered or real, of any size; all lengths scale with the extent of the given
foreground. One file for each defect type; `canvas` has what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects.canvas import Canvas, DefectLayer, open_canvas
from capsule_inspection.synthetic.defects.crack import render_crack
from capsule_inspection.synthetic.defects.faulty_imprint import render_faulty_imprint
from capsule_inspection.synthetic.defects.poke import render_poke
from capsule_inspection.synthetic.defects.scratch import render_scratch
from capsule_inspection.synthetic.defects.squeeze import render_squeeze
from capsule_inspection.synthetic.texture import Array, disc, largest_channel
from capsule_inspection.types import DataError

_ATTEMPTS = 12
_FRACTION_OF_STRONGEST = 0.1
"""Visibility threshold as a fraction of the strongest change: cuts the soft edge of defects."""
_SMOOTH_UNITS = 1.5
_SMALLEST_COMPONENT = 0.2
"""Components of a mask below this fraction of its largest are not annotated in real masks."""
_BORDER = 60


@dataclass(frozen=True)
class _DefectType:
    """How one type is rendered and annotated, measured on real masks; lengths in units.

    A mask closes gaps up to `gap`, has a rim of random width, and keeps the distance `inset` from
    the outline of the capsule; None where it may reach beyond. `blur` keeps edges no sharper than
    in real images at the input size of networks; a squeeze moves real edges.
    """

    render: Callable[[Canvas, Generator], DefectLayer]
    visible_levels: float
    smallest: float
    gap: float
    rim: tuple[float, float]
    blur: float | None
    inset: float | None


_TYPES = {
    "crack": _DefectType(render_crack, 3.0, 150, gap=10, rim=(0, 4), blur=1.0, inset=None),
    "faulty_imprint": _DefectType(
        render_faulty_imprint, 3.0, 300, gap=12, rim=(0, 2), blur=0.6, inset=0.0
    ),
    "poke": _DefectType(render_poke, 3.0, 150, gap=6, rim=(0, 2.5), blur=0.9, inset=0.0),
    "scratch": _DefectType(render_scratch, 2.0, 400, gap=24, rim=(1, 4), blur=0.6, inset=5.0),
    "squeeze": _DefectType(render_squeeze, 3.0, 900, gap=6, rim=(0.5, 2), blur=None, inset=None),
}
DEFECT_TYPES = tuple(_TYPES)
"""The types that `render_defect` knows, in alphabetical order."""


@dataclass(frozen=True)
class SyntheticDefect:
    """An image with a synthetic defect.

    Shapes: image uint8 (H, W, 3) RGB; mask uint8 (H, W), 1 on the defect as an annotator would
    outline it. Outside of the mask the image is unchanged, byte for byte.
    """

    image: Array
    mask: Array


def render_defect(
    image: Array, foreground: Array, defect_type: str, rng: Generator
) -> SyntheticDefect:
    """Render one defect of a type from `DEFECT_TYPES` onto a copy of an image.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W), nonzero
    on the capsule, not empty. Raises DataError where it is too small for a visible defect.
    """
    spec = _TYPES[defect_type]
    canvas = open_canvas(image, foreground, rng)
    unit = canvas.frame.unit
    smallest = max(4.0, spec.smallest * unit**2)
    for attempt in range(_ATTEMPTS):
        layer = spec.render(canvas, rng)
        levels = spec.visible_levels * (1 if attempt < _ATTEMPTS // 2 else 0.5)
        change = layer.image - canvas.image
        if spec.blur is not None:
            change = cv2.GaussianBlur(change, (0, 0), max(0.4, spec.blur * unit))
        mask = _visible(change, unit, levels=levels)
        if layer.region is not None and mask.any():
            mask = (layer.region > 0).astype(np.uint8)
        mask = _outline(mask, unit, spec, rng)
        if spec.inset is not None:
            mask &= cv2.erode(canvas.foreground, disc(2 * spec.inset * unit))
        if mask.sum() >= smallest:
            return _put_back(image, canvas, change, mask)
    raise DataError(
        f"no visible {defect_type} could be rendered: the foreground is {foreground.sum()} pixels "
        f"large in an image of {image.shape[1]}x{image.shape[0]}. Use larger images or another "
        "mask."
    )


def _visible(change: Array, unit: float, *, levels: float) -> Array:
    """Where a change (h, w, 3) is visible, uint8 (h, w), without tiny components."""
    difference = cv2.GaussianBlur(change, (0, 0), max(0.4, 0.9 * unit))
    strength = largest_channel(np.abs(difference))
    threshold = max(levels, _FRACTION_OF_STRONGEST * float(strength.max()))
    mask = (strength > threshold).astype(np.uint8)
    return _drop_components(mask, smallest_px=max(2, round(10 * unit**2)))


def _outline(mask: Array, unit: float, spec: _DefectType, rng: Generator) -> Array:
    """A mask as annotated by hand: gaps and holes closed, a rim, a smooth outline."""
    mask = np.pad(mask, _BORDER)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(spec.gap * unit))
    mask = cv2.dilate(mask, disc(2 * rng.uniform(*spec.rim) * unit))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = cv2.drawContours(mask, contours, -1, 1, cv2.FILLED)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.5, _SMOOTH_UNITS * unit))
    mask = _drop_components((soft > 0.45).astype(np.uint8), fraction=_SMALLEST_COMPONENT)
    return np.ascontiguousarray(mask[_BORDER:-_BORDER, _BORDER:-_BORDER])


def _drop_components(mask: Array, *, smallest_px: int = 0, fraction: float = 0.0) -> Array:
    """The mask without components below `smallest_px` or this fraction of the largest one."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = areas >= max(smallest_px, fraction * areas.max(initial=0))
    return np.concatenate([[False], kept])[labels].astype(np.uint8)


def _put_back(image: Array, canvas: Canvas, change: Array, mask: Array) -> SyntheticDefect:
    """Put the change into the whole image, fading over the last two units within the mask."""
    whole, whole_mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / max(1.0, 2 * canvas.frame.unit)
    changed = canvas.image + change * np.minimum(depth, 1)[..., None]
    whole[canvas.window] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    whole_mask[canvas.window] = mask
    return SyntheticDefect(whole, whole_mask)
