"""Grad-CAM on the last map of any classifier, or the spatial logits of a segmentation head.

Source: Selvaraju et al. 2017, "Grad-CAM", section 3: channels are weighted by the mean gradient of
a class's logit, summed, and negative values are dropped. Where the head reads the mean of the map
this is the class activation map of Zhou et al. 2016.
Pure torch. The values are captum's, whose import takes longer than most predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.classifier import Backbone, Classifier
from capsule_inspection.types import GOOD_LABEL, ConfigurationError

_SMALLEST_PROBABILITY = 0.01
"""Where no position has a higher probability of a class, the map of that class is zero."""


def explain(classifier: Classifier, image: Tensor, label: Tensor) -> Tensor | None:
    """Attribution of a class to each pixel, scaled so that the highest of each image is 1.

    A map without positive attribution stays zero. None where the model has no map, or does not use
    it (transformers that read a class token). Computed in evaluation mode and in the model's
    precision; works within `inference_mode` and leaves the model as it was.
    Shapes: image (N, 3, H, W), normalised, N > 0; label (N,) int64. Returns (N, H, W) float32.
    """
    with _gradients_in_evaluation_mode(classifier, image.device):
        # Tensors of inference mode cannot be differentiated: copies can.
        dtype = next(classifier.parameters()).dtype
        inputs, label = image.detach().clone().to(dtype), label.clone()
        if classifier.uses_mask_logits:
            coarse: Tensor | None = _class_probability(classifier, inputs, label)
        else:
            coarse = _grad_cam(classifier, inputs, label)
        if coarse is None:
            return None
        size = (image.shape[2], image.shape[3])
        fine = F.interpolate(coarse.float(), size, mode="bilinear")
        highest = fine.amax(dim=(2, 3), keepdim=True)
        scaled = torch.where(highest > 0, fine / highest, torch.zeros_like(fine))
    return scaled[:, 0].detach()


@contextmanager
def _gradients_in_evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Gradients in full precision with every layer in evaluation mode; restores the modes.

    Each layer's mode is restored: frozen batch norms are in evaluation mode during training.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def _class_probability(classifier: Classifier, image: Tensor, label: Tensor) -> Tensor:
    """The probability of a class at each position, (N, 1, h, w).

    Zero where no position has a probability of the class, and for the good class.
    """
    with torch.no_grad():
        spatial_logits = classifier.forward_with_spatial_logits(image)[1]
        probabilities = spatial_logits.float().softmax(1)
    found = probabilities[torch.arange(len(label)), label][:, None]
    is_present = found.amax((1, 2, 3)) >= _SMALLEST_PROBABILITY
    return found * (is_present & (label != GOOD_LABEL))[:, None, None, None]


def _grad_cam(classifier: Classifier, image: Tensor, label: Tensor) -> Tensor | None:
    """Grad-CAM of the size of the last map, (N, 1, h, w); None where there is no map in use."""
    with torch.no_grad():
        features = classifier.backbone(image)
    try:
        last_map = classifier.backbone.to_map(features)
    except ConfigurationError:
        layer = _find_last_map_layer(classifier.backbone, image[:1])
        return None if layer is None else _attribute(classifier, layer, image, label)
    rest = _AfterLastMap(classifier)
    if not rest.depends_on_map(last_map[:1], features[:1]):
        return None
    return _attribute(rest, rest.last_map, last_map, label, features)


def _attribute(
    model: nn.Module, layer: nn.Module, inputs: Tensor, label: Tensor, *further: Tensor
) -> Tensor:
    """Grad-CAM of the output of a layer, (N, 1, h, w)."""
    maps: list[Tensor] = []

    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        maps.append(output)
        return output.clone()  # what follows may work in place

    hook = layer.register_forward_hook(keep)
    try:
        # Frozen layers alone would give no gradient.
        logits = model(inputs.detach().requires_grad_(), *further)
    finally:
        hook.remove()
    of_class = logits[torch.arange(len(label)), label]
    (gradient,) = torch.autograd.grad(of_class.sum(), maps[-1])
    weights = gradient.mean(tuple(range(2, gradient.ndim)), keepdim=True)
    return F.relu((weights * maps[-1]).sum(1, keepdim=True))


class _AfterLastMap(nn.Module):
    """The classifier from its last map on, which passes through `last_map` as (N, C, h, w)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.last_map = nn.Identity()

    def forward(self, last_map: Tensor, features: Tensor) -> Tensor:
        classifier = self.classifier
        features = classifier.backbone.from_map(self.last_map(last_map), features)
        return classifier.head(classifier.dropout(classifier.vector(features)))

    def depends_on_map(self, last_map: Tensor, features: Tensor) -> bool:
        """Whether the logits depend on any position of the map."""
        inputs = last_map.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self(inputs, features).sum(), inputs)
        return bool(gradient.any())


def _find_last_map_layer(backbone: Backbone, image: Tensor) -> nn.Module | None:
    """The layer whose output is the last map, for backbones that return vectors.

    None where sequences come after it, as in a transformer, whose map is the image in patches.
    Outputs of global pooling, with one position, are no maps.
    """
    last: list[nn.Module] = []

    def record(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            return
        if output.ndim == 3:
            last.clear()
        elif output.shape[2:].numel() > 1:
            last[:] = [layer]

    hooks = [layer.register_forward_hook(record) for layer in backbone.modules()]
    try:
        with torch.no_grad():
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return last[0] if last else None
