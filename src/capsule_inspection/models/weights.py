"""The rule of `model.weights`: auto, imagenet, synthetic, none, or a path.

- auto: ImageNet where a local file, an installed package (weight_packages.py), a cache or the hub
  has it, in this order, else the weights bundled with the project
  (`models/weights/<name>.safetensors`, trained on synthetic images), else random, with a warning
  where others exist. A file or package that is found and cannot be used is an error.
- imagenet, synthetic (the bundled weights), or a path of a file or run: exactly that, or an error.
- none: random.

Local files are `<name>.safetensors`, `.pth` or `.pt` in the folder $CAPSULE_WEIGHTS, then in
`weights/` of the working directory. A card beside a file must be of this model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from capsule_inspection.archives import describe
from capsule_inspection.integrity import check_files, is_sealed, read_json
from capsule_inspection.models.base import Model, list_nearest
from capsule_inspection.models.hub import HubWeights, UnavailableError
from capsule_inspection.models.model_card import (
    FILE,
    SYNTHETIC,
    AcceptedModels,
    check_card,
    read_card,
)
from capsule_inspection.models.weight_files import read_weights
from capsule_inspection.models.weight_packages import WeightPackage
from capsule_inspection.types import (
    WEIGHTS_SUFFIXES,
    ConfigurationError,
    RunFiles,
    WeightsError,
    WeightsRecord,
)

logger = logging.getLogger(__name__)

CHOICES = ("auto", "imagenet", SYNTHETIC, "none")
LOCAL_SUFFIXES = (".safetensors", ".pth", ".pt")
BUNDLED = Path(__file__).parent / "weights"
RANDOM = WeightsRecord(source="random")
Loader = Callable[..., WeightsRecord]


def load_weights(
    model: Model,
    *,
    choice: str,
    hub: HubWeights,
    load_state: Callable[..., object],
    bundled: Sequence[str] = (),
    accepted: AcceptedModels | None = None,
) -> WeightsRecord:
    """Load the initial weights of `choice` (model.weights) into the model, in place.

    `load_state(model, state, where=...)` is one of state_dicts.py. `bundled` are the names of
    bundled weights, the best first, and `accepted` the names that a card may have, by default both
    the hub's name alone.
    Raises WeightsError where weights are unavailable, unreadable or do not fit, ConfigurationError
    for a mistyped choice.
    """
    names = bundled or (hub.name,)
    cards = {hub.name: model.normalisation} if accepted is None else accepted

    def load(path: Path, *, source: str, package: WeightPackage | None = None) -> WeightsRecord:
        file, card = read_weights(path), read_card(path)
        training, selection = file.training_hashes, file.selection_hashes
        if card is not None:
            check_card(card, path=path, sha256=file.sha256, accepted=cards)
            source = card.source
            training |= frozenset(card.training_hashes)
            selection |= frozenset(card.selection_hashes)
        state = file.state if package is None else package.to_timm_names(file.state)
        load_state(model, state, where=str(path))
        return WeightsRecord(
            source=source,
            path=str(path),
            sha256=file.sha256,
            package=None if package is None else str(package),
            training_hashes=training,
            selection_hashes=selection,
        )

    if choice == "none":
        return RANDOM
    if choice == "imagenet":
        return _load_imagenet(load, hub)
    if choice == "auto":
        return _load_auto(load, hub, names)
    if choice == SYNTHETIC:
        return load(_require_bundled(names), source=SYNTHETIC)
    return load(_resolve_path(choice), source=FILE)


def _load_imagenet(load: Loader, hub: HubWeights) -> WeightsRecord:
    try:
        path, package = find_imagenet(hub)
    except UnavailableError as error:
        raise WeightsError(_describe_download(hub, str(error))) from error
    record = load(path, source="imagenet", package=package)
    if record.source != "imagenet":
        raise WeightsError(
            f"{path}: model.weights=imagenet, but the source of these weights is {record.source}, "
            f"as their card says. Set model.weights={path} to use them, or replace them by those "
            "of ImageNet."
        )
    return record


def _load_auto(load: Loader, hub: HubWeights, bundled: Sequence[str]) -> WeightsRecord:
    try:
        path, package = find_imagenet(hub)
    except UnavailableError as error:
        reason = str(error)
    else:
        return load(path, source="imagenet", package=package)
    path_of_bundled = find_bundled(bundled)
    if path_of_bundled is not None:
        try:
            return load(path_of_bundled, source=SYNTHETIC)
        except WeightsError as error:
            reason = f"{reason}; and {error}"
    elif not hub.files:
        return RANDOM
    logger.warning(_random_warning(hub, reason))
    return RANDOM


def _resolve_path(choice: str) -> Path:
    """The file of a path, which may be a run folder; raises ConfigurationError for a typo."""
    path = Path(choice).expanduser()
    if (path / RunFiles.BEST).is_file():
        _check_run(path)
        return path / RunFiles.BEST
    if path.exists() or "/" in choice or path.suffix in WEIGHTS_SUFFIXES:
        return path
    raise ConfigurationError(
        f"model.weights={choice}: expected {', '.join(CHOICES)} or the path of a file "
        f"({', '.join(WEIGHTS_SUFFIXES)}), and there is no such file. Nearest: "
        f"{list_nearest(choice, CHOICES)}."
    )


def _check_run(folder: Path) -> None:
    """Compare the checkpoint of a run with its record, where there is one."""
    path = folder / RunFiles.RECORD
    if not path.is_file():
        return
    try:
        record = read_json(path)
        if not is_sealed(record):
            raise ValueError("its content does not fit its checksum")
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: cannot be read ({describe(error)}). Name the file itself: model.weights="
            f"{folder / RunFiles.BEST}"
        ) from error
    remedy = "Restore it from a copy, or name the file itself with model.weights."
    check_files(folder, record, [RunFiles.BEST], remedy=remedy)


def find_bundled(names: Sequence[str]) -> Path | None:
    """The first of the bundled weights that exists."""
    paths = (BUNDLED / f"{name}.safetensors" for name in names)
    return next((path for path in paths if path.is_file()), None)


def _require_bundled(names: Sequence[str]) -> Path:
    path = find_bundled(names)
    if path is None:
        known = ", ".join(sorted(path.stem for path in BUNDLED.glob("*.safetensors")))
        raise WeightsError(
            f"model.weights={SYNTHETIC}: there are no bundled weights for {' or '.join(names)}, "
            f"only for {known}. Set model.weights=auto, none or the path of a "
            "file; experiment=pretrain_synthetic makes such a file."
        )
    return path


def find_imagenet(hub: HubWeights) -> tuple[Path, WeightPackage | None]:
    """A file of ImageNet weights: local, of a package, cached, or downloaded; and the package.

    Raises UnavailableError, and WeightsError where the package is not as it should be.
    """
    for folder in weight_folders():
        for name in hub.local_names:
            for suffix in LOCAL_SUFFIXES:
                if (folder / f"{name}{suffix}").is_file():
                    return folder / f"{name}{suffix}", None
    if hub.package is not None and (path := hub.package.find()) is not None:
        return path, hub.package
    return hub.find_cached() or hub.download(), None


def weight_folders() -> list[Path]:
    """The user's folders of weights, in order. Raises WeightsError for a wrong setting."""
    folders = [Path("weights")]
    setting = os.environ.get("CAPSULE_WEIGHTS")
    if setting:
        if not Path(setting).is_dir():
            raise WeightsError(
                f"CAPSULE_WEIGHTS={setting}: expected a folder of weights, found none there."
            )
        folders.insert(0, Path(setting))
    return folders


