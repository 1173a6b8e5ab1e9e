"""The rule of `model.weights`: auto, imagenet, none, or a path.

- auto: ImageNet where a local file, a cache or the hub has it, else what the project brings
  (`networks/weights/<name>.safetensors`, trained on painted images), else random and a warning.
- imagenet, or a path: exactly that, or an error before training.
- none: random, and nothing is said.

Local files are looked for in the folder $CAPSULE_WEIGHTS, then in `weights/` of the working
directory, as `<name>.safetensors`, `.pth` or `.pt`.
Boundary: decides and records; published.py fetches, weight_files.py reads, weight_fitting.py fits.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from capsule_inspection.contracts import ConfigurationError, WeightsError, WeightsRecord
from capsule_inspection.networks.base import Network
from capsule_inspection.networks.published import (
    PublishedWeights,
    UnavailableError,
    fetch_first,
    find_cached,
)
from capsule_inspection.networks.weight_files import SUFFIXES, read_weights
from capsule_inspection.networks.weight_fitting import fit_weights

logger = logging.getLogger(__name__)

CHOICES = ("auto", "imagenet", "none")
LOCAL_SUFFIXES = (".safetensors", ".pth", ".pt")
BROUGHT = Path(__file__).parent / "weights"
RANDOM = WeightsRecord(source="random")
Loader = Callable[..., WeightsRecord]
"""Reads and fits the file at a path, and records its `source`."""


def load_weights(
    network: Network,
    *,
    choice: str,
    published: PublishedWeights,
    fit: Callable[..., object] = fit_weights,
) -> WeightsRecord:
    """Put weights into the network, in place, as `choice` (model.weights) asks.

    `fit(network, state, where=...)` puts a file's tensors into it, by default a classifier's.
    Raises WeightsError where weights that were asked for cannot be had, read or fitted,
    ConfigurationError where `choice` is a mistyped name.
    """
    if choice == "none":
        return RANDOM

    def load(path: Path, *, source: str) -> WeightsRecord:
        file = read_weights(path)
        fit(network, file.state, where=str(path))
        logger.info("Weights: %s, from %s", source, path)
        return WeightsRecord(source=source, path=str(path), sha256=file.sha256, seen=file.seen)

    if choice == "imagenet":
        return _load_imagenet(load, published)
    if choice == "auto":
        return _load_auto(load, published)
    check_choice(choice)
    return load(best_of_run(Path(choice).expanduser()), source="file")


def best_of_run(path: Path) -> Path:
    """The best checkpoint of a run folder; another path as it is."""
    best = path / "checkpoints" / "best.ckpt"
    return best if path.is_dir() and best.is_file() else path


def check_choice(choice: str, *, choices: Sequence[str] = CHOICES) -> None:
    """Raise ConfigurationError where `choice` is a mistyped name and no path."""
    if Path(choice).exists() or "/" in choice or Path(choice).suffix in SUFFIXES:
        return
    near = difflib.get_close_matches(choice, choices, n=1) or [choices[0]]
    raise ConfigurationError(
        f"model.weights={choice}: expected {', '.join(choices)} or the path of a file "
        f"({', '.join(SUFFIXES)}), and there is no such file. Did you mean {near[0]}?"
    )


def _load_imagenet(load: Loader, published: PublishedWeights) -> WeightsRecord:
    try:
        path = find_imagenet(published)
    except UnavailableError as error:
        raise WeightsError(_how_to_get(published, str(error))) from error
    return load(path, source="imagenet")


def _load_auto(load: Loader, published: PublishedWeights) -> WeightsRecord:
    try:
        path = find_imagenet(published)
    except UnavailableError as error:
        reason = str(error)
    else:
        return load(path, source="imagenet")
    brought = BROUGHT / f"{published.name}.safetensors"
    if brought.is_file():
        try:
            return load(brought, source="painted")
        except WeightsError as error:
            reason = f"{reason}; and {error}"
    logger.warning(_random_warning(published, reason))
    return RANDOM


def find_imagenet(published: PublishedWeights) -> Path:
    """A file of ImageNet weights: local, from a cache, or fetched. Raises UnavailableError."""
    local = find_local(published)
    if local is not None:
        return local
    return find_cached(published) or fetch_first(published)


def find_local(published: PublishedWeights) -> Path | None:
    """A file in the user's own folders of weights."""
    for folder in weight_folders():
        for name in published.local_names:
            for suffix in LOCAL_SUFFIXES:
                if (folder / f"{name}{suffix}").is_file():
                    return folder / f"{name}{suffix}"
    return None


def weight_folders() -> list[Path]:
    """Folders that are searched, the first wins. Raises WeightsError for a wrong setting."""
    folders = [Path("weights")]
    setting = os.environ.get("CAPSULE_WEIGHTS")
    if setting:
        if not Path(setting).is_dir():
            raise WeightsError(
                f"CAPSULE_WEIGHTS={setting}: expected a folder of weights, found none there."
            )
        folders.insert(0, Path(setting))
    return folders


def _how_to_get(published: PublishedWeights, reason: str) -> str:
    if not published.files:
        return (
            f"model.weights=imagenet: no ImageNet weights of {published.name} are published. "
            "Set model.weights=auto, none or the path of a file."
        )
    places = " or ".join(
        str(folder.absolute() / f"{published.local_names[0]}{suffix}")
        for folder in weight_folders()
        for suffix in LOCAL_SUFFIXES[:2]
    )
    return (
        f"model.weights=imagenet: the ImageNet weights of {published.name} are not on this "
        f"machine and could not be fetched ({reason}). Download {published.files[0].url} where "
        f"there is a network and save it as {places}; or set model.weights=auto or none."
    )


def _random_warning(published: PublishedWeights, reason: str) -> str:
    line = "!" * 88
    local = f"weights/{(published.local_names or (published.name,))[0]}.safetensors"
    advice = (
        f"With ImageNet weights it would do far better: put them at {local}\n"
        "(model.weights=imagenet tells what to download), or give model.weights a path."
        if published.files
        else "Weights of your own can be given with model.weights=<path>."
    )
    return (
        f"\n{line}\n{published.name} STARTS FROM RANDOM WEIGHTS (model.weights=auto).\n"
        f"Why: {reason}.\n{advice}\n"
        f"To start so on purpose, without this: model.weights=none\n{line}"
    )
