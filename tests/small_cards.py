"""Weights with a card beside them, as a run with save_weights leaves them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from capsule_inspection.models.base import Network
from capsule_inspection.models.weight_cards import WeightsCard, card_path, write_card
from capsule_inspection.types import Figure


def card_of(network: Network, path: Path, **fields: Any) -> WeightsCard:
    """A card of the network whose weights are at `path`; `fields` replace what it says."""
    usual: dict[str, Any] = {
        "name": "custom_resnet",
        "source": "painted",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "classes": ("good", "crack", "poke"),
        "image_size": (32, 96),
        "normalisation": network.normalisation,
        "model": {"name": "custom_resnet", "width": 8},
        "data": {"name": "synthetic", "seed": 1000},
        "seen_sha256": (),
        "command": "python train.py experiment=pretrain_painted",
        "training": {"epochs": 2, "best_epoch": 1},
        "figures": {
            "test/accuracy": Figure(0.9, 0.8, 0.95, 40),
            "test/auroc": Figure(1.0, None, None, 4),
        },
        "licence": "MIT",
        "made": "2026-01-01T00:00:00+00:00",
        "versions": {"torch": "2.11"},
    }
    return WeightsCard(**(usual | fields))


def save_with_card(network: Network, path: Path, **fields: Any) -> Path:
    """Write weights and card; `fields` replace what the card says."""
    save_file(network.state_dict(), path)
    write_card(card_of(network, path, **fields), card_path(path))
    return path
