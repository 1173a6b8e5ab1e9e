"""Putting a file's tensors into a classifier: all of them, or an error that says what differs.

Our own names (`backbone.*`, `head.*`) and those of bare timm and torchvision networks are known.
Only the head may differ, because another data set has other classes, and the mask head, which not
every training has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from torch import Tensor

from capsule_inspection.models.classifier import Classifier
from capsule_inspection.types import WeightsError

logger = logging.getLogger(__name__)

SHOWN = 4
MASK_HEAD = "mask_head."


def fit_weights(network: Classifier, state: Mapping[str, Tensor], *, where: str) -> bool:
    """Load `state` into the network, in place. Returns whether the head was loaded too.

    A head of other shape or none at all is left as it was initialised, with an info log.
    Raises WeightsError naming the layers that are missing, unexpected or of other shape.
    """
    own = network.state_dict()
    state = _with_our_names(network, state)
    state = _with_own_places(own, state)
    head = {key for key in own if key.startswith("head.")}
    has_head = all(key in state and state[key].shape == own[key].shape for key in head)
    if not has_head:
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
        logger.info("%s: its classes are not this data set's; the head starts anew.", where)
    check_fit(own, state, ignored=set() if has_head else head, where=where)
    # Updated, not merged into a new dict: it carries the versions that some networks ask for.
    own.update(state)
    network.load_state_dict(own)
    return has_head


def _with_own_places(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file with the mask head that the network has: as much of the file's as fits, or none."""
    others = {key: value for key, value in state.items() if not key.startswith(MASK_HEAD)}
    places = {key: value for key, value in own.items() if key.startswith(MASK_HEAD)}
    fitting = {
        key: state[key]
        for key, value in places.items()
        if key in state and state[key].shape == value.shape
    }
    return {**others, **places, **fitting}


def _with_our_names(network: Classifier, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(key.startswith("backbone.") for key in state):
        return dict(state)
    try:
        return network.backbone.rename_bare(state)
    except (KeyError, RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        # timm's converters stumble over files of other networks; the check below names layers.
        return {f"backbone.model.{key}": value for key, value in state.items()}


def check_fit(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, ignored: set[str], where: str
) -> None:
    """Raise WeightsError, naming layers, where `state` has other layers or shapes than `own`."""
    # Files older than torch 0.4.1 have no such counters, and they may stay at zero.
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in state and key not in ignored | counters]
    unexpected = [key for key in state if key not in own]
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if not (missing or unexpected or reshaped):
        return
    found = (
        _list("missing", missing),
        _list("unexpected", unexpected),
        _list("other shape", reshaped),
    )
    raise WeightsError(
        f"{where}: these weights do not fit this network. "
        + " ".join(part for part in found if part)
        + " "
        + _remedy(missing=missing, num_fitting=len(own) - len(missing) - len(reshaped))
    )


def _list(title: str, names: Iterable[str]) -> str:
    """`2 missing: a, b.` with the first few names; "" where there are none."""
    names = [name.replace("backbone.model.", "") for name in names]
    if not names:
        return ""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {title}: {', '.join(names[:SHOWN])}{rest}."


def _remedy(*, missing: list[str], num_fitting: int) -> str:
    if num_fitting == 0 or len(missing) > num_fitting:
        return (
            "They are of another architecture: set model.name to the one they were made with, "
            "or model.weights=none."
        )
    return (
        "They are of a related network: give the model the settings that they were made with "
        "(name, depths, width, stem, options, image size), or set model.weights=none."
    )
