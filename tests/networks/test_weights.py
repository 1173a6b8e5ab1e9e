"""The rule of model.weights, with files made here; hubs are in test_published.py."""

from __future__ import annotations

import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from capsule_inspection.contracts import ConfigurationError, WeightsError
from capsule_inspection.networks import weights
from capsule_inspection.networks.classifier import (
    BuiltNetwork,
    build_custom_resnet,
    build_timm,
    build_torchvision,
)
from capsule_inspection.networks.published import PublishedWeights


@pytest.fixture(autouse=True)
def offline_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "none")


def small(*, weights: str, num_classes: int = 3, **settings: Any) -> BuiltNetwork:
    given = {"depths": [1, 1], "width": 8, **settings}
    return build_custom_resnet(num_classes=num_classes, weights=weights, **given)


def state(num_classes: int = 3, **settings: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return small(weights="none", num_classes=num_classes, **settings).network.state_dict()


def bare_timm(num_classes: int = 1000) -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(7)
    return timm.create_model("test_resnet", num_classes=num_classes).state_dict()


def timm_with(choice: str) -> BuiltNetwork:
    return build_timm(name="test_resnet", num_classes=3, weights=choice)


def test_none_is_random_and_silent(caplog: pytest.LogCaptureFixture) -> None:
    assert small(weights="none").weights.source == "random"
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_path_is_loaded_and_recorded(tmp_path: Path, suffix: str) -> None:
    import hashlib

    path = tmp_path / f"我 of, (mine)={suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    built = small(weights=str(path))
    assert built.weights.source == "file"
    assert built.weights.path == str(path)
    assert built.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for key, value in state().items():
        assert torch.equal(built.network.state_dict()[key], value), key


def test_a_runs_checkpoint_gives_its_network_and_the_photographs_seen(tmp_path: Path) -> None:
    content = {
        "state_dict": {f"network.{key}": value for key, value in state().items()}
        | {"metric.confusion": torch.zeros(3, 3)},
        "seen_sha256": ["aa", "bb"],
        "epoch": 3,
        "optimizer_states": [{"lr": 0.1}],
    }
    torch.save(content, tmp_path / "best.ckpt")
    built = small(weights=str(tmp_path / "best.ckpt"))
    assert built.weights.seen == frozenset({"aa", "bb"})
    assert torch.equal(built.network.get_parameter("head.weight"), state()["head.weight"])


def test_the_photographs_seen_are_read_from_safetensors_too(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(), path, metadata={"seen_sha256": json.dumps(["aa"])})
    assert small(weights=str(path)).weights.seen == frozenset({"aa"})


def test_a_head_of_other_classes_starts_anew_with_an_info(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state(num_classes=5), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO):
        built = small(weights=str(tmp_path / "w.pth"))
    assert built.network.head.weight.shape == (3, 16)
    assert "head starts anew" in caplog.text
    stem = "backbone.stem.0.0.weight"
    assert torch.equal(built.network.state_dict()[stem], state(num_classes=5)[stem])


def test_files_of_wrapped_networks_are_understood(tmp_path: Path) -> None:
    wrapped = {"model": {f"module._orig_mod.{key}": value for key, value in state().items()}}
    torch.save(wrapped, tmp_path / "w.pth")
    built = small(weights=str(tmp_path / "w.pth"))
    assert torch.equal(built.network.get_parameter("head.weight"), state()["head.weight"])


def test_a_network_of_other_width_is_refused_with_shapes_and_remedy(tmp_path: Path) -> None:
    torch.save(state(width=16), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"other shape: .*stem.*instead of.*more.*width"):
        small(weights=str(tmp_path / "w.pth"))


def test_a_deeper_network_is_refused_with_unexpected_layers(tmp_path: Path) -> None:
    torch.save(state(depths=[2, 1]), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"unexpected: backbone\.stages\.0\.1.*depths"):
        small(weights=str(tmp_path / "w.pth"))


def test_another_architecture_is_refused_as_such(tmp_path: Path) -> None:
    torch.save(bare_timm(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"missing.*unexpected.*another architecture"):
        small(weights=str(tmp_path / "w.pth"))


class RunsCode:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


def test_a_pickle_that_carries_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    torch.save({"weight": RunsCode()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"refused.*could run code.*safetensors"):
        small(weights=str(tmp_path / "w.pth"))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(WeightsError, match="refused"):
        small(weights=str(tmp_path / "plain.pth"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_named_as_such(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError, match="cut short or damaged"):
        small(weights=str(path))


def test_a_missing_file_is_an_error_that_names_it() -> None:
    with pytest.raises(WeightsError, match=r"nowhere/w\.pth.*does not exist"):
        small(weights="nowhere/w.pth")


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    content = {"state_dict": {f"network.{key}": value for key, value in state().items()}}
    torch.save({**content, "seen_sha256": ["aa"]}, best)
    built = small(weights=str(tmp_path / "run"))
    assert (built.weights.path, built.weights.seen) == (str(best), frozenset({"aa"}))
    assert torch.equal(built.network.get_parameter("head.weight"), state()["head.weight"])


def test_a_folder_without_a_checkpoint_is_refused_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(WeightsError, match=r"elsewhere: model\.weights expects a file, found a"):
        small(weights=str(tmp_path / "elsewhere"))


def test_another_way_to_fit_a_file_is_taken_where_a_network_has_one(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pth")
    network = small(weights="none").network
    fitted = []

    def fit(network: torch.nn.Module, state: dict[str, torch.Tensor], *, where: str) -> None:
        fitted.append((network, sorted(state), where))

    published = PublishedWeights(name="custom_resnet")
    path = str(tmp_path / "w.pth")
    before = network.get_parameter("head.weight").clone()
    record = weights.load_weights(network, choice=path, published=published, fit=fit)
    assert record.source == "file"
    assert fitted == [(network, sorted(state()), path)]
    assert torch.equal(network.get_parameter("head.weight"), before)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").touch()
    with pytest.raises(WeightsError, match=r"safetensors.*found '\.onnx'"):
        small(weights=str(tmp_path / "w.onnx"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="found list"):
        small(weights=str(tmp_path / "list.pth"))


def test_a_mistyped_choice_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.weights=imagnet.*mean imagenet"):
        small(weights="imagnet")


def test_auto_without_any_weights_warns_so_that_nobody_misses_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    built = timm_with("auto")
    assert built.weights.source == "random"
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "RANDOM WEIGHTS" in record.getMessage()
    assert "weights/test_resnet.safetensors" in record.getMessage()
    assert record.getMessage().count("\n") >= 5


def test_imagenet_without_any_weights_says_what_to_put_where(tmp_path: Path) -> None:
    expected = r"HF_HUB_OFFLINE.*timm/test_resnet\.r160_in1k.*weights/test_resnet\.safetensors"
    with pytest.raises(WeightsError, match=expected):
        timm_with("imagenet")


def test_imagenet_of_a_network_without_published_weights_is_an_error() -> None:
    with pytest.raises(WeightsError, match="no ImageNet weights of custom_resnet are published"):
        small(weights="imagenet")


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
@pytest.mark.parametrize("name", ["test_resnet.pth", "test_resnet.r160_in1k.safetensors"])
def test_a_bare_file_in_the_weights_folder_is_imagenet(
    tmp_path: Path, choice: str, name: str
) -> None:
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / name
    save_file(bare_timm(), path) if path.suffix == ".safetensors" else torch.save(bare_timm(), path)
    built = timm_with(choice)
    assert built.weights.source == "imagenet"
    loaded = built.network.state_dict()["backbone.model.layer1.0.conv1.weight"]
    assert torch.equal(loaded, bare_timm()["layer1.0.conv1.weight"])


def test_the_folder_of_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("weights", "elsewhere"):
        (tmp_path / folder).mkdir()
        torch.save(bare_timm(), tmp_path / folder / "test_resnet.pth")
    monkeypatch.setenv("CAPSULE_WEIGHTS", str(tmp_path / "elsewhere"))
    assert timm_with("imagenet").weights.path == str(tmp_path / "elsewhere" / "test_resnet.pth")
    monkeypatch.setenv("CAPSULE_WEIGHTS", str(tmp_path / "missing"))
    with pytest.raises(WeightsError, match="CAPSULE_WEIGHTS"):
        timm_with("imagenet")


def test_a_damaged_local_file_is_an_error_even_for_auto(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "test_resnet.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=r"weights/test_resnet\.pth.*damaged"):
        timm_with("auto")


def test_auto_falls_back_to_the_weights_that_the_project_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "brought")
    (tmp_path / "brought").mkdir()
    save_file(state(num_classes=6), tmp_path / "brought" / "custom_resnet.safetensors")
    built = small(weights="auto")
    assert built.weights.source == "painted"
    stem = "backbone.stem.0.0.weight"
    assert torch.equal(built.network.state_dict()[stem], state(num_classes=6)[stem])
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_painted_takes_what_the_project_brings_even_where_imagenet_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "brought")
    for folder in ("brought", "weights"):
        (tmp_path / folder).mkdir()
    save_file(state(num_classes=6), tmp_path / "brought" / "custom_resnet.safetensors")
    save_file(state(num_classes=6), tmp_path / "weights" / "custom_resnet.safetensors")
    built = small(weights="painted")
    assert built.weights.source == "painted"
    assert built.weights.path == str(tmp_path / "brought" / "custom_resnet.safetensors")


def test_painted_of_a_network_that_the_project_brings_nothing_for_names_those_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "BROUGHT", tmp_path)
    for name in ("resnet18", "efficientnet_b0"):
        (tmp_path / f"{name}.safetensors").touch()
    expected = r"no weights for custom_resnet, only for efficientnet_b0, resnet18\."
    with pytest.raises(WeightsError, match=expected):
        small(weights="painted")


def test_auto_starts_from_random_where_the_brought_weights_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights, "BROUGHT", tmp_path)
    save_file(state(width=16), tmp_path / "custom_resnet.safetensors")
    assert small(weights="auto").weights.source == "random"
    assert "other shape" in caplog.text


def test_files_without_batch_counters_are_loaded(tmp_path: Path) -> None:
    old = {k: v for k, v in bare_timm().items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    assert timm_with(str(tmp_path / "old.pth")).weights.source == "file"


def test_a_transformers_positions_are_resized_to_the_image(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pth")
    built = build_timm(
        name="test_vit", num_classes=3, weights=str(tmp_path / "vit.pth"), image_size=(64, 192)
    )
    assert built.network(torch.zeros(1, 3, 64, 192)).shape == (1, 3)


def test_a_bare_torchvision_file_of_1000_classes_is_loaded(tmp_path: Path) -> None:
    from torchvision import models

    bare = models.get_model("shufflenet_v2_x0_5", weights=None).state_dict()
    torch.save(bare, tmp_path / "w.pth")
    built = build_torchvision(
        name="shufflenet_v2_x0_5", num_classes=3, weights=str(tmp_path / "w.pth")
    )
    loaded = built.network.state_dict()["backbone.model.conv5.0.weight"]
    assert torch.equal(loaded, bare["conv5.0.weight"])
