"""The rule of model.weights, with files made here; hubs are in test_hub.py."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_models import saved
from torchvision import models

from capsule_inspection.integrity import file_sha256, seal
from capsule_inspection.models.base import BuiltModel
from capsule_inspection.models.factory import (
    build_custom_resnet,
    build_timm,
    build_torchvision,
)
from capsule_inspection.types import ConfigurationError, RunError, WeightsError

pytestmark = pytest.mark.usefixtures("offline")
State = dict[str, torch.Tensor]
STEM = "backbone.stem.0.0.weight"


def small(*, weights: str, num_classes: int = 3, **settings: Any) -> BuiltModel:
    given = {"depths": [1, 1], "width": 8, **settings}
    return build_custom_resnet(num_classes=num_classes, weights=weights, **given)


def state(num_classes: int = 3, **settings: Any) -> State:
    torch.manual_seed(7)
    return small(weights="none", num_classes=num_classes, **settings).model.state_dict()


def bare_timm() -> State:
    torch.manual_seed(7)
    return timm.create_model("test_resnet").state_dict()


def timm_with(choice: str) -> BuiltModel:
    return build_timm(name="test_resnet", num_classes=3, weights=choice)


def assert_holds(built: BuiltModel, expected: State) -> None:
    found = built.model.state_dict()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_a_path_is_loaded_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    assert small(weights="none").weights.source == "random"
    assert not caplog.records
    for suffix in (".safetensors", ".pth", ".pt"):
        path = saved(state(), f"我 of, (mine)={suffix}")
        built = small(weights=path)
        assert (built.weights.source, built.weights.path) == ("file", path)
        assert built.weights.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert_holds(built, state())


def test_a_runs_checkpoint_gives_its_weights_and_hashes() -> None:
    tensors = {f"network.{key}": value for key, value in state().items()}
    tensors["metric.confusion"] = torch.zeros(3, 3)
    content = {
        "state_dict": tensors,
        "training_hashes": ["aa", "bb"],
        "optimizer_states": [{"lr": 1}],
    }
    best = saved(content, "run/checkpoints/best.ckpt")
    for choice in (best, "run"):  # a run folder stands for its best checkpoint
        built = small(weights=choice)
        assert (built.weights.path, built.weights.training_hashes) == (
            best,
            frozenset({"aa", "bb"}),
        )
        assert_holds(built, state())
    save_file(state(), "w.safetensors", metadata={"training_hashes": json.dumps(["cc"])})
    assert small(weights="w.safetensors").weights.training_hashes == frozenset({"cc"})


def test_a_runs_checkpoint_is_compared_with_its_record() -> None:
    best = Path(saved({"state_dict": {f"network.{k}": v for k, v in state().items()}},
                      "run/checkpoints/best.ckpt"))  # fmt: skip
    for digest, expected in ((file_sha256(best), None), ("0" * 64, "name the file itself")):
        Path("run/run.json").write_text(json.dumps({"files": {"checkpoints/best.ckpt": digest}}))
        if expected is None:
            small(weights="run")
        else:
            with pytest.raises(RunError, match=expected):
                small(weights="run")
    assert small(weights=str(best)).weights.source == "file"
    damaged = json.dumps(seal({"files": {"checkpoints/best.ckpt": "0" * 64}})).replace("fil", "fim")
    for content in ("[" * 100_000, damaged):
        Path("run/run.json").write_text(content)
        with pytest.raises(WeightsError, match=r"run\.json: cannot be read"):
            small(weights="run")


def test_a_head_of_other_classes_is_initialised_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = saved(state(num_classes=5))
    with caplog.at_level(logging.INFO):
        built = small(weights=path)
    assert built.model.head.weight.shape == (3, 16)
    assert "head is initialised" in caplog.text
    assert_holds(built, {STEM: state(num_classes=5)[STEM]})


def test_files_of_wrapped_and_of_bare_models_are_loaded() -> None:
    wrapped = {"model": {f"module._orig_mod.{key}": value for key, value in state().items()}}
    assert_holds(small(weights=saved(wrapped)), state())
    without = {k: v for k, v in bare_timm().items() if not k.endswith("num_batches_tracked")}
    assert timm_with(saved(without)).weights.source == "file"
    bare = models.get_model("shufflenet_v2_x0_5", weights=None).state_dict()
    built = build_torchvision(name="shufflenet_v2_x0_5", num_classes=3, weights=saved(bare))
    assert_holds(built, {"backbone.model.conv5.0.weight": bare["conv5.0.weight"]})
    # The positions of a transformer are resized to the image.
    path = saved(timm.create_model("test_vit").state_dict())
    built = build_timm(name="test_vit", num_classes=3, weights=path, image_size=(64, 192))
    assert built.model(torch.zeros(1, 3, 64, 192)).shape == (1, 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: state(width=16), r"other shape: .*stem.*instead of.*more.*width"),
        (lambda: state(depths=[2, 1]), r"unexpected: backbone\.stages\.0\.1.*depths"),
        (bare_timm, r"missing.*unexpected.*another architecture"),
        (lambda: [1, 2], "found list"),
        (lambda: {"epoch": 3}, "found no tensors"),
        (lambda: {**state(), "training_hashes": [1]}, "'training_hashes' must be a list"),
    ],
)
def test_a_file_of_another_model_or_none_is_refused(content: Any, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        small(weights=saved(content()))


def with_layer(value: torch.Tensor) -> Callable[[], State]:
    return lambda: {**state(), STEM: value}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (with_layer(torch.full((8, 3, 3, 3), torch.nan)), "expected finite numbers.*stem.*float32"),
        (with_layer(torch.full((8, 3, 3, 3), torch.inf)), "expected finite numbers.*diverged"),
        (with_layer(torch.zeros(8, 3, 3, 3, dtype=torch.cfloat)), "finite numbers.*complex64"),
        (with_layer(torch.zeros(8, 3, 3, 3, dtype=torch.float8_e5m2)), "finite.*float8_e5m2"),
        (with_layer(torch.zeros(8, 3, 3, 3, dtype=torch.int64)), "3, 3, 3\\) integers instead of"),
    ],
)
def test_layers_that_are_no_finite_fractions_are_named(
    content: Any, expected: str, suffix: str
) -> None:
    with pytest.raises(WeightsError, match=expected):
        small(weights=saved(content(), f"w{suffix}"))


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [
        ("[" * 200_000, "its metadata 'training_hashes' is not JSON"),
        ("[NaN]", "'training_hashes' must be a list of SHA-256 sums"),
        ("{}", "'training_hashes' must be a list of SHA-256 sums"),
    ],
)
def test_odd_metadata_of_safetensors_are_refused(hashes: str, expected: str) -> None:
    save_file(state(), "w.safetensors", metadata={"training_hashes": hashes})
    with pytest.raises(WeightsError, match=expected):
        small(weights="w.safetensors")


class RunsCode:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


def test_a_pickle_that_carries_code_is_refused_and_not_executed() -> None:
    with pytest.raises(WeightsError, match=r"refused.*could run code.*safetensors"):
        small(weights=saved({"weight": RunsCode()}))
    Path("plain.pth").write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(WeightsError, match="refused"):
        small(weights="plain.pth")
    assert not Path("executed").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_a_file_cut_short_is_named_as_such(suffix: str) -> None:
    path = Path(saved(state(), f"w{suffix}"))
    whole = path.read_bytes()
    for kept in (0.99, 0.3, 0.0):
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(WeightsError, match="cut short or damaged"):
            small(weights=str(path))


def test_paths_that_are_no_file_of_weights_and_mistyped_choices_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"nowhere/w\.pth.*does not exist"):
        small(weights="nowhere/w.pth")
    Path("elsewhere").mkdir()
    with pytest.raises(WeightsError, match=r"elsewhere: model\.weights expects a file or a run"):
        small(weights="elsewhere")
    Path("w.onnx").touch()
    with pytest.raises(WeightsError, match=r"safetensors.*found '\.onnx'"):
        small(weights="w.onnx")
    save_file(state(), "w.safetensors", metadata={"training_hashes": "["})
    with pytest.raises(WeightsError, match="'training_hashes' is not JSON"):
        small(weights="w.safetensors")
    with pytest.raises(ConfigurationError, match=r"model\.weights=imagnet.*Nearest: imagenet"):
        small(weights="imagnet")


def test_auto_without_any_weights_warns_conspicuously(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert timm_with("auto").weights.source == "random"
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "RANDOM WEIGHTS" in record.getMessage()
    assert "weights/test_resnet.safetensors" in record.getMessage()
    assert record.getMessage().count("\n") >= 5


def test_imagenet_without_any_weights_says_what_to_put_where() -> None:
    expected = r"HF_HUB_OFFLINE.*timm/test_resnet\.r160_in1k.*weights/test_resnet\.safetensors"
    with pytest.raises(WeightsError, match=expected):
        timm_with("imagenet")
    with pytest.raises(WeightsError, match="no ImageNet weights of custom_resnet are published"):
        small(weights="imagenet")


@pytest.mark.parametrize("name", ["test_resnet.pth", "test_resnet.r160_in1k.safetensors"])
def test_a_bare_file_in_a_folder_of_weights_is_imagenet_and_the_environments_wins(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    saved(bare_timm(), f"weights/{name}")
    layer = "layer1.0.conv1.weight"
    for choice in ("auto", "imagenet"):
        built = timm_with(choice)
        assert built.weights.source == "imagenet"
        assert_holds(built, {f"backbone.model.{layer}": bare_timm()[layer]})
    other = saved(bare_timm(), f"elsewhere/{name}")
    monkeypatch.setenv("CAPSULE_WEIGHTS", "elsewhere")
    assert timm_with("imagenet").weights.path == other
    Path(other).write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=rf"elsewhere/{name}.*damaged"):
        timm_with("auto")
    monkeypatch.setenv("CAPSULE_WEIGHTS", "missing")
    with pytest.raises(WeightsError, match="CAPSULE_WEIGHTS"):
        timm_with("imagenet")


def test_auto_falls_back_to_bundled_weights_and_synthetic_insists_on_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("resnet18", "efficientnet_b0"):
        saved(state(), f"bundled/{name}.safetensors")
    expected = r"no bundled weights for custom_resnet, only for efficientnet_b0, resnet18\."
    with pytest.raises(WeightsError, match=expected):
        small(weights="synthetic")
    saved(state(num_classes=6), "bundled/custom_resnet.safetensors")
    saved(state(num_classes=6), "weights/custom_resnet.safetensors")
    for choice in ("auto", "synthetic"):
        built = small(weights=choice)
        assert built.weights.source == "synthetic"
        assert built.weights.path == str(tmp_path / "bundled" / "custom_resnet.safetensors")
        assert_holds(built, {STEM: state(num_classes=6)[STEM]})
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    saved(state(width=16), "bundled/custom_resnet.safetensors")
    assert small(weights="auto").weights.source == "random"
    assert "other shape" in caplog.text
