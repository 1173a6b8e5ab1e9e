"""What tasks know of every network, whatever it answers; and a network with its first weights.

Pure torch; the answers themselves are those of classifier.py and autoencoder.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from capsule_inspection.types import Normalisation, WeightsRecord


class Network(nn.Module, ABC):
    """Takes images (N, 3, H, W), normalised as `normalisation` says."""

    normalisation: Normalisation
    has_learnt: bool = False
    """Whether more than an encoder came with its first weights, so that it can do its task."""

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Trainable parameters, each once, in groups from the input to the head, which is last."""


def to_colours(image: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised images (N, 3, H, W) as they were before, [0, 1] of a photograph; float32."""
    image = image.float()
    std, mean = (
        image.new_tensor(values)[:, None, None]
        for values in (normalisation.std, normalisation.mean)
    )
    return image * std + mean


@dataclass(frozen=True)
class BuiltNetwork:
    """A network ready to be trained, and where its weights came from."""

    network: Network
    weights: WeightsRecord
