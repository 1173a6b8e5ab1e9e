"""Figures of telling defects from good images, for every task that does; pure numpy on arrays."""

from __future__ import annotations

import numpy as np

from capsule_inspection.contracts import Figure
from capsule_inspection.metrics import intervals, names


def detection_figures(
    is_defect: np.ndarray, called_defect: np.ndarray, score: np.ndarray
) -> dict[str, Figure]:
    """How well scores part defects from good images, and what the decisions miss and reject.

    A figure that cannot be had is absent: there must be defects to miss, good ones to reject, and
    both for AUROC and average precision. Shapes, all (N,): is_defect and called_defect bool;
    score finite, high for defects.
    """
    figures: dict[str, Figure] = {}
    good = ~is_defect
    if is_defect.any() and good.any():
        figures[names.AUROC] = intervals.auroc(score[good], score[is_defect])
        figures[names.AVERAGE_PRECISION] = intervals.average_precision(is_defect, score)
    if is_defect.any():
        missed = int((is_defect & ~called_defect).sum())
        figures[names.DEFECTS_MISSED] = intervals.proportion(missed, int(is_defect.sum()))
    if good.any():
        rejected = int((good & called_defect).sum())
        figures[names.GOOD_REJECTED] = intervals.proportion(rejected, int(good.sum()))
    return figures
