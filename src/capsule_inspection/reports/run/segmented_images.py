"""Segmentation quality of each test image of a run, and the worst, median and best image.

From the masks of the run, else from the Dice in its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TEST

DICE = "dice"
"""Column of predictions.csv with the binary Dice, where an image has a target mask."""

_VISIBLE_DIFFERENCE = 0.005
"""Difference of two Dice values that shows in two digits."""


@dataclass(frozen=True)
class SegmentedImage:
    """The segmentation quality of one image; None for what is unknown.

    `dice` is of the pixels of the image's class, `binary_dice` of those of any defect;
    `predicted_fraction` is the fraction of pixels that are predicted as a defect.
    """

    index: int
    class_name: str
    is_good: bool
    predicted_label: str
    is_wrong: bool
    score: float
    dice: float | None
    binary_dice: float | None
    predicted_fraction: float | None

    @property
    def is_known(self) -> bool:
        """Whether the quality is known."""
        return (self.predicted_fraction if self.is_good else self.binary_dice) is not None

    @property
    def misses_defect(self) -> bool:
        """Whether there are predicted regions, but none on the defect."""
        return self.binary_dice == 0 and bool(self.predicted_fraction)

    @property
    def rank(self) -> tuple[float, ...]:
        """Sort key, low for bad segmentation; scores break ties."""
        if self.is_good:
            return -(self.predicted_fraction or 0.0), -self.score
        binary_dice = self.binary_dice or 0.0
        return binary_dice if self.dice is None else self.dice, binary_dice, self.score

    def describe(self) -> str:
        """The quality as text."""
        if not self.is_known:
            return f"score {self.score:.3g}"
        if self.predicted_fraction is not None and self.is_good:
            percent = f"{100 * self.predicted_fraction:.2g}% of pixels predicted"
            return percent if self.predicted_fraction else "empty mask"
        assert self.binary_dice is not None
        any_class = f"{self.binary_dice:.2f} of any class"
        if self.dice is None:
            return f"Dice {any_class}"
        differs = abs(self.binary_dice - self.dice) >= _VISIBLE_DIFFERENCE
        return f"Dice {self.dice:.2f}" + (f" ({any_class})" if differs else "")


@dataclass(frozen=True)
class SelectedImage:
    """An example of a class with its caption."""

    image: SegmentedImage
    caption: str


def read_segmented_images(run: RunFolder) -> list[SegmentedImage]:
    """The test images, in the order of the predictions. Raises RunError where maps are damaged."""
    rows = run.rows_of(TEST)
    dice = rows[DICE].to_numpy(np.float64) if DICE in rows else np.full(len(rows), np.nan)
    columns = zip(
        *(rows[name].tolist() for name in ("index", "label", "predicted_label", "score")),
        dice.tolist(),
        strict=True,
    )
    return [_measure_image(run, *row) for row in columns]


def read_masks(run: RunFolder, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Target and predicted mask of an image, (h, w) each; None for what is unknown.

    Without defect classes, every defect is class 1.
    """
    row = None if run.maps is None else run.maps.row_of(index)
    if run.maps is None or row is None:
        return None, None
    target, predicted = run.maps.target_mask_of(row), run.maps.predicted_mask_of(row)
    return target if run.classes else target.clip(max=1), predicted


def select_examples(images: Sequence[SegmentedImage]) -> list[SelectedImage]:
    """Worst, median and best of the images of one class, worst first; fewer where it has fewer.

    Images of unknown quality are left out, unless all are.
    """
    ordered = sorted([image for image in images if image.is_known] or images, key=_get_rank)
    last = len(ordered) - 1
    names = {0: "worst", last // 2: "median", last: "best"} if last > 1 else {0: "worst", 1: "best"}
    if not last:
        return [_select(ordered[0], "its only image")]
    return [_select(ordered[row], f"{which} of {last + 1}") for row, which in names.items()]


def _get_rank(image: SegmentedImage) -> tuple[float, ...]:
    return image.rank


def _select(image: SegmentedImage, which: str) -> SelectedImage:
    name, predicted = style.shorten(image.class_name), style.shorten(image.predicted_label)
    elsewhere = " by a region elsewhere" if image.misses_defect else ""
    description = f"{image.describe()}, predicted {predicted}{elsewhere}"
    return SelectedImage(image, f"{name}, {which}: {description}")


def _measure_image(
    run: RunFolder, index: int, label: str, predicted_label: str, score: float, stored: float
) -> SegmentedImage:
    is_good = label == run.normal_class
    target, predicted = read_masks(run, index)
    dice = binary_dice = predicted_fraction = None
    if predicted is not None:
        predicted_fraction = float((predicted != 0).mean())
    if target is not None and predicted is not None and target.any():
        class_index = run.classes.index(label) if run.classes else 1
        dice = _dice(target == class_index, predicted == class_index)
        binary_dice = _dice(target != 0, predicted != 0)
    elif np.isfinite(stored):
        binary_dice = stored
    is_wrong = predicted_label != label
    if not run.classes:
        is_wrong = (predicted_label == run.normal_class) != is_good
    return SegmentedImage(
        index=index,
        class_name=label,
        is_good=is_good,
        predicted_label=predicted_label,
        is_wrong=is_wrong,
        score=score,
        dice=dice,
        binary_dice=binary_dice,
        predicted_fraction=predicted_fraction,
    )


def _dice(target: np.ndarray, predicted: np.ndarray) -> float:
    """Dice of two masks, (h, w) bool; 0 where both are empty."""
    return float(2 * (target & predicted).sum() / max(target.sum() + predicted.sum(), 1))
