"""Builders of all models, by the `builder` of conf/model/*.yaml: architecture and initial weights.

`BUILDERS` is closed: a configuration chooses from it and names no code.
Nothing that is built here imports this module. timm, torchvision and segmentation_models_pytorch
take seconds to import and are imported by the builder that needs them.
All raise ConfigurationError for settings that make no model and WeightsError for unusable weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capsule_inspection.models.base import BuiltModel, Model
from capsule_inspection.models.hub import HubWeights, UnavailableError
from capsule_inspection.models.model_card import SYNTHETIC
from capsule_inspection.models.weights import CHOICES, find_imagenet, load_weights
from capsule_inspection.types import ConfigurationError

if TYPE_CHECKING:
    from capsule_inspection.models.classifier import Classifier

_IMAGENET_ENCODER, _BUNDLED_ENCODER = "tf_efficientnet_lite0", "resnet18"
"""Encoders of `model.encoder=auto`: the extra `imagenet` has weights of the first."""
CORRUPTIONS_WITH_MASK = ("cutout", "synthetic_defects")
"""Corruptions with a mask of the changed pixels, from which an autoencoder's head learns."""


def build_custom_resnet(
    *,
    num_classes: int,
    weights: str = "auto",
    name: str = "custom_resnet",
    block: str = "basic",
    depths: Sequence[int] = (2, 2, 2, 2),
    width: int = 64,
    dropout: float = 0.0,
    pool: str = "default",
    image_size: Sequence[int] = (224, 224),
    mask_loss_weight: float = 0.0,
    use_mask_logits: bool = True,
) -> BuiltModel:
    """The residual network of custom_resnet.py; for the settings see `CustomResNet`.

    With a `mask_loss_weight` above 0 it has a segmentation head, for images of `image_size` (H, W).
    """
    from capsule_inspection.models.custom_resnet import CustomResNet

    model = CustomResNet(
        num_classes, block=block, depths=tuple(depths), width=width, dropout=dropout, pool=pool
    )
    if mask_loss_weight > 0:
        _add_segmentation_head(model, image_size, use_mask_logits=use_mask_logits)
    return _load_classifier_weights(model, HubWeights(name=name), choice=weights)


def build_timm(
    *,
    name: str,
    num_classes: int,
    weights: str = "auto",
    image_size: Sequence[int] = (224, 224),
    pool: str = "default",
    options: Mapping[str, Any] | None = None,
    mask_loss_weight: float = 0.0,
    use_mask_logits: bool = True,
) -> BuiltModel:
    """Any classifier of timm; `options` go to its constructor (`drop_rate`, `drop_path_rate`).

    `image_size` is (H, W) in pixels, for models that are built for one size.
    """
    from capsule_inspection.models.timm_model import create_timm_classifier

    model, hub = create_timm_classifier(
        name,
        num_classes=num_classes,
        image_size=(image_size[0], image_size[1]),
        pool=pool,
        options=options or {},
    )
    if mask_loss_weight > 0:
        _add_segmentation_head(model, image_size, use_mask_logits=use_mask_logits)
    return _load_classifier_weights(model, hub, choice=weights)


def build_torchvision(
    *,
    name: str,
    num_classes: int,
    weights: str = "auto",
    image_size: Sequence[int] = (224, 224),
    pool: str = "default",
    options: Mapping[str, Any] | None = None,
    mask_loss_weight: float = 0.0,
    use_mask_logits: bool = True,
) -> BuiltModel:
    """Any classifier of torchvision; `options` go to its constructor (`dropout`).

    `image_size` is (H, W) in pixels, for models that are built for one size.
    """
    from capsule_inspection.models.torchvision_model import create_torchvision_classifier

    model, hub = create_torchvision_classifier(
        name,
        num_classes=num_classes,
        image_size=(image_size[0], image_size[1]),
        pool=pool,
        options=options or {},
    )
    if mask_loss_weight > 0:
        _add_segmentation_head(model, image_size, use_mask_logits=use_mask_logits)
    return _load_classifier_weights(model, hub, choice=weights)


def _add_segmentation_head(
    model: Classifier, image_size: Sequence[int], *, use_mask_logits: bool
) -> None:
    model.add_segmentation_head(
        model.head.out_features,  # type: ignore[arg-type]
        image_size=(image_size[0], image_size[1]),
        use_mask_logits=use_mask_logits,
    )


def _load_classifier_weights(model: Classifier, hub: HubWeights, *, choice: str) -> BuiltModel:
    from capsule_inspection.models.state_dicts import load_pretrained

    record = load_weights(model, choice=choice, hub=hub, load_state=load_pretrained)
    return BuiltModel(model, record)


