"""The interface of all models, and helpers for building them.

Pure torch; the models are in classifier.py, autoencoder.py and segmenter.py.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from capsule_inspection.types import ConfigurationError, Normalisation, WeightsRecord

IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's images; the default of models with random weights."""


class Model(nn.Module, ABC):
    """Takes images (N, 3, H, W), normalised by `normalisation`."""

    normalisation: Normalisation
    has_pretrained_decoder: bool = False
    """Whether the initial weights include more than an encoder, so that the model predicts."""

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Trainable parameters, each once, in groups from the input to the head, which is last."""

    def allocate(self, state: Mapping[str, Tensor]) -> None:
        """Make room for tensors of a state dict whose size the training has decided, if any."""


BUILD_ERRORS = (
    *(TypeError, ValueError, AssertionError, RuntimeError),
    *(LookupError, AttributeError, ArithmeticError),
)
"""What libraries raise for options that make no network."""


@dataclass(frozen=True)
class BuiltModel:
    """A model with its initial weights, and where they come from."""

    model: Model
    weights: WeightsRecord


def denormalize(image: Tensor, normalisation: Normalisation) -> Tensor:
    """Undo the normalisation of images (N, 3, H, W): float32, [0, 1] for an image from a file."""
    image = image.float()
    std, mean = (
        image.new_tensor(values)[:, None, None]
        for values in (normalisation.std, normalisation.mean)
    )
    return image * std + mean


def parameters_by_child(module: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters in groups, one for each child in order; children of a Sequential are separate.

    A transformer's encoder is a child that keeps its blocks in `layers`.
    """
    groups: list[list[nn.Parameter]] = [[*module.parameters(recurse=False)]]
    for child in module.children():
        if isinstance(child, nn.Sequential) and len(child) > 1:
            groups += [[*grandchild.parameters()] for grandchild in child]
        elif isinstance(getattr(child, "layers", None), nn.Sequential):
            groups += parameters_by_child(child)
        else:
            groups.append([*child.parameters()])
    return [group for group in groups if group]


def find_forward_error(model: nn.Module, image_size: Sequence[int]) -> Exception | None:
    """The error of a forward pass of one black image of (H, W) pixels; None where it succeeds."""
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, *image_size))
    except BUILD_ERRORS as error:
        return error
    finally:
        model.train(was_training)
    return None


def check_image_size(model: nn.Module, image_size: Sequence[int]) -> None:
    """Raise ConfigurationError where images of (H, W) pixels do not fit the model."""
    if (error := find_forward_error(model, image_size)) is not None:
        raise ConfigurationError(
            f"data.image_size={list(image_size)} does not fit this model: {error}. "
            "Choose another size, or another model.name."
        ) from error


def list_nearest(name: str, names: Iterable[str]) -> str:
    """The names most similar to `name`, or "none", for error messages."""
    near = difflib.get_close_matches(name, list(names), n=5, cutoff=0.5)
    return ", ".join(near) or "none"


def refuse_reserved(options: Mapping[str, Any], reserved: Mapping[str, str], *, key: str) -> None:
    """Raise ConfigurationError for an option that another setting decides."""
    for name in options.keys() & reserved.keys():
        raise ConfigurationError(f"{key}.{name}: this is set by {reserved[name]}.")
