"""Weights of an encoder, by the rule of `model.weights`, and from runs of other tasks.

A file may hold a whole segmentation network of the same kind, or a classifier or autoencoder, of
which the encoder is taken. Boundary: decides what of a file is the encoder; weights.py has the
rule, weight_fitting.py says what does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping

from segmentation_models_pytorch import encoders as library
from torch import Tensor

from capsule_inspection.contracts import WeightsError
from capsule_inspection.networks.encoders import OWN, TIMM
from capsule_inspection.networks.published import HubFile, PublishedWeights
from capsule_inspection.networks.segmenter import Segmenter
from capsule_inspection.networks.weight_fitting import check_fit

ENCODER = "model.encoder."
_BEFORE_ENCODERS = (ENCODER, "backbone.model.", "backbone.", "encoder.")
"""What stands before the names of an encoder's layers in files of our networks."""


def published_weights(name: str, resolved: str) -> PublishedWeights:
    """Where the ImageNet weights of an encoder are."""
    if name in OWN:
        return PublishedWeights(name=name)
    if resolved.startswith(TIMM):
        import timm

        from capsule_inspection.networks.timm_network import published_of

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

    Raises WeightsError, naming layers, where the encoder's do not fit.
    """
    own = network.state_dict()
    if all(key in state and state[key].shape == value.shape for key, value in own.items()):
        network.load_state_dict({key: state[key] for key in own})
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
    network.load_state_dict({**own, **{ENCODER + key: value for key, value in found.items()}})


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
