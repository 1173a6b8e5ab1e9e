"""Segmentation networks: shapes, gradients, learning, saving, and settings that do not fit."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import small_segmenter
import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.contracts import ConfigurationError, Normalisation
from capsule_inspection.networks import encoders
from capsule_inspection.networks.custom_resnet import NORMALISATION
from capsule_inspection.networks.segmenter import (
    DECODER_CHANNELS,
    Segmenter,
    build_segmenter,
    encoder_layers,
    padded,
)

SETTINGS = small_segmenter.SETTINGS
SMALL_ENCODERS: dict[str, dict[str, Any]] = {
    "custom_resnet": {"encoder": "custom_resnet", "encoder_options": {"width": 8}},
    "autoencoder": {"encoder": "autoencoder", "encoder_options": {"width": 4}},
    "test_convnext": {"encoder": "test_convnext"},
    "test_resnet": {"encoder": "test_resnet"},
}
ARCHITECTURES = ("unet", "fpn", "linknet", "deeplabv3plus", "unetplusplus")


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file fails where the network, or the library's hub, is asked."""

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError(f"asked for {arguments} {settings}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", refuse)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_fn", refuse)


def build(**settings: Any) -> Segmenter:
    torch.manual_seed(0)
    network = build_segmenter(**(SETTINGS | settings)).network
    assert isinstance(network, Segmenter)
    return network


def logits_of(network: Segmenter, image: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(image)


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (5, 131), (1, 1)])
def test_logits_have_the_size_of_images_that_are_no_multiple_of_32(size: tuple[int, int]) -> None:
    assert logits_of(build(), torch.randn(2, 3, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("encoder", ["resnet18", "convnext_atto", "mobileone_s0", "mobilenet_v2"])
def test_encoders_of_both_libraries_have_maps_for_a_unet(encoder: str) -> None:
    network = build(encoder=encoder)
    assert network.stride == 32
    assert logits_of(network, torch.randn(1, 3, 40, 50)).shape == (1, 4, 40, 50)


def test_a_name_that_both_libraries_have_is_timms() -> None:
    assert encoders.resolve("mobileone_s0", {}) == "tu-mobileone_s0"
    assert encoders.resolve("tu-resnet18", {}) == "tu-resnet18"
    assert encoders.resolve("resnet18.a1_in1k", {}) == "tu-resnet18.a1_in1k"
    assert encoders.resolve("mobilenet_v2", {}) == "mobilenet_v2"


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "pspnet", "segformer", "upernet"])
@pytest.mark.parametrize("encoder_depth", [5, 4, 3])
def test_architectures_draw_maps_of_the_images_size_from_any_depth(
    architecture: str, encoder_depth: int
) -> None:
    network = build(architecture=architecture, encoder_depth=encoder_depth)
    assert network.stride == 2**encoder_depth
    image = torch.randn(2, 3, 36, 50)
    assert logits_of(network, image).shape == (2, 4, 36, 50)
    whole = padded(image, network.stride)
    with torch.no_grad():
        assert network.model(whole).shape[2:] == whole.shape[2:]


