"""From outputs to answers, for each task, without any network."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from capsule_inspection.data.preprocessing import PreprocessedImage
from capsule_inspection.data.roi import Box
from capsule_inspection.inference.metadata import (
    ANOMALY_DETECTION,
    CLASSIFICATION,
    SEGMENTATION,
    TASKS,
    ModelMetadata,
)
from capsule_inspection.inference.predictions import PredictedImage, answer, unreadable
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.types import RunError

CLASSES = ("good", "crack", "poke")
SIZE = (20, 40)
# A crop of 40x20 pixels that shows 80x40 of an image of 100x60, its last rows padding.
PREPARED = PreprocessedImage(
    image=np.zeros((*SIZE, 3), np.uint8),
    foreground=np.ones(SIZE, np.uint8),
    box=Box(10, 30, 90, 70),
    content_box=(0, 0, 40, 15),
    roi_found=True,
    size=(60, 100),
)


def description(task: str, **values: object) -> ModelMetadata:
    plain = ModelMetadata(
        task=task,
        model="small",
        classes=CLASSES,
        image_size=SIZE,
        roi="auto",
        roi_margin=0.05,
        enlarge=True,
        max_pixels=10_000,
    )
    return replace(plain, **values)


def segmented(
    *, num_defects: int = 2, ood_warnings: tuple[str, ...] = (), **values: object
) -> PredictedImage:
    """The answer where a region is of the last kind, and another lies on padding."""
    foreground = np.zeros(SIZE, np.float32)
    foreground[2:6, 10:20] = 0.9
    foreground[16:, 30:] = 1.0  # on padding
    shares = np.zeros((num_defects, *SIZE), np.uint8)
    shares[-1] = 255
    decided = description(SEGMENTATION, decision=MaskPostProcessor(0.5, 0.5, 8), **values)
    outputs = {"foreground": foreground, "class_probabilities": shares}
    return answer(decided, outputs, PREPARED, path="a", ood_warnings=ood_warnings)


def test_a_classifier_names_the_most_probable_class_and_scores_all_defects() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    found = answer(description(CLASSIFICATION), {"logits": logits}, PREPARED, path="a").answer
    assert found.predicted_label == "crack"
    assert found.is_defect
    assert found.score == pytest.approx(0.8)
    assert found.probabilities == pytest.approx({"good": 0.2, "crack": 0.5, "poke": 0.3})
    assert (found.width, found.height) == (100, 60)


@pytest.mark.parametrize(("score", "is_defect"), [(2.0, False), (2.01, True)])
def test_an_autoencoder_rejects_what_is_above_its_threshold(score: float, is_defect: bool) -> None:
    outputs = {"map": np.full(SIZE, 2.0, np.float32), "score": np.float32(score)}
    found = answer(description(ANOMALY_DETECTION, threshold=2.0), outputs, PREPARED, path="a")
    assert found.answer.is_defect is is_defect
    assert found.answer.predicted_label == ("defect" if is_defect else "good")
    assert found.answer.probabilities is None
    assert found.seen.heat == pytest.approx(0.5)  # the threshold is half of the scale


def test_regions_are_told_in_the_images_own_pixels_and_never_on_padding() -> None:
    found = segmented()
    (region,) = found.answer.regions
    assert region.name == found.answer.predicted_label == "poke"
    assert region.box == (30, 34, 50, 42)
    assert region.area_px == 40 * 4
    assert region.probability == pytest.approx(0.9, abs=1e-3)
    assert sum(found.answer.probabilities.values()) == pytest.approx(1)
    assert found.seen.mask.sum() == 2 * 40


def test_a_network_that_names_no_defects_calls_all_of_them_defect() -> None:
    found = segmented(num_defects=1, names_defects=False).answer
    assert found.predicted_label == "defect"
    assert [region.name for region in found.regions] == ["defect"]
    assert found.probabilities is None


def test_rows_hold_plain_values_alone() -> None:
    rows = [
        of.answer.as_row() for of in (segmented(ood_warnings=("dark",)), unreadable("b", "damaged"))
    ]
    for row in rows:
        assert json.loads(json.dumps(row)) == json.loads(json.dumps(row, default=str))
    assert rows[0]["regions"][0]["class"] == "poke"
    assert rows[0]["ood_warnings"] == ["dark"]


def read(values: dict[str, object]) -> ModelMetadata:
    return ModelMetadata.from_dict(json.loads(json.dumps(values)), where="model.json")


@pytest.mark.parametrize("task", TASKS)
def test_a_description_is_the_same_after_json(task: str) -> None:
    decided = description(
        task, threshold=0.25, decision=MaskPostProcessor(0.25, 0.5, 8, 3, 2), roi=(1, 2, 3, 4)
    )
    assert read(decided.as_dict()) == replace(decided, roi=(1.0, 2.0, 3.0, 4.0))


def test_descriptions_of_other_versions_are_refused_where_they_tell_too_little() -> None:
    plain = description(CLASSIFICATION).as_dict()
    with pytest.raises(RunError, match=r"model\.json: made by a newer version \(format 99"):
        read({**plain, "format_version": 99})
    assert read({**plain, "format_version": 1}) == description(CLASSIFICATION)
    with pytest.raises(RunError, match=r"earlier version \(format 1\).* Export the run again"):
        read({**description(SEGMENTATION).as_dict(), "format_version": 1})
    for key in ("classes", "image_size", "task", "decision"):
        with pytest.raises(RunError, match="expected the description of an exported model"):
            read({name: value for name, value in plain.items() if name != key})
