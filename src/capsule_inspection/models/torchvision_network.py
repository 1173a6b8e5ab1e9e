"""Any classifier of torchvision as a Classifier.

The last linear layer becomes our head; all before it is the backbone, which gives vectors only:
torchvision has no common way to a feature map (timm has).
Boundary: pure torch and torchvision; weights are put in by weights.py.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models

from capsule_inspection.models.classifier import (
    Backbone,
    Classifier,
    Pool,
    check_forward,
    check_pool,
    make_head,
    parameters_by_child,
)
from capsule_inspection.models.published import PublishedWeights, UrlFile
from capsule_inspection.types import ConfigurationError, Normalisation

IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
RESERVED = {
    "num_classes": "the data set's classes",
    "weights": "model.weights",
    "image_size": "data.image_size",
    "input_size": "data.image_size",
}
# Their auxiliary classifiers help deep training from scratch only; the rest is what torchvision
# itself sets with ImageNet weights (they were trained with another normalisation).
GOOGLE = {"aux_logits": False, "transform_input": True, "init_weights": True}
PRESET = {"googlenet": GOOGLE, "inception_v3": GOOGLE}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# DenseNet's files are older than today's names (as in torchvision/models/densenet.py).
DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class TorchvisionBackbone(Backbone):
    """A torchvision network whose classifier was taken out; features are vectors (N, D)."""

    map_channels = None

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
            "torchvision's networks give no feature map. Use the same network with model=timm."
        )

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return parameters_by_child(self.model)

    def rename_bare(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own, renamed = self.model.state_dict(), {}
        for old_key, value in self._resize_positions(dict(state)).items():
            key = DENSENET_KEY.sub(r"\1\2", old_key)
            layer, _, parameter = key.rpartition(".")
            if layer == self.classifier:
                renamed[f"head.{parameter}"] = value
            elif key in own or not key.startswith((*AUXILIARY, "classifier.")):
                renamed[f"backbone.model.{key}"] = value
        return renamed

    def _resize_positions(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        model, key = self.model, "encoder.pos_embedding"
        if not isinstance(model, models.VisionTransformer) or key not in state:
            return state
        if state[key].shape == model.encoder.pos_embedding.shape:
            return state
        from torchvision.models.vision_transformer import interpolate_embeddings

        resized = interpolate_embeddings(model.image_size, model.patch_size, OrderedDict(state))
        return dict(resized)


def make_torchvision(
    *,
    name: str,
    num_classes: int,
    image_size: tuple[int, int],
    pool: str,
    options: Mapping[str, Any],
) -> tuple[Classifier, PublishedWeights]:
    """Build a torchvision classifier with random weights, and say where its published ones are.

    Raises ConfigurationError for an unknown name, pool or option, or an impossible image size.
    """
    check_pool(pool)
    _check_name(name)
    for key in options.keys() & RESERVED.keys():
        raise ConfigurationError(f"model.options.{key}: this is set by {RESERVED[key]}.")
    size = _size_option(name, image_size)
    model = _create(name, {**PRESET.get(name, {}), **size, **options})
    _set_pool(model, name=name, pool=pool)
    classifier, vector_size = _take_out_classifier(model, name)
    backbone = TorchvisionBackbone(model, classifier=classifier, vector_size=vector_size)
    normalisation, published = _published(name)
    network = Classifier(backbone, make_head(vector_size, num_classes), normalisation=normalisation)
    if size:
        check_forward(network, image_size)
    return network, published


def _check_name(name: str) -> None:
    names = models.list_models(module=models)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    raise ConfigurationError(
        f"model.name={name}: torchvision has no such classifier. "
        f"Nearest: {', '.join(near) or 'none'}. All: {', '.join(names)}."
    )


def _size_option(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """The constructor's own name for the image size, where it has one."""
    if name.startswith("maxvit"):
        return {"input_size": image_size}
    if not name.startswith("vit_"):
        return {}
    if image_size[0] != image_size[1]:
        raise ConfigurationError(
            f"data.image_size={list(image_size)}: torchvision's {name} takes square images only. "
            "Set a square size, or use the same network with model=timm."
        )
    return {"image_size": image_size[0]}


def _create(name: str, settings: dict[str, Any]) -> nn.Module:
    try:
        return models.get_model(name, weights=None, **settings)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items()) or "nothing"
        raise ConfigurationError(
            f"model.options: torchvision's {name} cannot be built with {given}: {error}. "
            "Take out of model.options what this network does not have."
        ) from error


class _MapPool(nn.Module):
    """Pool that keeps two axes of length 1, as the layers behind it expect."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.pool = Pool(kind)

    def forward(self, features: Tensor) -> Tensor:
        return self.pool(features)[:, :, None, None]


def _set_pool(model: nn.Module, *, name: str, pool: str) -> None:
    """Replace the network's global average pooling, where it is a layer of its own."""
    if pool == "own":
        return
    layer = getattr(model, "avgpool", None)
    is_global = isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))
    if not is_global or pool == "concat":
        raise ConfigurationError(
            f"model.pool={pool}: the pooling of torchvision's {name} cannot be exchanged. "
            "Leave model.pool=own, or use the same network with model=timm."
        )
    model.avgpool = _MapPool(pool)


def _take_out_classifier(model: nn.Module, name: str) -> tuple[str, int]:
    """Replace the last linear layer by nothing. Returns its name and the length of its input."""
    if isinstance(model, models.SqueezeNet):
        # Its classifier is a convolution, ReLU and average, which no linear head can stand for.
        vector_size = model.classifier[1].in_channels
        model.classifier[1] = model.classifier[2] = nn.Identity()
        return "", vector_size
    linears = [(key, part) for key, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linears:
        raise ConfigurationError(f"model.name={name}: no linear classifier was found in it.")
    key, layer = linears[-1]
    parent, _, child = key.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return key, layer.in_features


def _published(name: str) -> tuple[Normalisation, PublishedWeights]:
    weights = models.get_model_weights(name)
    default = getattr(weights, "DEFAULT", None)
    if default is None:
        return IMAGENET, PublishedWeights(name=name, local_names=(name,))
    # Building the transforms needs no weights; they carry the figures of the normalisation.
    transforms = default.transforms()
    normalisation = Normalisation(mean=tuple(transforms.mean), std=tuple(transforms.std))
    stem = default.url.rpartition("/")[2].rpartition(".")[0]
    files = (UrlFile(url=default.url),)
    return normalisation, PublishedWeights(name=name, local_names=(name, stem), files=files)
