"""From the pixels of a crop to the outputs of a network, in one module that can be exported.

Normalization before the network and the scoring behind it are part of the module, so that an
exported file computes what its run computes. Thresholds are not: a `PostProcessor` applies them.
Pure torch; every output is a float or integer tensor with the batch first.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from capsule_inspection.models.base import Model
from capsule_inspection.tasks.backend import IMAGE


class InferenceModel(nn.Module, ABC):
    """Maps crops (N, H, W, 3) uint8 RGB, and what else `inputs` names, to a tuple of `outputs`.

    foreground and valid are (N, H, W) uint8, 1 on the part and on what is not padding.
    """

    inputs: ClassVar[tuple[str, ...]] = (IMAGE,)
    outputs: ClassVar[tuple[str, ...]]

    def __init__(self, network: Model, *, channels_last: bool) -> None:
        super().__init__()
        self.network = network
        self.channels_last = channels_last
        for name in ("mean", "std"):
            values = torch.tensor(getattr(network.normalisation, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def normalize(self, image: Tensor) -> Tensor:
        """Crops (N, H, W, 3) of 0 to 255 as the network takes them: (N, 3, H, W) float32."""
        colours = image.permute(0, 3, 1, 2).float() / 255
        colours = colours if self.channels_last else colours.contiguous()
        return (colours - self.get_buffer("mean")) / self.get_buffer("std")

    @abstractmethod
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]: ...

    @abstractmethod
    def embedding(self, image: Tensor) -> Tensor:
        """A vector (N, D) for each crop (N, H, W, 3) uint8; similar parts have similar vectors."""

    def make_exportable(self) -> None:
        """Remove what depends on the size of the batch; the outputs stay the same."""


def disable_autocast(image: Tensor) -> contextlib.AbstractContextManager[object]:
    """Switch autocast off where it is on; elsewhere do nothing, which exported graphs can hold."""
    if not torch.is_autocast_enabled(image.device.type):
        return contextlib.nullcontext()
    return torch.autocast(image.device.type, enabled=False)
