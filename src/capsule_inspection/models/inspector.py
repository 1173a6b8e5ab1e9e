"""From the pixels of a crop to what a network says of it, in one module that can be exported.

Normalisation before the network and the scoring behind it are part of the module, so that an
exported file gives the answers of the run that it comes from. Thresholds are not: they decide in
inference/answers.py. Pure torch; every output has float32 or integers, the batch comes first.
"""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from capsule_inspection.models.anomaly import MapSettings, anomaly, residuals
from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.base import Network
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.scoring import scaled_logits
from capsule_inspection.models.segmenter import Segmenter, foreground_and_kinds
from capsule_inspection.models.tiling import Tiling, tiled_probabilities
from capsule_inspection.types import Normalisation


class Inspector(nn.Module, ABC):
    """Takes crops (N, H, W, 3) uint8 RGB, and what else `inputs` names; gives a tuple.

    `outputs` names what comes back, in order.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[str, ...]]

    def __init__(self, network: Network, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        for name in ("mean", "std"):
            values = torch.tensor(getattr(normalisation, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def normalised(self, image: Tensor) -> Tensor:
        """Crops (N, H, W, 3) of 0 to 255 as the network takes them: (N, 3, H, W) float32."""
        colours = image.permute(0, 3, 1, 2).float() / 255
        return (colours - self.get_buffer("mean")) / self.get_buffer("std")

    @abstractmethod
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `outputs` names, of what `inputs` names."""

    @abstractmethod
    def embedding(self, image: Tensor) -> Tensor:
        """A vector (N, D) for each crop (N, H, W, 3) uint8; parts that look alike lie near."""

    def make_exportable(self) -> None:
        """Do nothing from now on that depends on the size of the batch; answers stay the same."""


def _in_float32(image: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast switched off where it is on; elsewhere nothing, which exported graphs can hold."""
    if not torch.is_autocast_enabled(image.device.type):
        return contextlib.nullcontext()
    return torch.autocast(image.device.type, enabled=False)


class ClassificationInspector(Inspector):
    """Logits (N, C), scaled as validation images have shown to be right."""

    outputs = ("logits",)
    network: Classifier

    def __init__(
        self,
        network: Network,
        normalisation: Normalisation,
        *,
        temperature: float = 1.0,
        good_shift: float = 0.0,
    ) -> None:
        super().__init__(network, normalisation)
        self.temperature = temperature
        self.good_shift = good_shift

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (image,) = inputs
        logits = self.network(self.normalised(image)).float()
        with _in_float32(image):
            scaled = scaled_logits(logits, temperature=self.temperature, good_shift=self.good_shift)
        return (scaled,)

    def explain(self, image: Tensor, label: Tensor) -> Tensor | None:
        """Where the network looks for a class, see `explanation.explain`; (N,) to (N, H, W)."""
        return explain(self.network, self.normalised(image), label)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.vector(self.network.backbone(self.normalised(image))).float()


class ReconstructionInspector(Inspector):
    """Anomaly map (N, H, W), high where something is wrong, and the image's score (N,).

    foreground and valid are (N, H, W), 1 on the part and on what is not padding.
    """

    inputs = ("image", "foreground", "valid")
    outputs = ("map", "score")
    network: Autoencoder

    def __init__(
        self,
        network: Network,
        normalisation: Normalisation,
        *,
        settings: MapSettings,
        spread: Tensor | None,
    ) -> None:
        """`spread` (R, H, W) divides the residuals, None for no division."""
        super().__init__(network, normalisation)
        self.settings = settings
        has_head = getattr(network, "head", None) is not None
        self.uses_residual, self.uses_head = settings.uses(has_head=has_head)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        image, foreground, valid = inputs
        seen = self.normalised(image)
        output = self.network(seen)
        with _in_float32(image):
            residual = None
            if self.uses_residual:
                residual = residuals(seen, output.image, self.settings, self.normalisation)
            found = anomaly(
                output if self.uses_head else output._replace(logits=None),
                residual=residual,
                residual_spread=self.spread,  # type: ignore[arg-type]
                foreground=foreground > 0,
                valid=valid > 0,
                settings=self.settings,
            )
        return found.map, found.score.float()

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.coarsest_map(self.normalised(image)).float().mean((2, 3))


class SegmentationInspector(Inspector):
    """Foreground (N, H, W), the probability that a pixel shows any defect, and its kinds.

    The kinds tell how it is shared among the defects, (N, C - 1, H, W) uint8, in 255ths.
    """

    outputs = ("foreground", "kinds")
    network: Segmenter

    def __init__(
        self, network: Network, normalisation: Normalisation, *, tiling: Tiling | None
    ) -> None:
        super().__init__(network, normalisation)
        self.tiling = tiling

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (image,) = inputs
        seen = self.normalised(image)
        if self.tiling is not None:
            probabilities = tiled_probabilities(self.network, seen, self.tiling)
        else:
            logits = self.network(seen)
            with _in_float32(image):
                probabilities = logits.float().softmax(1)
        return foreground_and_kinds(probabilities)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.coarsest_map(self.normalised(image)).float().mean((2, 3))

    def make_exportable(self) -> None:
        if self.tiling is not None:
            self.tiling = dataclasses.replace(self.tiling, batch_size=None)