@pytest.mark.parametrize("encoder", ["custom_resnet", "autoencoder"])
@pytest.mark.parametrize("architecture", ["unet", "fpn", "linknet", "unetplusplus"])
@pytest.mark.parametrize("encoder_depth", [5, 3])
def test_our_own_encoders_serve_several_architectures(
    encoder: str, architecture: str, encoder_depth: int
) -> None:
    settings = SMALL_ENCODERS[encoder] | {"encoder_depth": encoder_depth}
    network = build(architecture=architecture, **settings)
    assert logits_of(network, torch.randn(1, 3, 40, 50)).shape == (1, 4, 40, 50)


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
def test_maps_of_our_own_encoders_are_each_half_as_large_as_the_one_before(
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


def test_options_of_one_network_are_not_those_of_the_next() -> None:
    build(encoder="custom_resnet", encoder_options={"width": 8})
    assert build(encoder="custom_resnet").model.encoder.out_channels[1] == 16


def test_options_reach_an_encoder_of_timm() -> None:
    network = build(encoder="resnet18", encoder_options={"drop_path_rate": 0.2})
    assert any(type(module).__name__ == "DropPath" for module in network.modules())


def test_binary_networks_have_two_channels_whatever_the_data_set() -> None:
    network = build(classes="binary", num_classes=6)
    assert logits_of(network, torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_padding_repeats_the_last_rows_and_columns_and_whole_multiples_stay() -> None:
    image = torch.arange(15.0).reshape(1, 1, 3, 5)
    found = padded(image, 4)
    assert found.shape == (1, 1, 4, 8)
    assert torch.equal(found[:, :, :3, :5], image)
    assert found[0, 0, :, 7].tolist() == [4.0, 9.0, 14.0, 14.0]
    assert padded(found, 4) is found


def test_decoders_are_as_wide_as_asked_and_half_the_librarys_by_default() -> None:
    def widths(network: Segmenter) -> list[int]:
        return [block.conv2[0].out_channels for block in network.model.decoder.blocks]

    assert widths(build()) == [*DECODER_CHANNELS]
    assert widths(build(encoder_depth=3)) == [*DECODER_CHANNELS[-3:]]
    assert widths(build(decoder_channels=[9, 8, 7, 6, 5])) == [9, 8, 7, 6, 5]


def test_a_decoder_of_one_width_takes_a_number_and_one_without_takes_none() -> None:
    narrow, wide = (
        build(architecture="deeplabv3plus", decoder_channels=width) for width in (16, 32)
    )
    assert len([*narrow.parameters()]) == len([*wide.parameters()])
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
    with pytest.raises(ConfigurationError, match=r"decoder_channels=16: linknet has no such"):
        build(architecture="linknet", decoder_channels=16)
    with pytest.raises(ConfigurationError, match=r"unet.*decoder_channels=16"):
        build(decoder_channels=16)


@pytest.mark.parametrize("encoder", ["custom_resnet", "mobilenet_v2"])
def test_normalisation_is_imagenets_where_timm_does_not_say(encoder: str) -> None:
    assert build(encoder=encoder).normalisation == NORMALISATION


def test_normalisation_is_that_of_timms_published_weights() -> None:
    half = (0.5, 0.5, 0.5)
    assert build(encoder="test_resnet").normalisation == Normalisation(mean=half, std=half)
    assert build(encoder="mobilenetv3_small_050").normalisation == NORMALISATION


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
@pytest.mark.parametrize("architecture", ["unet", "fpn", "linknet"])
def test_layer_groups_hold_each_parameter_once_and_the_head_last(
    settings: dict[str, Any], architecture: str
) -> None:
    network = build(architecture=architecture, **settings)
    groups = network.layer_groups()
    listed = [id(parameter) for group in groups for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters())
    head = network.model.segmentation_head
    assert {id(p) for p in groups[-1]} == {id(p) for p in head.parameters()}
    assert {id(p) for p in groups[-2]} == {id(p) for p in network.model.decoder.parameters()}
    assert all(groups)


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_an_encoder_has_layers_of_its_own_from_its_input_on(settings: dict[str, Any]) -> None:
    encoder = build(**settings).model.encoder
    layers = encoder_layers(encoder)
    order = {id(parameter): place for place, parameter in enumerate(encoder.parameters())}
    places = [order[id(parameter)] for layer in layers for parameter in layer]
    assert len(layers) >= 5
    assert places == sorted(places)


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_every_parameter_gets_a_finite_gradient(settings: dict[str, Any]) -> None:
    network = build(**settings)
    network(torch.randn(2, 3, 40, 50)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_it_learns_to_mark_the_defects_of_four_images(settings: dict[str, Any]) -> None:
    network = build(**settings, decoder_channels=[32, 32, 16, 16, 16])
    images, masks = 0.1 * torch.randn(4, 3, 32, 48), torch.zeros(4, 32, 48, dtype=torch.int64)
    for n in range(1, 4):
        images[n, n - 1, 6 + 4 * n : 14 + 4 * n, 8 + 6 * n : 20 + 6 * n] += 2.0
        masks[n, 6 + 4 * n : 14 + 4 * n, 8 + 6 * n : 20 + 6 * n] = n
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        loss = F.cross_entropy(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    called = network(images).argmax(1)
    for label in range(1, 4):
        both = ((called == label) & (masks == label)).sum()
        assert both / ((called == label) | (masks == label)).sum() > 0.8, label
    assert not called[0].any()


@pytest.mark.parametrize("settings", SMALL_ENCODERS.values(), ids=SMALL_ENCODERS)
def test_it_saves_and_loads_equal(settings: dict[str, Any], tmp_path: Path) -> None:
    network, image = build(**settings), torch.randn(2, 3, 33, 40)
    network(image)  # the statistics of batch norms have moved
    torch.save(network.state_dict(), tmp_path / "w.pth")
    torch.manual_seed(9)
    again = build_segmenter(**(SETTINGS | settings)).network
    again.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    assert torch.equal(logits_of(again, image), logits_of(network, image))  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, SMALL_ENCODERS["custom_resnet"]], ids=["timm", "ours"])
def test_the_same_seed_gives_the_same_weights(settings: dict[str, Any]) -> None:
    once, again = build(**settings).state_dict(), build(**settings).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in once.items())


def test_an_unknown_encoder_is_refused_with_the_nearest_of_both_libraries() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.encoder=resnet81.*Nearest: .*resnet18"):
        build(encoder="resnet81")
    with pytest.raises(ConfigurationError, match=r"Nearest: .*custom_resnet"):
        build(encoder="costum_resnet")
    with pytest.raises(ConfigurationError, match=r"Nearest: .*mit_b5"):
        build(encoder="mit_b9")


def test_an_unknown_tag_of_timms_weights_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.encoder=resnet18\.nosuch.*nosuch"):
        build(encoder="resnet18.nosuch")


def test_an_unknown_architecture_is_refused_with_the_nearest_and_all() -> None:
    expected = r"model\.architecture=unett.*Nearest: unet,.*All: .*segformer"
    with pytest.raises(ConfigurationError, match=expected):
        build(architecture="unett")


@pytest.mark.parametrize("encoder", ["test_resnet", "custom_resnet", "mobilenet_v2"])
def test_an_unknown_option_of_the_architecture_is_refused_with_the_nearest(encoder: str) -> None:
    expected = r"model\.options\.decoder_atention: unet has.*Nearest: decoder_attention_type"
    with pytest.raises(ConfigurationError, match=expected):
        build(encoder=encoder, options={"decoder_atention": "scse"})


def test_an_option_of_the_architecture_changes_it() -> None:
    plain, attending = build(), build(options={"decoder_attention_type": "scse"})
    assert len([*attending.parameters()]) > len([*plain.parameters()])


def test_an_option_that_an_architecture_cannot_take_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigurationError, match=r"decoder_merge_policy=cut"):
        build(architecture="fpn", options={"decoder_merge_policy": "cut"})


