"""The pointing game of a trained network on the images of a run, whatever its task."""

from __future__ import annotations

import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.metrics.pointing import pointing_figures
from capsule_inspection.types import GOOD_LABEL, Figure


def figures(index: np.ndarray, maps: np.ndarray, data: InspectionDataModule) -> dict[str, Figure]:
    """Whether maps are highest on the defects that have a mask, without a stage in the keys.

    Nothing where no defect has one. Shapes: index (N,) into the data index; maps (N, H, W).
    """
    cache = data.dataset.cache
    rows = np.flatnonzero(data.labels[index] != GOOD_LABEL)
    numbers = index[rows]
    return pointing_figures(
        (maps[row] for row in rows),
        (cache.masks[number] for number in numbers),
        (cache.valid([number])[0] for number in numbers),
        (cache.foregrounds[number] for number in numbers),
        class_names_of_images=(data.index.classes[label] for label in data.labels[numbers]),
    )
