"""Painting variants of good images ahead: which kinds, on which image, from whom, by how many.

From arrays to patches; where they are kept is painted.py, how a defect looks is synthetic/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from capsule_inspection.types import DataError

NATURAL = "natural"
"""The kind of a patch of another good image; the other kinds are those of synthesis.defects."""

_SMALL_JOB = 200
"""Paintings that are made sooner than processes have started."""
_SHOWN = 5


@dataclass(frozen=True)
class PaintingSettings:
    """How many variants of each image, which share of them natural patches, and the seed."""

    variants: int
    natural_share: float
    seed: int


@dataclass(frozen=True)
class GoodImages:
    """The decoded images, their foregrounds, on which of them a part was found (all if None).

    `rows` are painted, `sources` lend patches.
    """

    images: np.ndarray
    foregrounds: np.ndarray
    found: np.ndarray | None
    rows: list[int]
    sources: list[int]
    names: Sequence[str] | None

    def part_of(self, row: int) -> np.ndarray:
        """True on the part, bool (H, W); nowhere on an image on which none was found."""
        part: np.ndarray = self.foregrounds[row] != 0
        return part if self.found is None else part & self.found[row]

    def has_part(self, row: int) -> bool:
        """Whether a part is seen on it."""
        return bool(self.part_of(row).any())

    def list_names(self, rows: Sequence[int]) -> str:
        """The first few, for messages."""
        names = [self.names[row] if self.names else f"row {row}" for row in rows[:_SHOWN]]
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return ", ".join(names) + more


@dataclass(frozen=True)
class _Order:
    """One image to be painted; for each variant its kind, and who lends a natural patch."""

    image: np.ndarray
    foreground: np.ndarray
    kinds: list[str]
    lenders: list[tuple[np.ndarray, np.ndarray] | None]
    seed: int
    digest: int


@dataclass(frozen=True)
class Patch:
    """The changed rectangle of one variant; pixels uint8 (h, w, 4), red, green, blue, mask."""

    kind: str
    y0: int
    x0: int
    pixels: np.ndarray


def orders(good: GoodImages, settings: PaintingSettings) -> Iterator[_Order]:
    """What is to be painted on each row, in the order of the rows.

    Who lends is drawn from the sources in the order of their digests, not of their rows.
    """
    lenders = sorted((_digest(good, row), row) for row in good.sources if good.has_part(row))
    for row in good.rows:
        digest = _digest(good, row)
        rng = np.random.default_rng([settings.seed, 0, digest])
        kinds = _choose_kinds(settings, rng) if good.has_part(row) else []
        lent: list[tuple[np.ndarray, np.ndarray] | None] = []
        for kind in kinds:
            lender = _choose_lender(lenders, (digest, row), rng)
            pair = (good.images[lender], good.foregrounds[lender])
            lent.append(pair if kind == NATURAL else None)
        image, foreground = good.images[row], good.foregrounds[row]
        yield _Order(image, foreground, kinds, lent, settings.seed, digest)


def _digest(good: GoodImages, row: int) -> int:
    return int.from_bytes(hashlib.sha256(good.images[row].tobytes()).digest(), "big")


def _choose_kinds(settings: PaintingSettings, rng: np.random.Generator) -> list[str]:
    """Kinds of an image's variants: natural ones in their share, the others in turn."""
    # Here, so that a warm start imports no OpenCV.
    from capsule_inspection.synthetic.defects import DEFECTS

    natural = int(settings.variants * settings.natural_share + rng.random())
    natural = min(natural, settings.variants)
    turn = int(rng.integers(len(DEFECTS)))
    others = [DEFECTS[(turn + n) % len(DEFECTS)] for n in range(settings.variants - natural)]
    return [NATURAL] * natural + others


def _choose_lender(
    lenders: list[tuple[int, int]], own: tuple[int, int], rng: np.random.Generator
) -> int:
    """Row of another image than the own one, which lends to itself where it is alone."""
    if not lenders:
        return own[1]
    choice = int(rng.integers(len(lenders)))
    if lenders[choice][0] == own[0]:
        choice = (choice + 1) % len(lenders)
    return lenders[choice][1]


def painted_patches(
    orders: Iterator[_Order], settings: PaintingSettings, *, workers: int, rows: int
) -> Iterator[list[Patch]]:
    """The patches of each order, in order, from processes where that is worth starting them."""
    if workers <= 1 or rows * settings.variants < _SMALL_JOB:
        yield from map(_paint, orders)
        return
    with ProcessPoolExecutor(
        min(workers, rows), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        yield from pool.map(_paint, orders)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _paint(order: _Order) -> list[Patch]:
    patches = []
    for number in range(len(order.kinds)):
        rng = np.random.default_rng([order.seed, number + 1, order.digest])
        try:
            patches.append(_paint_one(order, number, rng))
        except DataError:  # nothing to be seen: the image has one variant less
            continue
    return patches


def _paint_one(order: _Order, number: int, rng: np.random.Generator) -> Patch:
    import cv2

    from capsule_inspection.synthetic.defects import paint
    from capsule_inspection.synthetic.patches import paste_patch

    kind, lent = order.kinds[number], order.lenders[number]
    if lent is not None:
        painted = paste_patch(order.image, order.foreground, *lent, rng)
    else:
        painted = paint(order.image, order.foreground, kind, rng)
    x0, y0, width, height = cv2.boundingRect(painted.mask)
    pixels = np.dstack([painted.image, painted.mask])[y0 : y0 + height, x0 : x0 + width]
    return Patch(kind, y0, x0, pixels)
