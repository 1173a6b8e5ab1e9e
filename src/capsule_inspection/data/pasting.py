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

_FEATHER = 0.012
"""Of an image's height: how far a pasted defect fades into its surroundings."""
_MOVED = 0.04
"""Of an image's width: how far a defect is moved at most, along and across."""
_ON_PART = 0.9
"""Share of a defect that must come to lie on the part, if as much of it did before."""
_TRIES = 4
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
    stays where it was, as far as the part lies there too.
    Shapes: image (H, W, 3) uint8; mask and foreground (H, W).
    """
    donor = donors[int(rng.integers(len(donors)))]
    flipped = bool(rng.random() < _FLIP)
    pixels, marks, alpha = (
        part[::-1] if flipped else part for part in (donor.image, donor.mask, donor.alpha)
    )
    size = mask.shape
    top = size[0] - donor.y0 - len(marks) if flipped else donor.y0
    for y0, x0 in _places(top, donor.x0, size=size, moved=donor.on_part >= _ON_PART, rng=rng):
        y0, x0 = _kept_inside(y0, x0, part=marks.shape, size=size)
        window = (slice(y0, y0 + marks.shape[0]), slice(x0, x0 + marks.shape[1]))
        lies_on = float((foreground[window][marks > 0] > 0).mean())
        if lies_on >= min(_ON_PART, donor.on_part - 0.1):
            break
    _blend(image[window], mask[window], pixels, marks, alpha)
    return donor.label


def _places(
    y0: int, x0: int, *, size: tuple[int, ...], moved: bool, rng: np.random.Generator
) -> Iterable[tuple[int, int]]:
    """Places to try, the defect's own the last."""
    if moved:
        reach = _MOVED * size[1]
        for _ in range(_TRIES):
            dy, dx = rng.uniform(-reach, reach, 2)
            yield y0 + round(dy), x0 + round(dx)
    yield y0, x0


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