def _describe_download(hub: HubWeights, reason: str) -> str:
    if not hub.files:
        return (
            f"model.weights=imagenet: no ImageNet weights of {hub.name} are published. "
            "Set model.weights=auto, none or the path of a file."
        )
    places = " or ".join(
        str(folder.absolute() / f"{hub.local_names[0]}{suffix}")
        for folder in weight_folders()
        for suffix in LOCAL_SUFFIXES[:2]
    )
    install = ""
    if hub.package is not None:
        install = f"Install them: {hub.package.install_command}. Or: "
    return (
        f"model.weights=imagenet: the ImageNet weights of {hub.name} are not on this "
        f"machine and could not be downloaded ({reason}). {install}Download "
        f"{hub.files[0].url} where there is a network and save it as {places}; or set "
        "model.weights=auto or none."
    )


def _random_warning(hub: HubWeights, reason: str) -> str:
    line = "!" * 88
    local = f"weights/{(hub.local_names or (hub.name,))[0]}.safetensors"
    install = "" if hub.package is None else f"{hub.package.install_command}, or\n"
    advice = (
        f"ImageNet weights give far better results: {install}save them as {local}\n"
        "(model.weights=imagenet says what to download), or set model.weights to a path."
        if hub.files
        else "Weights of your own can be used with model.weights=<path>."
    )
    return (
        f"\n{line}\n{hub.name} STARTS FROM RANDOM WEIGHTS (model.weights=auto).\n"
        f"Why: {reason}.\n{advice}\n"
        f"To start so on purpose, without this warning: model.weights=none\n{line}"
    )
