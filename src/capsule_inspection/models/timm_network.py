"""Any classifier of timm as a Classifier.

The timm network keeps its own pooling and norms (`forward_features`, `forward_head`); only its
last linear layer is replaced by ours, so that every network has the same `head`.
Boundary: pure torch and timm; weights are put in by weights.py.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from capsule_inspection.models.classifier import (
    NO_MAPS,
    Backbone,
    Classifier,
    Pool,
    check_forward,
    check_pool,
    make_head,
    parameters_by_child,
)
from capsule_inspection.models.published import HubFile, PublishedWeights, UrlFile
from capsule_inspection.types import ConfigurationError, Normalisation

RESERVED = {
    "num_classes": "the data set's classes",
    "pretrained": "model.weights",
    "checkpoint_path": "model.weights",
    "img_size": "data.image_size",
    "global_pool": "model.pool",
    "in_chans": "the data, which have three channels",
    "features_only": "the task",
}
NO_MAP = "This network gives no feature map. Choose a convolutional network with model.name."
OWN_POOL_NAMES = {"average": "avg", "max": "max", "average_max": "avgmax", "concat": "catavgmax"}


class TimmBackbone(Backbone):
    """A timm network without its classifier; features are those of `forward_features`."""

    model: Any  # timm has no common class of its own

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.map_channels = int(self.model.num_features)
        self.vector_size = int(
            getattr(self.model, "head_hidden_size", None) or self.model.num_features
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.model.forward_features(image)

    def to_vector(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features)

    def to_map(self, features: Tensor) -> Tensor:
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise ConfigurationError(NO_MAP)
        if features.ndim == 4:
            is_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if is_last else features
        patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
        height, width = self._grid(patches.shape[1])
        return patches.transpose(1, 2).unflatten(2, (height, width))

    def with_maps(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        forward = getattr(self.model, "forward_intermediates", None)
        if forward is None:
            raise ConfigurationError(NO_MAPS)
        features, maps = forward(image, output_fmt="NCHW")
        return features, maps

    def from_map(self, last_map: Tensor, features: Tensor) -> Tensor:
        if features.ndim == 4:
            is_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return last_map.permute(0, 2, 3, 1) if is_last else last_map
        others = features[:, : getattr(self.model, "num_prefix_tokens", 0)]
        return torch.cat([others, last_map.flatten(2).transpose(1, 2)], dim=1)

    def _grid(self, patches: int) -> tuple[int, int]:
        """Rows and columns of a transformer's patches."""
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        side = math.isqrt(patches)
        height, width = grid or (side, side)
        if height * width != patches:
            raise ConfigurationError(NO_MAP)
        return height, width

    def layer_groups(self) -> list[list[nn.Parameter]]:
        named = dict(self.model.named_parameters())
        try:
            groups = group_parameters(self.model, self.model.group_matcher(coarse=True))
        except (AttributeError, AssertionError, NotImplementedError):
            return parameters_by_child(self.model)
        ordered = [groups[key] for key in sorted(groups)]
        return [[named[name] for name in names] for names in ordered if names]

    def rename_bare(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = _convert_older_names(self.model, dict(state))
        classifier = self.model.pretrained_cfg.get("classifier") or ()
        classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        return _rename(state, classifiers=classifiers, own=self.model.state_dict())


def _convert_older_names(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let the network's own module of timm convert older files and resize positions."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    return dict(convert(state, model))


def _rename(
    state: Mapping[str, Tensor], *, classifiers: tuple[str, ...], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A bare network's names as ours; of its classifier only a single linear layer is kept.

    Two classifiers (distilled networks) or one of several layers cannot become our head.
    """
    tops = {classifier.partition(".")[0] for classifier in classifiers}
    renamed = {}
    for key, value in state.items():
        layer, _, parameter = key.rpartition(".")
        if classifiers == (layer,):
            is_pointwise = value.ndim == 4 and value.shape[2:] == (1, 1)
            renamed[f"head.{parameter}"] = value.flatten(1) if is_pointwise else value
        elif key in own or key.partition(".")[0] not in tops:
            renamed[f"backbone.model.{key}"] = value
    return renamed


def make_timm(
    *,
    name: str,
    num_classes: int,
    image_size: tuple[int, int],
    pool: str,
    options: Mapping[str, Any],
) -> tuple[Classifier, PublishedWeights]:
    """Build a timm classifier with random weights, and say where its published ones are.

    Raises ConfigurationError for an unknown name, pool or option, or an impossible image size.
    """
    check_pool(pool)
    _check_name(name)
    for key in options.keys() & RESERVED.keys():
        raise ConfigurationError(f"model.options.{key}: this is set by {RESERVED[key]}.")
    settings = dict(options)
    if pool in OWN_POOL_NAMES:
        settings["global_pool"] = OWN_POOL_NAMES[pool]
    model, is_fixed_size = _create(name, settings, image_size)
    backbone = TimmBackbone(model)
    if pool == "concat":
        _double_vector(backbone, name)
    cfg = backbone.model.pretrained_cfg
    from_map = _pool_of_map(backbone, pool, image_size)
    channels = int(backbone.model.num_features)
    vector_size = backbone.vector_size if from_map is None else channels
    network = Classifier(
        backbone,
        make_head(vector_size, num_classes),
        pool=from_map,
        normalisation=Normalisation(mean=tuple(cfg["mean"]), std=tuple(cfg["std"])),
    )
    if is_fixed_size:
        check_forward(network, image_size)
    return network, published_of(name, cfg)


def _pool_of_map(backbone: TimmBackbone, pool: str, image_size: tuple[int, int]) -> Pool | None:
    """A pool that timm does not have, in the place of the network's own; it needs a map."""
    if pool in ("own", *OWN_POOL_NAMES):
        return None
    with torch.no_grad():
        backbone.eval().to_map(backbone(torch.zeros(1, 3, *image_size)))
    backbone.train()
    return Pool(pool)


def _double_vector(backbone: TimmBackbone, name: str) -> None:
    """Average and max behind each other, where the head stands right behind the pooling."""
    try:
        with torch.no_grad():
            channels = int(backbone.model.num_features)
            vector = backbone.eval().to_vector(torch.zeros(1, channels, 2, 2))
    except RuntimeError as error:
        raise ConfigurationError(
            f"model.pool=concat: {name} has layers behind its pooling. Choose average or max."
        ) from error
    backbone.train()
    backbone.vector_size = vector.shape[1]


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        raise ConfigurationError(
            f"model.name={name}: timm {timm.__version__} has no such network. "
            f"Nearest: {', '.join(near) or 'none'}. All: timm.list_models()."
        )
    if tag and name not in timm.list_pretrained(f"{architecture}.*"):
        known = timm.list_pretrained(f"{architecture}.*")
        raise ConfigurationError(
            f"model.name={name}: timm has no weights tagged '{tag}' for {architecture}. "
            f"Known: {', '.join(known) or 'none'}."
        )


def _create(
    name: str, settings: dict[str, Any], image_size: tuple[int, int]
) -> tuple[nn.Module, bool]:
    """The network without classifier, and whether it is built for one image size."""
    try:
        model = timm.create_model(
            name, pretrained=False, num_classes=0, img_size=image_size, **settings
        )
    except TypeError as error:
        if "'img_size'" not in str(error):
            raise _option_error(name, settings, error) from error
    except (ValueError, AssertionError, RuntimeError, KeyError) as error:
        raise _option_error(name, settings, error) from error
    else:
        return model, True
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **settings), False
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        raise _option_error(name, settings, error) from error


def _option_error(name: str, settings: Mapping[str, Any], error: Exception) -> ConfigurationError:
    given = ", ".join(f"{key}={value}" for key, value in settings.items()) or "nothing"
    return ConfigurationError(
        f"model.options: timm's {name} cannot be built with {given}: {error}. "
        "Take out of model.options (or model.pool) what this network does not have."
    )


def published_of(name: str, cfg: Mapping[str, Any]) -> PublishedWeights:
    """Where the weights are that timm's configuration of a network names."""
    architecture = name.partition(".")[0]
    tagged = f"{architecture}.{cfg['tag']}" if cfg.get("tag") else architecture
    names = tuple(dict.fromkeys((name, tagged, architecture)))
    repository, custom = cfg.get("hf_hub_id"), cfg.get("custom_load")
    files: tuple[HubFile | UrlFile, ...] = ()
    if repository and custom != "hf":
        wanted = cfg.get("hf_hub_filename")
        endings = (wanted,) if wanted else ("model.safetensors", "pytorch_model.bin")
        files = tuple(HubFile(repository=repository, filename=ending) for ending in endings)
    elif cfg.get("url") and not custom:
        files = (UrlFile(url=cfg["url"]),)
    return PublishedWeights(name=architecture, local_names=names, files=files)
