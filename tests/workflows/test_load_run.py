"""How runs and exported files compute, and what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from capsule_inspection.config.schema import Trainer
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.load_run import choose_runtime


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
