"""How well each test image of a run was marked, and which are the worst, the median and the best.

From the maps of a `RunFolder`, else from what its predictions say; draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.reports import style
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import TEST

DICE = "dice"
"""Column of predictions.csv with the Dice of any defect, where an image has a mask."""

_NAMES_MATTER = 0.005
"""Difference of two Dice that shows in two digits."""


@dataclass(frozen=True)
class MarkedImage:
    """One image and what was marked in it; None for what is not known.

    `dice` counts the pixels that are marked as the image's class, `any_dice` those marked as any;
    `marked_share` is the share of the image that is marked.
    """

    index: int
    class_name: str
    is_good: bool
    called: str
    is_wrong: bool
    score: float
    dice: float | None
    any_dice: float | None
    marked_share: float | None

    @property
    def is_known(self) -> bool:
        """Whether it can be said how well it was marked."""
        return (self.marked_share if self.is_good else self.any_dice) is not None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was called a defect by marks of which none lies on its own."""
        return self.any_dice == 0 and bool(self.marked_share)

    @property
    def rank(self) -> tuple[float, ...]:
        """Low for what was marked badly; where marks do not tell, scores do."""
        if self.is_good:
            return -(self.marked_share or 0.0), -self.score
        any_dice = self.any_dice or 0.0
        return any_dice if self.dice is None else self.dice, any_dice, self.score

    def told(self) -> str:
        """How well it was marked, in words."""
        if not self.is_known:
            return f"score {self.score:.3g}"
        if self.marked_share is not None and self.is_good:
            share = f"{100 * self.marked_share:.2g}% of it marked"
            return share if self.marked_share else "nothing marked"
        assert self.any_dice is not None
        whatever = f"{self.any_dice:.2f} whatever the name"
        if self.dice is None:
            return f"Dice {whatever}"
        differs = abs(self.any_dice - self.dice) >= _NAMES_MATTER
        return f"Dice {self.dice:.2f}" + (f" ({whatever})" if differs else "")


@dataclass(frozen=True)
class Chosen:
    """An image that stands for its class, and what to write above it."""

    image: MarkedImage
    caption: str


def marked_images(run: RunFolder) -> list[MarkedImage]:
    """The test images, in the order of the predictions. Raises RunError where maps are damaged."""
    rows = run.rows_of(TEST)
    dice = rows[DICE].to_numpy(np.float64) if DICE in rows else np.full(len(rows), np.nan)
    told = zip(
        *(rows[name].tolist() for name in ("index", "label", "prediction", "score")),
        dice.tolist(),
        strict=True,
    )
    return [_marked_image(run, *of_image) for of_image in told]


def truth_and_marked(run: RunFolder, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """True and decided class of each pixel of an image, (h, w) each; None for what is not known.

    Where the run does not tell defects apart, each of them is class 1.
    """
    row = None if run.maps is None else run.maps.row_of(index)
    if run.maps is None or row is None:
        return None, None
    truth, marked = run.maps.truth_of(row), run.maps.marked_of(row)
    return truth if run.classes else truth.clip(max=1), marked


def choose(images: Sequence[MarkedImage]) -> list[Chosen]:
    """Worst, median and best of the images of one class, worst first; fewer where it has fewer.

    Images of which it cannot be said how well they were marked are left out, unless all are such.
    """
    ordered = sorted([image for image in images if image.is_known] or images, key=_rank)
    last = len(ordered) - 1
    places = (
        {0: "worst", last // 2: "median", last: "best"} if last > 1 else {0: "worst", 1: "best"}
    )
    if not last:
        return [_chosen(ordered[0], "its only image")]
    return [_chosen(ordered[place], f"{which} of {last + 1}") for place, which in places.items()]


def _rank(image: MarkedImage) -> tuple[float, ...]:
    return image.rank


def _chosen(image: MarkedImage, which: str) -> Chosen:
    name, called = style.short(image.class_name), style.short(image.called)
    elsewhere = " by marks elsewhere" if image.is_elsewhere else ""
    return Chosen(image, f"{name}, {which}: {image.told()}, called {called}{elsewhere}")


def _marked_image(
    run: RunFolder, index: int, label: str, prediction: str, score: float, stored: float
) -> MarkedImage:
    is_good = label == run.good
    truth, marked = truth_and_marked(run, index)
    dice = any_dice = marked_share = None
    if marked is not None:
        marked_share = float((marked != 0).mean())
    if truth is not None and marked is not None and truth.any():
        dice = _dice(*((of == _class_of(run, label)) for of in (truth, marked)))
        any_dice = _dice(truth != 0, marked != 0)
    elif np.isfinite(stored):
        any_dice = stored
    wrong = prediction != label if run.classes else (prediction == run.good) != is_good
    return MarkedImage(
        index, label, is_good, prediction, wrong, score, dice, any_dice, marked_share
    )


def _class_of(run: RunFolder, label: str) -> int:
    return run.classes.index(label) if run.classes else 1


def _dice(truth: np.ndarray, marked: np.ndarray) -> float:
    """Twice what both cover, by the sum of both; 0 where both are empty."""
    return float(2 * (truth & marked).sum() / max(truth.sum() + marked.sum(), 1))
