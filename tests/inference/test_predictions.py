"""Predictions in the pixels of the image file, with what is drawn of them, as plain rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from capsule_inspection.data.preprocessing import PreprocessedImage
from capsule_inspection.data.roi import Box
from capsule_inspection.inference.predictions import (
    ERROR,
    OK,
    PredictedImage,
    in_image,
    unreadable,
    visualize,
)
from capsule_inspection.metrics.mask_postprocessing import Region
from capsule_inspection.tasks.post_processor import Prediction

CLASSES = ("good", "crack", "poke")
SIZE = (20, 40)
# A crop of 40x20 pixels that shows 80x40 of an image of 100x60.
CROP = PreprocessedImage(
    image=np.arange(20 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(*SIZE, 3),
    foreground=np.ones(SIZE, np.uint8),
    box=Box(10, 30, 90, 70),
    content_box=(0, 0, 40, 15),
    roi_found=True,
    size=(60, 100),
)
MASK = np.zeros(SIZE, np.uint8)
MASK[2:6, 10:20] = 2
MAP = np.linspace(0, 8, 20 * 40, dtype=np.float16).reshape(SIZE)
SEGMENTED = Prediction(
    label=2,
    score=0.75,
    threshold=0.5,
    probabilities=np.array([0.25, 0.125, 0.625]),
    anomaly_map=MAP,
    predicted_mask=MASK,
    regions=[Region(2, 40, (10, 2, 20, 6), 0.9)],
)


def placed(prediction: Prediction, *ood_warnings: str) -> PredictedImage:
    return in_image(prediction, CROP, classes=CLASSES, path="a.png", ood_warnings=ood_warnings)


def test_regions_are_in_the_pixels_of_the_image() -> None:
    found = placed(SEGMENTED).prediction
    (region,) = found.regions
    assert region.class_name == found.predicted_label == "poke"
    assert region.box == (30, 34, 50, 42)
    assert region.area_px == 40 * 4
    assert region.probability == 0.9
    assert (found.width, found.height) == (100, 60)


@pytest.mark.parametrize(("label", "name"), list(enumerate(CLASSES)))
def test_classes_have_their_names_and_all_but_good_are_defects(label: int, name: str) -> None:
    prediction = Prediction(label, 0.5, probabilities=np.array([0.2, 0.5, 0.3]))
    found = placed(prediction, "dark").prediction
    assert (found.path, found.status, found.error) == ("a.png", OK, None)
    assert (found.predicted_label, found.is_defect) == (name, label > 0)
    assert found.probabilities == {"good": 0.2, "crack": 0.5, "poke": 0.3}
    assert (found.score, found.threshold) == (0.5, None)
    assert found.ood_warnings == ("dark",)


def test_a_model_that_does_not_name_defects_has_no_probabilities() -> None:
    assert placed(Prediction(1, 2.5, threshold=2.0)).prediction.probabilities is None


def test_the_predicted_mask_is_drawn_before_the_map() -> None:
    drawn = placed(SEGMENTED).visualization
    assert drawn is not None
    assert drawn.image is CROP.image
    assert drawn.mask is MASK
    assert drawn.heatmap is None


def test_the_threshold_is_half_of_the_scale_of_a_heatmap() -> None:
    drawn = visualize(Prediction(1, 7.0, threshold=2.0, anomaly_map=MAP), CROP.image)
    assert drawn.mask is None
    assert drawn.heatmap.dtype == np.float32
    assert drawn.heatmap == pytest.approx(np.minimum(MAP.astype(np.float64) / 4, 1), abs=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 1e-9])
def test_every_anomaly_is_visible_where_the_threshold_is_almost_zero(threshold: float) -> None:
    found = np.zeros(SIZE, np.float16)
    found[0, 0] = 0.01
    drawn = visualize(Prediction(1, 0.01, threshold=threshold, anomaly_map=found), CROP.image)
    assert drawn.heatmap[0, 0] == 1
    assert np.count_nonzero(drawn.heatmap) == 1


def test_an_image_without_map_or_mask_is_drawn_as_it_is() -> None:
    prediction = Prediction(1, 0.8, probabilities=np.array([0.2, 0.8, 0.0]))
    assert visualize(prediction, CROP.image) == (CROP.image, None, None)


def test_rows_hold_plain_values_alone() -> None:
    rows = [
        predicted.prediction.as_row()
        for predicted in (placed(SEGMENTED, "dark"), unreadable("b.png", "damaged"))
    ]
    for row in rows:
        assert json.loads(json.dumps(row)) == json.loads(json.dumps(row, default=str))
    region = {"class": "poke", "area_px": 160, "box": (30, 34, 50, 42), "probability": 0.9}
    assert rows[0]["regions"] == [region]
    assert rows[0]["ood_warnings"] == ["dark"]
    assert rows[0]["probabilities"] == {"good": 0.25, "crack": 0.125, "poke": 0.625}
    assert rows[0].keys() == rows[1].keys()
    assert (rows[1]["path"], rows[1]["status"], rows[1]["error"]) == ("b.png", ERROR, "damaged")
    assert rows[1]["score"] is rows[1]["predicted_label"] is None
    assert unreadable("b.png", "damaged").visualization is None
