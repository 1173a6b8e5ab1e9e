"""Weights that a run leaves for others: whole, in half precision, with a card that says it all."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open

from capsule_inspection.contracts import DataIndex, Figure, ImageRecord, RunError, WeightsRecord
from capsule_inspection.networks.base import Network
from capsule_inspection.networks.classifier import build_custom_resnet
from capsule_inspection.networks.weight_cards import WeightsCard, read_card
from capsule_inspection.networks.weights import RANDOM
from capsule_inspection.runs import pretrained
from capsule_inspection.runs.pretrained import halved, keep_weights, network_name, source_of

FIGURES = {"test/accuracy": Figure(0.9, 0.8, 0.95, 40)}
RECORD: dict[str, Any] = {
    "command": ["/somewhere/train.py", "model=custom_resnet", "data.root=my data"],
    "data": {"images": {"train": 1, "val": 1, "test": 1}, "fingerprint": "f"},
    "epochs": 3,
    "best_epoch": 1,
    "monitor": {"key": "val/loss", "value": 0.1},
    "training_time_s": 1.5,
    "images_shown": 12,
    "hardware": {"device": "cpu"},
    "git_commit": None,
    "versions": {"torch": "2.11"},
}


def settings(data: str = "synthetic", **model: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "task": {"name": "classification"},
            "model": {"name": "custom_resnet", "width": 8, **model},
            "data": {"name": data, "root": "/private", "image_size": [32, 96], "seed": 1000},
        }
    )


def images() -> Any:
    """A data module with an image in each part of its split."""
    rows = tuple(
        ImageRecord(f"{stage}.png", 0, None, f"sha of {stage}", 9, 9, 9, 9, "", stage)
        for stage in ("train", "val", "test", "calibration")
    )
    index = DataIndex(Path(), ("good", "crack", "poke"), rows)
    return SimpleNamespace(index=index)


def trained() -> Network:
    """A network with weights and statistics that no initialisation has."""
    torch.manual_seed(1)
    network = build_custom_resnet(num_classes=3, weights="none", depths=[1, 1], width=8).network
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return network.eval()


def keep(folder: Path, config: DictConfig | None = None, first: WeightsRecord = RANDOM) -> Path:
    keep_weights(
        folder,
        trained(),
        config=settings() if config is None else config,
        data=images(),
        first=first,
        record=RECORD,
        figures=FIGURES,
    )
    return folder / "weights.safetensors"


def card_of(path: Path) -> WeightsCard:
    card = read_card(path)
    assert card is not None
    return card


def seen_in(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["seen_sha256"])


def test_a_network_with_the_weights_answers_as_the_run_did(tmp_path: Path) -> None:
    path = keep(tmp_path)
    built = build_custom_resnet(num_classes=3, weights=str(path), depths=[1, 1], width=8)
    image = torch.randn(4, 3, 32, 96)
    with torch.no_grad():
        wanted, found = trained()(image), built.network.eval()(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=0)
    assert not torch.equal(found, wanted)


def test_floating_point_is_halved_and_the_rest_is_left() -> None:
    kept = halved(trained().state_dict())
    kinds = {key.rpartition(".")[2]: value.dtype for key, value in kept.items()}
    assert kinds["weight"] == kinds["running_var"] == torch.float16
    assert kinds["num_batches_tracked"] == torch.int64


@pytest.mark.parametrize("value", [65520.0, -7e4])
def test_a_tensor_beyond_half_precision_stays_as_it_is(value: float) -> None:
    state = {"fits": torch.tensor([65504.0]), "layer.weight": torch.tensor([0.0, value])}
    kept = halved(state)
    assert kept["fits"].dtype == torch.float16
    assert torch.equal(kept["layer.weight"], state["layer.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error_that_names_the_layer(value: float) -> None:
    with pytest.raises(RunError, match=r"save_weights=true: layer\.weight has .*not finite"):
        halved({"layer.weight": torch.tensor([0.0, value])})


def test_tensors_that_are_shared_or_in_another_layout_are_written(tmp_path: Path) -> None:
    from safetensors.torch import save

    shared = torch.ones(2, 3, 4, 4, dtype=torch.float16)
    last = shared.to(memory_format=torch.channels_last)
    assert save(halved({"a": shared, "b": shared, "c": last}))


def test_the_card_tells_what_the_weights_are(tmp_path: Path) -> None:
    card = card_of(keep(tmp_path))
    assert (card.name, card.source, card.seen_sha256) == ("custom_resnet", "painted", ())
    assert card.command == "python train.py model=custom_resnet 'data.root=my data'"
    assert card.classes == ("good", "crack", "poke")
    assert card.figures == FIGURES
    assert card.training["images_shown"] == 12
    assert card.training["best_epoch"] == 1
    assert card.training["began_from"] == "random"
    assert card.data["seed"] == 1000
    assert "/private" not in (tmp_path / "weights.json").read_text(encoding="utf-8")
    assert card.licence.startswith("MIT. Trained on drawn images only")


def test_photographs_that_taught_or_chose_are_named_in_card_and_file(tmp_path: Path) -> None:
    path = keep(tmp_path, settings("mvtec"))
    card = card_of(path)
    assert list(card.seen_sha256) == seen_in(path) == ["sha of train", "sha of val"]
    assert card.source == "file"
    assert not card.licence.startswith("MIT")


def test_what_the_first_weights_had_seen_is_carried_on(tmp_path: Path) -> None:
    first = WeightsRecord("file", path="/x", seen=frozenset({"aa"}))
    path = keep(tmp_path, first=first)
    assert seen_in(path) == ["aa"]
    assert card_of(path).source == "file"


@pytest.mark.parametrize(
    ("data", "first", "expected"),
    [
        ("synthetic", "random", "painted"),
        ("synthetic", "painted", "painted"),
        ("synthetic", "imagenet", "file"),
        ("synthetic", "file", "file"),
        ("folder", "random", "file"),
        ("folder", "painted", "file"),
    ],
)
def test_only_what_has_never_seen_a_photograph_is_painted(
    data: str, first: str, expected: str
) -> None:
    assert source_of(settings(data), WeightsRecord(first)) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, "custom_resnet"),
        ({"name": "resnet18.a1_in1k"}, "resnet18"),
        ({"name": "unet", "architecture": "unet", "encoder": "autoencoder"}, "unet_autoencoder"),
    ],
)
def test_weights_are_named_after_the_network(model: dict[str, str], expected: str) -> None:
    assert network_name(settings(**model)) == expected


def test_nothing_is_left_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(card: WeightsCard, path: Path) -> None:
        path.write_text("{", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "write_card", fail)
    with pytest.raises(OSError, match="No space"):
        keep(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_earlier_weights_stay_whole_where_writing_anew_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keep(tmp_path).read_bytes(), (tmp_path / "weights.json").read_bytes()

    def fail(self: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space"):
            keep(tmp_path, settings("folder"))
    after = (
        (tmp_path / "weights.safetensors").read_bytes(),
        (tmp_path / "weights.json").read_bytes(),
    )
    assert after == before
    assert len([*tmp_path.iterdir()]) == 2
