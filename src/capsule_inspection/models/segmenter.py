"""Networks that say of each pixel which defect it shows, or none.

Architectures and decoders are those of segmentation_models_pytorch; U-Net is after Ronneberger et
al. 2015 (arXiv:1505.04597). Pure torch; encoders come from encoders.py, their weights from
encoder_weights.py, training lives in tasks/segmentation_/lightning_module.py.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models import encoders
from capsule_inspection.models.base import BuiltNetwork, Network
from capsule_inspection.models.classifier import parameters_by_child
from capsule_inspection.models.custom_resnet import NORMALISATION
from capsule_inspection.types import ConfigurationError, Normalisation

ARCHITECTURES = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
DECODER_CHANNELS = (128, 64, 32, 16, 16)
"""Half the library's at all levels but the last."""
BINARY = "binary"
_LEAST = 1e-30
"""Of a probability that others are divided by."""
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


class Segmenter(Network):
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
        logits: Tensor = self.model(padded(image, self.stride))
        return logits[:, :, :height, :width]

    def coarsest_map(self, image: Tensor) -> Tensor:
        """The encoder's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.model.encoder(padded(image, self.stride))[-1]  # type: ignore[operator]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Layers of the encoder, the decoder, and the last convolution."""
        encoder, decoder, head = (
            getattr(self.model, part) for part in ("encoder", "decoder", "segmentation_head")
        )
        return [*encoder_layers(encoder), [*decoder.parameters()], [*head.parameters()]]


