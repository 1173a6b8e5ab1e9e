"""Encoders of segmentation networks: timm's, segmentation_models_pytorch's, and our own two.

A name that timm has is timm's, so that weights of its classifiers fit. Our own let a network begin
with what a `custom_resnet` or an `autoencoder` has learnt.
Pure torch; weights are put in by encoder_weights.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch.nn.functional as F
from segmentation_models_pytorch import encoders as library
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from capsule_inspection.models.autoencoder import Encoder as RepairEncoder
from capsule_inspection.models.autoencoder import made_even
from capsule_inspection.models.custom_resnet import BLOCKS, ResNetBackbone, check_settings
from capsule_inspection.types import ConfigurationError

TIMM = "tu-"
"""What segmentation_models_pytorch puts before timm's names."""
_OF_OURS = "-of-ours"


class CustomResNetEncoder(nn.Module, EncoderMixin):
    """The maps of a `custom_resnet`: the stem's at half the size, then those of its stages."""

    def __init__(
        self,
        *,
        depth: int,
        output_stride: int,
        block: str,
        depths: tuple[int, ...],
        width: int,
        stem: str,
    ) -> None:
        super().__init__()
        _check_custom_resnet(depth, block=block, depths=depths, width=width, stem=stem)
        self._depth, self._output_stride, self._in_channels = depth, output_stride, 3
        backbone = ResNetBackbone(
            block=BLOCKS[block], depths=tuple(depths)[: depth - 1], width=width, stem=stem
        )
        # A Sequential, as the others are, so that each stage is a layer of its own.
        self.stem, self.stages = backbone.stem, nn.Sequential(*backbone.stages)
        self._out_channels = [3, width, *backbone.stage_channels]

    def forward(self, image: Tensor) -> list[Tensor]:
        """The image and its maps, each half as large as the one before."""
        maps = [image, self.stem[:-1](image)]
        features = self.stem[-1](maps[-1])
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps[: self._depth + 1]


class AutoencoderEncoder(nn.Module, EncoderMixin):
    """The encoder of an `autoencoder`, whose first map is at half the image's size."""

    def __init__(self, *, depth: int, output_stride: int, width: int) -> None:
        super().__init__()
        self._depth, self._output_stride, self._in_channels = depth, output_stride, 3
        channels = [width * min(2**level, 8) for level in range(depth)]
        self.blocks = nn.Sequential(*RepairEncoder(3 * 4, channels).blocks)
        self._out_channels = [3, *channels]

    def forward(self, image: Tensor) -> list[Tensor]:
        """The image and its maps, each half as large as the one before."""
        features = F.pixel_unshuffle(made_even(image), 2)
        maps: list[Tensor] = []
        for block in self.blocks:
            features = block(F.max_pool2d(features, 2) if maps else features)
            maps.append(features)
        return [image, *maps]


OWN: dict[str, dict[str, Any]] = {
    "custom_resnet": {
        "encoder": CustomResNetEncoder,
        "pretrained_settings": {},
        "params": {"block": "basic", "depths": (1, 1, 1, 1), "width": 16, "stem": "imagenet"},
    },
    "autoencoder": {
        "encoder": AutoencoderEncoder,
        "pretrained_settings": {},
        "params": {"width": 16},
    },
}


def plain_name(resolved: str) -> str:
    """What a user calls an encoder that `resolve` has named."""
    return resolved.removeprefix(TIMM).removesuffix(_OF_OURS)


def resolve(name: str, options: Mapping[str, Any]) -> str:
    """The name under which segmentation_models_pytorch builds an encoder.

    Raises ConfigurationError, with the nearest names, where there is no such encoder, and for
    options that our own encoders do not have.
    """
    if name in OWN:
        return _register(name, options)
    bare = name.removeprefix(TIMM)
    if timm.is_model(bare.partition(".")[0]):
        return TIMM + bare
    if name in library.encoders:
        if options:
            raise ConfigurationError(
                f"model.encoder_options={dict(options)}: {name} of segmentation_models_pytorch "
                "takes none. Leave them out, or choose an encoder of timm."
            )
        return name
    near = difflib.get_close_matches(name, known_names(), n=5, cutoff=0.5)
    raise ConfigurationError(
        f"model.encoder={name}: neither timm {timm.__version__} nor segmentation_models_pytorch "
        f"has such an encoder. Nearest: {', '.join(near) or 'none'}. All: timm.list_models()."
    )


def known_names() -> list[str]:
    """Every name that `resolve` takes, but for the tags of timm's weights."""
    return sorted({*OWN, *timm.list_models(), *library.encoders})


def _register(name: str, options: Mapping[str, Any]) -> str:
    entry = OWN[name]
    unknown = sorted(options.keys() - entry["params"].keys())
    if unknown:
        raise ConfigurationError(
            f"model.encoder_options.{unknown[0]}: {name} has no such option. It has "
            f"{', '.join(entry['params'])}."
        )
    registered = name + _OF_OURS
    library.encoders[registered] = {**entry, "params": {**entry["params"], **options}}
    return registered


def _check_custom_resnet(
    encoder_depth: int, *, block: str, depths: Sequence[int], width: int, stem: str
) -> None:
    check_settings(block=block, depths=depths, width=width, stem=stem, pool="own")
    if stem == "small":
        raise ConfigurationError(
            "model.encoder_options.stem=small: this stem keeps the image's size, and each map of "
            "an encoder must be half as large as the one before. Choose imagenet or deep."
        )
    if len(depths) < encoder_depth - 1:
        raise ConfigurationError(
            f"model.encoder_depth={encoder_depth}: a custom_resnet of "
            f"model.encoder_options.depths={[*depths]} has {len(depths) + 1} maps. Set "
            f"model.encoder_depth={len(depths) + 1}, or give it more stages."
        )
