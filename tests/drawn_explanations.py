"""Where the classifier of a drawn run looked, to order; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 25, 60
"""Of the maps: so high that one pixel beside the defect is still a hit."""


def draw_explanations(
    folder: Path, index: Sequence[int], *, hits: Collection[int] = (), flat: Collection[int] = ()
) -> Path:
    """Add to a run: maps of these images, highest on the defect in `hits`, nowhere in `flat`.

    Of the others, the later an image comes, the farther off its highest point lies. The first five
    columns are padding, where every map is highest of all.
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
        maps=maps,
        masks=masks,
        inside=np.tile(np.array([5, 0, WIDTH, HEIGHT], np.int32), (len(index), 1)),
    )
    return folder


def add_figures(folder: Path, hits: int, images: int, *, chance: float) -> Path:
    """Put the pointing game into the figures of a run."""
    from capsule_inspection.metrics.intervals import proportion

    path = folder / "metrics.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    figures["test/pointing_game"] = vars(proportion(hits, images))
    of_chance = {"value": chance, "low": None, "high": None, "n": images}
    figures["test/pointing_game_chance"] = of_chance
    path.write_text(json.dumps(figures), encoding="utf-8")
    return folder
