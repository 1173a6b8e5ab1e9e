"""The card beside a file of weights: the model, its training data, and its metrics.

`<stem>.json` beside `<stem>.safetensors`. Weights without a card are accepted; a card must be that
of its file, and of the model that loads the weights. workflows/pretrained.py makes cards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from capsule_inspection.integrity import read_json
from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.types import Normalisation, WeightsError

SYNTHETIC, IMAGENET_SYNTHETIC, FILE = "synthetic", "imagenet_synthetic", "file"
SOURCES = (SYNTHETIC, IMAGENET_SYNTHETIC, FILE)

AcceptedModels = Mapping[str, Normalisation]
"""Names that a card may have, each with the normalisation of the model's images."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Description of a file of weights.

    `name` is the model's, such as resnet18, or unet_autoencoder for architecture and encoder.
    `source` is synthetic for weights trained on synthetic images only, imagenet_synthetic for those
    trained on ImageNet before, else file; `sha256` is that of the file; `image_size` (H, W) in
    pixels. `training_hashes` are the SHA-256 of all images that
    the weights were trained on, `selection_hashes` of those that selected the epoch.
    """

    name: str
    source: str
    sha256: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    normalisation: Normalisation
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    training_hashes: tuple[str, ...]
    selection_hashes: tuple[str, ...]
    command: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    licence: str
    created: str
    versions: Mapping[str, str]


def card_path(weights_path: Path) -> Path:
    """The path of the card of a file of weights."""
    return weights_path.with_suffix(".json")


def read_card(weights_path: Path) -> ModelCard | None:
    """The card beside a .safetensors file; None where there is none. Unknown fields are ignored.

    Raises WeightsError where it cannot be read or lacks a field.
    """
    path = card_path(weights_path)
    if weights_path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        return _parse(read_json(path))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else error
        raise WeightsError(
            f"{path}: expected the card of {weights_path.name} as JSON, found another content "
            f"({reason}). Copy weights and card again, or delete the card to use the weights "
            "without it."
        ) from error


def _parse(content: dict[str, Any]) -> ModelCard:
    known = {field.name: content[field.name] for field in fields(ModelCard)}
    known["normalisation"] = from_stored(Normalisation, content["normalisation"])
    if known["source"] not in SOURCES:
        raise ValueError(f"source {known['source']!r} is not {' or '.join(SOURCES)}")
    return from_stored(ModelCard, known)


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card as JSON."""
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
    # A command may name files whose bytes are no UTF-8.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def check_card(card: ModelCard, *, path: Path, sha256: str, accepted: AcceptedModels) -> None:
    """Raise WeightsError where a card is not that of the weights at `path`, or not of the model."""
    if card.sha256 != sha256:
        raise WeightsError(
            f"{path}: these weights and their card {card_path(path).name} do not belong together: "
            f"the card is of a file with SHA-256 {card.sha256[:12]}..., this one has "
            f"{sha256[:12]}... Copy both again."
        )
    if card.name not in accepted:
        raise WeightsError(
            f"{path}: these weights are of {card.name}, as their card says; expected those of "
            f"{' or '.join(accepted)}. Choose their model ({_model_arguments(card)}), or other "
            "weights with model.weights."
        )
    expected, found = accepted[card.name], card.normalisation
    pairs = zip((*found.mean, *found.std), (*expected.mean, *expected.std), strict=True)
    if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in pairs):
        raise WeightsError(
            f"{path}: these weights of {card.name} were trained on images normalised with "
            f"{_format(found)}, as their card says; this model expects {_format(expected)}. "
            f"Choose the model as it was then ({_model_arguments(card)}), or other weights with "
            "model.weights."
        )


def _model_arguments(card: ModelCard) -> str:
    """The command line's arguments for the model of a card."""
    model = card.model
    if "architecture" in model:
        parts = (f"model.{key}={model[key]}" for key in ("architecture", "encoder") if key in model)
        return " ".join(("model=unet", *parts))
    builder = model.get("builder")
    if builder in ("timm", "torchvision"):
        return f"model={builder} model.name={model.get('name', card.name)}"
    return f"model={card.name}"


def _format(normalisation: Normalisation) -> str:
    return f"mean {[*normalisation.mean]} and std {[*normalisation.std]}"
