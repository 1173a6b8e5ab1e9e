"""Loading state dicts into models: everything, or an error that names the layers that differ.

Accepts the names of this project and those of timm's and torchvision's models. The head of a
classifier may differ, because another data set has other classes, and its segmentation head may be
missing. A segmentation model loads the encoder of other models.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from capsule_inspection.archives import DAMAGE
from capsule_inspection.models.base import Model
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.types import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from capsule_inspection.models.segmenter import Segmenter

logger = logging.getLogger(__name__)

State = Mapping[str, Tensor]

ENCODER = "model.encoder."
SEGMENTATION_HEAD = "model.segmentation_head."
_MASK_HEAD = "mask_head."
_BACKBONE_PREFIXES = (ENCODER, "backbone.model.", "backbone.", "encoder.")
"""Prefixes of an encoder's layers in files of this project's models."""
_LISTED = 4
"""Layers that an error message lists."""


def load_all(model: Model, state: State, *, where: str) -> None:
    """Load `state`, which must have all layers of the model, in place.

    Raises WeightsError naming the layers that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    _check_fit(own, state, where=where)
    # Updated in place: the dict also holds the version numbers that some models require.
    own.update(state)
    model.load_state_dict(own)


def load_pretrained(classifier: Classifier, state: State, *, where: str) -> bool:
    """Load `state` into a classifier, in place. Returns whether the head was loaded too.

    A head of another shape stays as initialised. Raises WeightsError as `load_all` does.
    """
    own = classifier.state_dict()
    state = _align_mask_head(own, _rename(classifier, state))
    head = {key for key in own if key.startswith("head.")}
    has_head = all(key in state and _fits(own[key], state[key]) for key in head)
    if not has_head:
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        state |= {key: own[key] for key in head}
        name = Path(where).name
        logger.info("%s: its classes are not this data set's; the head is initialised.", name)
    load_all(classifier, state, where=where)
    return has_head


def _align_mask_head(own: State, state: State) -> dict[str, Tensor]:
    """The state with the model's segmentation head; its layers are the file's where they fit."""
    aligned = {key: value for key, value in state.items() if not key.startswith(_MASK_HEAD)}
    for key, value in own.items():
        if key.startswith(_MASK_HEAD):
            is_fitting = key in state and _fits(value, state[key])
            aligned[key] = state[key] if is_fitting else value
    return aligned


def _rename(classifier: Classifier, state: State) -> State:
    if any(key.startswith("backbone.") for key in state):
        return state
    try:
        return classifier.backbone.convert_state_dict(state)
    except DAMAGE:
        # Libraries' converters fail on files of other models; the check of names lists the layers.
        return {f"backbone.model.{key}": value for key, value in state.items()}


def load_pretrained_encoder(segmenter: Segmenter, state: State, *, where: str) -> None:
    """Load `state` into a segmentation model, in place: all of it, or its encoder only.

    For another number of classes the head keeps the background, and each defect gets the mean of
    the file's defects: the foreground stays the same, the classes must be learnt again.
    Raises WeightsError, naming layers, where the encoder's do not fit.
    """
    own = segmenter.state_dict()
    fitting = {k: state[k] for k, v in own.items() if k in state and _fits(v, state[k])}
    head = _convert_head(own, state)
    if all(key in fitting or key in head for key in own):
        if head:
            logger.info(
                "%s: its classes are not this data set's; the foreground is taken from it, and the "
                "classes of defects are learnt again.",
                Path(where).name,
            )
        segmenter.load_state_dict({**own, **fitting, **head})
        segmenter.has_pretrained_decoder = True
        return
    encoder: nn.Module = segmenter.get_submodule(ENCODER.removesuffix("."))
    load_encoder(encoder, state, name=segmenter.encoder_name, where=where)
    name = Path(where).name
    logger.info("%s: the encoder's weights are loaded; the decoder is initialised.", name)


def load_encoder(encoder: nn.Module, state: State, *, name: str, where: str) -> None:
    """Load an encoder's layers from the `state` of a model that contains it, in place.

    `name` is the encoder's. Raises WeightsError, naming layers, where they do not fit.
    """
    own = encoder.state_dict()
    found = _extract_encoder(state, own)
    if not found:
        raise WeightsError(
            f"{where}: none of its {len(state)} layers is one of the encoder {name} (such as "
            f"{next(iter(own))}). Set model.encoder to the model that they are of, or "
            "model.weights=none."
        )
    _check_fit(own, found, where=where)
    own.update(found)
    encoder.load_state_dict(own)


def _convert_head(own: State, state: State) -> dict[str, Tensor]:
    """The head's tensors (C, ...) for the number of classes of `own`; none where it is the same."""
    converted = {}
    for key in (key for key in own if key.startswith(SEGMENTATION_HEAD) and key in state):
        value, known = own[key], state[key]
        is_alike = known.ndim == value.ndim and known.shape[1:] == value.shape[1:]
        if not is_alike or not known.is_floating_point():
            continue
        if 1 < len(known) != len(value):
            defect = known[1:].mean(dim=0, keepdim=True)
            defects = defect.expand(len(value) - 1, *defect.shape[1:])
            converted[key] = torch.cat([known[:1], defects])
    return converted


def _extract_encoder(state: State, expected: State) -> dict[str, Tensor]:
    """Tensors of a file by the encoder's names; others are left out.

    timm's feature networks have underscores where its classifiers have points.
    """
    names = {_normalise_key(key): key for key in expected}
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        prefix = next((p for p in _BACKBONE_PREFIXES if key.startswith(p)), "")
        name = names.get(_normalise_key(key.removeprefix(prefix)))
        if name is not None:
            found[name] = value
    return found


def _normalise_key(key: str) -> str:
    return key.removeprefix("model.").replace("_", ".")


def _check_fit(own: State, state: State, *, where: str) -> None:
    """Raise WeightsError, naming layers, where they or their shapes and types differ from `own`."""
    # Files of bare models may lack these counters, which can stay at zero.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    reshaped = [
        f"{key} {_describe(state[key])} instead of {_describe(own[key])}"
        for key in own
        if key in state and not _fits(own[key], state[key])
    ]
    if not (missing or unexpected or reshaped):
        return
    found = (
        _summarise("missing", missing),
        _summarise("unexpected", unexpected),
        _summarise("other shape", reshaped),
    )
    num_fitting = len(own) - len(missing) - len(reshaped)
    is_other = num_fitting == 0 or len(missing) > num_fitting
    remedy = (
        "They are of another architecture: set model.name to the one they were made with, or "
        "model.weights=none."
        if is_other
        else "They are of a related model: use the settings that they were made with (name, "
        "depths, width, options, image size), or set model.weights=none."
    )
    raise WeightsError(
        f"{where}: these weights do not fit this model. {' '.join(filter(None, found))} {remedy}"
    )


def _fits(own: Tensor, value: Tensor) -> bool:
    return own.shape == value.shape and own.is_floating_point() == value.is_floating_point()


def _describe(value: Tensor) -> str:
    return f"{tuple(value.shape)} {'' if value.is_floating_point() else 'integers'}".strip()


def _summarise(title: str, names: Iterable[str]) -> str:
    """`2 missing: a, b.` with the first few names; "" where there are none."""
    names = [name.replace("backbone.model.", "") for name in names]
    if not names:
        return ""
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {title}: {', '.join(names[:_LISTED])}{rest}."
