"""Errors of files that cannot be predicted name no setting of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick import draw
from small_inference_models import CLASSIFICATION, build_inference_model, build_metadata

from capsule_inspection.inference.predictions import ERROR, OK
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend


def predictor(**changed: object) -> Predictor:
    model = build_inference_model(CLASSIFICATION)
    backend = TorchBackend(model, device="cpu", precision="32-true")
    return Predictor(replace(build_metadata(CLASSIFICATION), **changed), backend)


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


def test_outputs_that_are_nan_are_an_error_of_their_image_alone(tmp_path: Path) -> None:
    used = predictor()
    files = [used.read(draw(tmp_path / f"{seed}.png", seed=seed)) for seed in (1, 2)]
    run = used.backend.run

    def with_nan(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = run(arrays)
        outputs["logits"][0] = np.nan
        return outputs

    used.backend.run = with_nan  # type: ignore[method-assign]
    first, second = (predicted.prediction for predicted in used.predict(files))
    assert (first.status, second.status) == (ERROR, OK)
    assert first.error == "the outputs of the model for it are not finite"
