"""Convolutional autoencoder with a small segmentation head that compares input and output.

Sources: reconstruction, Bergmann et al. 2019 (arXiv:1807.02011); restoring a corrupted image with
skip connections, Collin and De Vleeschouwer 2021 (arXiv:2008.12977); the head, Zavrtanik et al.
2021 ("DRAEM", arXiv:2108.07610). Differs: all convolutions run at half the image's resolution or
below, at a quarter of the cost; pixels are folded into channels and back, so no detail is lost.
Upsampling is bilinear; one narrow U-Net is the head.
Pure torch; training is in tasks/anomaly_detection/lightning_module.py, the anomaly map in
anomaly_map.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.base import Model
from capsule_inspection.models.layers import pad_to_multiple
from capsule_inspection.types import ConfigurationError, Normalisation

NORMALISATION = Normalisation(mean=(0.45, 0.45, 0.45), std=(0.25, 0.25, 0.25))
_WIDEST = 8
"""Channels grow with depth up to this multiple of `width`."""


class Reconstruction(NamedTuple):
    """Shapes: image (N, 3, H, W), normalised; logits (N, H, W) float32, high on defects.

    The logits are None without a head.
    """

    image: Tensor
    logits: Tensor | None


class Autoencoder(Model):
    """Reconstructs images (N, 3, H, W) of any height and width of at least 2 ** depth pixels.

    The encoder has `depth` maps, each half as large as the one before, the first half as large as
    the image; `width` channels in the first, doubled in each of the next, up to eight times;
    `bottleneck` channels between encoder and decoder. With `skips` the decoder uses the encoder's
    maps and its output is added to the image; this needs corrupted images, since a clean one would
    be copied. `head_width` channels in the head's first map, 0 for no head.
    """

    def __init__(
        self, *, width: int, depth: int, bottleneck: int, skips: bool, head_width: int
    ) -> None:
        super().__init__()
        channels = widen_channels(width, depth)
        self.normalisation = NORMALISATION
        self.skips = skips
        self.encoder = Encoder(3 * 4, channels)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels[-1], bottleneck, 1), nn.Conv2d(bottleneck, channels[-1], 1)
        )
        self.decoder = Decoder(channels, 3 * 4, skips=skips)
        self.head: Head | None = None
        if head_width:
            self.head = Head([head_width * min(2**level, 6) for level in range(min(depth, 4))])

    def forward(self, image: Tensor) -> Reconstruction:
        height, width = image.shape[2:]
        even = pad_to_multiple(image, 2)
        maps = self.encoder(F.pixel_unshuffle(even, 2))
        maps[-1] = self.bottleneck(maps[-1])
        decoded = F.pixel_shuffle(self.decoder(maps), 2)
        restored = even + decoded if self.skips else decoded
        logits = None if self.head is None else self.head(even, restored)[:, :height, :width]
        return Reconstruction(restored[:, :, :height, :width], logits)

    def coarsest_map(self, image: Tensor) -> Tensor:
        """The encoder's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.encoder(F.pixel_unshuffle(pad_to_multiple(image, 2), 2))[-1]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Encoder, decoder, and last the head, or the decoder's last layer without one."""
        groups = [
            [*self.encoder.parameters()],
            [*self.bottleneck.parameters(), *self.decoder.blocks.parameters()],
            [*self.decoder.last.parameters()],
        ]
        return groups if self.head is None else [*groups, [*self.head.parameters()]]


class Encoder(nn.Module):
    """A map for each of `channels`, each half as large as the one before."""

    def __init__(self, inputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        before = [inputs, *channels[:-1]]
        self.blocks = nn.ModuleList(map(_make_double_convolution, before, channels))

    def forward(self, features: Tensor) -> list[Tensor]:
        """Maps (N, C_i, h_i, w_i) from fine to coarse."""
        return encode(self.blocks, features)


def encode(blocks: nn.ModuleList | nn.Sequential, features: Tensor) -> list[Tensor]:
    """The maps of an encoder's blocks, with max pooling between them."""
    maps: list[Tensor] = []
    for block in blocks:
        features = block(F.max_pool2d(features, 2) if maps else features)
        maps.append(features)
    return maps


class Decoder(nn.Module):
    """From the coarsest map back to the size of the finest, (N, outputs, h, w)."""

    def __init__(self, channels: Sequence[int], outputs: int, *, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.blocks = nn.ModuleList(
            _make_double_convolution(coarse + (fine if skips else 0), fine)
            for fine, coarse in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], outputs, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        features = maps[-1]
        for block, fine in zip(self.blocks, maps[-2::-1], strict=True):
            features = F.interpolate(features, fine.shape[2:], mode="bilinear", align_corners=False)
            features = block(torch.cat([features, fine], 1) if self.skips else features)
        return self.last(features)


class Head(nn.Module):
    """A narrow U-Net that compares input and reconstruction, pixel by pixel."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(6 * 4, channels)
        self.decoder = Decoder(channels, 1, skips=True)

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Logits (N, H, W) float32 of images (N, 3, H, W) with even H and W."""
        both = torch.cat([image, reconstruction.to(image.dtype)], 1)
        logits = self.decoder(self.encoder(F.pixel_unshuffle(both, 2)))
        size = image.shape[2:]
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[:, 0]


def widen_channels(width: int, depth: int) -> list[int]:
    """Channels of an encoder's maps, from fine to coarse."""
    return [width * min(2**level, _WIDEST) for level in range(depth)]


def _make_double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: 3x3 convolution, batch norm, ReLU; the map keeps its size."""
    return nn.Sequential(*_make_convolution(inputs, outputs), *_make_convolution(outputs, outputs))


def _make_convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def check_size(size: Sequence[int], *, depth: int, key: str) -> None:
    """Raise ConfigurationError, naming the nearest valid size, where a side is below 2 ** depth."""
    smallest = 2**depth
    if min(size) >= smallest:
        return
    nearest = [max(side, smallest) for side in size]
    fitting = max(1, min(size).bit_length() - 1)
    raise ConfigurationError(
        f"{key}={list(size)}: model.depth={depth} halves it {depth} times, so each "
        f"side needs {smallest} pixels or more. The nearest valid size is {nearest}; or set "
        f"model.depth={fitting}."
    )
