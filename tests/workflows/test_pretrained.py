"""Weights that a run saves for others: complete, in half precision, with a card."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from quick import content
from safetensors import safe_open
from safetensors.torch import save

from capsule_inspection.models.base import Model
from capsule_inspection.models.factory import build_custom_resnet
from capsule_inspection.models.model_card import ModelCard, read_card
from capsule_inspection.models.weights import RANDOM
from capsule_inspection.types import (
    DataIndex,
    Estimate,
    RunError,
    Sample,
    WeightsError,
    WeightsRecord,
)
from capsule_inspection.workflows import pretrained
from capsule_inspection.workflows.factory import refuse_training_images
from capsule_inspection.workflows.pretrained import (
    find_name,
    find_source,
    save_weights_with_card,
    to_half_precision,
)

METRICS = {"test/accuracy": Estimate(0.9, 0.8, 0.95, 40)}
RECORD: dict[str, Any] = {
    **dict.fromkeys(("epochs", "monitor", "training_time_s", "hardware", "git_commit")),
    "command": ["/somewhere/train.py", "model=custom_resnet", "data.root=my data"],
    "data": {"images": {"train": 1, "val": 1, "test": 1}, "fingerprint": "f"},
    "best_epoch": 1,
    "training_samples": 12,
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
    stages = ("train", "val", "test", "calibration")
    rows = (Sample(f"{x}.png", 0, None, f"sha of {x}", 9, 9, 9, 9, "", x) for x in stages)
    return SimpleNamespace(index=DataIndex(Path(), ("good", "crack", "poke"), tuple(rows)))


def trained() -> Model:
    """A network with weights and statistics that no initialisation has."""
    torch.manual_seed(1)
    network = build_custom_resnet(num_classes=3, weights="none", depths=[1, 1], width=8).model
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return network.eval()


def keep(folder: Path, config: DictConfig | None = None, initial: WeightsRecord = RANDOM) -> Path:
    save_weights_with_card(
        folder,
        trained(),
        config=settings() if config is None else config,
        data=images(),
        initial=initial,
        record=RECORD,
        metrics=METRICS,
    )
    return folder / "weights.safetensors"


def card_of(path: Path) -> ModelCard:
    card = read_card(path)
    assert card is not None
    return card


def test_a_model_with_the_weights_gives_the_runs_logits(tmp_path: Path) -> None:
    path = keep(tmp_path)
    built = build_custom_resnet(num_classes=3, weights=str(path), depths=[1, 1], width=8)
    image = torch.randn(4, 3, 32, 96)
    with torch.no_grad():
        wanted, found = trained()(image), built.model.eval()(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=0)
    assert not torch.equal(found, wanted)


def test_floating_point_is_halved_where_its_values_fit_and_the_rest_is_left() -> None:
    kept = to_half_precision(trained().state_dict())
    kinds = {key.rpartition(".")[2]: value.dtype for key, value in kept.items()}
    assert kinds["weight"] == kinds["running_var"] == torch.float16
    assert kinds["num_batches_tracked"] == torch.int64
    for value in (65520.0, -7e4):
        state = {"fits": torch.tensor([65504.0]), "layer.weight": torch.tensor([0.0, value])}
        kept = to_half_precision(state)
        assert kept["fits"].dtype == torch.float16
        assert torch.equal(kept["layer.weight"], state["layer.weight"])
    for value in (float("nan"), float("inf")):
        with pytest.raises(RunError, match=r"save_weights=true: layer\.weight has .*not finite"):
            to_half_precision({"layer.weight": torch.tensor([0.0, value])})
    shared = torch.ones(2, 3, 4, 4, dtype=torch.float16)
    last = shared.to(memory_format=torch.channels_last)
    assert save(to_half_precision({"a": shared, "b": shared, "c": last}))


def test_the_card_describes_the_weights(tmp_path: Path) -> None:
    card = card_of(keep(tmp_path))
    assert (card.name, card.source, card.training_hashes) == ("custom_resnet", "synthetic", ())
    assert card.command == "python train.py model=custom_resnet 'data.root=my data'"
    assert card.classes == ("good", "crack", "poke")
    assert card.metrics == {key: asdict(value) for key, value in METRICS.items()}
    assert card.training["training_samples"] == 12
    assert card.training["best_epoch"] == 1
    assert card.training["initial_weights"] == "random"
    assert card.data["seed"] == 1000
    assert "/private" not in (tmp_path / "weights.json").read_text(encoding="utf-8")
    assert card.licence.startswith("MIT. Trained on synthetic images only")


def test_hashes_of_images_that_trained_or_selected_are_in_card_and_file(tmp_path: Path) -> None:
    initial = WeightsRecord("file", "/x", training_hashes=frozenset({"aa"}))
    for name, data, record, training, selection in (
        ("own", "mvtec", WeightsRecord("file", "/x"), ["sha of train"], ["sha of val"]),
        ("initial", "synthetic", initial, ["aa"], []),
    ):
        (tmp_path / name).mkdir()
        path = keep(tmp_path / name, settings(data), record)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["training_hashes"]) == training
        assert json.loads(metadata["selection_hashes"]) == selection
        card = card_of(path)
        assert [*card.training_hashes] == training
        assert [*card.selection_hashes] == selection
        assert card.source == "file"
        assert not card.licence.startswith("MIT")


def test_weights_can_be_validated_on_the_split_that_they_come_from(tmp_path: Path) -> None:
    path = keep(tmp_path, settings("mvtec"))
    built = build_custom_resnet(num_classes=3, weights=str(path), depths=[1, 1], width=8)
    index = images().index
    refuse_training_images(built.weights, index)
    swapped = [
        replace(s, split={"val": "test", "test": "val"}.get(s.split, s.split))
        for s in index.samples
    ]
    with pytest.raises(WeightsError, match="selected on 1 images"):
        refuse_training_images(built.weights, replace(index, samples=tuple(swapped)))


def test_source_and_name_are_those_of_data_and_network() -> None:
    for data, first, expected in (
        ("synthetic", "random", "synthetic"),
        ("synthetic", "synthetic", "synthetic"),
        ("synthetic", "imagenet", "imagenet_synthetic"),
        ("synthetic", "imagenet_synthetic", "imagenet_synthetic"),
        ("synthetic", "file", "file"),
        ("folder", "random", "file"),
        ("folder", "synthetic", "file"),
    ):
        assert find_source(settings(data), WeightsRecord(first)) == expected, (data, first)
    initial = WeightsRecord("synthetic", training_hashes=frozenset({"aa"}))
    assert find_source(settings("synthetic"), initial) == "file"
    unet = {"name": "unet", "architecture": "unet", "encoder": "autoencoder"}
    assert find_name(settings()) == "custom_resnet"
    assert find_name(settings(name="resnet18.a1_in1k")) == "resnet18"
    assert find_name(settings(**unet)) == "unet_autoencoder"


def test_where_writing_fails_earlier_weights_stay_whole_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_halfway(card: ModelCard, path: Path) -> None:
        path.write_text("{", encoding="utf-8")
        raise OSError(28, "No space left on device")

    def fail(self: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "write_card", fail_halfway)
        with pytest.raises(OSError, match="No space"):
            keep(tmp_path)
    assert not [*tmp_path.iterdir()]
    keep(tmp_path)
    before = content(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        keep(tmp_path, settings("folder"))
    assert content(tmp_path) == before
    assert len(before) == 2
