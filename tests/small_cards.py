"""Weights with a card beside them, as a run with save_weights leaves them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from capsule_inspection.models.base import Model
from capsule_inspection.models.model_card import ModelCard, card_path, write_card


def card_of(model: Model, path: Path, **fields: Any) -> ModelCard:
    """A card of the model whose weights are at `path`; `fields` replace its own."""
    usual: dict[str, Any] = {
        "name": "custom_resnet",
        "source": "synthetic",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "classes": ("good", "crack", "poke"),
        "image_size": (32, 96),
        "normalisation": model.normalisation,
        "model": {"name": "custom_resnet", "width": 8},
        "data": {"name": "synthetic", "seed": 1000},
        "training_hashes": (),
        "selection_hashes": (),
        "command": "python train.py experiment=pretrain_synthetic",
        "training": {"epochs": 2, "best_epoch": 1},
        "metrics": {
            "test/accuracy": {"value": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 40},
            "test/auroc": {"value": 1.0, "ci_low": None, "ci_high": None, "n": 4},
        },
        "licence": "MIT",
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"torch": "2.11"},
    }
    return ModelCard(**(usual | fields))


def save_with_card(model: Model, path: Path, **fields: Any) -> Path:
    """Write weights and card; `fields` replace what the card says."""
    save_file(model.state_dict(), path)
    write_card(card_of(model, path, **fields), card_path(path))
    return path
