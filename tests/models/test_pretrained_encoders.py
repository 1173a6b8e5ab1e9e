"""Weights of encoders: from files of every format, by the rule of model.weights, without a hub."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import small_cards
import small_segmenter
import timm
import torch
from small_models import saved
from torch import Tensor, nn

from capsule_inspection.models import encoders, weights
from capsule_inspection.models.base import BuiltModel
from capsule_inspection.models.factory import (
    build_autoencoder,
    build_custom_resnet,
    build_segmenter,
    build_timm,
    build_torchvision,
    segmenter_name,
)
from capsule_inspection.models.state_dicts import (
    ENCODER,
    SEGMENTATION_HEAD,
    load_pretrained_encoder,
)
from capsule_inspection.types import WeightsError

pytestmark = pytest.mark.usefixtures("offline")

SETTINGS = {**small_segmenter.SETTINGS, "decoder_channels": [16, 16, 8, 8, 8]}
OURS: dict[str, Any] = {"encoder": "custom_resnet"}
NARROW: dict[str, Any] = {"encoder": "autoencoder", "encoder_options": {"width": 4}}
FIXED: dict[str, Any] = {"num_classes": 3, "weights": "none"}
State = dict[str, Tensor]


def build(**settings: Any) -> BuiltModel:
    torch.manual_seed(1)
    return build_segmenter(**(SETTINGS | settings))


def autoencoder(width: int = 4) -> nn.Module:
    return build_autoencoder(
        name="autoencoder", weights="none", image_size=[64, 96], crop_size=None, depth=5,
        width=width, corruption="synthetic_defects", bottleneck=8, skips="auto", head="auto",
        head_width=4,
    ).model  # fmt: skip


def custom(depths: tuple[int, ...] = (1, 1, 1, 1), width: int = 8) -> nn.Module:
    return build_custom_resnet(depths=depths, width=width, **FIXED).model


def marked(network: nn.Module) -> State:
    """The network's state with numbers that no initialisation has, each its own."""
    generator = torch.Generator().manual_seed(5)
    return {
        key: torch.rand(value.shape, generator=generator) + 3.0
        if value.is_floating_point()
        else torch.full_like(value, 7)
        for key, value in network.state_dict().items()
    }


def saved_run(state: State, name: str = "best.ckpt") -> str:
    """A checkpoint as a run writes it, with its metrics and the images seen."""
    tensors = {f"network.{key}": value for key, value in state.items()}
    tensors["val_pixels.confmat"] = torch.zeros(4, 4)
    return saved({"state_dict": tensors, "training_hashes": ["aa", "bb"], "epoch": 3}, name)


def encoder_state(built: BuiltModel) -> State:
    state = built.model.state_dict()
    return {key.removeprefix(ENCODER): value for key, value in state.items() if ENCODER in key}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def assert_fresh(built: BuiltModel, **settings: Any) -> None:
    assert built.weights == weights.RANDOM
    assert_same(built.model.state_dict(), build(**settings).model.state_dict())


