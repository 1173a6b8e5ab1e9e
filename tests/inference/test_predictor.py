"""Errors of files that cannot be predicted name no setting of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import draw
from small_inference_models import CLASSIFICATION, build_inference_model, build_metadata

from capsule_inspection.data.image_notes import ALPHA_OF_ZEROS
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


def save_deep(path: Path, pixels: np.ndarray, bits: int) -> Path:
    """Write grey pixels of 8 bits with the values of more bits."""
    values = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(values).save(path)
    return path


def test_16_bit_files_are_scaled_by_the_bit_depth_of_the_training(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", seed=1)
    grey = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    Image.fromarray(grey).save(tmp_path / "a.png")
    expected = predictor().read(tmp_path / "a.png").image
    for bits in (12, 16):
        path = save_deep(tmp_path / "deep.png", grey, bits)
        found = predictor(bit_depth=bits).read(path).image
        assert found is not None
        assert expected is not None
        np.testing.assert_array_equal(found.image, expected.image)


def test_16_bit_files_of_another_bit_depth_are_an_error(tmp_path: Path) -> None:
    path = save_deep(tmp_path / "a.png", np.full((40, 40), 255), 12)
    assert predictor(bit_depth=10).read(path).error == (
        "has values of at least 4095, but images of 10 bits have at most 1023, as in the training; "
        "save it so, or set bit_depth"
    )
    assert predictor(bit_depth=None).read(path).error == (
        "has 16 bits per channel, of which the largest value is 4095: it may be an image of 10, "
        "12, 14 or 16 bits; name the depth of these images with bit_depth"
    )


def test_what_was_unusual_in_decoding_comes_with_the_prediction(tmp_path: Path) -> None:
    used, pixels = predictor(), np.zeros((40, 40, 4), np.uint8)
    pixels[:20, :, :3] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (predicted,) = used.stream([tmp_path / "a.png"], batch_size=1, workers=1)
    assert predicted.notes == (ALPHA_OF_ZEROS,)


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
