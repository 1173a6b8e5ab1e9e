"""PatchCore: the distance of each patch of an image to the nearest patch of good images.

Source: Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection" (arXiv:2106.08265):
frozen features of two strides, each averaged over its neighbourhood, a coreset of those of good
images (the memory bank), and a weight of the image's score by the density of the bank. Differs:
features keep their channels, and the coreset is selected among a limited number of candidates, so
that memory does not grow with the number of images.
Pure torch, and exportable; nothing is learnt. Encoders are in encoders.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from capsule_inspection.models import encoders
from capsule_inspection.models.base import (
    BUILD_ERRORS,
    Model,
    find_forward_error,
    refuse_reserved,
)
from capsule_inspection.models.layers import pad_to_multiple
from capsule_inspection.models.timm_model import RESERVED as RESERVED_OF_TIMM
from capsule_inspection.types import ConfigurationError, DataError, Normalisation

GREEDY, RANDOM = "greedy", "random"
BANK = "memory_bank"
_BLOCK = 1024
"""Patches of the bank that are compared at a time: their distances fit into the cache."""
_PROJECTED = 64
"""Dimensions of the random projection in which the coreset is selected (section 3.2)."""
ALIKE = 1e-5
"""Squared distance, as a fraction of the largest squared length, at which patches are the same."""
_FREE_MEMORY = 0.5
"""Fraction of the free memory that patches may take."""
_RESERVED = {
    **RESERVED_OF_TIMM,
    "depth": "model.strides",
    "output_stride": "model.strides",
    "weights": "model.weights",
    "name": "model.encoder",
}


class PatchDistances(NamedTuple):
    """Shapes: distance (N, h, w) float32 of each patch; weight (N,) of the image's score."""

    distance: Tensor
    weight: Tensor


@dataclass(frozen=True)
class CoresetConfig:
    """How the memory bank is selected: `method` greedy or random, at most `size` patches.

    At most `candidates` patches of the good images, as many of each image, are kept to select from.
    """

    method: str
    size: int
    candidates: int


