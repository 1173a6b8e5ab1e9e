"""Depthwise convolutions that are trained in float32, where bfloat16 is slower on a CPU.

In bfloat16 their backward pass takes up to seven times as long as in float32 on a CPU that has
bfloat16 in hardware (seen with torch 2.15, oneDNN; docs/experiments.md): three fifths of a training
step of EfficientNet-B0. Other layers are quicker in bfloat16. Pure torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Depthwise(nn.Conv2d):
    """A convolution that computes in float32 where it is trained under autocast on a CPU.

    It takes and returns what a Conv2d does: of the input's type under autocast.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) to (N, C, h, w)."""
        if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
            return super().forward(maps)
        if maps.device.type != "cpu":
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            return super().forward(maps.float()).to(torch.get_autocast_dtype("cpu"))


def train_depthwise_in_float32(network: nn.Module) -> int:
    """Make the depthwise convolutions of a network compute so, in place; how many they are.

    Parameters, buffers and their names stay. Subclasses of Conv2d are left alone: they may compute
    something else.
    """
    found = [module for module in network.modules() if _is_depthwise(module)]
    for module in found:
        module.__class__ = Float32Depthwise
    return len(found)


def _is_depthwise(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and 1 < module.groups == module.in_channels