def build_autoencoder(
    *,
    name: str,
    weights: str,
    image_size: Sequence[int],
    crop_size: Sequence[int] | None,
    corruption: str,
    width: int,
    depth: int,
    bottleneck: int,
    skips: bool | str,
    head: bool | str,
    head_width: int,
) -> BuiltModel:
    """The autoencoder of `conf/model/autoencoder.yaml`, for images of `image_size` (H, W).

    `crop_size` (h, w) is the size of crops in training, None for whole images. `skips` and `head`
    may be "auto": skip connections for every corruption (without one they would pass the image on),
    a head where the corruption has a mask to learn from.
    """
    from capsule_inspection.models.autoencoder import Autoencoder, check_size
    from capsule_inspection.models.state_dicts import load_all

    check_size(image_size, depth=depth, key="data.image_size")
    if crop_size is not None:
        crop = [min(pair) for pair in zip(crop_size, image_size, strict=True)]
        check_size(crop, depth=depth, key="task.crop_size")
    has_mask = corruption in CORRUPTIONS_WITH_MASK
    with_head = has_mask if head == "auto" else head is True
    with_skips = corruption != "none" if skips == "auto" else skips is True
    if with_head and not has_mask:
        raise ConfigurationError(
            f"model.head=true with model.corruption={corruption}: the head learns from masks of "
            f"the corruption, which only {' and '.join(CORRUPTIONS_WITH_MASK)} have. Choose one of "
            "them, or model.head=auto."
        )
    if with_skips and corruption == "none":
        raise ConfigurationError(
            "model.skips=true with model.corruption=none: skip connections pass the image on as it "
            "is, so nothing is learnt. Choose a corruption, or model.skips=auto."
        )
    model = Autoencoder(
        width=width,
        depth=depth,
        bottleneck=bottleneck,
        skips=with_skips,
        head_width=head_width if with_head else 0,
    )
    hub = HubWeights(name="autoencoder")
    return BuiltModel(model, load_weights(model, choice=weights, hub=hub, load_state=load_all))


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
    input_sizes: Sequence[Sequence[int]] = (),
) -> BuiltModel:
    """The segmentation model of `conf/model/unet.yaml`; `num_classes` includes the background.

    `input_sizes` are the sizes (height, width) of images that it must be able to process.
    """
    from capsule_inspection.models.segmenter import create_segmenter
    from capsule_inspection.models.state_dicts import load_pretrained_encoder

    model = create_segmenter(
        num_classes=num_classes,
        architecture=architecture,
        encoder=encoder,
        encoder_depth=encoder_depth,
        encoder_options=encoder_options,
        decoder_channels=decoder_channels,
        options=options,
        classes=classes,
        input_sizes=input_sizes,
    )
    whole = segmenter_name(architecture, encoder)
    return _load_encoder_weights(
        model, encoder, choice=weights, load_state=load_pretrained_encoder, whole=whole
    )


def _load_encoder_weights(
    model: Model,
    encoder: str,
    *,
    choice: str,
    load_state: Callable[..., object],
    whole: str,
) -> BuiltModel:
    """Load weights of an encoder, or of the segmentation model `whole` that has it."""
    from capsule_inspection.models import autoencoder, encoders

    hub = encoders.find_hub_weights(encoder)
    # An autoencoder's encoder was trained with its own normalisation.
    is_autoencoder = encoder == "autoencoder"
    of_encoder = autoencoder.NORMALISATION if is_autoencoder else model.normalisation
    accepted = {whole: model.normalisation, hub.name: of_encoder}
    record = load_weights(
        model,
        choice=choice,
        hub=hub,
        load_state=load_state,
        bundled=tuple(accepted),
        accepted=accepted,
    )
    return BuiltModel(model, record)


def resolve_encoder(encoder: str, *, weights: str) -> str:
    """What `model.encoder=auto` is: the one with ImageNet weights, where these can be had.

    Else one that has bundled weights. Other names are returned as they are. Raises
    ConfigurationError where the weights are a file, which says nothing of the encoder.
    """
    if encoder != "auto":
        return encoder
    if weights not in CHOICES:  # a path
        raise ConfigurationError(
            f"model.weights={weights}: name the encoder that these weights are of too, such as "
            "model.encoder=resnet18."
        )
    if weights == SYNTHETIC:
        return _BUNDLED_ENCODER
    if weights == "auto":
        from capsule_inspection.models import encoders

        try:
            find_imagenet(encoders.find_hub_weights(_IMAGENET_ENCODER))
        except UnavailableError:
            return _BUNDLED_ENCODER
    return _IMAGENET_ENCODER


def build_patchcore(
    *,
    name: str,
    weights: str,
    image_size: Sequence[int],
    encoder: str,
    encoder_options: Mapping[str, Any],
    strides: Sequence[int],
    neighbourhood: int,
    num_neighbors: int,
    coreset: str,
    coreset_size: int,
    candidates: int,
) -> BuiltModel:
    """The PatchCore of `conf/model/patchcore.yaml`, for images of `image_size` (H, W).

    Its encoder is frozen; the memory bank is empty until good images fill it.
    """
    from capsule_inspection.models.patchcore import CoresetConfig, create_patchcore
    from capsule_inspection.models.state_dicts import load_encoder

    model = create_patchcore(
        encoder=encoder,
        encoder_options=encoder_options,
        strides=strides,
        neighbourhood=neighbourhood,
        num_neighbors=num_neighbors,
        coreset=CoresetConfig(coreset, coreset_size, candidates),
        image_size=image_size,
    )

    def load_state(_: Model, state: Mapping[str, Any], *, where: str) -> None:
        load_encoder(model.encoder, state, name=encoder, where=where)

    whole = segmenter_name("unet", encoder)
    return _load_encoder_weights(model, encoder, choice=weights, load_state=load_state, whole=whole)


def segmenter_name(architecture: str, encoder: str) -> str:
    """The name of a segmentation model's weights, such as unet_autoencoder."""
    return f"{architecture.lower()}_{encoder.removeprefix('tu-').partition('.')[0]}"


BUILDERS: Mapping[str, Callable[..., BuiltModel]] = {
    "custom_resnet": build_custom_resnet,
    "timm": build_timm,
    "torchvision": build_torchvision,
    "autoencoder": build_autoencoder,
    "segmenter": build_segmenter,
    "patchcore": build_patchcore,
}
"""Every value of `model.builder`."""
