"""Weights of an encoder, by the rule of `model.weights`, and from runs of other tasks.

A file may hold a whole segmentation network of the same kind, or a classifier or autoencoder, of
which the encoder is taken; of a segmentation network of other classes, all but what tells its
defects apart.
Boundary: decides what of a file is the encoder; weights.py has the rule, weight_fitting.py says
what does not fit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from segmentation_models_pytorch import encoders as library
from torch import Tensor

from capsule_inspection.models import autoencoder
from capsule_inspection.models.encoders import OWN, TIMM
from capsule_inspection.models.published import HubFile, PublishedWeights
from capsule_inspection.models.segmenter import Segmenter
from capsule_inspection.models.weight_cards import PAINTED, Accepted
from capsule_inspection.models.weight_fitting import check_fit
from capsule_inspection.models.weights import (
    RANDOM,
    find_brought,
    load_file,
    load_weights,
    random_warning,
    require_brought,
)
from capsule_inspection.types import Normalisation, WeightsError, WeightsRecord

logger = logging.getLogger(__name__)

ENCODER = "model.encoder."
HEAD = "model.segmentation_head."
_BEFORE_ENCODERS = (ENCODER, "backbone.model.", "backbone.", "encoder.")
"""What stands before the names of an encoder's layers in files of our networks."""


def whole_name(architecture: str, encoder: str) -> str:
    """What weights of a whole segmentation network are called, such as unet_autoencoder."""
    return f"{architecture.lower()}_{encoder.removeprefix(TIMM).partition('.')[0]}"


def load_encoder(
    network: Segmenter, *, choice: str, published: PublishedWeights, whole: str, usual: bool
) -> WeightsRecord:
    """Put weights into the network, in place, as `choice` (model.weights) asks.

    `whole` is the name of weights of all of it. For encoders of ours `auto` takes those where the
    project brings them, and else says nothing, since none are published; painted, those that the
    project brings for all of it, else those for its encoder. `usual` says that the encoder has no
    options of its own.
    Raises WeightsError and ConfigurationError as `load_weights` does.
    """
    accepted: Accepted = {
        whole: network.normalisation,
        published.name: _normalisation_of(published.name, network),
    }
    if choice == PAINTED:
        path = require_brought(whole, published.name)
        return load_file(network, path, source=PAINTED, fit=fit_encoder, accepted=accepted)
    if choice != "auto" or published.name not in OWN:
        return load_weights(
            network, choice=choice, published=published, fit=fit_encoder, accepted=accepted
        )
    brought = find_brought(whole)
    if brought is None:
        return RANDOM
    try:
        return load_file(network, brought, source=PAINTED, fit=fit_encoder, accepted=accepted)
    except WeightsError as error:
        if usual:
            logger.warning(random_warning(published, str(error)))
        else:
            logger.info(
                "%s begins from random weights: those that the project brings are of an encoder "
                "without model.encoder_options (%s)",
                whole,
                error,
            )
        return RANDOM


def _normalisation_of(encoder: str, network: Segmenter) -> Normalisation:
    """What weights of the encoder alone may have learnt with: an autoencoder has its own."""
    return autoencoder.NORMALISATION if encoder == "autoencoder" else network.normalisation


def published_weights(name: str, resolved: str) -> PublishedWeights:
    """Where the ImageNet weights of an encoder are."""
    if name in OWN:
        return PublishedWeights(name=name)
    if resolved.startswith(TIMM):
        import timm

        from capsule_inspection.models.timm_network import published_of

        bare = resolved.removeprefix(TIMM)
        cfg = timm.get_pretrained_cfg(bare)
        return published_of(bare, {} if cfg is None else cfg.to_dict())
    settings = library.encoders[resolved]["pretrained_settings"].get("imagenet")
    if settings is None:
        return PublishedWeights(name=name)
    files = (HubFile(repository=settings["repo_id"], filename="model.safetensors"),)
    return PublishedWeights(name=name, local_names=(name,), files=files)


def fit_encoder(network: Segmenter, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load a file into the network, in place: all of it, or its encoder alone.

    Of a network of another number of classes the head takes the background as it is, and for each
    defect the mean of the file's defects: it marks as before, and learns their names anew.
    Raises WeightsError, naming layers, where the encoder's do not fit.
    """
    own = network.state_dict()
    fitting = {k: state[k] for k, v in own.items() if k in state and state[k].shape == v.shape}
    of_head = _of_other_classes(own, state)
    if all(key in fitting or key in of_head for key in own):
        if of_head:
            logger.info(
                "%s: its classes are not this data set's; what a defect is, is taken from it, and "
                "which one it is begins anew.",
                where,
            )
        network.load_state_dict({**own, **fitting, **of_head})
        network.has_learnt = True
        return
    wanted = {
        key.removeprefix(ENCODER): value for key, value in own.items() if key.startswith(ENCODER)
    }
    found = _encoder_of(state, wanted)
    if not found:
        raise WeightsError(
            f"{where}: none of its {len(state)} layers is one of the encoder "
            f"{network.encoder_name} (such as {next(iter(wanted))}). Set model.encoder to the "
            "network that they are of, or model.weights=none."
        )
    check_fit(wanted, found, ignored=set(), where=where)
    logger.info("%s: the encoder's weights are taken; the decoder starts anew.", where)
    network.load_state_dict({**own, **{ENCODER + key: value for key, value in found.items()}})


def _of_other_classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's tensors (C, ...) for as many classes as its own; none where they are as many."""
    found = {}
    for key in (key for key in own if key.startswith(HEAD) and key in state):
        value, known = own[key], state[key]
        if known.ndim != value.ndim or known.shape[1:] != value.shape[1:]:
            continue
        if 1 < len(known) != len(value):
            defect = known[1:].mean(dim=0, keepdim=True)
            found[key] = torch.cat([known[:1], defect.expand(len(value) - 1, *defect.shape[1:])])
    return found


def _encoder_of(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file by the encoder's own names; what the encoder lacks is left out.

    timm joins names of its feature networks by underscores where its classifiers have points.
    """
    own = {_plain(key): key for key in wanted}
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = own.get(_plain(_without_prefix(key)))
        if name is not None:
            found[name] = value
    return found


def _without_prefix(key: str) -> str:
    for prefix in _BEFORE_ENCODERS:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _plain(key: str) -> str:
    return key.removeprefix("model.").replace("_", ".")
