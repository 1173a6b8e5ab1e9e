"""Weights of encoders: out of files of every kind, by the rule of model.weights, without a hub."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import small_cards
import small_segmenter
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from capsule_inspection.contracts import ConfigurationError, WeightsError
from capsule_inspection.networks import encoders, weights
from capsule_inspection.networks.autoencoder import build_autoencoder
from capsule_inspection.networks.base import BuiltNetwork
from capsule_inspection.networks.classifier import (
    build_custom_resnet,
    build_timm,
    build_torchvision,
)
from capsule_inspection.networks.encoder_weights import ENCODER, HEAD, published_weights, whole_name
from capsule_inspection.networks.segmenter import build_segmenter

SETTINGS = {**small_segmenter.SETTINGS, "decoder_channels": [16, 16, 8, 8, 8]}
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def offline_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network fails, but the hub must not even be asked: it is set offline."""
    from huggingface_hub import constants

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"asked for {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "brought")


def build(**settings: Any) -> BuiltNetwork:
    torch.manual_seed(1)
    return build_segmenter(**(SETTINGS | settings))


def marked(network: torch.nn.Module) -> State:
    """The network's state with numbers that no initialisation has, each its own."""
    generator = torch.Generator().manual_seed(5)
    return {
        key: torch.rand(value.shape, generator=generator) + 3.0
        if value.is_floating_point()
        else torch.full_like(value, 7)
        for key, value in network.state_dict().items()
    }


def encoder_state(built: BuiltNetwork) -> State:
    state = built.network.state_dict()
    return {key.removeprefix(ENCODER): value for key, value in state.items() if ENCODER in key}


