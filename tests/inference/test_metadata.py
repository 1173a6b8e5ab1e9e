"""Metadata of a model: plain values that JSON keeps, and what is refused when they are read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from small_inference_models import SEGMENTATION, TASKS, build_metadata

from capsule_inspection.inference.metadata import FORMAT_VERSION, ModelMetadata
from capsule_inspection.types import RunError


def read(values: dict[str, object]) -> ModelMetadata:
    return ModelMetadata.from_dict(json.loads(json.dumps(values)), where="model.json")


@pytest.mark.parametrize("task", TASKS)
def test_metadata_are_equal_after_json(task: str) -> None:
    metadata = replace(build_metadata(task), roi=(1.0, 2.0, 3.0, 4.0), ood={"bounds": [1, 2]})
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
