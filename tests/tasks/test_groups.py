"""The metrics of every task count the images of one group as one observation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.tasks import names
from capsule_inspection.tasks.adapter import task_type
from capsule_inspection.types import DataIndex, Explanations, Normalisation, Predictions, Sample

PARTS, VIEWS = 12, 3
CONFIG: Any = SimpleNamespace(
    seed=0, threshold=SimpleNamespace(target_fpr=0.1), model=SimpleNamespace(classes="defects")
)


def images() -> tuple[InspectionDataModule, Predictions]:
    """Three views of each part; every third part is cracked, and all of its views are alike."""
    part = np.repeat(np.arange(PARTS), VIEWS)
    label = (part % 3 == 0).astype(np.int64)
    maps = np.random.default_rng(0).random((PARTS, 8, 8))[part]
    maps[:, 2:5, 2:5] += 0.3 * label[:, None, None]
    masks = np.zeros(maps.shape, np.uint8)
    masks[:, 2:5, 2:5] = label[:, None, None]
    cache: Any = SimpleNamespace(
        masks=masks,
        foregrounds=np.ones(masks.shape, np.uint8),
        valid=lambda index: np.ones((len(index), 8, 8), bool),
    )
    samples = tuple(
        Sample(f"{i}.png", int(of), None, f"{i:064}", 8, 8, 1, 1, f"part {part[i]}", "test")
        for i, of in enumerate(label)
    )
    data = InspectionDataModule(
        DataIndex(Path(), ("good", "crack"), samples),
        cache,
        normalisation=Normalisation((0.5, 0.5, 0.5), (0.1, 0.1, 0.1)),
        settings=SETTINGS,
    )
    score = maps.max(axis=(1, 2)) / 1.3
    index = np.arange(len(part))
    predicted_label = (score > 0.8).astype(np.int64)
    return data, Predictions(
        index,
        label,
        np.stack([1 - score, score], axis=1),
        score,
        predicted_label,
        anomaly_map=maps.astype(np.float16),
        predicted_mask=(maps > 0.9).astype(np.uint8),
        explanations=Explanations(index[label > 0], maps[label > 0].astype(np.float16)),
    )


SETTINGS = BatchSettings(
    batch_size=4,
    sampling="natural",
    mixup=0.0,
    seed=0,
    channels_last=False,
    augmentation=None,  # type: ignore[arg-type]
)


@pytest.mark.parametrize("task", names())
def test_n_of_every_metric_is_a_number_of_parts(task: str) -> None:
    data, predictions = images()
    metrics = task_type(task, where="test")(CONFIG).metrics(predictions, data, split="test")
    assert {"auroc", "pointing_game", "recall/crack"} <= set(metrics)
    assert {estimate.n for estimate in metrics.values()} <= {
        PARTS,
        PARTS // 3,
        PARTS - PARTS // 3,
        *(metrics[name].n for name in metrics if name.startswith("precision")),
    }
    assert metrics["auroc"].n == PARTS
    assert metrics["false_negative_rate"].n == metrics["pointing_game"].n == PARTS // 3
    data.groups[:] = np.arange(len(data.groups)).astype(str)
    alone = task_type(task, where="test")(CONFIG).metrics(predictions, data, split="test")
    for name, estimate in metrics.items():
        assert estimate.value == alone[name].value, name
        assert alone[name].n == VIEWS * estimate.n, name
