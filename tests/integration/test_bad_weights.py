"""Weights that cannot be had, read or used, and settings that a model does not have."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from quick import ODD_NAME, QUICK, check_refusal, content, record_of
from small import SMALL_NETWORK, Answer, Door

pytestmark = pytest.mark.usefixtures("without_pictures", "offline")

CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights on this machine, and no hub that answers."""
    from huggingface_hub import constants

    from capsule_inspection.networks import weights

    monkeypatch.setenv("HF_ENDPOINT", CLOSED_PORT)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "none")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)


def train(door: Door, home: Path, run: Path, *settings: str) -> Answer:
    """Train on the images of the finished run; the network is the small one, or a given one."""
    network = [setting for setting in settings if setting.startswith("model=")]
    quick = [setting for setting in QUICK if not (network and setting.startswith("model"))]
    own = [f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'cache'}"]
    return door("train", *quick, "data=mvtec", *own, f"hydra.run.dir={run}", *settings)


def check_failed(answer: Answer, run: Path, *expected: str, status: int = 1) -> None:
    check_refusal(answer, *expected, status=status)
    assert record_of(run)["status"] == "failed"
    assert not (run / "checkpoints").exists()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_with_code_is_refused_and_not_executed(
    door: Door, finished_home: Path, tmp_path: Path, plain: bool
) -> None:
    path, trap = tmp_path / "weights.pth", tmp_path / "executed"
    if plain:
        path.write_bytes(pickle.dumps({"head.weight": Trap(trap)}, protocol=2))
    else:
        torch.save({"head.weight": Trap(trap)}, path)
    answer = train(door, finished_home, tmp_path / "run", f"model.weights={path}")
    check_failed(answer, tmp_path / "run", str(path), "could run code", "safetensors")
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_weights_cut_short_are_named(
    door: Door, finished_home: Path, tmp_path: Path, suffix: str
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights{suffix}"
    tensors = {"head.weight": torch.ones(100, 100)}
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-2000])
    answer = train(door, finished_home, tmp_path / "run", f"model.weights={path}")
    check_failed(answer, tmp_path / "run", str(path), "cut short or damaged")


def test_missing_weights_are_named(door: Door, finished_home: Path, tmp_path: Path) -> None:
    path = tmp_path / ODD_NAME / "weights.pth"
    answer = train(door, finished_home, tmp_path / "run", f"model.weights={path}")
    check_failed(answer, tmp_path / "run", str(path), "model.weights", "does not exist")


def test_weights_of_another_network_are_named(
    door: Door, finished_home: Path, tmp_path: Path
) -> None:
    path = tmp_path / ODD_NAME / "best.ckpt"
    path.parent.mkdir()
    shutil.copy(finished_home / "run/checkpoints/best.ckpt", path)
    answer = train(door, finished_home, tmp_path / "run", f"model.weights={path}", "model.width=12")
    check_failed(answer, tmp_path / "run", str(path), "do not fit this network")


def test_weights_that_have_seen_the_test_images_are_refused(
    door: Door, finished_home: Path, tmp_path: Path
) -> None:
    before = content(finished_home / "run")
    best = finished_home / "run/checkpoints/best.ckpt"
    settings = [f"model.weights={best}", "split.seed=5"]
    answer = train(door, finished_home, tmp_path / "run", *settings)
    check_failed(answer, tmp_path / "run", str(best), "were trained on", "split=manifest")
    assert content(finished_home / "run") == before


def test_weights_of_a_run_go_on_with_its_split(
    door: Door, finished_home: Path, tmp_path: Path
) -> None:
    run = finished_home / "run"
    split = ["split=manifest", f"split.path={run / 'split.csv'}"]
    weights = f"model.weights={run / 'checkpoints/last.ckpt'}"
    answer = train(door, finished_home, tmp_path / "run", weights, *split)
    assert answer.status == 0, answer.err + answer.out
    assert record_of(tmp_path / "run")["weights"]["source"] == "file"


def test_imagenet_without_a_network_says_what_to_put_where(
    door: Door, finished_home: Path, tmp_path: Path
) -> None:
    settings = ["model=resnet18", "model.weights=imagenet"]
    answer = train(door, finished_home, tmp_path / "run", *settings)
    place = tmp_path / "weights" / "resnet18"
    check_failed(
        answer,
        tmp_path / "run",
        "model.weights=imagenet",
        "resnet18",
        CLOSED_PORT,
        "Download http",
        f"{place}.safetensors",
        f"{place}.pth",
    )


def test_auto_without_a_network_warns_and_starts_from_random(
    door: Door, finished_home: Path, tmp_path: Path
) -> None:
    settings = ["model=timm", "model.name=resnet10t", "model.weights=auto"]
    answer = train(door, finished_home, tmp_path / "run", *settings)
    assert answer.status == 0, answer.err
    assert "resnet10t STARTS FROM RANDOM WEIGHTS" in answer.out
    record = record_of(tmp_path / "run")
    assert record["weights"] == {"source": "random", "path": None, "sha256": None}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model=resnet18", "model.width=8"], "model.width: there is no such setting"),
        ([*SMALL_NETWORK, "model.name=resnet18"], "model=custom_resnet has one network only"),
        ([*SMALL_NETWORK, "model.stem=deep"], "model.stem: there is no such setting"),
        (["model=timm"], "model.name is needed"),
        (["model=timm", "model.name=resnt18"], "resnet18"),
        (["model=torchvision", "model.name=resnet"], "resnet18"),
        (["model=resnet18", "model.weights=none", "+model.options.foo=1"], "foo"),
        ([*SMALL_NETWORK, "model.block=botleneck"], "bottleneck"),
        ([*SMALL_NETWORK, "model.weights=imagnet"], "imagenet"),
        ([*SMALL_NETWORK, "optimizer=torch", "optimizer.name=Adamm"], "Adam"),
        (["model=resnet18", "optimizer=sgd", "optimizer.betas=[0.9,0.9]"], "optimizer.betas"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_a_setting_that_the_choice_does_not_have_is_refused(
    door: Door, finished_home: Path, tmp_path: Path, settings: list[str], expected: str
) -> None:
    answer = train(door, finished_home, tmp_path / "run", *settings)
    check_refusal(answer, expected, status=2)
    assert not (tmp_path / "run" / "checkpoints").exists()
