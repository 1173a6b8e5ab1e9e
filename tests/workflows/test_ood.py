"""How the training images look, as a run keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from capsule_inspection.data.ood import OODDetector
from capsule_inspection.data.ood_features import extract_features
from capsule_inspection.types import DataIndex, Sample
from capsule_inspection.workflows.ood import fit_ood

FILE = "ood.json"


@pytest.fixture
def data() -> Any:
    """Eight images, of which the last six are those of the training; one of them has no part."""
    rng = np.random.default_rng(0)
    records = [Sample(f"{i}.png", 0, None, "", 40 + (i < 2), 30, 0, 0, "") for i in range(8)]
    cache = SimpleNamespace(
        images=rng.integers(0, 256, (8, 16, 24, 3), dtype=np.uint8),
        foregrounds=np.ones((8, 16, 24), np.uint8),
        roi_found=np.array([False, False, False, True, True, True, True, True]),
    )
    return SimpleNamespace(
        index=DataIndex(Path(), ("good",), tuple(records)),
        dataset=SimpleNamespace(cache=cache),
        indices=lambda stage: [2, 3, 4, 5, 6, 7] if stage == "train" else [0, 1],
    )


def test_the_training_images_alone_are_kept(data: Any, tmp_path: Path) -> None:
    fit_ood(tmp_path, data)
    kept = OODDetector.from_dict(json.loads((tmp_path / FILE).read_text(encoding="utf-8")))
    assert (kept.num_images, kept.num_roi_found, kept.sizes) == (6, 5, {"40x30": 6})
    cache = data.dataset.cache
    with_part = [extract_features(cache.images[i], cache.foregrounds[i]) for i in range(3, 8)]
    assert kept.mean == pytest.approx(np.mean(with_part, axis=0))


def test_it_is_written_anew_of_enough_images(data: Any, tmp_path: Path) -> None:
    kept = tmp_path / FILE
    kept.write_text("damaged by an earlier attempt", encoding="utf-8")
    fit_ood(tmp_path, data)
    assert kept.stat().st_size > 1000
    kept.unlink()
    data.indices = lambda stage: [2, 3, 4, 5]
    fit_ood(tmp_path, data)
    assert not kept.exists()
