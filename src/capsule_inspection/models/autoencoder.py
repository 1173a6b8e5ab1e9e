"""Convolutional autoencoder that repairs an image, and a small head that reads what it repaired.

Sources: reconstruction, Bergmann et al. 2019 (arXiv:1807.02011); repairing a spoilt image with
skip connections, Collin and De Vleeschouwer 2021 (arXiv:2008.12977); the head, Zavrtanik et al.
2021 ("DRAEM", arXiv:2108.07610). Differs: all convolutions work at half the image's resolution and
below, which is a quarter of the cost; pixels are folded into channels and back, so no detail is
lost by it. Upsampling is bilinear; one narrow U-Net is the head.
Pure torch; its training lives in tasks/anomaly_detection/lightning_module.py, what is read from it in anomaly.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.base import BuiltNetwork, Network
from capsule_inspection.types import ConfigurationError, Normalisation, WeightsRecord

NORMALISATION = Normalisation(mean=(0.45, 0.45, 0.45), std=(0.25, 0.25, 0.25))
MASKED_CORRUPTIONS = ("cutout", "painted")
"""Corruptions that come with a mask of what was spoilt, which the head learns from."""
_WIDEST = 8
"""Channels grow with depth up to so many times `width`."""


class Reconstruction(NamedTuple):
    """Shapes: image (N, 3, H, W), normalised; logits (N, H, W) float32, high on defects.

    There are no logits where there is no head.
    """

    image: Tensor
    logits: Tensor | None


class Autoencoder(Network):
    """Reconstructs images (N, 3, H, W) of any height and width of at least 2 ** depth pixels.

    `depth` maps, each half the one before, the first half the image; `width` channels in the
    first, twice as many in each of the next up to eight times; `bottleneck` channels between
    encoder and decoder. With `skips` the decoder sees the encoder's maps and changes the image
    instead of drawing it, which only a network that repairs can learn from: an undisturbed image
    would be passed on. `head_width` channels in the head's first map, 0 for none.
    Raises ConfigurationError for settings that make no network.
    """

    def __init__(
        self, *, width: int, depth: int, bottleneck: int, skips: bool, head_width: int
    ) -> None:
        super().__init__()
        _check(width=width, depth=depth, bottleneck=bottleneck, head_width=head_width)
        channels = [width * min(2**level, _WIDEST) for level in range(depth)]
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
        even = made_even(image)
        maps = self.encoder(F.pixel_unshuffle(even, 2))
        maps[-1] = self.bottleneck(maps[-1])
        drawn = F.pixel_shuffle(self.decoder(maps), 2)
        repaired = even + drawn if self.skips else drawn
        logits = None if self.head is None else self.head(even, repaired)[:, :height, :width]
        return Reconstruction(repaired[:, :, :height, :width], logits)

    def coarsest_map(self, image: Tensor) -> Tensor:
        """The encoder's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.encoder(F.pixel_unshuffle(made_even(image), 2))[-1]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Encoder, decoder, and the head last: the drawing layer where there is none."""
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
        self.blocks = nn.ModuleList(map(double_convolution, before, channels))

    def forward(self, features: Tensor) -> list[Tensor]:
        """Maps (N, C_i, h_i, w_i) from fine to coarse."""
        maps: list[Tensor] = []
        for block in self.blocks:
            features = block(F.max_pool2d(features, 2) if maps else features)
            maps.append(features)
        return maps


