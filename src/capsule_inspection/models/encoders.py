"""Encoders of segmentation models: timm's, segmentation_models_pytorch's, and two of this project.

A name that timm has is timm's, so that weights of its classifiers fit. The project's own let a
segmentation model start from a trained `custom_resnet` or `autoencoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch.nn.functional as F
from segmentation_models_pytorch import encoders as library
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from capsule_inspection.models.autoencoder import Encoder, encode, widen_channels
from capsule_inspection.models.base import IMAGENET, list_nearest
from capsule_inspection.models.custom_resnet import ResNetBackbone
from capsule_inspection.models.hub import HubFile, HubWeights
from capsule_inspection.models.layers import pad_to_multiple
from capsule_inspection.models.timm_model import find_hub_weights as find_timm_weights
from capsule_inspection.types import ConfigurationError, Normalisation

TIMM_PREFIX = "tu-"
"""Prefix of timm's names in segmentation_models_pytorch."""
_OWN_SUFFIX = "-capsule-inspection"


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
        if len(depths) < depth - 1:
            raise ConfigurationError(
                f"model.encoder_depth={depth}: a custom_resnet of "
                f"model.encoder_options.depths={[*depths]} has {len(depths) + 1} maps. Set "
                f"model.encoder_depth={len(depths) + 1}, or give it more stages."
            )
        self._depth, self._output_stride, self._in_channels = depth, output_stride, 3
        backbone = ResNetBackbone(
            block=block,
            depths=tuple(depths)[: depth - 1],
            width=width,
            stem=stem,
            key="model.encoder_options",
        )
        # A Sequential, as in the other encoders, so that each stage is a layer group.
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
        channels = widen_channels(width, depth)
        self.blocks = nn.Sequential(*Encoder(3 * 4, channels).blocks)
        self._out_channels = [3, *channels]

    def forward(self, image: Tensor) -> list[Tensor]:
        """The image and its maps, each half as large as the one before."""
        return [image, *encode(self.blocks, F.pixel_unshuffle(pad_to_multiple(image, 2), 2))]


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


def display_name(resolved: str) -> str:
    """The user's name of an encoder that `resolve` has named."""
    return resolved.removeprefix(TIMM_PREFIX).removesuffix(_OWN_SUFFIX)


def resolve(name: str, options: Mapping[str, Any]) -> str:
    """The name under which segmentation_models_pytorch builds an encoder.

    Raises ConfigurationError, with the nearest names, for an unknown encoder, and for options that
    an encoder without options of timm does not have.
    """
    if name in OWN:
        return _register(name, options)
    bare = name.removeprefix(TIMM_PREFIX)
    if timm.is_model(bare.partition(".")[0]):
        return TIMM_PREFIX + bare
    if name in library.encoders:
        if options:
            raise ConfigurationError(
                f"model.encoder_options={dict(options)}: {name} of segmentation_models_pytorch "
                "takes none. Leave them out, or choose an encoder of timm."
            )
        return name
    known = sorted({*OWN, *timm.list_models(), *library.encoders})
    raise ConfigurationError(
        f"model.encoder={name}: neither timm {timm.__version__} nor segmentation_models_pytorch "
        f"has such an encoder. Nearest: {list_nearest(name, known)}. All: timm.list_models()."
    )


def _register(name: str, options: Mapping[str, Any]) -> str:
    entry = OWN[name]
    unknown = sorted(options.keys() - entry["params"].keys())
    if unknown:
        raise ConfigurationError(
            f"model.encoder_options.{unknown[0]}: {name} has no such option. It has "
            f"{', '.join(entry['params'])}."
        )
    registered = name + _OWN_SUFFIX
    library.encoders[registered] = {**entry, "params": {**entry["params"], **options}}
    return registered


def find_hub_weights(name: str) -> HubWeights:
    """The location of an encoder's ImageNet weights."""
    if name in OWN:
        return HubWeights(name=name)
    resolved = resolve(name, {})
    if resolved.startswith(TIMM_PREFIX):
        bare = resolved.removeprefix(TIMM_PREFIX)
        cfg = timm.get_pretrained_cfg(bare)
        return find_timm_weights(bare, {} if cfg is None else cfg.to_dict())
    settings = library.encoders[resolved]["pretrained_settings"].get("imagenet")
    if settings is None:
        return HubWeights(name=name)
    files = (HubFile(settings["repo_id"], "model.safetensors"),)
    return HubWeights(name=name, local_names=(name,), files=files)


def find_normalisation(resolved: str) -> Normalisation:
    """The normalisation of the encoder's published weights; ImageNet's where none are published."""
    cfg = None
    if resolved.startswith(TIMM_PREFIX):
        cfg = timm.get_pretrained_cfg(resolved.removeprefix(TIMM_PREFIX))
    if cfg is None:
        return IMAGENET
    (red, green, blue), (red_std, green_std, blue_std) = cfg.mean, cfg.std
    return Normalisation(mean=(red, green, blue), std=(red_std, green_std, blue_std))
