"""The bundled weights, as the models of conf/ load them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from capsule_inspection.models.weights import BUNDLED
from capsule_inspection.workflows.factory import build_model

NAMES = {
    "resnet18": "resnet18",
    "efficientnet_b0": "efficientnet_b0",
    "unet": "unet_autoencoder",
}
"""Files by the models that they are of."""
CLASSES = 6
"""Those of the capsules, which is what the weights were trained on."""


def test_weights_of_these_models_are_bundled_each_with_its_card() -> None:
    found = {path.name for path in BUNDLED.iterdir()}
    assert found == {f"{name}{end}" for name in NAMES.values() for end in (".safetensors", ".json")}


@pytest.mark.parametrize("model", NAMES)
def test_each_is_loaded_by_its_model_as_configured(
    compose: Callable[..., DictConfig], caplog: pytest.LogCaptureFixture, model: str
) -> None:
    caplog.set_level(logging.INFO)
    config = compose("train", f"model={model}", "model.weights=synthetic")
    built = build_model(config, num_classes=CLASSES)
    path = BUNDLED / f"{NAMES[model]}.safetensors"
    assert built.weights.source == "synthetic"
    assert (built.weights.path, built.weights.training_hashes) == (str(path), frozenset())
    assert built.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert built.model.has_pretrained_decoder == (model == "unet")
    assert "initialised" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    stored, state = load_file(path), built.model.state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(state[key], value) for key, value in stored.items())