SOURCES: dict[str, tuple[Any, dict[str, Any]]] = {
    "timm": (lambda: build_timm(name="resnet18", **FIXED).model, {"encoder": "resnet18"}),
    "torchvision": (
        lambda: build_torchvision(name="resnet18", **FIXED).model, {"encoder": "resnet18"},
    ),
    "custom_resnet": (
        lambda: custom((2, 1, 1, 1)),
        OURS | {"encoder_options": {"width": 8, "depths": [2, 1, 1, 1]}},
    ),
    "autoencoder": (autoencoder, NARROW),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_of_another_task_gives_its_encoder_and_its_hashes(source: str) -> None:
    make, settings = SOURCES[source]
    state = marked(make())
    best = saved_run(state, "run/checkpoints/best.ckpt")
    built = build(**settings, weights=best)
    assert (built.weights.source, built.weights.path) == ("file", best)
    assert built.weights.sha256 == hashlib.sha256(Path(best).read_bytes()).hexdigest()
    assert built.weights.training_hashes == frozenset({"aa", "bb"})
    own = "encoder." if source == "autoencoder" else "backbone."
    expected = {k.removeprefix(own): v for k, v in state.items() if k.startswith(own)}
    assert_same(encoder_state(built), expected)
    assert build(**settings, weights="run").weights == built.weights  # the folder of the run


def test_stages_beyond_the_encoders_depth_are_left_in_the_file() -> None:
    state, short = marked(custom()), {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}
    built = build(**OURS, **short, encoder_options={"width": 8}, weights=saved(state))
    found = encoder_state(built)
    assert {key.split(".")[1] for key in found if key.startswith("stages")} == {"0", "1"}
    assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in found.items())


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_050", "test_efficientnet"])
def test_an_encoder_from_a_file_of_timm_gives_timms_maps(name: str) -> None:
    """timm joins names by underscores in its feature networks."""
    bare = timm.create_model(name).eval()
    for module in bare.modules():  # statistics that are not those of a new network
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    network = build(encoder=name, weights=saved(bare.state_dict())).model.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = bare.forward_intermediates(image, intermediates_only=True)
        found = network.model.encoder(image)
    for mine, theirs in zip(found[-4:], wanted[-4:], strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("settings", [OURS, {"architecture": "fpn", "decoder_channels": "auto"}])
def test_a_whole_model_of_the_same_architecture_is_restored(settings: dict[str, Any]) -> None:
    state = marked(build(**settings).model)
    built = build(**settings, weights=saved_run(state))
    assert_same(built.model.state_dict(), state)
    assert built.model.has_pretrained_decoder


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_channels": [8, 8, 8, 8, 8]},
        {"architecture": "linknet", "decoder_channels": "auto"},
    ],
)
def test_only_the_encoder_is_loaded_from_a_model_with_another_decoder(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = marked(build(num_classes=6).model)
    built = build(**settings, weights=saved_run(state))
    assert "the decoder is initialised" in caplog.text
    assert not built.model.has_pretrained_decoder
    expected = dict(build(**settings).model.state_dict())
    expected |= {key: value for key, value in state.items() if key.startswith(ENCODER)}
    assert_same(built.model.state_dict(), expected)


@pytest.mark.parametrize("settings", [{"classes": "binary"}, {"num_classes": 9}])
def test_for_other_classes_each_defect_starts_as_the_mean_of_the_files_defects(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = marked(build(num_classes=6).model)
    built = build(**settings, weights=saved_run(state))
    assert "classes of defects are learnt again" in caplog.text
    assert built.model.has_pretrained_decoder
    for key, value in built.model.state_dict().items():
        if not key.startswith(SEGMENTATION_HEAD):
            assert torch.equal(value, state[key]), key
            continue
        assert len(value) == settings.get("num_classes", 2)
        assert torch.equal(value[0], state[key][0])
        for of_defect in value[1:]:
            assert torch.allclose(of_defect, state[key][1:].mean(dim=0))


RESHAPED = r"other shape: stem\.0\.0\.weight \(8, 3, 7, 7\) instead of \(16, 3, 7, 7\)"
NOTHING = r"none of its \d+ layers is one of the encoder test_resnet.*model\.encoder"


@pytest.mark.parametrize(
    ("make", "settings", "expected"),
    [
        (custom, OURS, rf"w\.pth.*{RESHAPED}"),
        (lambda: autoencoder(8), NARROW, r"other shape: blocks\.0\.0\.weight"),
        (lambda: custom((1, 1), 16), OURS, r"missing: stages\.2\.0\.branch"),
        (autoencoder, {}, NOTHING),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_layers_and_changes_nothing(
    make: Any, settings: dict[str, Any], expected: str
) -> None:
    state, network = marked(make()), build(**settings).model
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=expected):
        load_pretrained_encoder(network, state, where="w.pth")
    assert_same(network.state_dict(), before)
    with pytest.raises(WeightsError, match=expected):
        build(**settings, weights=saved(state))


def test_imagenet_may_be_a_file_in_the_users_folder() -> None:
    bare = marked(timm.create_model("test_resnet"))
    older = {key: v for key, v in bare.items() if not key.endswith("num_batches_tracked")}
    path = saved(older, "weights/test_resnet.r160_in1k.safetensors")
    built = build(weights="auto")
    assert (built.weights.source, built.weights.path) == ("imagenet", path)
    found = encoder_state(built)["model.layer1.0.conv1.weight"]
    assert torch.equal(found, bare["layer1.0.conv1.weight"])
    # The library's own encoders are found by their name, and are loaded from a path too.
    state = marked(build(encoder="mobilenet_v2").model.model.encoder)
    path = saved(state, "weights/mobilenet_v2.safetensors")
    for choice in ("imagenet", path):
        assert_same(encoder_state(build(encoder="mobilenet_v2", weights=choice)), state)


def test_published_weights_have_an_address_and_a_name_for_local_files() -> None:
    for name, repository in (
        ("test_resnet", "timm/test_resnet.r160_in1k"),
        ("resnet18.tv_in1k", "timm/resnet18.tv_in1k"),
        ("mobileone_s0", "timm/mobileone_s0.apple_in1k"),
        ("mobilenet_v2", "smp-hub/mobilenet_v2.imagenet"),
    ):
        found = encoders.find_hub_weights(name)
        assert found.local_names[0] == name
        assert f"/{repository}/" in found.files[0].url
    for encoder in encoders.OWN:
        with pytest.raises(WeightsError, match=f"no ImageNet weights of {encoder} are published"):
            build(encoder=encoder, weights="imagenet")


@pytest.mark.parametrize("encoder", ["test_resnet", "autoencoder", "custom_resnet"])
def test_auto_without_any_weights_is_random_and_warns_where_some_are_published(
    encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert_fresh(build(encoder=encoder, weights="auto"), encoder=encoder)
    warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warned) == (encoder == "test_resnet")
    assert all(f"{encoder} STARTS FROM RANDOM WEIGHTS (model.weights=auto)" in w for w in warned)


def bundle(name: str, **settings: Any) -> State:
    """Bundle weights of a model with these settings."""
    state = marked(build(**(OURS | settings)).model)
    saved(state, f"bundled/{name}.safetensors")
    return state


def test_auto_and_synthetic_take_bundled_weights_those_of_the_whole_model_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = "no bundled weights for unet_custom_resnet or custom_resnet"
    with pytest.raises(WeightsError, match=expected):
        build(**OURS, weights="synthetic")
    bundle("custom_resnet")
    for choice in ("auto", "synthetic"):
        built = build(**OURS, weights=choice)
        assert built.weights.path == str(tmp_path / "bundled" / "custom_resnet.safetensors")
    state = bundle("unet_custom_resnet")
    for choice in ("auto", "synthetic"):
        built = build(**OURS, weights=choice)
        assert built.weights.source == "synthetic"
        assert_same(built.model.state_dict(), state)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_auto_is_random_with_a_warning_where_bundled_weights_do_not_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    narrow = {"encoder_options": {"width": 8}}
    bundle("unet_custom_resnet")
    built = build(**OURS, **narrow, weights="auto")
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    words = ("STARTS FROM RANDOM WEIGHTS", "other shape")
    assert all(word in record.getMessage() for word in words)
    assert_fresh(built, **OURS, **narrow)


def test_a_card_must_be_of_the_whole_model_or_of_its_encoder(tmp_path: Path) -> None:
    network, path = build(**OURS).model, tmp_path / "w.safetensors"
    for name in ("unet_custom_resnet", "custom_resnet"):
        small_cards.save_with_card(network, path, name=name)
        assert build(**OURS, weights=str(path)).weights.source == "synthetic"
    for name in ("unet_autoencoder", "resnet18", "fpn_custom_resnet"):
        small_cards.save_with_card(network, path, name=name)
        expected = rf"of {name}, as their card says; expected .*unet_custom_resnet or custom_resnet"
        with pytest.raises(WeightsError, match=expected):
            build(**OURS, weights=str(path))
    # An autoencoder has a normalisation of its own, which is accepted.
    small_cards.save_with_card(autoencoder(), path, name="autoencoder")
    assert build(**NARROW, weights=str(path)).weights.source == "synthetic"


def test_names_of_whole_models_have_no_tag_and_no_capitals() -> None:
    assert segmenter_name("Unet", "resnet18.tv_in1k") == "unet_resnet18"
    assert segmenter_name("fpn", "tu-resnet18") == "fpn_resnet18"