class Decoder(nn.Module):
    """From the coarsest map back to the size of the finest, (N, outputs, h, w)."""

    def __init__(self, channels: Sequence[int], outputs: int, *, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.blocks = nn.ModuleList(
            double_convolution(coarse + (fine if skips else 0), fine)
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


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: 3x3 convolution, batch norm, ReLU; the map keeps its size."""
    return nn.Sequential(*_convolution(inputs, outputs), *_convolution(outputs, outputs))


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def made_even(image: Tensor) -> Tensor:
    """The image with its last row or column repeated where there is an odd number of them."""
    height, width = image.shape[2:]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")


def build_autoencoder(
    *,
    name: str,
    weights: str,
    image_size: Sequence[int],
    window: Sequence[int] | None,
    corruption: str,
    width: int,
    depth: int,
    bottleneck: int,
    skips: bool | str,
    head: bool | str,
    head_width: int,
) -> BuiltNetwork:
    """The network of `conf/model/autoencoder.yaml`; `image_size` is (H, W) in pixels.

    `window` (h, w) is the part of it that is seen in training, None for the whole.

    `skips` and `head` may be "auto": skip connections for every corruption (without one they would
    pass the image on), a head where the corruption has a mask to learn from.
    Raises ConfigurationError for settings that do not go together or an image that cannot be halved
    `depth` times, WeightsError for unusable weights.
    """
    check_size(image_size, depth=depth, key="data.image_size")
    if window is not None:
        seen = [min(pair) for pair in zip(window, image_size, strict=True)]
        check_size(seen, depth=depth, key="task.window")
    with_head = corruption in MASKED_CORRUPTIONS if head == "auto" else head is True
    with_skips = corruption != "none" if skips == "auto" else skips is True
    if with_head and corruption not in MASKED_CORRUPTIONS:
        raise ConfigurationError(
            f"model.head=true with model.corruption={corruption}: the head learns from masks of "
            f"what was spoilt, which only {' and '.join(MASKED_CORRUPTIONS)} have. Choose one of "
            "them, or model.head=auto."
        )
    if with_skips and corruption == "none":
        raise ConfigurationError(
            "model.skips=true with model.corruption=none: skip connections pass the image on as it "
            "is, so nothing is learnt. Choose a corruption to repair, or model.skips=auto."
        )
    network = Autoencoder(
        width=width,
        depth=depth,
        bottleneck=bottleneck,
        skips=with_skips,
        head_width=head_width if with_head else 0,
    )
    return BuiltNetwork(network, load_own_weights(network, weights))


def load_own_weights(network: Network, choice: str) -> WeightsRecord:
    """Weights of a file that has all layers of this network, in place; `none` leaves random ones.

    Raises WeightsError where the file cannot be read or is of another network.
    """
    from capsule_inspection.models.weight_fitting import check_fit
    from capsule_inspection.models.weights import (
        RANDOM,
        best_of_run,
        check_choice,
        read_with_card,
        record_of,
    )

    if choice == "none":
        return RANDOM
    check_choice(choice, choices=("none",))
    path = best_of_run(Path(choice).expanduser())
    file, card = read_with_card(path, accepted={"autoencoder": network.normalisation})
    own = network.state_dict()
    check_fit(own, file.state, ignored=set(), where=str(path))
    network.load_state_dict({**own, **file.state})
    return record_of(file, card, source="file")


def check_size(size: Sequence[int], *, depth: int, key: str) -> None:
    """Raise ConfigurationError, naming the nearest that fits, where a side is below 2 ** depth."""
    smallest = 2**depth
    if min(size) >= smallest:
        return
    nearest = [max(side, smallest) for side in size]
    fitting = max(1, min(size).bit_length() - 1)
    raise ConfigurationError(
        f"{key}={list(size)}: model.depth={depth} halves it {depth} times, so each "
        f"side needs {smallest} pixels or more. The nearest that fits is {nearest}; or set "
        f"model.depth={fitting}."
    )


def _check(*, width: int, depth: int, bottleneck: int, head_width: int) -> None:
    if depth < 1 or depth > 12:
        raise ConfigurationError(f"model.depth={depth}: expected from 1 to 12 maps.")
    if min(width, bottleneck) < 1 or head_width < 0:
        raise ConfigurationError(
            f"model.width={width} model.bottleneck={bottleneck} model.head_width={head_width}: "
            "expected at least 1 channel (0 is allowed for the head alone)."
        )
