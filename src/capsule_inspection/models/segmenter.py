"""Semantic segmentation models: the class of each pixel, background or one of the defects.

Architectures and decoders are those of segmentation_models_pytorch; U-Net is from Ronneberger et
al. 2015 (arXiv:1505.04597). Pure torch; encoders are in encoders.py, training is in
tasks/segmentation/lightning_module.py.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from capsule_inspection.models import encoders
from capsule_inspection.models.base import (
    BUILD_ERRORS,
    Model,
    find_forward_error,
    list_nearest,
    parameters_by_child,
    refuse_reserved,
)
from capsule_inspection.models.layers import pad_to_multiple
from capsule_inspection.models.timm_model import RESERVED as RESERVED_OF_TIMM
from capsule_inspection.types import ConfigurationError, Normalisation

ARCHITECTURES = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
DECODER_CHANNELS = (128, 64, 32, 16, 16)
"""Half the library's at all levels but the last."""
BINARY = "binary"
_SMALLEST_DIVISOR = 1e-30
RESERVED = {
    "encoder_name": "model.encoder",
    "encoder_weights": "model.weights",
    "encoder_depth": "model.encoder_depth",
    "decoder_channels": "model.decoder_channels",
    "classes": "model.classes and the data set's classes",
    "in_channels": "the data, which have three channels",
    "activation": "the task, which learns from logits",
    "aux_params": "the task",
}


class Segmenter(Model):
    """Logits (N, C, H, W) of images (N, 3, H, W) of any size; class 0 is the background."""

    def __init__(
        self, model: nn.Module, *, encoder_name: str, normalisation: Normalisation
    ) -> None:
        super().__init__()
        self.model = model
        self.encoder_name = encoder_name
        self.normalisation = normalisation
        self.stride = 2 ** (len(model.encoder.out_channels) - 1)  # type: ignore[union-attr,arg-type]

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        logits: Tensor = self.model(pad_to_multiple(image, self.stride))
        return logits[:, :, :height, :width]

    def coarsest_map(self, image: Tensor) -> Tensor:
        """The encoder's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.model.encoder(pad_to_multiple(image, self.stride))[-1]  # type: ignore[operator]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Layers of the encoder, the decoder, and the last convolution."""
        encoder, decoder, head = (
            getattr(self.model, name) for name in ("encoder", "decoder", "segmentation_head")
        )
        return [*encoder_layer_groups(encoder), [*decoder.parameters()], [*head.parameters()]]


def foreground_and_class_probabilities(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and defect classes of probabilities (N, C, H, W), float32, class 0 the background.

    Returns the foreground (N, H, W), the probability that a pixel shows any defect, and the class
    probabilities given the foreground, (N, C - 1, H, W) uint8, in 255ths.
    """
    defects = probabilities[:, 1:]
    foreground = defects.sum(1)
    conditional = defects / foreground.clamp_min(_SMALLEST_DIVISOR)[:, None]
    return foreground, (255 * conditional).round().to(torch.uint8)


def encoder_layer_groups(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of an encoder in groups, from its input on; timm's encoders are wrapped."""
    children = [*encoder.children()]
    if len(children) == 1 and not isinstance(children[0], nn.Sequential):
        return parameters_by_child(children[0])
    return parameters_by_child(encoder)


def create_segmenter(
    *,
    num_classes: int,
    architecture: str,
    encoder: str,
    encoder_depth: int,
    encoder_options: Mapping[str, Any],
    decoder_channels: Sequence[int] | int | str,
    options: Mapping[str, Any],
    classes: str,
    input_sizes: Sequence[Sequence[int]],
) -> Segmenter:
    """A segmentation model with random weights, see `factory.build_segmenter`."""
    resolved = encoders.resolve(encoder, encoder_options)
    refuse_reserved(options, RESERVED, key="model.options")
    reserved = {**RESERVED_OF_TIMM, **RESERVED}
    refuse_reserved(encoder_options, reserved, key="model.encoder_options")
    _check_options(architecture, options)
    settings = {
        "classes": 2 if classes == BINARY else num_classes,
        "encoder_depth": encoder_depth,
        **_decoder_settings(architecture, decoder_channels, depth=encoder_depth),
        **({} if encoder in encoders.OWN else encoder_options),
        **options,
    }
    model = _create(architecture, resolved, settings)
    segmenter = Segmenter(
        model, encoder_name=encoder, normalisation=encoders.find_normalisation(resolved)
    )
    for size in input_sizes:
        if (error := find_forward_error(segmenter, size)) is not None:
            raise ConfigurationError(
                f"model: {architecture} with model.encoder={encoder} cannot process images of "
                f"{size[0]}x{size[1]} pixels: {_first_line(error)}. Choose a convolutional "
                "encoder, or other sizes (task.image_size, task.crop_size, data.tiling.size)."
            ) from error
    return segmenter


def _check_options(architecture: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an unknown architecture, or an option that it does not have.

    The library passes unknown options to the encoder, and some encoders ignore them in silence.
    """
    if architecture.lower() not in ARCHITECTURES:
        raise ConfigurationError(
            f"model.architecture={architecture}: unknown to segmentation_models_pytorch. Nearest: "
            f"{list_nearest(architecture.lower(), ARCHITECTURES)}. All: {', '.join(ARCHITECTURES)}."
        )
    known = [*_parameters(architecture).keys() - RESERVED.keys() - {"kwargs"}]
    for key in options.keys() - set(known):
        raise ConfigurationError(
            f"model.options.{key}: {architecture} has no such option. Nearest: "
            f"{list_nearest(key, known)}. It has {', '.join(sorted(known))}; options of the "
            "encoder are model.encoder_options."
        )


def _parameters(architecture: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[architecture.lower()]).parameters


def _create(architecture: str, encoder: str, settings: Mapping[str, Any]) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return smp.create_model(
                architecture, encoder_name=encoder, encoder_weights=None, **settings
            )
    except BUILD_ERRORS as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise ConfigurationError(
            f"model: {architecture} with model.encoder={encoders.display_name(encoder)} cannot be "
            f"built with {given}: {_first_line(error)}. Choose another encoder (a convolutional "
            "one with maps at several sizes), or take out of model.options what this architecture "
            "does not have."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _decoder_settings(
    architecture: str, decoder_channels: Sequence[int] | int | str, *, depth: int
) -> dict[str, Any]:
    """Widths of the decoder, and the upsampling where the library expects its default depth."""
    settings: dict[str, Any] = {}
    if architecture.lower() == "fpn":  # its finest map is the third from last
        settings["upsampling"] = 2 ** max(depth - 3, 0)
    elif architecture.lower() == "pspnet":
        settings["upsampling"] = 2**depth
    parameter = _parameters(architecture).get("decoder_channels")
    if isinstance(decoder_channels, str):  # auto
        if parameter is not None and not isinstance(parameter.default, int):
            settings["decoder_channels"] = DECODER_CHANNELS[-depth:]
        return settings
    if parameter is None:
        raise ConfigurationError(
            f"model.decoder_channels={decoder_channels}: {architecture} has no such setting. "
            "Leave it at auto, and see model.options."
        )
    if not isinstance(decoder_channels, int):
        decoder_channels = tuple(decoder_channels)
    return {**settings, "decoder_channels": decoder_channels}
