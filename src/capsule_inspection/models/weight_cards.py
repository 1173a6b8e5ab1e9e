"""The card beside a file of weights: what they are, what they learnt from, how well they did.

`<stem>.json` beside `<stem>.safetensors`. Weights without a card are taken as they are; a card that
is there must be theirs, and of the network that is to take them.
Boundary: reads, writes and compares cards; workflows/pretrained.py makes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capsule_inspection.types import Figure, Figures, Normalisation, WeightsError

FORMAT_VERSION = 1
PAINTED, FILE = "painted", "file"
SOURCES = (PAINTED, FILE)

Accepted = Mapping[str, Normalisation]
"""Names that a card may call the network, each with the normalisation of its images."""


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """What is known of a file of weights.

    `name` is the network's, such as resnet18, or unet_autoencoder for architecture and encoder.
    `source` is painted for weights that have seen drawn images only, else file; `sha256` that of
    the file; `image_size` (H, W) in pixels; `seen_sha256` of every photograph that they have seen.
    """

    format_version: int = FORMAT_VERSION
    name: str
    source: str
    sha256: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    normalisation: Normalisation
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    seen_sha256: tuple[str, ...]
    command: str
    training: Mapping[str, Any]
    figures: Figures
    licence: str
    made: str
    versions: Mapping[str, str]


def card_path(weights_path: Path) -> Path:
    """Where the card of a file of weights is, or would be."""
    return weights_path.with_suffix(".json")


def read_card(weights_path: Path) -> WeightsCard | None:
    """The card beside a .safetensors file; None where there is none.

    Fields that are not known are passed over. Raises WeightsError where it is not readable, lacks
    a field, or is of another version.
    """
    path = card_path(weights_path)
    if weights_path.suffix != ".safetensors" or not path.is_file():
        return None
    content = _read_json(path)
    _check_version(path, content.get("format_version"))
    for name, (expected, fits) in _FIELDS.items():
        if name not in content:
            raise WeightsError(
                f"{path}: the card of {weights_path.name} has no '{name}'. {_COPY_AGAIN}"
            )
        if not fits(content[name]):
            raise WeightsError(
                f"{path}: '{name}' must be {expected}, found {str(content[name])[:80]!r}. "
                f"{_COPY_AGAIN}"
            )
    known = {name: content[name] for name in ("format_version", *_FIELDS)}
    mean, std = (tuple(map(float, content["normalisation"][part])) for part in ("mean", "std"))
    figures = {
        key: Figure(**{part: figure[part] for part in _FIGURE})
        for key, figure in content["figures"].items()
    }
    return WeightsCard(
        **{
            **known,
            "classes": tuple(content["classes"]),
            "image_size": tuple(content["image_size"]),
            "seen_sha256": tuple(content["seen_sha256"]),
            "normalisation": Normalisation(mean=mean, std=std),  # type: ignore[arg-type]
            "figures": figures,
        }
    )


def write_card(card: WeightsCard, path: Path) -> None:
    """Write a card as JSON; for a card that is whole or not there `path` is a temporary one."""
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
    # A command may name files whose bytes are no UTF-8.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def check_card(card: WeightsCard, *, path: Path, sha256: str, accepted: Accepted) -> None:
    """Raise WeightsError where a card is not that of the weights at `path`, or not of the network.

    `sha256` is that of the weights; `accepted` has the names and normalisations that may be.
    """
    if card.sha256 != sha256:
        raise WeightsError(
            f"{path}: these weights and their card {card_path(path).name} do not belong together: "
            f"the card is of a file with SHA-256 {card.sha256[:12]}..., this one has "
            f"{sha256[:12]}... Copy both again."
        )
    if card.name not in accepted:
        raise WeightsError(
            f"{path}: these weights are of {card.name}, as their card says; expected those of "
            f"{' or '.join(accepted)}. Choose the model that they are of ({_how_to_choose(card)}), "
            "or other weights with model.weights."
        )
    wanted = accepted[card.name]
    if not (
        _close(card.normalisation.mean, wanted.mean) and _close(card.normalisation.std, wanted.std)
    ):
        raise WeightsError(
            f"{path}: these weights of {card.name} learnt from images normalised with "
            f"{_shown(card.normalisation)}, as their card says; this network's have "
            f"{_shown(wanted)}. Choose the model as it was then ({_how_to_choose(card)}), or other "
            "weights with model.weights."
        )


_COPY_AGAIN = "Copy weights and card again, or delete the card to use the weights without it."


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: expected the card of the weights beside it, found no JSON ({error}). "
            f"{_COPY_AGAIN}"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path}: expected the card of the weights beside it, found JSON of another kind "
            f"({type(content).__name__}). {_COPY_AGAIN}"
        )
    return content


def _check_version(path: Path, found: object) -> None:
    if found == FORMAT_VERSION:
        return
    if _is_whole_number(found) and found > FORMAT_VERSION:  # type: ignore[operator]
        raise WeightsError(
            f"{path}: this card was made by a newer version of capsule-inspection (format_version "
            f"{found}, this one reads {FORMAT_VERSION}). Update the package."
        )
    raise WeightsError(
        f"{path}: expected a card with format_version {FORMAT_VERSION}, found {found}. "
        f"{_COPY_AGAIN}"
    )


def _how_to_choose(card: WeightsCard) -> str:
    model = card.model
    if "architecture" in model:
        parts = (f"model.{key}={model[key]}" for key in ("architecture", "encoder") if key in model)
        return " ".join(("model=unet", *parts))
    library = str(model.get("_target_", "")).rpartition(".build_")[2]
    if library in ("timm", "torchvision"):
        return f"model={library} model.name={model.get('name', card.name)}"
    return f"model={card.name}"


def _close(found: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(found, wanted, strict=True))


def _shown(normalisation: Normalisation) -> str:
    return f"mean {[*normalisation.mean]} and std {[*normalisation.std]}"


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_whole_number, value))


def _is_normalisation(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(part := value.get(name), list) and len(part) == 3 and all(map(_is_number, part))
        for name in ("mean", "std")
    )


_FIGURE = ("value", "low", "high", "n")


def _are_figures(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(figure, dict)
        and figure.keys() >= set(_FIGURE)
        and _is_number(figure["value"])
        and _is_whole_number(figure["n"])
        and all(figure[edge] is None or _is_number(figure[edge]) for edge in ("low", "high"))
        for figure in value.values()
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


_FIELDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "name": ("text", _is_text),
    "source": (" or ".join(SOURCES), lambda value: value in SOURCES),
    "sha256": ("text", _is_text),
    "classes": ("a list of names", _are_words),
    "image_size": ("[height, width] in pixels", _is_size),
    "normalisation": ("mean and std, three numbers each", _is_normalisation),
    "model": ("the settings of the model", _is_mapping),
    "data": ("the settings of the data", _is_mapping),
    "seen_sha256": ("a list of SHA-256 sums", _are_words),
    "command": ("text", _is_text),
    "training": ("what the training took", _is_mapping),
    "figures": ("names with value, low, high and n each", _are_figures),
    "licence": ("text", _is_text),
    "made": ("text", _is_text),
    "versions": ("names of packages with their versions", _is_mapping),
}
"""What stands in a card, beside its version: what each field must be, in words, and the test."""
