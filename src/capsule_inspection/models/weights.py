"""The rule of `model.weights`: auto, imagenet, painted, none, or a path.

- auto: ImageNet where a local file, a cache or the hub has it, else what the project brings
  (`models/weights/<name>.safetensors`, trained on painted images), else random and a warning.
  Segmentation networks with an encoder of ours: see encoder_weights.py.
- imagenet, painted (what the project brings), or a path: exactly that, or an error before training.
- none: random, and nothing is said.

Local files are looked for in the folder $CAPSULE_WEIGHTS, then in `weights/` of the working
directory, as `<name>.safetensors`, `.pth` or `.pt`. A card beside a file must be of this network.
Boundary: decides and records; published.py fetches, weight_files.py reads, weight_cards.py knows
cards, weight_fitting.py fits.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from capsule_inspection.models.base import Network
from capsule_inspection.models.published import (
    PublishedWeights,
    UnavailableError,
    fetch_first,
    find_cached,
)
from capsule_inspection.models.weight_cards import (
    FILE,
    PAINTED,
    Accepted,
    WeightsCard,
    check_card,
    read_card,
)
from capsule_inspection.models.weight_files import SUFFIXES, WeightsFile, read_weights
from capsule_inspection.models.weight_fitting import fit_weights
from capsule_inspection.types import ConfigurationError, WeightsError, WeightsRecord

logger = logging.getLogger(__name__)

CHOICES = ("auto", "imagenet", PAINTED, "none")
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
    accepted: Accepted | None = None,
) -> WeightsRecord:
    """Put weights into the network, in place, as `choice` (model.weights) asks.

    `fit(network, state, where=...)` puts a file's tensors into it, by default a classifier's.
    `accepted` has the names that a card may call the network, by default its own alone.
    Raises WeightsError where weights that were asked for cannot be had, read or fitted,
    ConfigurationError where `choice` is a mistyped name.
    """
    if choice == "none":
        return RANDOM
    names = {published.name: network.normalisation} if accepted is None else accepted

    def load(path: Path, *, source: str) -> WeightsRecord:
        return load_file(network, path, source=source, fit=fit, accepted=names)

    if choice == "imagenet":
        return _load_imagenet(load, published)
    if choice == "auto":
        return _load_auto(load, published)
    if choice == PAINTED:
        return load(require_brought(published.name), source=PAINTED)
    check_choice(choice)
    return load(best_of_run(Path(choice).expanduser()), source=FILE)


def load_file(
    network: Network,
    path: Path,
    *,
    source: str,
    fit: Callable[..., object],
    accepted: Accepted,
) -> WeightsRecord:
    """Put a file's weights into the network, in place; `source` is where they are known to be from.

    Raises WeightsError where file or card cannot be read, or are of another network.
    """
    file, card = read_with_card(path, accepted=accepted)
    fit(network, file.state, where=str(path))
    record = record_of(file, card, source=source)
    logger.info("Weights: %s, from %s", record.source, path)
    return record


def read_with_card(path: Path, *, accepted: Accepted) -> tuple[WeightsFile, WeightsCard | None]:
    """A file of weights, and the card beside it where there is one.

    Raises WeightsError where either cannot be read or the card is none of the accepted.
    """
    file, card = read_weights(path), read_card(path)
    if card is not None:
        check_card(card, path=path, sha256=file.sha256, accepted=accepted)
    return file, card


def record_of(file: WeightsFile, card: WeightsCard | None, *, source: str) -> WeightsRecord:
    """What is recorded of a file; a card knows better where its weights come from."""
    return WeightsRecord(
        source=source if card is None else card.source,
        path=str(file.path),
        sha256=file.sha256,
        seen=file.seen if card is None else file.seen | frozenset(card.seen_sha256),
    )


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
    record = load(path, source="imagenet")
    if record.source != "imagenet":
        raise WeightsError(
            f"{path}: model.weights=imagenet, and these weights are others, as their card says "
            f"(source {record.source}). Say model.weights={path} to take them, or put those of "
            "ImageNet in their place."
        )
    return record


def _load_auto(load: Loader, published: PublishedWeights) -> WeightsRecord:
    try:
        path = find_imagenet(published)
    except UnavailableError as error:
        reason = str(error)
    else:
        return load(path, source="imagenet")
    brought = find_brought(published.name)
    if brought is not None:
        try:
            return load(brought, source=PAINTED)
        except WeightsError as error:
            reason = f"{reason}; and {error}"
    logger.warning(random_warning(published, reason))
    return RANDOM


def find_brought(name: str) -> Path | None:
    """The weights that the project brings for a network, None where it has none."""
    path = BROUGHT / f"{name}.safetensors"
    return path if path.is_file() else None


def require_brought(*names: str) -> Path:
    """The weights that the project brings for the first of these networks that it has some for.

    Raises WeightsError, with the networks that it has some for, where there are none.
    """
    found = [path for name in names if (path := find_brought(name)) is not None]
    if not found:
        known = ", ".join(sorted(path.stem for path in BROUGHT.glob("*.safetensors")))
        raise WeightsError(
            f"model.weights={PAINTED}: the project brings no weights for {' or '.join(names)}, "
            f"only for {known}. Set model.weights=auto, none or the path of a "
            "file; experiment=pretrain_painted makes such a file."
        )
    return found[0]


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


def random_warning(published: PublishedWeights, reason: str) -> str:
    """What cannot be missed where `auto` found nothing to begin with."""
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
