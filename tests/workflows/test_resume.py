"""What a resumed training reads of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig

from capsule_inspection.integrity import read_json, seal
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import DataIndex, RunError, WeightsRecord
from capsule_inspection.workflows.hardware import RuntimeConfig
from capsule_inspection.workflows.record import RunRecord, write_record
from capsule_inspection.workflows.resume import recorded_weights
from capsule_inspection.workflows.train import _record_inputs


def test_the_record_has_the_source_of_the_weights_with_the_package_they_are_from(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    data: Any = SimpleNamespace(index=DataIndex(Path("/x"), ("good",), ()), indices=lambda _: [])
    runtime = RuntimeConfig("cpu", "32-true", True, 1)
    config = compose("train", "model=efficientnet_lite0")
    record = RunRecord.create(tmp_path / "run", seed=1)
    weights = WeightsRecord("imagenet", "/lib/lite0.pth", "ab" * 32, package="lite0-model 0.1.0")
    _record_inputs(record, config, data, weights, runtime)
    record.close("running")
    stored = read_record(tmp_path / "run")
    assert stored["model"] == "tf_efficientnet_lite0"
    assert stored["weights"]["package"] == "lite0-model 0.1.0"
    assert recorded_weights(tmp_path / "run") == weights

    changed = read_json(tmp_path / "run" / "run.json")
    changed["weights"]["package"] = 3
    write_record(tmp_path / "run", seal(changed))
    with pytest.raises(RunError, match="expected texts as weights, found"):
        read_record(tmp_path / "run")
