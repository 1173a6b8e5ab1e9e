"""Segmentation networks: shapes, gradients, and settings that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import small_segmenter
import torch
from small_models import check_gradients, check_groups
from torch import Tensor

from capsule_inspection.models import encoders
from capsule_inspection.models.base import IMAGENET
from capsule_inspection.models.factory import build_segmenter
from capsule_inspection.models.layers import pad_to_multiple
from capsule_inspection.models.segmenter import (
    DECODER_CHANNELS,
    Segmenter,
    encoder_layer_groups,
)
from capsule_inspection.types import ConfigurationError, Normalisation

SETTINGS = small_segmenter.SETTINGS
SMALL_ENCODERS: dict[str, dict[str, Any]] = {
    "custom_resnet": {"encoder": "custom_resnet", "encoder_options": {"width": 8}},
    "autoencoder": {"encoder": "autoencoder", "encoder_options": {"width": 4}},
    "test_convnext": {"encoder": "test_convnext"},
    "test_resnet": {"encoder": "test_resnet"},
}


@pytest.fixture(autouse=True)
def no_hub(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file fails where the network, or the library's hub, is called."""

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError(f"called with {arguments} {settings}")

    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", refuse)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_fn", refuse)


def build(**settings: Any) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter(**(SETTINGS | settings)).model


