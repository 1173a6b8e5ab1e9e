"""Metadata of a model: plain values that JSON keeps, and what is refused when they are read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from small_inference_models import CLASSIFICATION, SEGMENTATION, TASKS, build_metadata

from capsule_inspection.inference.metadata import FORMAT_VERSION, ModelMetadata
from capsule_inspection.types import RunError


def read(values: dict[str, object]) -> ModelMetadata:
    return ModelMetadata.from_dict(json.loads(json.dumps(values)), where="model.json")


@pytest.mark.parametrize("task", TASKS)
def test_metadata_are_equal_after_json(task: str) -> None:
    metadata = replace(build_metadata(task), roi=(1.0, 2.0, 3.0, 4.0))
    assert read(metadata.as_dict()) == metadata
    assert read(build_metadata(task).as_dict()).roi == "none"
    post_processor = read(metadata.as_dict()).post_processor()
    assert post_processor.state_dict() == metadata.post_processing
    assert tuple(post_processor.classes) == metadata.classes


def test_another_version_or_task_is_refused() -> None:
    stored = build_metadata(SEGMENTATION).as_dict()
    with pytest.raises(RunError, match=rf"model\.json: expected .* {FORMAT_VERSION}, found 99"):
        read({**stored, "format_version": 99})
    with pytest.raises(RunError, match=r"model\.json: expected a task of .*, found 'counting'"):
        read({**stored, "task": "counting"})


@pytest.mark.parametrize("key", ["classes", "image_size", "task", "roi", "post_processing"])
def test_a_missing_value_is_refused(key: str) -> None:
    stored = build_metadata(SEGMENTATION).as_dict()
    with pytest.raises(RunError, match=r"expected the metadata of an exported model"):
        read({name: value for name, value in stored.items() if name != key})


@pytest.mark.parametrize("task", TASKS)
def test_an_unfitted_post_processor_is_refused(task: str) -> None:
    with pytest.raises(RunError, match=r"expected the metadata of an exported model"):
        read({**build_metadata(task).as_dict(), "post_processing": {}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", [10**9, 10**9]),
        ("image_size", [48.0, 64]),
        ("image_size", [48]),
        ("image_size", [True, 64]),
        ("classes", ["good"]),
        ("classes", ["good", "good"]),
        ("classes", ["good", 1]),
        ("classes", "good"),
        ("classes", [str(number) for number in range(100_000)]),
        ("roi", "somewhere"),
        ("roi", [0.0, 0.0, float("nan"), 1.0]),
        ("roi", [1.0]),
        ("roi_margin", float("inf")),
        ("roi_margin", "0"),
        ("enlarge", 1),
        ("max_pixels", -1),
        ("max_pixels", 10**300),
        ("bit_depth", 9),
        ("bit_depth", [8]),
        ("exif_orientation", None),
        ("model", ["small"]),
        ("task", {}),
        ("post_processing", [1]),
        ("post_processing", {"value": "0.5", "rule": "conformal"}),
        ("post_processing", {"value": float("nan"), "rule": "conformal"}),
        ("run", 5),
        ("further", 5),
    ],
)
def test_values_that_no_run_has_are_refused(key: str, value: object) -> None:
    with pytest.raises(RunError, match=r"model\.json: expected the metadata of an exported model"):
        read({**build_metadata(CLASSIFICATION).as_dict(), key: value})


def test_a_damaged_detector_of_unusual_images_is_refused() -> None:
    with pytest.raises(RunError, match=r"model\.json \(ood\): damaged"):
        read({**build_metadata(CLASSIFICATION).as_dict(), "ood": {"features": []}})
