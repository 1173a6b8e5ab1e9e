"""The weights that the package brings, as the models of conf/ load them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from capsule_inspection.models.weights import BROUGHT
from capsule_inspection.workflows.building import build_network

NAMES = {
    "resnet18": "resnet18",
    "efficientnet_b0": "efficientnet_b0",
    "unet": "unet_autoencoder",
}
"""Files by the models that they are of."""
CLASSES = 6
"""Those of the capsules, which is what the weights were trained on."""


def test_it_brings_weights_of_these_networks_each_with_its_card() -> None:
    found = {path.name for path in BROUGHT.iterdir()}
    assert found == {f"{name}{end}" for name in NAMES.values() for end in (".safetensors", ".json")}


@pytest.mark.parametrize("model", NAMES)
def test_all_of_them_are_taken_by_the_model_as_it_is_configured(
    compose: Callable[..., DictConfig], caplog: pytest.LogCaptureFixture, model: str
) -> None:
    caplog.set_level(logging.INFO)
    config = compose("train", f"model={model}", "model.weights=painted")
    built = build_network(config, num_classes=CLASSES)
    path = BROUGHT / f"{NAMES[model]}.safetensors"
    assert built.weights.source == "painted"
    assert (built.weights.path, built.weights.seen) == (str(path), frozenset())
    assert built.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert built.network.has_learnt == (model == "unet")
    assert "starts anew" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    stored, state = load_file(path), built.network.state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(state[key], value) for key, value in stored.items())
