"""How runs and exported files compute: what they can, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from capsule_inspection.configuration.schema import Trainer
from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.runs import machine
from capsule_inspection.runs.opening import choose


def test_an_exported_file_computes_in_float32_on_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    trainer = OmegaConf.structured(Trainer(precision="auto"))
    assert choose(tmp_path, trainer).precision == "32-true"
    found = choose(path, trainer)
    assert (found.device, found.precision) == ("cpu", "32-true")


@pytest.mark.parametrize(
    "setting", [{"accelerator": "gpu"}, {"precision": "bf16"}, {"precision": "16-mixed"}]
)
def test_an_exported_file_is_asked_for_nothing_else(
    setting: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    trainer = OmegaConf.structured(Trainer(**{"precision": "32-true", **setting}))
    ((key, value),) = setting.items()
    with pytest.raises(ConfigurationError, match=f"trainer.{key}={value}: an exported file"):
        choose(tmp_path, trainer)


def test_a_run_answers_in_no_precision_that_it_cannot_compute(tmp_path: Path) -> None:
    trainer = OmegaConf.structured(Trainer(accelerator="cpu", precision="16"))
    with pytest.raises(ConfigurationError, match="answered in 32-true or bf16-mixed"):
        choose(tmp_path, trainer)
