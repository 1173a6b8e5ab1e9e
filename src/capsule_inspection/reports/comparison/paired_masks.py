"""The difference of two models in segmentation, on images with predicted masks of both.

The test is that of `metrics.paired_overlap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_overlap import (
    binary_dice,
    overlap_differences,
    sample_size_of_difference,
)
from capsule_inspection.metrics.paired_tests import PairedDifference
from capsule_inspection.reports.comparison.model_runs import ModelRuns

MAIN_METRIC = names.BINARY_DICE_GLOBAL
"""It means the same with and without defect classes."""


@dataclass(frozen=True)
class PairedMasks:
    """Two models on the images with a target mask and predicted masks of all their seeds.

    `differences` are first minus second by metric; `dice` is the binary Dice of both.
    `num_defects` of the `num_images` have a defect. `required_images` would be needed to tell the
    two apart by `MAIN_METRIC`; None where that is not known.
    """

    differences: dict[str, PairedDifference]
    dice: tuple[float, float]
    num_images: int
    num_defects: int
    required_images: int | None


def compare_masks(first: ModelRuns, second: ModelRuns, *, alpha: float) -> PairedMasks | None:
    """None where one of the two has no predicted masks, or they share no image of a defect.

    `alpha` is the level of the test, for the required number of images.
    """
    counts = _shared_counts(first, second)
    if counts is None:
        return None
    same_classes = (
        first.has_probabilities and second.has_probabilities and first.classes == second.classes
    )
    differences = overlap_differences(*counts, by_class=same_classes)
    if not differences:
        return None
    return PairedMasks(
        differences,
        dice=(binary_dice(counts[0]), binary_dice(counts[1])),
        num_images=counts[0].shape[1],
        num_defects=int((counts[0][0, :, 1:].sum(axis=(1, 2)) > 0).sum()),
        required_images=sample_size_of_difference(differences[MAIN_METRIC], alpha=alpha),
    )


def explain_missing(first: ModelRuns, second: ModelRuns) -> str | None:
    """Why two segmentation models are not compared in segmentation; None for other models."""
    if first.mask_counts is None or second.mask_counts is None:
        return None
    both = (first, first.mask_counts), (second, second.mask_counts)
    incomplete = [model.name for model, counts in both if not counts.is_complete]
    if incomplete:
        return (
            f"Segmentation is not compared: {' and '.join(incomplete)} kept no predicted masks "
            "of these images"
        )
    return (
        "Segmentation is not compared: they share no image of a defect with a target mask and "
        "predicted masks of both"
    )


def _shared_counts(first: ModelRuns, second: ModelRuns) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts (S, N, C, C) of both, over the same N images in the same order."""
    first_counts, second_counts = first.mask_counts, second.mask_counts
    if first_counts is None or second_counts is None:
        return None
    shared = [
        (row, second.row_of[image_id])
        for row, image_id in enumerate(first.image_ids.tolist())
        if image_id in second.row_of
        and first_counts.known[:, row].all()
        and second_counts.known[:, second.row_of[image_id]].all()
    ]
    if not shared or not (first_counts.is_complete and second_counts.is_complete):
        return None
    rows = np.array(shared, dtype=np.int64).T
    return first_counts.counts[:, rows[0]], second_counts.counts[:, rows[1]]
