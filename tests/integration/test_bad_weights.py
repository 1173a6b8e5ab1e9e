"""Weights that may not be used; how files and hubs are read is in tests/models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from quick import QUICK, QUICK_DATA, check_error, content
from small import Cli

from capsule_inspection.types import (
    ConfigurationError,
    DataIndex,
    Sample,
    WeightsError,
    WeightsRecord,
)
from capsule_inspection.workflows import factory, train

Compose = Callable[..., DictConfig]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def settings_of(home: Path) -> list[str]:
    """Those of the finished run, with the network's."""
    data = ["data=mvtec", f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'cache'}"]
    return [*QUICK, *data]


def test_a_pickle_with_code_is_refused_and_not_executed(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    path, trap, run = tmp_path / "weights.pth", tmp_path / "executed", tmp_path / "run"
    torch.save({"head.weight": Trap(trap)}, path)
    given = [f"model.weights={path}", f"hydra.run.dir={run}"]
    result = cli("train", *settings_of(finished_home), *given)
    check_error(result, str(path), "could run code", "safetensors")
    assert not trap.exists()
    assert not run.exists()


def test_weights_trained_on_the_test_images_are_refused(
    compose: Compose, finished_home: Path, tmp_path: Path
) -> None:
    before = content(finished_home / "run")
    best = finished_home / "run/checkpoints/best.ckpt"
    given = [*settings_of(finished_home), f"model.weights={best}"]
    with pytest.raises(WeightsError, match=r"were trained on .* images.*split=manifest") as caught:
        train._prepare(compose("train", *given, "split.seed=5"), tmp_path, None, None)
    assert str(best) in str(caught.value)
    built = train._prepare(compose("train", *given), tmp_path, None, None)
    assert built.weights.source == "file"
    assert content(finished_home / "run") == before


def test_no_evaluated_image_may_be_a_training_image_of_the_weights() -> None:
    splits = ("train", "val", "calibration", "test")
    rows = tuple(Sample(f"{x}.png", 0, None, x, 9, 9, 9, 9, "", x) for x in splits)
    index = DataIndex(Path(), ("good",), rows)
    known = WeightsRecord("file", "/w", training_hashes=frozenset({"train", "of elsewhere"}))
    factory.refuse_training_images(known, index)
    for split in splits[1:]:
        record = WeightsRecord("file", "/w", training_hashes=frozenset({split}))
        with pytest.raises(WeightsError, match=rf"on 1 images.*such as {split}\.png"):
            factory.refuse_training_images(record, index)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("model=timm", "model.name=resnt18"), "resnet18"),
        (("model=timm", "model.name=test_resnet", "+model.options.foo=1"), "foo"),
        (("model=torchvision", "model.name=resnet"), "resnet18"),
        (("model=custom_resnet", "model.weights=imagnet"), "imagenet"),
    ],
)
def test_a_model_that_a_library_does_not_have_is_an_error_with_suggestions(
    compose: Compose, settings: tuple[str, ...], expected: str
) -> None:
    config = compose("train", *QUICK_DATA, *settings)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        factory.build_model(config, num_classes=3)
    assert caught.value.exit_status == 2
    assert "Error in call to target" not in str(caught.value)  # which is how Hydra opens
