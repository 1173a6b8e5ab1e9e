"""How runs and exported files compute, and what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from small_inference_models import (
    ANOMALY_DETECTION,
    CLASSIFICATION,
    SEGMENTATION,
    build_inference_model,
    build_metadata,
)

from capsule_inspection.config.schema import Trainer
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.load_run import choose_runtime, with_threshold


def resolved(path: Path, **settings: Any) -> hardware.RuntimeConfig:
    return choose_runtime(path, OmegaConf.structured(Trainer(**settings)))


def test_an_exported_file_computes_in_float32_on_the_processor_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    monkeypatch.setattr(hardware, "supports_bf16", lambda device: True)
    found = resolved(path, precision="auto")
    assert (found.device, found.precision) == ("cpu", "32-true")
    assert resolved(tmp_path, precision="auto") == found
    path.rename(tmp_path / "model.pt2")
    for key, value in (("accelerator", "gpu"), ("precision", "bf16"), ("precision", "16-mixed")):
        with pytest.raises(ConfigurationError, match=f"trainer.{key}={value}: an exported file"):
            resolved(tmp_path, **{"precision": "32-true", key: value})


def test_a_run_predicts_in_full_precision_or_bfloat16(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="predicted in 32-true or bf16-mixed"):
        resolved(tmp_path, accelerator="cpu", precision="16")


def predictor(task: str) -> Predictor:
    """As an exported file is opened: its task is not known before."""
    model = build_inference_model(task)
    return Predictor(build_metadata(task), TorchBackend(model, device="cpu", precision="32-true"))


def test_a_given_threshold_is_part_of_the_metadata() -> None:
    own = predictor(CLASSIFICATION)
    assert with_threshold(own, None) is own
    changed = with_threshold(own, 0.25)
    assert changed.post_processor.state_dict() == changed.metadata.post_processing
    assert (changed.metadata.post_processing["rule"], changed.backend) == ("given", own.backend)
    assert with_threshold(own, "argmax").metadata.post_processing["value"] is None
    assert with_threshold(predictor(ANOMALY_DETECTION), 7).metadata.post_processing["value"] == 7.0
    assert own.metadata == build_metadata(CLASSIFICATION)


@pytest.mark.parametrize(
    ("task", "value", "expected"),
    [
        (CLASSIFICATION, 1.5, "a probability from 0 to 1, or argmax"),
        (ANOMALY_DETECTION, "argmax", "names no classes"),
        (SEGMENTATION, 0.5, "the predicted mask decides"),
    ],
)
def test_a_threshold_that_the_model_does_not_have_is_refused(
    task: str, value: float | str, expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"threshold={value}: .*{expected}"):
        with_threshold(predictor(task), value)
