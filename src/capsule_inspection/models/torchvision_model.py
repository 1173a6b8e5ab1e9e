"""Any classifier of torchvision as a Classifier.

The last linear layer becomes the classifier's head; the rest is the backbone, which gives vectors
only: torchvision's models have no common way to a feature map (timm's have).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from capsule_inspection.models.base import (
    BUILD_ERRORS,
    IMAGENET,
    check_image_size,
    list_nearest,
    parameters_by_child,
    refuse_reserved,
)
from capsule_inspection.models.classifier import Backbone, Classifier, make_head
from capsule_inspection.models.hub import HubWeights, UrlFile
from capsule_inspection.models.layers import make_pool
from capsule_inspection.types import ConfigurationError, Normalisation

RESERVED = {
    "num_classes": "the data set's classes",
    "weights": "model.weights",
    "weights_backbone": "model.weights",
    "image_size": "data.image_size",
    "input_size": "data.image_size",
}
_GOOGLE = {"aux_logits": False, "transform_input": True, "init_weights": True}
PRESETS = {"googlenet": _GOOGLE, "inception_v3": _GOOGLE}
"""What torchvision sets with ImageNet weights; auxiliary classifiers help from scratch only."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "classifier.")
DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
"""Layers in DenseNet's files, which torchvision renames when it loads them itself."""


class TorchvisionBackbone(Backbone):
    """A torchvision model without its classifier; features are vectors (N, D)."""

    def __init__(self, model: nn.Module, *, classifier: str, vector_size: int) -> None:
        super().__init__()
        self.model = model
        self.classifier = classifier
        self.vector_size = vector_size

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)

    def to_vector(self, features: Tensor) -> Tensor:
        return features

    def to_map(self, features: Tensor) -> Tensor:
        raise ConfigurationError(
            "torchvision's models have no feature map. Use the same architecture with model=timm."
        )

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return parameters_by_child(self.model)

    def convert_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        model = self.model
        if isinstance(model, models.VisionTransformer):
            state = interpolate_embeddings(model.image_size, model.patch_size, OrderedDict(state))
        own, renamed = model.state_dict(), {}
        for original, value in state.items():
            key = DENSENET_KEY.sub(r"\1\2", original)
            layer, _, parameter = key.rpartition(".")
            if layer == self.classifier:
                renamed[f"head.{parameter}"] = value
            elif key in own or not key.startswith(AUXILIARY):
                renamed[f"backbone.model.{key}"] = value
        return renamed


def create_torchvision_classifier(
    name: str,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    pool: str,
    options: Mapping[str, Any],
) -> tuple[Classifier, HubWeights]:
    """A torchvision classifier with random weights, and the location of its published weights.

    Raises ConfigurationError for an unknown name or option, or an impossible image size or pool.
    """
    names = models.list_models(module=models)
    if name not in names:
        raise ConfigurationError(
            f"model.name={name}: torchvision has no such classifier. "
            f"Nearest: {list_nearest(name, names)}. All: {', '.join(names)}."
        )
    refuse_reserved(options, RESERVED, key="model.options")
    size = _size_option(name, image_size)
    settings = {**PRESETS.get(name, {}), **size, **options}
    try:
        model = models.get_model(name, weights=None, **settings)
    except BUILD_ERRORS as error:
        raise ConfigurationError(
            f"model.options: torchvision's {name} cannot be built with {settings}: {error}. "
            "Take out of model.options what this model does not have."
        ) from error
    if pool != "default":
        _replace_pool(model, name=name, pool=pool)
    classifier_name, vector_size = _remove_classifier(model)
    backbone = TorchvisionBackbone(model, classifier=classifier_name, vector_size=vector_size)
    normalisation, hub_weights = _find_hub_weights(name)
    head = make_head(vector_size, num_classes)
    classifier = Classifier(backbone, head, normalisation=normalisation)
    if size:
        check_image_size(classifier, image_size)
    return classifier, hub_weights


def _size_option(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """The image size by the name of the model's own option, where it is built for one size."""
    if name.startswith("maxvit"):
        return {"input_size": image_size}
    if not name.startswith("vit_"):
        return {}
    if image_size[0] != image_size[1]:
        raise ConfigurationError(
            f"data.image_size={list(image_size)}: torchvision's {name} takes square images only. "
            "Set a square size, or use the same architecture with model=timm."
        )
    return {"image_size": image_size[0]}


def _replace_pool(model: nn.Module, *, name: str, pool: str) -> None:
    """Replace the global average pooling, where it is a layer of its own."""
    layer = getattr(model, "avgpool", None)
    is_global = isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))
    if not is_global or pool == "catavgmax":
        raise ConfigurationError(
            f"model.pool={pool}: the pooling of torchvision's {name} cannot be replaced. "
            "Leave model.pool=default, or use the same architecture with model=timm."
        )
    model.avgpool = make_pool(pool, flatten=False)


def _remove_classifier(model: nn.Module) -> tuple[str, int]:
    """Replace the last linear layer by the identity. Returns its name and the size of its input."""
    if isinstance(model, models.SqueezeNet):
        # Its classifier is a convolution, ReLU and average: no linear layer can have its weights.
        vector_size = model.classifier[1].in_channels
        model.classifier[1] = model.classifier[2] = nn.Identity()
        return "", vector_size
    linears = [(key, part) for key, part in model.named_modules() if isinstance(part, nn.Linear)]
    key, layer = linears[-1]
    parent, _, child = key.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return key, layer.in_features


def _find_hub_weights(name: str) -> tuple[Normalisation, HubWeights]:
    default = getattr(models.get_model_weights(name), "DEFAULT", None)
    if default is None:
        return IMAGENET, HubWeights(name=name, local_names=(name,))
    transforms = default.transforms()  # built without a download
    normalisation = Normalisation(mean=tuple(transforms.mean), std=tuple(transforms.std))
    stem = default.url.rpartition("/")[2].rpartition(".")[0]
    files = (UrlFile(default.url),)
    return normalisation, HubWeights(name=name, local_names=(name, stem), files=files)
