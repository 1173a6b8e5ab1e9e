"""How the training photographs look, kept in the run folder: appearance.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from capsule_inspection.data.appearance import describe
from capsule_inspection.data.appearance_fit import FEWEST, fit_appearance
from capsule_inspection.data.cache import in_order
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import write_whole
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows.hardware import available_cores


def keep_appearance(folder: Path, data: InspectionDataModule) -> None:
    """Write appearance.json, where there is none yet; of too few images nothing can be said."""
    path = folder / RunFiles.APPEARANCE
    members = data.indices(TRAIN)
    if path.is_file() or len(members) < FEWEST:
        return
    cache = data.dataset.cache

    def described(row: int) -> np.ndarray:
        return describe(np.asarray(cache.images[row]), np.asarray(cache.foregrounds[row]))

    records = [data.index.records[row] for row in members]
    appearance = fit_appearance(
        np.stack(list(in_order(described, members, workers=available_cores()))),
        sizes=[(record.width, record.height) for record in records],
        found=cache.found[members].tolist(),
    )
    write_whole(path, json.dumps(appearance.as_dict()) + "\n")
