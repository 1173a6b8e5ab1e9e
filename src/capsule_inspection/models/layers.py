"""Pooling, padding and convolutions that several models use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOPK_FRACTION = 0.1
"""Fraction of a map's positions that `TopKPool` averages in each channel."""


def make_pool(name: str, *, flatten: bool = True) -> nn.Module:
    """Global pooling of maps (N, C, h, w): avg, max, avgmax, catavgmax (timm's names) or topk.

    Returns vectors (N, C), with catavgmax (N, 2 C); without `flatten` maps (N, C, 1, 1).
    """
    if name == "topk":
        return TopKPool(flatten=flatten)
    return GlobalPool(name, flatten=flatten)


class GlobalPool(nn.Module):
    """Mean and largest value of each channel. As timm's layer, whose import takes seconds."""

    def __init__(self, name: str, *, flatten: bool) -> None:
        super().__init__()
        self.pool_type, self.keep = name, not flatten

    def forward(self, features: Tensor) -> Tensor:
        if self.pool_type == "avg":
            return features.mean((2, 3), keepdim=self.keep)
        largest = features.amax((2, 3), keepdim=self.keep)
        if self.pool_type == "max":
            return largest
        mean = features.mean((2, 3), keepdim=self.keep)
        if self.pool_type == "avgmax":
            return 0.5 * mean + 0.5 * largest
        return torch.cat((mean, largest), 1)


class TopKPool(nn.Module):
    """Mean of the highest tenth of each channel's positions: small defects are not averaged out."""

    def __init__(self, *, flatten: bool = True) -> None:
        super().__init__()
        self.flatten = flatten

    def forward(self, features: Tensor) -> Tensor:
        values = features.flatten(2)
        count = max(1, round(_TOPK_FRACTION * int(values.shape[2])))
        pooled = values.topk(count, dim=2).values.mean(2)
        return pooled if self.flatten else pooled[:, :, None, None]


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Repeat the last rows and columns up to the next multiple of the stride; (N, C, H, W)."""
    down, right = (-side % stride for side in image.shape[2:])
    if not (down or right):
        return image
    return F.pad(image, (0, right, 0, down), mode="replicate")


def normalise_single_values(network: nn.Module) -> None:
    """Let batch norm use its running statistics for a batch with one value per channel, in place.

    That is one image with a map of one pixel, such as the last of an epoch. A single value has no
    variance, so torch refuses it in training.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            hooks = _SingleValueHooks()
            module.register_forward_pre_hook(hooks.before)
            module.register_forward_hook(hooks.after)


class _SingleValueHooks:
    def __init__(self) -> None:
        self.is_single = False

    def before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.is_single = module.training and inputs[0].numel() == inputs[0].shape[1]
        if self.is_single:
            module.training = False

    def after(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self.is_single:
            module.training = True


class Float32DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that computes in float32 in training under autocast on a CPU.

    In bfloat16 its backward pass takes up to seven times as long on a CPU with bfloat16 in hardware
    (torch 2.15, oneDNN; docs/experiments/numerics.md): three fifths of a training step of
    EfficientNet-B0.
    The output has autocast's type, as that of any convolution.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) to (N, C, h, w)."""
        if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
            return super().forward(maps)
        if maps.device.type != "cpu":
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            return super().forward(maps.float()).to(torch.get_autocast_dtype("cpu"))


def convert_depthwise_to_float32(model: nn.Module) -> int:
    """Make a model's depthwise convolutions `Float32DepthwiseConv2d`, in place; returns how many.

    Subclasses of Conv2d are left alone, since they may compute something else.
    """
    found = [module for module in model.modules() if _is_depthwise(module)]
    for module in found:
        # The class changes, not the object: parameters, names and hooks stay as they are.
        module.__class__ = Float32DepthwiseConv2d
    return len(found)


def _is_depthwise(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and 1 < module.groups == module.in_channels
