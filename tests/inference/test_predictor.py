"""Files that cannot be answered, in words that suit whoever has no training at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick import draw
from small_inspectors import description_of, inspector_of

from capsule_inspection.inference.answers import ERROR, OK
from capsule_inspection.inference.description import CLASSIFICATION
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_engine import TorchEngine


def predictor(**changed: object) -> Predictor:
    inspector = inspector_of(CLASSIFICATION)
    engine = TorchEngine(inspector, device="cpu", half=False, channels_last=False)
    return Predictor(replace(description_of(CLASSIFICATION), **changed), engine)


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
    assert predictor(**changed).read(draw(tmp_path / "a.png", seed=1)).error == reason


def test_an_answer_of_no_numbers_is_an_error_of_its_image_alone(tmp_path: Path) -> None:
    used = predictor()
    files = [used.read(draw(tmp_path / f"{seed}.png", seed=seed)) for seed in (1, 2)]
    run = used.engine.run

    def spoilt(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = run(arrays)
        found["logits"][0] = np.nan
        return found

    used.engine.run = spoilt  # type: ignore[method-assign]
    first, second = (answered.answer for answered in used.answer(files))
    assert (first.status, second.status) == (ERROR, OK)
    assert first.error == "what the network makes of it are no numbers"
