"""Real defects of training images, to be pasted onto good ones.

Parts lie alike in their crops, so a defect keeps its place, moved a little; its edge is blended and
its colours are shifted to those around it. Source: "copy-paste", Ghiasi et al. 2021
(arXiv:2012.07177), section 3; blending and colours are ours.
Pure numpy and OpenCV; who lends and who is given to is decided by whoever calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from capsule_inspection.types import GOOD_LABEL

_FEATHER = 0.012
"""Of an image's height: how far a pasted defect fades into its surroundings."""
_MOVED = 0.04
"""Of an image's width: how far a defect is moved at most, along and across."""
_ON_PART = 0.9
"""Share of a defect that must come to lie on the part, if as much of it did before."""
_TRIES, _FAR_TRIES = 4, 16
"""Places near a defect's own, and places anywhere on the part."""
_FLIP = 0.5


@dataclass(frozen=True)
class Donor:
    """One defect image's marked surroundings.

    Shapes: image (h, w, 3) float32 levels; mask (h, w) uint8, class indices; alpha (h, w) float32,
    1 on the defect, fading to 0. y0 and x0 are its place; `on_part` the share of its mask that lies
    on the part; `label` the class of its image, whose mask may show others too.
    """

    image: np.ndarray
    mask: np.ndarray
    alpha: np.ndarray
    y0: int
    x0: int
    on_part: float
    label: int


def make_donors(
    images: np.ndarray, masks: np.ndarray, foregrounds: np.ndarray, labels: Sequence[int]
) -> list[Donor]:
    """A donor of each image that has a mask.

    Shapes: (N, H, W, 3), (N, H, W), (N, H, W) uint8; labels (N,).
    """
    rows = zip(images, masks, foregrounds, labels, strict=True)
    return [_donor(*row) for row in rows if row[1].any()]


def _donor(image: np.ndarray, mask: np.ndarray, foreground: np.ndarray, label: int) -> Donor:
    reach = max(2, round(_FEATHER * mask.shape[0]))
    grown = cv2.dilate((mask > 0).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1)))
    alpha = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), reach / 2)
    alpha[mask > 0] = 1
    x0, y0, width, height = cv2.boundingRect((alpha > 0.02).astype(np.uint8))
    window = (slice(y0, y0 + height), slice(x0, x0 + width))
    marked = mask > 0
    return Donor(
        image=image[window].astype(np.float32),
        mask=mask[window].copy(),
        alpha=alpha[window],
        y0=y0,
        x0=x0,
        on_part=float((foreground[marked] > 0).mean()),
        label=label,
    )


def paste(
    donors: list[Donor],
    image: np.ndarray,
    mask: np.ndarray,
    foreground: np.ndarray,
    rng: np.random.Generator,
) -> int:
    """Paste one of the donors' defects onto a good image, in place; returns the donor's label.

    Half of them are mirrored at the image's long axis. A defect that reaches the edge of its part
    stays where it was. Where the part does not lie there, one from its inside is moved onto it; of
    what finds no place nothing is pasted, and the label is the good one.
    Shapes: image (H, W, 3) uint8; mask and foreground (H, W).
    """
    donor = donors[int(rng.integers(len(donors)))]
    flipped = bool(rng.random() < _FLIP)
    (height, width), (rows, columns) = mask.shape, donor.mask.shape
    y0, x0, across = donor.y0, donor.x0, slice(None)
    down = across
    if flipped and width >= height:
        y0, down = height - y0 - rows, slice(None, None, -1)
    elif flipped:
        x0, across = width - x0 - columns, slice(None, None, -1)
    pixels, marks, alpha = (of[down, across] for of in (donor.image, donor.mask, donor.alpha))
    for y, x in _places((y0, x0), foreground, donor, rng):
        window = (slice(y, y + rows), slice(x, x + columns))
        lies_on = float((foreground[window][marks > 0] > 0).mean())
        if lies_on >= min(_ON_PART, donor.on_part - 0.1):
            _blend(image[window], mask[window], pixels, marks, alpha)
            return donor.label
    return GOOD_LABEL


def _places(
    own: tuple[int, int], foreground: np.ndarray, donor: Donor, rng: np.random.Generator
) -> Iterable[tuple[int, int]]:
    """Places to try, within the image: near the defect's own, its own, and then on the part."""
    size, part = foreground.shape, donor.mask.shape
    moved = donor.on_part >= _ON_PART
    if moved:
        reach = _MOVED * size[1]
        for _ in range(_TRIES):
            dy, dx = rng.uniform(-reach, reach, 2)
            yield _kept_inside(own[0] + round(dy), own[1] + round(dx), part=part, size=size)
    yield _kept_inside(*own, part=part, size=size)
    if moved and foreground.any():
        for place in rng.choice(np.flatnonzero(foreground), _FAR_TRIES).tolist():
            y, x = divmod(place, size[1])
            yield _kept_inside(y - part[0] // 2, x - part[1] // 2, part=part, size=size)


def _kept_inside(
    y0: int, x0: int, *, part: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, int]:
    return min(max(y0, 0), size[0] - part[0]), min(max(x0, 0), size[1] - part[1])


def _blend(
    image: np.ndarray, mask: np.ndarray, pixels: np.ndarray, marks: np.ndarray, alpha: np.ndarray
) -> None:
    """Lay pixels over a window of an image, shifted to the colours around the defect, in place."""
    ring = (alpha > 0.02) & (marks == 0)
    shift = (image[ring] - pixels[ring]).mean(0) if ring.any() else np.zeros(3, np.float32)
    share = alpha[..., None]
    image[:] = np.clip(image + share * (pixels + shift - image), 0, 255).round()
    mask[marks > 0] = marks[marks > 0]
