"""What is fitted is read back from checkpoints and records only as it was written."""

from __future__ import annotations

from typing import Any

import pytest

from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import Threshold

STATES: dict[Any, dict[str, Any]] = {
    Threshold: {"value": 0.5, "rule": "sigma", "good_images": 3, "enough": True},
    TemperatureScaling: {"temperature": 2, "good_shift": -0.5, "images": 6},
    MaskPostProcessor: {"low_threshold": 0.25, "high_threshold": 0.5, "min_area_px": 4},
}


@pytest.mark.parametrize("stored", STATES)
def test_what_was_written_is_read_back(stored: Any) -> None:
    found = stored.from_state_dict(STATES[stored])
    assert stored.from_state_dict(found.state_dict()) == found


@pytest.mark.parametrize(
    ("stored", "name", "value"),
    [
        (Threshold, "value", "0.5"),
        (Threshold, "value", float("nan")),
        (Threshold, "value", True),
        (Threshold, "rule", 3),
        (Threshold, "good_images", -1),
        (Threshold, "good_images", 1.5),
        (Threshold, "enough", 1),
        (Threshold, "unknown", 1),
        (TemperatureScaling, "temperature", 0.0),
        (TemperatureScaling, "temperature", float("inf")),
        (TemperatureScaling, "images", None),
        (MaskPostProcessor, "low_threshold", 0.75),
        (MaskPostProcessor, "high_threshold", 1.0),
        (MaskPostProcessor, "min_area_px", [4]),
    ],
)
def test_other_types_and_values_are_refused(stored: Any, name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        stored.from_state_dict({**STATES[stored], name: value})


@pytest.mark.parametrize("state", [[1, 2], "x", None, {}])
def test_other_states_are_refused(state: Any) -> None:
    with pytest.raises(TypeError):
        Threshold.from_state_dict(state)