def assert_encoder_is(built: BuiltNetwork, expected: Mapping[str, Tensor]) -> None:
    """All layers of the encoder, by the names that its own file has for them."""
    found = encoder_state(built)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def save_run(state: State, path: Path) -> Path:
    """A checkpoint as a run writes it, with its metrics and the photographs seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {f"network.{key}": value for key, value in state.items()}
        | {"val_pixels.confmat": torch.zeros(4, 4)},
        "seen_sha256": ["aa", "bb"],
        "epoch": 3,
    }
    torch.save(content, path)
    return path


def autoencoder(**settings: Any) -> torch.nn.Module:
    usual = {"corruption": "painted", "width": 4, "depth": 5, "bottleneck": 8, "head_width": 4}
    fixed = {"name": "autoencoder", "image_size": [64, 96], "window": None}
    return build_autoencoder(
        weights="none", skips="auto", head="auto", **fixed, **(usual | settings)
    ).network


def test_a_timm_classifier_of_a_run_gives_its_backbone(tmp_path: Path) -> None:
    state = marked(build_timm(name="resnet18", num_classes=3, weights="none").network)
    path = save_run(state, tmp_path / "best.ckpt")
    built = build(encoder="resnet18", weights=str(path))
    assert built.weights.source == "file"
    assert built.weights.path == str(path)
    assert built.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = "backbone."
    assert_encoder_is(
        built, {k.removeprefix(backbone): v for k, v in state.items() if k.startswith(backbone)}
    )


def test_the_photographs_that_a_run_has_seen_are_carried(tmp_path: Path) -> None:
    state = marked(build_timm(name="test_resnet", num_classes=3, weights="none").network)
    built = build(weights=str(save_run(state, tmp_path / "best.ckpt")))
    assert built.weights.seen == frozenset({"aa", "bb"})
    save_file(state, tmp_path / "w.safetensors", metadata={"seen_sha256": json.dumps(["cc"])})
    assert build(weights=str(tmp_path / "w.safetensors")).weights.seen == frozenset({"cc"})


def test_a_torchvision_classifier_gives_an_encoder_of_the_same_layers(tmp_path: Path) -> None:
    state = marked(build_torchvision(name="resnet18", num_classes=3, weights="none").network)
    built = build(
        encoder="resnet18", weights=str(save_run(state, tmp_path / "checkpoints" / "best.ckpt"))
    )
    assert torch.equal(
        encoder_state(built)["model.layer3.1.conv2.weight"],
        state["backbone.model.layer3.1.conv2.weight"],
    )


@pytest.mark.parametrize("depths", [[1, 1, 1, 1], [2, 1, 1, 1]])
def test_a_custom_resnet_gives_its_stem_and_stages(tmp_path: Path, depths: list[int]) -> None:
    settings: dict[str, Any] = {"depths": depths, "width": 8}
    state = marked(build_custom_resnet(num_classes=3, weights="none", **settings).network)
    path = save_run(state, tmp_path / "best.ckpt")
    built = build(encoder="custom_resnet", encoder_options=settings, weights=str(path))
    own = ("backbone.stem.", "backbone.stages.")
    assert_encoder_is(
        built, {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith(own)}
    )


def test_stages_beyond_the_encoders_depth_are_left_in_the_file(tmp_path: Path) -> None:
    state = marked(
        build_custom_resnet(num_classes=3, weights="none", depths=(1, 1, 1, 1), width=8).network
    )
    torch.save(state, tmp_path / "w.pth")
    built = build(
        encoder="custom_resnet",
        encoder_options={"width": 8},
        encoder_depth=3,
        decoder_channels=[8, 8, 8],
        weights=str(tmp_path / "w.pth"),
    )
    found = encoder_state(built)
    assert {key.split(".")[1] for key in found if key.startswith("stages")} == {"0", "1"}
    assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in found.items())


def test_an_autoencoder_gives_its_encoder_and_not_its_heads(tmp_path: Path) -> None:
    state = marked(autoencoder())
    path = save_run(state, tmp_path / "best.ckpt")
    built = build(encoder="autoencoder", encoder_options={"width": 4}, weights=str(path))
    own = "encoder."
    assert any(key.startswith("head.encoder.") for key in state)
    assert_encoder_is(
        built, {k.removeprefix(own): v for k, v in state.items() if k.startswith(own)}
    )


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_050", "test_efficientnet"])
def test_a_bare_file_of_timm_gives_networks_whose_names_are_joined_by_underscores(
    tmp_path: Path, name: str
) -> None:
    bare = marked(timm.create_model(name))
    torch.save(bare, tmp_path / "w.pth")
    built = build(encoder=name, weights=str(tmp_path / "w.pth"))

    def plain(key: str) -> str:
        return key.removeprefix("model.").replace("_", ".")

    by_plain_name = {plain(key): value for key, value in bare.items()}
    found = encoder_state(built)
    assert any(plain(key) != key.removeprefix("model.") for key in found)
    for key, value in found.items():
        assert torch.equal(value, by_plain_name[plain(key)]), key


@pytest.mark.parametrize("name", ["convnext_atto", "test_resnet", "resnet18", "mobileone_s0"])
def test_no_two_layers_of_an_encoder_have_the_same_plain_name(name: str) -> None:
    names = [
        key.removeprefix("model.").replace("_", ".") for key in encoder_state(build(encoder=name))
    ]
    assert len(names) == len(set(names))


def test_a_trained_encoder_answers_as_it_did(tmp_path: Path) -> None:
    """The same maps as timm's own feature network, not only the same tensors."""
    bare = timm.create_model("convnext_atto")
    torch.save(bare.state_dict(), tmp_path / "w.pth")
    built = build(encoder="convnext_atto", weights=str(tmp_path / "w.pth"))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = bare.eval().forward_intermediates(image, intermediates_only=True)
        found = built.network.eval().model.encoder(image)
    for mine, theirs in zip(found[-4:], wanted[-4:], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_bare_encoder_of_the_library_is_loaded(tmp_path: Path) -> None:
    built = build(encoder="mobilenet_v2")
    state = marked(built.network.model.encoder)
    save_file(state, tmp_path / "w.safetensors")
    again = build(encoder="mobilenet_v2", weights=str(tmp_path / "w.safetensors"))
    assert_encoder_is(again, state)


@pytest.mark.parametrize(
    "settings",
    [{}, {"encoder": "custom_resnet", "encoder_options": {"width": 8}}, {"architecture": "fpn"}],
    ids=["timm", "ours", "fpn"],
)
def test_a_whole_network_of_the_same_kind_is_restored(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    if settings.get("architecture") == "fpn":
        settings = settings | {"decoder_channels": "auto"}
    state = marked(build(**settings).network)
    built = build(**settings, weights=str(save_run(state, tmp_path / "best.ckpt")))
    found = built.network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_channels": [8, 8, 8, 8, 8]},
        {"architecture": "linknet", "decoder_channels": "auto"},
    ],
    ids=["decoder", "architecture"],
)
def test_of_a_network_with_another_decoder_the_encoder_is_taken(
    tmp_path: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = marked(build(num_classes=6).network)
    path = str(save_run(state, tmp_path / "best.ckpt"))
    expected = {k.removeprefix(ENCODER): v for k, v in state.items() if k.startswith(ENCODER)}
    built = build(**settings, weights=path)
    assert_encoder_is(built, expected)
    assert "the decoder starts anew" in caplog.text
    assert not built.network.has_learnt
    fresh = build(**settings).network.state_dict()
    for key, value in built.network.state_dict().items():
        assert key.startswith(ENCODER) or torch.equal(value, fresh[key]), key


@pytest.mark.parametrize("settings", [{}, {"classes": "binary"}, {"num_classes": 9}])
def test_of_a_network_of_other_classes_all_is_taken_but_what_tells_defects_apart(
    tmp_path: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state = marked(build(num_classes=6).network)
    built = build(**settings, weights=str(save_run(state, tmp_path / "best.ckpt")))
    assert "which one it is begins anew" in caplog.text
    assert built.network.has_learnt
    for key, value in built.network.state_dict().items():
        if not key.startswith(HEAD):
            assert torch.equal(value, state[key]), key
            continue
        assert len(value) != 6
        assert torch.equal(value[0], state[key][0])
        for of_defect in value[1:]:
            assert torch.allclose(of_defect, state[key][1:].mean(dim=0))


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    state = marked(build_timm(name="test_resnet", num_classes=3, weights="none").network)
    best = save_run(state, tmp_path / "run" / "checkpoints" / "best.ckpt")
    built = build(weights=str(tmp_path / "run"))
    assert built.weights.path == str(best)
    assert torch.equal(
        encoder_state(built)["model.conv1.0.weight"], state["backbone.model.conv1.0.weight"]
    )


def test_files_without_batch_counters_are_loaded(tmp_path: Path) -> None:
    bare = marked(timm.create_model("test_resnet"))
    torch.save(
        {k: v for k, v in bare.items() if not k.endswith("num_batches_tracked")}, tmp_path / "w.pth"
    )
    found = encoder_state(build(weights=str(tmp_path / "w.pth")))
    assert torch.equal(found["model.layer2.0.bn1.weight"], bare["layer2.0.bn1.weight"])


def test_another_width_is_refused_with_layers_and_shapes(tmp_path: Path) -> None:
    state = marked(
        build_custom_resnet(num_classes=3, weights="none", depths=(1, 1, 1, 1), width=8).network
    )
    torch.save(state, tmp_path / "w.pth")
    expected = r"w\.pth.*other shape: stem\.0\.0\.weight \(8, 3, 7, 7\) instead of \(16, 3, 7, 7\)"
    with pytest.raises(WeightsError, match=expected):
        build(encoder="custom_resnet", weights=str(tmp_path / "w.pth"))
    torch.save(marked(autoencoder(width=8)), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"other shape: blocks\.0\.0\.weight"):
        build(encoder="autoencoder", encoder_options={"width": 4}, weights=str(tmp_path / "w.pth"))


def test_a_shallower_network_is_refused_with_the_layers_that_it_lacks(tmp_path: Path) -> None:
    state = marked(
        build_custom_resnet(num_classes=3, weights="none", depths=(1, 1), width=16).network
    )
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"missing: stages\.2\.0\.branch"):
        build(encoder="custom_resnet", weights=str(tmp_path / "w.pth"))


def test_a_file_in_which_nothing_fits_names_the_encoder(tmp_path: Path) -> None:
    torch.save(marked(autoencoder()), tmp_path / "w.pth")
    expected = r"none of its \d+ layers is one of the encoder test_resnet.*model\.encoder"
    with pytest.raises(WeightsError, match=expected):
        build(weights=str(tmp_path / "w.pth"))


def test_nothing_is_changed_by_a_file_that_does_not_fit(tmp_path: Path) -> None:
    from capsule_inspection.networks.encoder_weights import fit_encoder
    from capsule_inspection.networks.segmenter import Segmenter

    network = build(encoder="autoencoder", encoder_options={"width": 4}).network
    assert isinstance(network, Segmenter)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError):
        fit_encoder(network, marked(autoencoder(width=8)), where="w.pth")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
