"""From outputs to answers, for each task, without any network."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from capsule_inspection.contracts import RunError
from capsule_inspection.data.preparation import Prepared
from capsule_inspection.data.roi import Box
from capsule_inspection.inference.answers import answer, unreadable
from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    SEGMENTATION,
    Description,
)
from capsule_inspection.metrics.marking import Decision

CLASSES = ("good", "crack", "poke")
SIZE = (20, 40)


def description(task: str, **values: object) -> Description:
    plain = Description(
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


def prepared() -> Prepared:
    """A crop of 40x20 pixels that shows 80x40 of a photograph of 100x60, its last rows padding."""
    return Prepared(
        image=np.zeros((*SIZE, 3), np.uint8),
        foreground=np.ones(SIZE, np.uint8),
        box=Box(10, 30, 90, 70),
        inside=(0, 0, 40, 15),
        found=True,
        size=(60, 100),
    )


def test_a_classifier_names_the_most_probable_class_and_scores_all_defects() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    said = answer(description(CLASSIFICATION), {"logits": logits}, prepared(), path="a").answer
    assert said.prediction == "crack"
    assert said.is_defect
    assert said.score == pytest.approx(0.8)
    assert said.probabilities == pytest.approx({"good": 0.2, "crack": 0.5, "poke": 0.3})
    assert (said.width, said.height) == (100, 60)


@pytest.mark.parametrize(("score", "is_defect"), [(2.0, False), (2.01, True)])
def test_an_autoencoder_rejects_what_is_above_its_threshold(score: float, is_defect: bool) -> None:
    outputs = {"map": np.full(SIZE, 2.0, np.float32), "score": np.float32(score)}
    found = answer(description(RECONSTRUCTION, threshold=2.0), outputs, prepared(), path="a")
    assert found.answer.is_defect is is_defect
    assert found.answer.prediction == ("defect" if is_defect else "good")
    assert found.answer.probabilities is None
    assert found.seen is not None
    assert found.seen.heat is not None
    assert found.seen.heat == pytest.approx(0.5)  # the threshold is half of the scale


def segmented(**values: object) -> tuple[Description, dict[str, np.ndarray]]:
    foreground = np.zeros(SIZE, np.float32)
    foreground[2:6, 10:20] = 0.9
    foreground[16:, 30:] = 1.0  # on padding
    kinds = np.zeros((2, *SIZE), np.uint8)
    kinds[1] = 255
    decided = description(SEGMENTATION, decision=Decision(0.5, 8), **values)
    return decided, {"foreground": foreground, "kinds": kinds}


def test_regions_are_told_in_the_photographs_own_pixels_and_never_on_padding() -> None:
    decided, outputs = segmented()
    found = answer(decided, outputs, prepared(), path="a")
    (region,) = found.answer.regions
    assert region.name == found.answer.prediction == "poke"
    assert region.box == (30, 34, 50, 42)
    assert region.area_px == 40 * 4
    assert region.probability == pytest.approx(0.9, abs=1e-3)
    assert found.answer.probabilities is not None
    assert sum(found.answer.probabilities.values()) == pytest.approx(1)
    assert found.seen is not None
    assert found.seen.mask is not None
    assert found.seen.mask.sum() == 2 * 40


def test_a_network_that_names_no_defects_calls_all_of_them_defect() -> None:
    decided, outputs = segmented(names_defects=False)
    outputs["kinds"] = np.full((1, *SIZE), 255, np.uint8)
    found = answer(decided, outputs, prepared(), path="a").answer
    assert found.prediction == "defect"
    assert [region.name for region in found.regions] == ["defect"]
    assert found.probabilities is None


def test_rows_hold_plain_values_alone() -> None:
    decided, outputs = segmented()
    for found in (answer(decided, outputs, prepared(), path="a"), unreadable("b", "is damaged")):
        assert json.loads(json.dumps(found.answer.as_row())) == json.loads(
            json.dumps(found.answer.as_row(), default=str)
        )
    row = answer(decided, outputs, prepared(), path="a", remarks=("dark",)).answer.as_row()
    assert row["regions"][0]["class"] == "poke"
    assert row["remarks"] == ["dark"]


@pytest.mark.parametrize("task", [CLASSIFICATION, RECONSTRUCTION, SEGMENTATION])
def test_a_description_is_the_same_after_json(task: str) -> None:
    decided = description(
        task, threshold=0.25, decision=Decision(0.5, 8, 3, 2, 0.25), roi=(1, 2, 3, 4)
    )
    stored = json.loads(json.dumps(decided.as_dict()))
    assert Description.from_dict(stored, where="model.json") == replace(
        decided, roi=(1.0, 2.0, 3.0, 4.0)
    )


def test_a_description_of_a_newer_version_is_refused() -> None:
    stored = {**description(CLASSIFICATION).as_dict(), "format_version": 99}
    with pytest.raises(RunError, match=r"model\.json: made by a newer version \(format 99"):
        Description.from_dict(stored, where="model.json")


def test_models_that_told_less_of_each_pixel_are_to_be_exported_again() -> None:
    stored = {**description(SEGMENTATION).as_dict(), "format_version": 1}
    with pytest.raises(RunError, match=r"earlier version \(format 1\).* Export the run again"):
        Description.from_dict(stored, where="model.json")
    kept = {**description(CLASSIFICATION).as_dict(), "format_version": 1}
    assert Description.from_dict(kept, where="model.json") == description(CLASSIFICATION)


@pytest.mark.parametrize("key", ["classes", "image_size", "task", "decision"])
def test_a_description_that_is_not_whole_is_refused(key: str) -> None:
    stored = description(CLASSIFICATION).as_dict()
    del stored[key]
    with pytest.raises(RunError, match="expected the description of an exported model"):
        Description.from_dict(stored, where="model.json")
