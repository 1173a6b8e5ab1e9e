"""Where does a classifier look? Grad-CAM on the last map of any of our classifiers.

One whose answer reads a mask head says it outright: the map is the head's probability of the class.

Source: Selvaraju et al. 2017, "Grad-CAM", section 3, as captum computes it: channels are weighted
by the mean gradient of a class's logit, summed, and what is negative is dropped. Where the head
reads the mean of the map this is the class activation map of Zhou et al. 2016.
Pure torch; captum takes a second to import and is imported when called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from capsule_inspection.models.classifier import Backbone, Classifier
from capsule_inspection.types import GOOD_LABEL, ConfigurationError

_LEAST = 0.01
"""Probability of a class that at least one place must have, or nothing speaks for it."""


def explain(network: Classifier, image: Tensor, label: Tensor) -> Tensor | None:
    """How much each place of an image speaks for a class, the highest of each image being 1.

    A map on which nothing speaks for the class stays zero. None where there is nothing to look at:
    the network has no map, or reads nothing from it (transformers that read a class token).
    Computed as in use, whatever the network's mode, in its own precision; works within
    `inference_mode` and leaves the network as it was.
    Shapes: image (N, 3, H, W), normalised, N > 0; label (N,) int64. Returns (N, H, W) float32.
    """
    from captum.attr import LayerAttribution

    with _as_in_use(network, image.device):
        # What inference mode has made cannot be differentiated: copies can.
        dtype = next(network.parameters()).dtype
        seen, label = image.detach().clone().to(dtype), label.clone()
        if network.reads_mask:
            coarse: Tensor | None = _read_places(network, seen, label)
        else:
            coarse = _grad_cam(network, seen, label)
        if coarse is None:
            return None
        size = (image.shape[2], image.shape[3])
        fine: Any = LayerAttribution.interpolate(coarse.float(), size, "bilinear")
        highest = fine.amax(dim=(2, 3), keepdim=True)
        scaled = torch.where(highest > 0, fine / highest, torch.zeros_like(fine))
    return scaled[:, 0].detach()


@contextmanager
def _as_in_use(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Gradients are computed, in full precision, with every layer as in use; then all is as before.

    A layer's mode is its own: frozen batch norms are in use while the others learn.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
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


def _read_places(network: Classifier, image: Tensor, label: Tensor) -> Tensor:
    """The probability of a class at each place, (N, 1, h, w).

    Zero where no place of an image is suspected of it, and for good ones, which are no place's.
    """
    with torch.no_grad():
        probabilities = network.with_places(image)[1].float().softmax(1)
    found = probabilities[torch.arange(len(label)), label][:, None]
    speaks = (found.amax((1, 2, 3)) >= _LEAST) & (label != GOOD_LABEL)
    return found * speaks[:, None, None, None]


def _grad_cam(network: Classifier, image: Tensor, label: Tensor) -> Tensor | None:
    """Grad-CAM of the size of the last map, (N, 1, h, w); None where there is nothing to see."""
    with torch.no_grad():
        features = network.backbone(image)
    try:
        last_map = network.backbone.to_map(features)
    except ConfigurationError:
        layer = _last_map_layer(network.backbone, image[:1])
        return None if layer is None else _attribute(network, layer, image, label)
    answer = _AnswerFromMap(network)
    if not answer.depends_on(last_map[:1], features[:1]):
        return None
    return _attribute(answer, answer.last_map, last_map, label, features)


def _attribute(
    answer: nn.Module, layer: nn.Module, seen: Tensor, label: Tensor, *further: Tensor
) -> Tensor:
    from captum.attr import LayerGradCam

    found: Any = LayerGradCam(answer, layer).attribute(
        seen.detach().requires_grad_(),  # frozen layers alone would give no gradient
        target=label,
        additional_forward_args=further or None,
        relu_attributions=True,
    )
    return found


class _AnswerFromMap(nn.Module):
    """What a classifier answers, from its last map on, which passes through `last_map`.

    So the map is seen in one layout, (N, C, h, w), whatever that of the network is.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self.last_map = nn.Identity()

    def forward(self, last_map: Tensor, features: Tensor) -> Tensor:
        network = self.network
        features = network.backbone.from_map(self.last_map(last_map), features)
        return network.head(network.dropout(network.vector(features)))

    def depends_on(self, last_map: Tensor, features: Tensor) -> bool:
        """Whether any place of the map has a part in the answer."""
        seen = last_map.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self(seen, features).sum(), seen)
        return bool(gradient.any())


def _last_map_layer(backbone: Backbone, image: Tensor) -> nn.Module | None:
    """The layer within a network whose output is the last map, for those that hand out vectors.

    None where rows of patches come after it, as in a transformer: its map is but the image in
    pieces. What global pooling leaves is no map: it has one place.
    """
    last: list[nn.Module] = []

    def look(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            return
        if output.ndim == 3:
            last.clear()
        elif output.shape[2:].numel() > 1:
            last[:] = [layer]

    hooks = [layer.register_forward_hook(look) for layer in backbone.modules()]
    try:
        with torch.no_grad():
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return last[0] if last else None