@pytest.mark.parametrize("name", ["test_resnet.pth", "test_resnet.r160_in1k.safetensors"])
def test_a_file_in_the_folder_of_the_environment_is_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, name: str
) -> None:
    bare = marked(timm.create_model("test_resnet"))
    path = tmp_path / "elsewhere" / name
    path.parent.mkdir()
    save_file(bare, path) if path.suffix == ".safetensors" else torch.save(bare, path)
    monkeypatch.setenv("CAPSULE_WEIGHTS", str(path.parent))
    built = build(weights=choice)
    assert (built.weights.source, built.weights.path) == ("imagenet", str(path))
    found = encoder_state(built)
    assert torch.equal(found["model.layer1.0.conv1.weight"], bare["layer1.0.conv1.weight"])


def test_imagenet_of_the_librarys_encoders_is_found_by_their_name(tmp_path: Path) -> None:
    state = marked(build(encoder="mobilenet_v2").network.model.encoder)
    (tmp_path / "weights").mkdir()
    save_file(state, tmp_path / "weights" / "mobilenet_v2.safetensors")
    assert_encoder_is(build(encoder="mobilenet_v2", weights="imagenet"), state)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("test_resnet", r"timm/test_resnet\.r160_in1k.*weights/test_resnet\.safetensors"),
        ("resnet18.tv_in1k", r"timm/resnet18\.tv_in1k.*weights/resnet18\.tv_in1k\.safetensors"),
        ("mobilenet_v2", r"smp-hub/mobilenet_v2\.imagenet.*weights/mobilenet_v2\.safetensors"),
        ("custom_resnet", r"no ImageNet weights of custom_resnet are published"),
        ("autoencoder", r"no ImageNet weights of autoencoder are published"),
    ],
)
def test_imagenet_without_any_weights_says_what_to_put_where(encoder: str, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        build(encoder=encoder, weights="imagenet")


@pytest.mark.parametrize("encoder", ["test_resnet", "mobilenet_v2"])
def test_auto_without_any_weights_is_random_and_warns_so_that_nobody_misses_it(
    encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(encoder=encoder, weights="auto")
    assert built.weights == weights.RANDOM
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"{encoder} STARTS FROM RANDOM WEIGHTS (model.weights=auto)" in record.getMessage()
    assert record.getMessage().count("\n") >= 5
    assert_fresh(built, encoder=encoder)


@pytest.mark.parametrize("encoder", ["autoencoder", "custom_resnet"])
def test_auto_is_random_and_silent_for_our_own_encoders_of_which_nothing_is_published(
    encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(encoder=encoder, weights="auto")
    assert built.weights == weights.RANDOM
    assert not caplog.records
    assert_fresh(built, encoder=encoder)


OURS: dict[str, Any] = {"encoder": "custom_resnet", "decoder_channels": [16, 16, 8, 8, 8]}


def bring(tmp_path: Path, name: str, **settings: Any) -> State:
    """Weights of a network with these settings, as the project would bring them."""
    state = marked(build(**(OURS | settings)).network)
    (tmp_path / "brought").mkdir()
    save_file(state, tmp_path / "brought" / f"{name}.safetensors")
    return state


def test_auto_of_our_own_encoders_takes_the_whole_network_that_the_project_brings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = bring(tmp_path, "unet_custom_resnet")
    built = build(**OURS, weights="auto")
    assert built.weights.source == "painted"
    assert all(torch.equal(v, state[k]) for k, v in built.network.state_dict().items())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_painted_takes_the_whole_network_that_the_project_brings(tmp_path: Path) -> None:
    state = bring(tmp_path, "unet_custom_resnet")
    built = build(**OURS, weights="painted")
    assert built.weights.source == "painted"
    assert all(torch.equal(v, state[k]) for k, v in built.network.state_dict().items())


def test_painted_takes_a_classifier_that_the_project_brings_where_it_brings_no_whole_network(
    tmp_path: Path,
) -> None:
    bring(tmp_path, "custom_resnet")
    built = build(**OURS, weights="painted")
    assert str(built.weights.path).endswith("brought/custom_resnet.safetensors")


def test_painted_of_an_encoder_that_the_project_brings_nothing_for_is_an_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(WeightsError, match="no weights for unet_custom_resnet or custom_resnet"):
        build(**OURS, weights="painted")


def test_auto_of_our_own_encoders_does_not_take_a_classifier_that_the_project_brings(
    tmp_path: Path,
) -> None:
    bring(tmp_path, "custom_resnet")
    assert build(**OURS, weights="auto").weights == weights.RANDOM


def test_auto_with_encoder_options_that_do_not_fit_what_is_brought_is_random_with_an_info(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(tmp_path, "unet_custom_resnet")
    with caplog.at_level(logging.INFO):
        built = build(**OURS, encoder_options={"width": 8}, weights="auto")
    assert built.weights == weights.RANDOM
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "model.encoder_options" in record.getMessage()
    fresh = build(**OURS, encoder_options={"width": 8}).network.state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in built.network.state_dict().items())


def test_auto_warns_where_what_is_brought_does_not_fit_a_network_that_nobody_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(tmp_path, "unet_custom_resnet", encoder_options={"width": 8})
    assert build(**OURS, weights="auto").weights == weights.RANDOM
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "STARTS FROM RANDOM WEIGHTS" in record.getMessage()
    assert "other shape" in record.getMessage()


@pytest.mark.parametrize("name", ["unet_custom_resnet", "custom_resnet"])
def test_a_card_of_the_whole_network_or_of_its_encoder_is_accepted(
    tmp_path: Path, name: str
) -> None:
    built = build(**OURS)
    path = small_cards.save_with_card(built.network, tmp_path / "w.safetensors", name=name)
    assert build(**OURS, weights=str(path)).weights.source == "painted"


def test_a_card_of_an_autoencoder_with_its_own_normalisation_gives_an_encoder(
    tmp_path: Path,
) -> None:
    path = tmp_path / "w.safetensors"
    small_cards.save_with_card(autoencoder(), path, name="autoencoder")
    settings = {"encoder": "autoencoder", "encoder_options": {"width": 4}}
    assert build(**settings, weights=str(path)).weights.source == "painted"


def test_a_card_of_another_segmentation_network_or_encoder_is_refused_by_its_name(
    tmp_path: Path,
) -> None:
    built = build(**OURS)
    for name in ("unet_autoencoder", "resnet18", "fpn_custom_resnet"):
        path = small_cards.save_with_card(built.network, tmp_path / "w.safetensors", name=name)
        expected = rf"of {name}, as their card says; expected .*unet_custom_resnet or custom_resnet"
        with pytest.raises(WeightsError, match=expected):
            build(**OURS, weights=str(path))


def test_a_tag_or_capitals_make_no_other_name_of_a_whole_network() -> None:
    assert whole_name("Unet", "resnet18.tv_in1k") == "unet_resnet18"
    assert whole_name("fpn", "tu-resnet18") == "fpn_resnet18"


def assert_fresh(built: BuiltNetwork, *, encoder: str) -> None:
    fresh = build(encoder=encoder).network.state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in built.network.state_dict().items())


def test_none_is_random_and_silent(caplog: pytest.LogCaptureFixture) -> None:
    assert build().weights == weights.RANDOM
    assert not caplog.records


def test_a_mistyped_choice_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.weights=imagnet.*mean imagenet"):
        build(weights="imagnet")


@pytest.mark.parametrize("name", ["resnet18", "mobileone_s0", "convnext_atto", "mit_b0"])
def test_published_weights_have_a_name_for_local_files_and_an_address(name: str) -> None:
    found = published_weights(name, encoders.resolve(name, {}))
    assert found.local_names[0] == name
    assert found.files
