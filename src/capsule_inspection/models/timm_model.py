"""Any classifier of timm as a Classifier.

The timm model keeps its pooling and norms (`forward_features`, `forward_head`); only its last
linear layer is replaced, so that every classifier has the same `head`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from capsule_inspection.models.base import (
    BUILD_ERRORS,
    check_image_size,
    list_nearest,
    parameters_by_child,
    refuse_reserved,
)
from capsule_inspection.models.classifier import NO_INTERMEDIATES, Backbone, Classifier, make_head
from capsule_inspection.models.hub import HubFile, HubWeights, UrlFile
from capsule_inspection.models.layers import TopKPool
from capsule_inspection.models.weight_packages import PACKAGES
from capsule_inspection.types import ConfigurationError, Normalisation

RESERVED = {
    "num_classes": "the data set's classes",
    "pretrained": "model.weights",
    **dict.fromkeys(
        (
            *("checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay"),
            *("pretrained_strict", "pretrained_filter_fn", "pretrained_model_args"),
        ),
        "model.weights",
    ),
    "img_size": "data.image_size",
    "global_pool": "model.pool",
    "in_chans": "the data, which have three channels",
    "features_only": "the task",
}
NO_MAP = "This model has no feature map. Choose a convolutional model with model.name."


class TimmBackbone(Backbone):
    """A timm model without its classifier; features are those of `forward_features`."""

    model: Any  # timm's models have no common class

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
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
            return features.permute(0, 3, 1, 2) if self._is_channels_last else features
        patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
        height, width = self._grid_size(patches.shape[1])
        return patches.transpose(1, 2).unflatten(2, (height, width))

    def forward_intermediates(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        forward = getattr(self.model, "forward_intermediates", None)
        if forward is None:
            raise ConfigurationError(NO_INTERMEDIATES)
        features, maps = forward(image, output_fmt="NCHW")
        return features, maps

    def from_map(self, last_map: Tensor, features: Tensor) -> Tensor:
        if features.ndim == 4:
            return last_map.permute(0, 2, 3, 1) if self._is_channels_last else last_map
        others = features[:, : getattr(self.model, "num_prefix_tokens", 0)]
        return torch.cat([others, last_map.flatten(2).transpose(1, 2)], dim=1)

    @property
    def _is_channels_last(self) -> bool:
        return getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def _grid_size(self, patches: int) -> tuple[int, int]:
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

    def convert_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # timm's own module of the architecture converts original names and resizes positions.
        convert = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            state = convert(dict(state), self.model)
        return self._rename(state)

    def _rename(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Only a single linear layer can become the head.

        Two classifiers (distilled models) and classifiers of several layers are left out.
        """
        classifier = self.model.pretrained_cfg.get("classifier") or ()
        classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        tops = {name.partition(".")[0] for name in classifiers}
        own, renamed = self.model.state_dict(), {}
        for key, value in state.items():
            layer, _, parameter = key.rpartition(".")
            if classifiers == (layer,):
                is_pointwise = value.ndim == 4 and value.shape[2:] == (1, 1)
                renamed[f"head.{parameter}"] = value.flatten(1) if is_pointwise else value
            elif key in own or key.partition(".")[0] not in tops:
                renamed[f"backbone.model.{key}"] = value
        return renamed


def create_timm_classifier(
    name: str,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    pool: str,
    options: Mapping[str, Any],
) -> tuple[Classifier, HubWeights]:
    """A timm classifier with random weights, and the location of its published weights.

    Raises ConfigurationError for an unknown name or option, or an impossible image size or pool.
    """
    _check_name(name)
    refuse_reserved(options, RESERVED, key="model.options")
    settings = dict(options)
    if pool not in ("default", "topk"):
        settings["global_pool"] = pool
    model, has_fixed_size = _create(name, settings, image_size)
    backbone = TimmBackbone(model)
    if pool == "catavgmax":
        _measure_vector(backbone, name)
    own_pool = None
    vector_size = backbone.vector_size
    if pool == "topk":
        own_pool, vector_size = TopKPool(), int(backbone.model.num_features)
        _require_map(backbone, image_size)
    cfg = backbone.model.pretrained_cfg
    classifier = Classifier(
        backbone,
        make_head(vector_size, num_classes),
        pool=own_pool,
        normalisation=Normalisation(mean=tuple(cfg["mean"]), std=tuple(cfg["std"])),
    )
    if has_fixed_size:
        check_image_size(classifier, image_size)
    return classifier, find_hub_weights(name, cfg)


@torch.no_grad()
def _require_map(backbone: TimmBackbone, image_size: tuple[int, int]) -> None:
    backbone.eval().to_map(backbone(torch.zeros(1, 3, *image_size)))
    backbone.train()


@torch.no_grad()
def _measure_vector(backbone: TimmBackbone, name: str) -> None:
    """With catavgmax the vector is twice as long where the head follows the pooling directly."""
    channels = int(backbone.model.num_features)
    try:
        vector = backbone.eval().to_vector(torch.zeros(1, channels, 2, 2))
    except RuntimeError as error:
        raise ConfigurationError(
            f"model.pool=catavgmax: {name} has layers behind its pooling. Choose avg or max."
        ) from error
    backbone.train()
    backbone.vector_size = vector.shape[1]


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ConfigurationError(
            f"model.name={name}: timm {timm.__version__} has no such model. "
            f"Nearest: {list_nearest(architecture, timm.list_models())}. All: timm.list_models()."
        )
    if tag and name not in timm.list_pretrained(f"{architecture}.*"):
        known = timm.list_pretrained(f"{architecture}.*")
        raise ConfigurationError(
            f"model.name={name}: timm has no weights tagged '{tag}' for {architecture}. "
            f"Known: {', '.join(known) or 'none'}."
        )


def _create(
    name: str, settings: Mapping[str, Any], image_size: tuple[int, int]
) -> tuple[nn.Module, bool]:
    """The timm model without classifier, and whether it is built for one image size."""
    fixed = {"pretrained": False, "num_classes": 0, **settings}
    try:
        try:
            return timm.create_model(name, img_size=image_size, **fixed), True
        except TypeError as error:
            if "'img_size'" not in str(error):
                raise
            return timm.create_model(name, **fixed), False
    except BUILD_ERRORS as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items()) or "nothing"
        raise ConfigurationError(
            f"model.options: timm's {name} cannot be built with {given}: {error}. "
            "Take out of model.options (or model.pool) what this model does not have."
        ) from error


def find_hub_weights(name: str, cfg: Mapping[str, Any]) -> HubWeights:
    """The location of the weights in timm's pretrained configuration of a model."""
    architecture = name.partition(".")[0]
    tagged = f"{architecture}.{cfg['tag']}" if cfg.get("tag") else architecture
    names = tuple(dict.fromkeys((name, tagged, architecture)))
    repository, custom = cfg.get("hf_hub_id"), cfg.get("custom_load")
    files: tuple[HubFile | UrlFile, ...] = ()
    if repository and custom != "hf":
        wanted = cfg.get("hf_hub_filename")
        endings = (wanted,) if wanted else ("model.safetensors", "pytorch_model.bin")
        files = tuple(HubFile(repository, ending) for ending in endings)
    elif cfg.get("url") and not custom:
        files = (UrlFile(cfg["url"]),)
    package = PACKAGES.get(architecture)
    return HubWeights(name=architecture, local_names=names, files=files, package=package)
