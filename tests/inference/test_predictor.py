"""Files that cannot be answered, in words that suit whoever has no training at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from quick import draw
from small_inspectors import description_of, inspector_of

from capsule_inspection.inference.description import CLASSIFICATION, Description
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_engine import TorchEngine


def predictor(**changed: object) -> Predictor:
    engine = TorchEngine(
        inspector_of(CLASSIFICATION), device="cpu", half=False, channels_last=False
    )
    description: Description = replace(description_of(CLASSIFICATION), **changed)
    return Predictor(description, engine)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"max_pixels": 1599}, "is 40x40 pixels; max_pixels allows 1599"),
        (
            {"roi": (0.0, 0.0, 48.0, 36.0)},
            "is 40x40 pixels, and the model looks at the box [0.0, 0.0, 48.0, 36.0] "
            "(x0, y0, x1, y1), which lies outside of it",
        ),
    ],
)
def test_reasons_name_no_setting_of_a_training(
    changed: dict[str, object], reason: str, tmp_path: Path
) -> None:
    read = predictor(**changed).read(draw(tmp_path / "a.png", seed=1))
    assert read.error == reason