class PatchCore(Model):
    """Distances of patches to a memory bank (M, C), of images (N, 3, H, W) of any size.

    The maps of the frozen `encoder` at `strides`, each averaged over `neighbourhood` x
    `neighbourhood` positions, are enlarged to the finest and concatenated to C channels. With
    `num_neighbors` above 1 the image's score is weighted by as many neighbours of the nearest patch
    (equation 7 of the paper).
    """

    memory_bank: Tensor
    centre: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        encoder_name: str,
        normalisation: Normalisation,
        strides: Sequence[int],
        neighbourhood: int,
        num_neighbors: int,
        coreset: CoresetConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.encoder_name = encoder_name
        self.normalisation = normalisation
        self.levels = [int(math.log2(stride)) for stride in sorted(strides)]
        self.finest_stride = 2 ** self.levels[0]
        self.coarsest_stride = 2 ** (len(encoder.out_channels) - 1)  # type: ignore[arg-type]
        self.neighbourhood = neighbourhood
        self.num_neighbors = num_neighbors
        self.coreset = coreset
        channels: Sequence[int] = encoder.out_channels  # type: ignore[assignment]
        self.channels = sum(channels[level] for level in self.levels)
        self.register_buffer(BANK, torch.zeros(0, self.channels))
        # Squares of centred features lose fewer digits when they are subtracted.
        self.register_buffer("centre", torch.zeros(self.channels, 1, 1))
        self.eval()

    def train(self, mode: bool = True) -> PatchCore:
        """Nothing is trained, so the statistics of batch norm stay as they are."""
        return super().train(False)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return []

    def allocate(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the bank of a state dict, whose number of patches the images decide."""
        bank = state.get(BANK)
        if bank is not None and bank.ndim == 2 and bank.shape[1] == self.channels:
            self.memory_bank = self.memory_bank.new_zeros(bank.shape)

    def fit(self, candidates: Tensor, *, seed: int) -> None:
        """Select the memory bank from patches (P, C) of good images.

        Raises DataError where they are all alike.
        """
        bank = select_coreset(candidates, self.coreset.size, method=self.coreset.method, seed=seed)
        most = self.num_neighbors + 1
        different = len(select_coreset(bank, most, method=GREEDY, seed=seed))
        if different < most:
            raise DataError(
                f"the {len(candidates)} patches of the good training images are all alike: only "
                f"{different} differ, so nothing says what a good part may look like. Check the "
                "images, and data.roi (inspect=true shows what is cropped)."
            )
        centre = bank.mean(0)
        self.centre += centre.to(self.centre)[:, None, None]
        self.memory_bank = (bank - centre).to(self.memory_bank)

    def features(self, image: Tensor) -> Tensor:
        """Features of the patches, (N, C, h, w), of normalised images."""
        maps = self.encoder(pad_to_multiple(image, self.coarsest_stride))
        finest = maps[self.levels[0]].shape[2:]
        averaged = []
        for level in self.levels:
            features = maps[level].float()
            if self.neighbourhood > 1:
                features = F.avg_pool2d(features, self.neighbourhood, 1, self.neighbourhood // 2)
            if level != self.levels[0]:
                features = F.interpolate(features, finest, mode="bilinear", align_corners=False)
            averaged.append(features)
        return torch.cat(averaged, 1) - self.centre

    def coarsest_map(self, image: Tensor) -> Tensor:
        """The encoder's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.encoder(pad_to_multiple(image, self.coarsest_stride))[-1]

    def forward(self, image: Tensor, region: Tensor | None = None) -> PatchDistances:
        """`region` (N, H, W) is above 0 where the image's score may come from; None: everywhere."""
        features = self.features(image)
        patches = features.flatten(2).transpose(1, 2)
        distance = nearest_squares(patches, self.memory_bank).sqrt()
        weight = torch.ones_like(distance[:, 0])
        if self.num_neighbors > 1:
            weight = self._weight(patches, self._inside(distance, region, features))
        return PatchDistances(distance.unflatten(1, features.shape[2:]), weight)

    def _inside(self, distance: Tensor, region: Tensor | None, features: Tensor) -> Tensor:
        """The distances (N, P), and 0 where a patch has no pixel of the region."""
        if region is None:
            return distance
        pixels = zero_pad(region.float(), self.finest_stride, features.shape[2:])
        return distance * F.max_pool2d(pixels[:, None], self.finest_stride).flatten(1)

    def _weight(self, patches: Tensor, distance: Tensor) -> Tensor:
        """1 - softmax of the largest distance among those to the neighbours of its bank patch."""
        score, place = distance.max(1)
        row, bank = torch.arange(place.shape[0], device=place.device), self.memory_bank
        most_anomalous = patches[row, place]
        known = bank[_partial_squares(most_anomalous, bank).argmin(1)]
        neighbours = bank[
            _partial_squares(known, bank).topk(self.num_neighbors, dim=1, largest=False).indices
        ]
        others = (most_anomalous[:, None] - neighbours).square().sum(2).sqrt()
        return 1 - (score - others.logsumexp(1)).exp()


def zero_pad(pixels: Tensor, stride: int, size: Sequence[int]) -> Tensor:
    """Pixels (N, H, W), padded with zeros to a map of `size` (h, w) at a stride."""
    height, width = (stride * int(side) for side in size)
    return F.pad(pixels, (0, width - int(pixels.shape[2]), 0, height - int(pixels.shape[1])))


def nearest_squares(patches: Tensor, bank: Tensor) -> Tensor:
    """Squared distance to the nearest patch of the bank.

    Shapes: patches (N, P, C), bank (M, C); returns (N, P) float32. The bank is compared in blocks,
    so that memory does not grow with it.
    """
    flat = patches.flatten(0, 1)
    best = None
    for first in range(0, len(bank), _BLOCK):
        found = _partial_squares(flat, bank[first : first + _BLOCK]).amin(1)
        best = found if best is None else torch.minimum(best, found)
    assert best is not None
    return (best + flat.square().sum(1)).clamp_min(0).view(patches.shape[:2])


def _partial_squares(patches: Tensor, bank: Tensor) -> Tensor:
    """Squared distances (P, M) of patches (P, C) to a bank (M, C), less the patches' own squares.

    torch.cdist would tie an exported graph to batches of at most 25.
    """
    return torch.addmm(bank.square().sum(1), patches, bank.t(), alpha=-2)


def select_coreset(candidates: Tensor, size: int, *, method: str, seed: int) -> Tensor:
    """At most `size` of the candidates (P, C), fewer where the others are the same.

    greedy: each patch is the one furthest from those before it, in a random projection; random.
    """
    generator = torch.Generator().manual_seed(seed)
    if method == RANDOM:
        return candidates[torch.randperm(len(candidates), generator=generator)[:size]]
    projected = candidates
    if candidates.shape[1] > _PROJECTED:
        matrix = torch.randn(candidates.shape[1], _PROJECTED, generator=generator)
        projected = candidates @ (matrix / math.sqrt(_PROJECTED)).to(candidates)
    squares = projected.square().sum(1)
    alike = ALIKE * float(squares.max())
    chosen = [0]
    distance = torch.full_like(squares, math.inf)
    for _ in range(min(size, len(candidates)) - 1):
        last = projected[chosen[-1]]
        torch.minimum(
            distance, squares - 2 * (projected @ last) + squares[chosen[-1]], out=distance
        )
        furthest = int(distance.argmax())
        if float(distance[furthest]) <= alike:
            break
        chosen.append(furthest)
    return candidates[chosen]


def create_patchcore(
    *,
    encoder: str,
    encoder_options: Mapping[str, Any],
    strides: Sequence[int],
    neighbourhood: int,
    num_neighbors: int,
    coreset: CoresetConfig,
    image_size: Sequence[int],
) -> PatchCore:
    """PatchCore with an encoder of random weights and an empty bank, for images of (H, W) pixels.

    Raises ConfigurationError for an encoder without maps at the strides, or for other sizes.
    """
    refuse_reserved(encoder_options, _RESERVED, key="model.encoder_options")
    levels = [int(math.log2(stride)) for stride in strides]
    resolved = encoders.resolve(encoder, encoder_options)
    options = {} if encoder in encoders.OWN else encoder_options
    depth = max(2, *levels)  # custom_resnet has no fewer
    try:
        network = get_encoder(resolved, in_channels=3, depth=depth, weights=None, **options)
    except BUILD_ERRORS as error:
        raise ConfigurationError(
            f"model.encoder={encoder}: it cannot be built with maps at strides up to "
            f"{max(strides)}: {str(error).rstrip('.')}. Choose smaller model.strides, other "
            "model.encoder_options, or a convolutional encoder."
        ) from error
    missing = [
        stride
        for stride, level in zip(strides, levels, strict=True)
        if not network.out_channels[level]
    ]
    if missing:
        known = [2**level for level, width in enumerate(network.out_channels) if level and width]
        raise ConfigurationError(
            f"model.strides={[*strides]}: {encoder} has no map at stride {missing[0]}. It has "
            f"{', '.join(map(str, known))}."
        )
    model = PatchCore(
        network,
        encoder_name=encoder,
        normalisation=encoders.find_normalisation(resolved),
        strides=strides,
        neighbourhood=neighbourhood,
        num_neighbors=num_neighbors,
        coreset=coreset,
    )
    stride = model.coarsest_stride
    padded = [-(-side // stride) * stride for side in image_size]
    if (misfit := find_forward_error(network, padded)) is not None:
        raise ConfigurationError(
            f"data.image_size={[*image_size]} does not fit model.encoder={encoder}: "
            f"{str(misfit).rstrip('.')}. Choose another size, or a convolutional encoder."
        ) from misfit
    return model


def check_memory(coreset: CoresetConfig, *, channels: int, patches: int) -> None:
    """Raise ConfigurationError where the patches to select the bank from do not fit in memory.

    `patches` is how many there are in all images.
    """
    patch_bytes = 4 * (channels + _PROJECTED + 2)
    fitting = int(_FREE_MEMORY * _free_memory_bytes() / patch_bytes)
    for key, count in (("coreset_size", coreset.size), ("candidates", coreset.candidates)):
        if (needed := min(count, patches)) > fitting:
            raise ConfigurationError(
                f"model.{key}={count}: {needed} patches take {needed * patch_bytes / 1e9:.1f} GB, "
                f"and the free memory has room for {fitting}. Give at most that."
            )


def _free_memory_bytes() -> int:
    """What Linux says is available, which free pages are a small part of; else a usual size."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    except OSError:  # another system
        found = None
    return 8 * 2**30 if found is None else 1024 * int(found[1])
