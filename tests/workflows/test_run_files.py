"""predictions.csv: a row for each image, with the group that it belongs to."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from capsule_inspection.types import DataIndex, Predictions, Sample
from capsule_inspection.workflows.run_files import write_predictions

CLASSES = ("good", "crack")


def sample(path: str, sha256: str, group: str) -> Sample:
    return Sample(path, 0, None, sha256, 8, 8, 100, 0, group, "test")


def test_a_group_is_named_where_images_share_it_or_the_data_set_names_it(tmp_path: Path) -> None:
    alone, equal, view, manifest = "a" * 64, "b" * 64, "c" * 64, "d" * 64
    samples = (
        sample("alone.png", alone, alone[:16]),
        sample("equal.png", equal, equal[:16]),
        sample("the same.png", equal, equal[:16]),
        sample("front.png", view, "part 7, front"),
        sample("left.png", manifest, manifest[:16]),
        sample("near duplicate.png", "e" * 64, manifest[:16]),
    )
    index = np.array([3, 0, 1, 4])
    probabilities = np.tile([0.75, 0.25], (len(index), 1))
    label = np.zeros(len(index), np.int64)
    predictions = Predictions(index, label, probabilities, probabilities[:, 1], label)
    data_index = DataIndex(tmp_path, CLASSES, samples)
    write_predictions(tmp_path, data_index, {"test": predictions}, classes=CLASSES, fold=2)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["part 7, front", "", equal[:16], manifest[:16]]
    assert list(rows[0])[:6] == ["index", "path", "sha256", "group", "split", "fold"]
    assert (rows[1]["path"], rows[1]["label"], rows[1]["p_crack"]) == ("alone.png", "good", "0.25")
