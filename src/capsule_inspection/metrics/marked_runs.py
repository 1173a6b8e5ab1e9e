"""Every figure of a run that marks pixels, from its predictions and the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics.classification import classification_figures
from capsule_inspection.metrics.detection import USUAL_FALSE_ALARM_RATE, anomaly_figures
from capsule_inspection.metrics.localisation import localisation_figures
from capsule_inspection.metrics.pixel_counts import count_pixels, rows_that_tell
from capsule_inspection.metrics.segmentation import confusions, segmentation_figures
from capsule_inspection.types import DEFECT, GOOD_LABEL, Figure, Predictions


def marking_figures(
    found: Predictions,
    truths: Sequence[np.ndarray],
    valid: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures of images, of maps and of marks, without a stage in their keys.

    A defect whose mask is not known counts for the figures of images alone. Where the run gives no
    probabilities it names no defects, and all masks are of one.
    Shapes: truths N of (H, W), class indices; valid (N, H, W) bool, false on padding.
    """
    assert found.called is not None
    assert found.marked is not None
    assert found.maps is not None
    is_defect = found.label != GOOD_LABEL
    figures = anomaly_figures(
        is_defect,
        found.called != GOOD_LABEL,
        found.score,
        class_names_of_images=np.array(classes)[found.label],
        false_alarm_rate=USUAL_FALSE_ALARM_RATE,
        seed=seed,
    )
    if found.probabilities is not None:
        figures |= classification_figures(
            found.label,
            found.probabilities,
            classes=classes,
            called=found.called,
            score=found.score,
            seed=seed,
        )
    else:
        classes = (classes[GOOD_LABEL], DEFECT)
        truths = [mask.clip(max=1) for mask in truths]
    told = rows_that_tell(is_defect, truths)
    masks = [truths[row] for row in told]
    counts = confusions(masks, found.marked[told], valid[told], num_classes=len(classes))
    counted = count_pixels(found.maps[told], masks, valid[told])
    return (
        figures
        | segmentation_figures(counts, classes=classes, seed=seed)
        | localisation_figures(counted, seed=seed)
    )
