"""Explanation maps of sample runs; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 25, 60
"""Size of the maps; at this height one pixel beside the defect is still a hit."""


def write_explanations(
    folder: Path, index: Sequence[int], *, hits: Collection[int] = (), flat: Collection[int] = ()
) -> Path:
    """Add maps of these images to a run, with the peak on the defect in `hits`, none in `flat`.

    For the others, the distance of the peak grows from image to image. The first five columns are
    padding, with the highest values.
    """
    masks = np.zeros((len(index), HEIGHT, WIDTH), np.uint8)
    masks[:, 10:15, 10:20] = 1
    maps = np.zeros(masks.shape, np.float16)
    maps[:, :, :5] = 1
    for row, number in enumerate(index):
        if number not in flat:
            maps[row, 12, 15 if number in hits else min(30 + row, WIDTH - 1)] = 0.5
    np.savez(
        folder / "explanations.npz",
        index=np.array(index, np.int64),
        anomaly_map=maps,
        masks=masks,
        content_box=np.tile(np.array([5, 0, WIDTH, HEIGHT], np.int32), (len(index), 1)),
    )
    return folder


def add_pointing_game(folder: Path, hits: int, images: int, *, chance: float) -> Path:
    """Add the pointing game to the metrics of a run."""
    from capsule_inspection.metrics.intervals import proportion

    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics["test/pointing_game"] = proportion(hits, images).as_dict()
    by_chance = {"value": chance, "low": None, "high": None, "n": images}
    metrics["test/pointing_game_chance"] = by_chance
    path.write_text(json.dumps(metrics), encoding="utf-8")
    return folder