def foreground_and_kinds(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """What is read from class probabilities (N, C, H, W), float32, class 0 the background.

    Foreground (N, H, W), the probability that a pixel shows any defect; kinds (N, C - 1, H, W)
    uint8, how it is shared among the defects, in 255ths.
    """
    defects = probabilities[:, 1:]
    foreground = defects.sum(1)
    shares = defects / foreground.clamp_min(_LEAST)[:, None]
    return foreground, (255 * shares).round().to(torch.uint8)


def encoder_layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of an encoder in groups, from its input on; of timm's, which are wrapped, too."""
    children = [*encoder.children()]
    if len(children) == 1 and not isinstance(children[0], nn.Sequential):
        return parameters_by_child(children[0])
    return parameters_by_child(encoder)


def padded(image: Tensor, stride: int) -> Tensor:
    """The image with its last rows and columns repeated up to the next multiple of the stride."""
    down, right = (-side % stride for side in image.shape[2:])
    if not (down or right):
        return image
    return F.pad(image, (0, right, 0, down), mode="replicate")


def build_segmenter(
    *,
    name: str,
    weights: str,
    num_classes: int,
    architecture: str,
    encoder: str,
    encoder_depth: int,
    encoder_options: Mapping[str, Any],
    decoder_channels: Sequence[int] | int | str,
    options: Mapping[str, Any],
    classes: str,
    seen_sizes: Sequence[Sequence[int]] = (),
) -> BuiltNetwork:
    """The network of `conf/model/unet.yaml`; `num_classes` counts the background.

    `seen_sizes` are those (height, width) of images that it must be able to see.
    Raises ConfigurationError for an architecture, encoder or option that does not exist or fit,
    WeightsError for unusable weights.
    """
    from capsule_inspection.models import encoder_weights

    resolved = encoders.resolve(encoder, encoder_options)
    own = encoder in encoders.OWN
    for group, given in (("options", options), ("encoder_options", encoder_options)):
        for key in given.keys() & RESERVED.keys():
            raise ConfigurationError(f"model.{group}.{key}: this is set by {RESERVED[key]}.")
    _check_options(architecture, options)
    settings = {
        "classes": 2 if classes == BINARY else num_classes,
        "encoder_depth": encoder_depth,
        **_channels(architecture, decoder_channels, depth=encoder_depth),
        **_upsampling(architecture, depth=encoder_depth),
        **({} if own else encoder_options),
        **options,
    }
    model = _create(architecture, resolved, settings)
    network = Segmenter(model, encoder_name=encoder, normalisation=_normalisation(resolved))
    for size in seen_sizes:
        _require_sight(network, size, architecture=architecture)
    loaded = encoder_weights.load_encoder(
        network,
        choice=weights,
        published=encoder_weights.published_weights(encoder, resolved),
        whole=encoder_weights.whole_name(architecture, encoder),
        usual=not encoder_options,
    )
    return BuiltNetwork(network, loaded)


def _require_sight(network: Segmenter, size: Sequence[int], *, architecture: str) -> None:
    """Raise ConfigurationError where images of a size (height, width) cannot pass through.

    Transformers of timm that want one size are built all the same.
    """
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigurationError(
            f"model: {architecture} with model.encoder={network.encoder_name} cannot see images of "
            f"{size[0]}x{size[1]} pixels: {_reason(error)}. Choose a convolutional encoder, or "
            "other sizes (task.image_size, task.window, data.tile)."
        ) from error
    finally:
        network.train(was_training)


def _check_options(architecture: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an unknown architecture, or an option that it does not have.

    The library passes such a one on to the encoder, and not all encoders say that they ignore it.
    """
    if architecture.lower() not in ARCHITECTURES:
        near = difflib.get_close_matches(architecture.lower(), ARCHITECTURES, n=3, cutoff=0.3)
        raise ConfigurationError(
            f"model.architecture={architecture}: segmentation_models_pytorch has none of this "
            f"name. Nearest: {', '.join(near) or 'none'}. All: {', '.join(ARCHITECTURES)}."
        )
    known = [*_parameters(architecture).keys() - RESERVED.keys() - {"kwargs"}]
    for key in options.keys() - set(known):
        near = difflib.get_close_matches(key, known, n=1)
        raise ConfigurationError(
            f"model.options.{key}: {architecture} has no such option. Nearest: "
            f"{', '.join(near) or 'none'}. It has {', '.join(sorted(known))}; options of the "
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
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, AttributeError) as error:
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise ConfigurationError(
            f"model: {architecture} with model.encoder={encoders.plain_name(encoder)} cannot be "
            f"built with {given}: {_reason(error)}. Choose another encoder (a convolutional one "
            "with maps at several sizes), or take out of model.options what this architecture does "
            "not have."
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _channels(
    architecture: str, decoder_channels: Sequence[int] | int | str, *, depth: int
) -> dict[str, Any]:
    """The decoder's width, or widths, for architectures that have one for each level."""
    parameter = _parameters(architecture).get("decoder_channels")
    if not isinstance(decoder_channels, str):
        if parameter is None:
            raise ConfigurationError(
                f"model.decoder_channels={decoder_channels}: {architecture} has no such setting. "
                "Leave it at auto, and see model.options."
            )
        if isinstance(decoder_channels, int):
            return {"decoder_channels": decoder_channels}
        return {"decoder_channels": tuple(decoder_channels)}
    if parameter is None or isinstance(parameter.default, int):
        return {}
    return {"decoder_channels": DECODER_CHANNELS[-depth:]}


def _upsampling(architecture: str, *, depth: int) -> dict[str, int]:
    """How often the last map is enlarged, for architectures that expect the library's own depth."""
    if architecture.lower() == "fpn":  # its finest map is the third from last
        return {"upsampling": 2 ** max(depth - 3, 0)}
    return {"upsampling": 2**depth} if architecture.lower() == "pspnet" else {}


def _normalisation(encoder: str) -> Normalisation:
    """What the encoder's published weights were trained with; ImageNet's own where none are."""
    import timm

    cfg = None
    if encoder.startswith(encoders.TIMM):
        cfg = timm.get_pretrained_cfg(encoder.removeprefix(encoders.TIMM))
    if cfg is None:
        return NORMALISATION
    (red, green, blue), (of_red, of_green, of_blue) = cfg.mean, cfg.std
    return Normalisation(mean=(red, green, blue), std=(of_red, of_green, of_blue))