def test_an_unknown_option_of_an_encoder_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"test_resnet cannot be built.*nosuch=1"):
        build(encoder_options={"nosuch": 1})
    with pytest.raises(
        ConfigurationError, match=r"model\.encoder_options\.widht.*block, depths, width, stem"
    ):
        build(encoder="custom_resnet", encoder_options={"widht": 8})
    with pytest.raises(ConfigurationError, match=r"mobilenet_v2 .*takes none"):
        build(encoder="mobilenet_v2", encoder_options={"width": 8})


@pytest.mark.parametrize(
    "key", ["classes", "encoder_depth", "decoder_channels", "activation", "in_channels"]
)
@pytest.mark.parametrize("group", ["options", "encoder_options"])
def test_options_that_other_settings_decide_are_refused(key: str, group: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"model\.{group}\.{key}: this is set by"):
        build(**{group: {key: 1}})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stem": "small"}, r"stem=small.*imagenet or deep"),
        ({"depths": [1, 1]}, r"encoder_depth=5.*depths=\[1, 1\].*Set model\.encoder_depth=3"),
        ({"block": "wide"}, r"block=wide.*basic, bottleneck"),
        ({"width": 0}, r"width=0"),
    ],
)
def test_options_of_a_custom_resnet_that_make_no_encoder_are_refused(
    options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        build(encoder="custom_resnet", encoder_options=options)


def test_a_custom_resnet_of_two_stages_serves_where_three_maps_are_asked_for() -> None:
    network = build(
        encoder="custom_resnet", encoder_options={"depths": [1, 1], "width": 8}, encoder_depth=3
    )
    assert logits_of(network, torch.randn(1, 3, 30, 30)).shape == (1, 4, 30, 30)


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
def test_an_encoder_without_maps_of_several_sizes_is_refused_as_such(architecture: str) -> None:
    expected = r"model\.encoder=vit_tiny_patch16_224 cannot.*maps at several sizes"
    with pytest.raises(ConfigurationError, match=expected):
        build(architecture=architecture, encoder="vit_tiny_patch16_224")


@pytest.mark.parametrize("encoder", ["custom_resnet", "autoencoder"])
def test_our_own_encoders_are_refused_by_their_name_where_strides_must_be_dilated(
    encoder: str,
) -> None:
    with pytest.raises(ConfigurationError, match=rf"deeplabv3plus with model\.encoder={encoder} "):
        build(architecture="deeplabv3plus", encoder=encoder)


@pytest.mark.parametrize("settings", [{"encoder_depth": 6}, {"decoder_channels": [8, 8]}])
def test_depths_and_widths_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        build(**settings)


def test_a_network_that_cannot_see_the_images_is_refused_when_it_is_built() -> None:
    build(architecture="pan", encoder="resnet18", encoder_depth=5, seen_sizes=[[192, 512]])
    with pytest.raises(
        ConfigurationError, match=r"cannot see images of 96x160 pixels.*task\.window"
    ):
        build(architecture="pan", encoder="resnet18", encoder_depth=5, seen_sizes=[[96, 160]])