def logits_of(network: Segmenter, image: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(image)


def test_logits_have_the_size_of_images_that_are_no_multiple_of_32() -> None:
    for size in ((64, 96), (33, 70), (5, 131), (1, 1)):
        assert logits_of(build(), torch.randn(2, 3, *size)).shape == (2, 4, *size)
    binary = build(classes="binary", num_classes=6)  # two channels whatever the data set
    assert logits_of(binary, torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("encoder", ["convnext_atto", "mobileone_s0", "mobilenet_v2"])
def test_encoders_of_both_libraries_have_maps_for_a_unet(encoder: str) -> None:
    network = build(encoder=encoder)
    assert network.stride == 32
    assert logits_of(network, torch.randn(1, 3, 40, 50)).shape == (1, 4, 40, 50)


def test_a_name_that_both_libraries_have_is_timms() -> None:
    assert encoders.resolve("mobileone_s0", {}) == "tu-mobileone_s0"
    assert encoders.resolve("tu-resnet18", {}) == "tu-resnet18"
    assert encoders.resolve("resnet18.a1_in1k", {}) == "tu-resnet18.a1_in1k"
    assert encoders.resolve("mobilenet_v2", {}) == "mobilenet_v2"


@pytest.mark.parametrize(
    ("architecture", "depth", "encoder"),
    [
        ("unet", 4, "test_resnet"),
        ("fpn", 5, "test_resnet"),
        ("fpn", 3, "custom_resnet"),
        ("linknet", 5, "autoencoder"),
        ("unetplusplus", 3, "autoencoder"),
        ("deeplabv3plus", 5, "test_resnet"),
        ("pspnet", 3, "test_resnet"),  # the library's own expects one depth
        ("segformer", 4, "test_resnet"),
        ("upernet", 5, "test_resnet"),
    ],
)
def test_architectures_give_maps_of_the_images_size_from_any_depth(
    architecture: str, depth: int, encoder: str
) -> None:
    network = build(architecture=architecture, encoder_depth=depth, **SMALL_ENCODERS[encoder])
    assert network.stride == 2**depth
    image = torch.randn(2, 3, 36, 50)
    found, whole = logits_of(network, image), pad_to_multiple(image, network.stride)
    with torch.no_grad():
        of_whole = network.model(whole)
    assert of_whole.shape[2:] == whole.shape[2:]
    assert found.shape == (2, 4, 36, 50)
    assert torch.equal(found, of_whole[:, :, :36, :50])


@pytest.mark.parametrize(
    ("encoder", "options", "channels"),
    [
        ("custom_resnet", {}, [3, 16, 16, 32, 64, 128]),
        ("custom_resnet", {"width": 4, "block": "bottleneck"}, [3, 4, 16, 32, 64, 128]),
        ("custom_resnet", {"width": 6, "stem": "deep", "depths": [2, 1, 1, 1]}, None),
        ("autoencoder", {}, [3, 16, 32, 64, 128, 128]),
        ("autoencoder", {"width": 4}, [3, 4, 8, 16, 32, 32]),
    ],
)
def test_maps_of_own_encoders_halve_from_level_to_level(
    encoder: str, options: dict[str, Any], channels: list[int] | None
) -> None:
    inner = build(encoder=encoder, encoder_options=options).model.encoder.eval()
    with torch.no_grad():
        maps = inner(torch.randn(1, 3, 64, 96))
    assert [tuple(features.shape[2:]) for features in maps] == [
        (64 // 2**level, 96 // 2**level) for level in range(6)
    ]
    assert [features.shape[1] for features in maps] == inner.out_channels
    if channels is not None:
        assert inner.out_channels == channels


def test_options_reach_only_their_own_model() -> None:
    build(encoder="custom_resnet", encoder_options={"width": 8})
    assert build(encoder="custom_resnet").model.encoder.out_channels[1] == 16
    network = build(encoder="resnet18", encoder_options={"drop_path_rate": 0.2})
    assert any(type(module).__name__ == "DropPath" for module in network.modules())
    plain, attending = build(), build(options={"decoder_attention_type": "scse"})
    assert len([*attending.parameters()]) > len([*plain.parameters()])
    short = {"depths": [1, 1], "width": 8}  # two stages serve where three maps are needed
    network = build(encoder="custom_resnet", encoder_options=short, encoder_depth=3)
    assert logits_of(network, torch.randn(1, 3, 30, 30)).shape == (1, 4, 30, 30)


def test_decoders_are_as_wide_as_wanted_and_half_the_librarys_by_default() -> None:
    def widths(network: Segmenter) -> list[int]:
        return [block.conv2[0].out_channels for block in network.model.decoder.blocks]

    assert widths(build()) == [*DECODER_CHANNELS]
    assert widths(build(encoder_depth=3)) == [*DECODER_CHANNELS[-3:]]
    assert widths(build(decoder_channels=[9, 8, 7, 6, 5])) == [9, 8, 7, 6, 5]
    narrow, wide = (  # a decoder of one width takes a number
        build(architecture="deeplabv3plus", decoder_channels=width) for width in (16, 32)
    )
    assert len([*narrow.parameters()]) == len([*wide.parameters()])
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())


def test_normalisation_is_that_of_timms_published_weights_and_else_imagenets() -> None:
    half = (0.5, 0.5, 0.5)
    assert build(encoder="test_resnet").normalisation == Normalisation(mean=half, std=half)
    for encoder in ("mobilenetv3_small_050", "custom_resnet", "mobilenet_v2"):
        assert build(encoder=encoder).normalisation == IMAGENET


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_layer_groups_hold_each_parameter_once_from_the_input_to_the_head(
    settings: dict[str, Any], architecture: str
) -> None:
    network = build(architecture=architecture, **settings)
    model = network.model
    groups = check_groups(network, model.segmentation_head.parameters())
    assert {id(p) for p in groups[-2]} == {id(p) for p in model.decoder.parameters()}
    layers = encoder_layer_groups(model.encoder)
    order = {id(parameter): place for place, parameter in enumerate(model.encoder.parameters())}
    places = [order[id(parameter)] for layer in layers for parameter in layer]
    assert len(layers) >= 5
    assert places == sorted(places)


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_every_parameter_gets_a_finite_gradient(settings: dict[str, Any]) -> None:
    network = build(**settings)
    network(torch.randn(2, 3, 40, 50)).square().mean().backward()
    check_gradients(network)


OURS = {"encoder": "custom_resnet"}


VIT = r"model\.encoder=vit_tiny_patch16_224 cannot.*maps at several sizes"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"encoder": "resnet81"}, r"model\.encoder=resnet81.*Nearest: .*resnet18"),
    ({"encoder": "costum_resnet"}, r"Nearest: .*custom_resnet"),
    ({"encoder": "mit_b9"}, r"Nearest: .*mit_b5"),
    ({"encoder": "resnet18.nosuch"}, r"model\.encoder=resnet18\.nosuch.*nosuch"),
    ({"architecture": "unett"}, r"model\.architecture=unett.*Nearest: unet.*All: .*segformer"),
    (
        OURS | {"options": {"decoder_atention": 1}},
        r"model\.options\.decoder_atention: unet has.*type",
    ),
    ({"architecture": "fpn", "options": {"decoder_merge_policy": "cut"}}, r"merge_policy=cut"),
    ({"encoder_options": {"nosuch": 1}}, r"test_resnet cannot be built.*nosuch=1"),
    (
        OURS | {"encoder_options": {"widht": 8}},
        r"encoder_options\.widht.*block, depths, width, stem",
    ),
    ({"encoder": "mobilenet_v2", "encoder_options": {"width": 8}}, r"mobilenet_v2 .*takes none"),
    (OURS | {"encoder_options": {"stem": "small"}}, r"stem=small.*imagenet or deep"),
    (
        OURS | {"encoder_options": {"depths": [1, 1]}},
        r"depths=\[1, 1\].*Set model\.encoder_depth=3",
    ),
    (OURS | {"encoder_options": {"block": "wide"}}, r"block=wide.*basic or bottleneck"),
    (OURS | {"encoder_options": {"width": 0}}, r"width=0"),
    ({"architecture": "linknet", "decoder_channels": 16}, r"decoder_channels=16: linknet has no"),
    ({"decoder_channels": 16}, r"unet.*decoder_channels=16"),
    ({"decoder_channels": [8, 8]}, "decoder_channels"),
    ({"encoder_depth": 6}, "encoder_depth"),
    ({"encoder": "vit_tiny_patch16_224"}, VIT),
    ({"encoder": "vit_tiny_patch16_224", "architecture": "fpn"}, VIT),
    (OURS | {"architecture": "deeplabv3plus"}, r"plus with model\.encoder=custom_resnet "),
    (SMALL_ENCODERS["autoencoder"] | {"architecture": "deeplabv3plus"}, r"encoder=autoencoder "),
    *(
        ({group: {key: 1}}, rf"model\.{group}\.{key}: this is set by")
        for group in ("options", "encoder_options")
        for key in ("classes", "encoder_depth", "decoder_channels", "activation", "in_channels")
    ),
]


@pytest.mark.parametrize(("settings", "expected"), REFUSED)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        build(**settings)


def test_a_model_that_cannot_process_the_images_is_refused_when_it_is_built() -> None:
    pan = {"architecture": "pan", "encoder": "resnet18", "encoder_depth": 5}
    build(**pan, input_sizes=[[192, 512]])
    expected = r"cannot process images of 96x160 pixels.*task\.crop_size"
    with pytest.raises(ConfigurationError, match=expected):
        build(**pan, input_sizes=[[96, 160]])
