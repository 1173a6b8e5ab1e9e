"""Names of models and paths of weights, checked before data are read; imports no library.

timm and torchvision take seconds to import, so names are looked up in the text of their sources: a
name that stands nowhere in them is none. What is there is checked again where the model is built.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.similar_names import suggestion
from capsule_inspection.files import exists
from capsule_inspection.types import WEIGHTS_SUFFIXES, ConfigurationError, RunFiles

_WEIGHTS = ("auto", "imagenet", "synthetic", "none")
_FOLDERS = {"timm": "models", "torchvision": "models", "segmentation_models_pytorch": "encoders"}
_REGISTERED = re.compile(r"@register_model(?:\(.*\))?\s+def (\w+)")


def check_library_names(config: DictConfig) -> None:
    """Raise ConfigurationError for weights that are no file, and for unknown models."""
    weights = OmegaConf.select(config, "model.weights")
    if weights not in (None, *_WEIGHTS):
        _check_weights(Path(weights))
    builder = OmegaConf.select(config, "model.builder")
    if builder in ("timm", "torchvision"):
        _check_name("model.name", config.model.name, (builder,))
    encoder = OmegaConf.select(config, "model.encoder", default="auto")
    if encoder not in ("auto", "autoencoder", "custom_resnet"):
        _check_name(
            "model.encoder",
            encoder.removeprefix("tu-"),
            ("timm", "segmentation_models_pytorch"),
        )


def _check_weights(path: Path) -> None:
    if not exists(path):
        raise ConfigurationError(
            f"model.weights={path}: there is no such file or folder. Expected a path, or "
            f"{', '.join(_WEIGHTS)}."
        )
    is_run = path.is_dir() and (path / RunFiles.RECORD).is_file()
    if not is_run and (path.is_dir() or path.suffix not in WEIGHTS_SUFFIXES):
        raise ConfigurationError(
            f"model.weights={path}: expected a run folder, or a file ending with "
            f"{', '.join(WEIGHTS_SUFFIXES)}."
        )


def _check_name(key: str, name: str, libraries: tuple[str, ...]) -> None:
    texts = [_sources(library) for library in libraries]
    stem = re.escape(name.partition(".")[0])
    is_there = re.compile(rf"\bdef {stem}\(|['\"]{re.escape(name)}['\"]").search
    if not all(texts) or any(map(is_there, texts)):
        return
    other = {"timm": "torchvision", "torchvision": "timm"}[libraries[0]]
    if key == "model.name" and is_there(_sources(other)):
        remedy = f"Write model={other} model.name={name}"
    else:
        remedy = suggestion(name, [each for text in texts for each in _REGISTERED.findall(text)])
    raise ConfigurationError(
        f"{key}={name}: there is no such model in {' or '.join(libraries)}. {remedy}"
    )


def _sources(library: str) -> str:
    """The text of the modules with a library's models; "" where it is not installed."""
    spec = find_spec(library)
    folders = spec.submodule_search_locations if spec is not None else None
    places = [Path(folder) / _FOLDERS[library] for folder in folders or ()]
    return "\n".join(
        path.read_text(encoding="utf-8") for place in places for path in sorted(place.rglob("*.py"))
    )
