"""What is shown before a training begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.types import DataIndex, Sample, WeightsRecord
from capsule_inspection.workflows import overview
from capsule_inspection.workflows.hardware import RuntimeConfig

Compose = Callable[..., Any]
RUNTIME = RuntimeConfig("cpu", "32-true", True, 2)


def rows_of(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """The facts that were logged, by their names."""
    lines = "\n".join(caplog.messages).splitlines()
    caplog.clear()
    return {line[:12].rstrip(): line[12:] for line in lines}


def index_of(*splits: tuple[str, int], groups: Sequence[str] = ()) -> DataIndex:
    """An index of images with these splits and labels."""
    samples = tuple(
        Sample(f"{i}.png", label, None, str(i), 8, 8, 1, 1, groups[i] if groups else str(i), split)
        for i, (split, label) in enumerate(splits)
    )
    return DataIndex(Path("/data"), ("good", "crack"), samples)


def prepare(caplog: pytest.LogCaptureFixture, config: Any, index: DataIndex, **more: Any) -> Any:
    settings = {
        "weights": WeightsRecord("synthetic", "/w/resnet18.safetensors"),
        "num_parameters": 11_400_000,
        "runtime": RUNTIME,
        "finished_epochs": 0,
        **more,
    }
    overview.print_preparation(index, config=config, **settings)
    return rows_of(caplog)


def test_the_first_facts_come_from_the_configuration(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = compose("train", "resume=/runs/a b", "data.root=drawn", "task.image_size=[64,160]",
                     "task.epochs=3", "seed=7", "task.batch_size=5")  # fmt: skip
    overview.print_settings(config)
    rows = rows_of(caplog)
    assert list(rows) == ["Resuming", "Task", "Data", "Classes", "Training"]
    assert rows["Resuming"] == "/runs/a b"
    assert rows["Task"] == f"classification with model={config.model.name}"
    assert rows["Data"] == f"data=synthetic, {Path('drawn').absolute()}"
    assert rows["Classes"].startswith("good 219, crack 23")
    assert rows["Training"] == "3 epochs, batches of 5 images of 64x160 pixels, seed 7"
    config.data.name = "mvtec"
    overview.print_settings(config)
    assert "Classes" not in rows_of(caplog)


def test_the_other_facts_come_with_the_images_and_the_network(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = compose("train", "split=kfold", "split.fold=2", "task.epochs=50")
    index = index_of(("train", 0), ("train", 1), ("val", 0), ("test", 1), ("test", 1))
    rows = prepare(caplog, config, index)
    assert rows == {
        "Split": "kfold, fold 2: train 2 (1 defect); val 1 (no defects); test 2 (2 defects)",
        "Network": "11.4 million parameters",
        "Weights": "synthetic, /w/resnet18.safetensors",
        "Computing": "cpu, precision 32-true, 2 threads",
        "Best epoch": "the highest val/balanced_accuracy, smoothed over epochs",
        "Stops": "after 40 epochs without a better one",
    }
    config = compose("train", "split=holdout", "callbacks=none", "model=autoencoder")
    grouped = index_of(("train", 0), ("train", 0), ("val", 0), groups=("a", "a", "b"))
    rows = prepare(caplog, config, grouped, weights=WeightsRecord("random"), num_parameters=6254,
                   finished_epochs=3)  # fmt: skip
    assert rows["Split"].endswith("val 1 (no defects); 2 parts of one or more images")
    assert rows["Network"] == "6,254 parameters"
    assert rows["Weights"] == "random"
    installed = WeightsRecord("imagenet", "/lib/lite0.pth", package="lite0-model 0.1.0")
    assert prepare(caplog, config, index, weights=installed)["Weights"] == (
        "imagenet, lite0-model 0.1.0"
    )
    assert rows["Best epoch"] == "the lowest val/loss, smoothed over epochs"
    assert rows["Goes on"] == "with epoch 4"
    assert "Stops" not in rows
    for epochs, stops in ((40, False), (41, True)):
        config = compose("train", "callbacks=no_ema", f"task.epochs={epochs}")
        assert ("Stops" in prepare(caplog, config, grouped)) is stops
    config = compose("train", "trainer.max_epochs=-1", "trainer.max_steps=9", "resume=/a")
    assert "Stops" in prepare(caplog, config, grouped)
    overview.print_settings(config)
    assert rows_of(caplog)["Training"].startswith("batches of ")


def test_a_job_of_a_sweep_and_a_further_process_are_brief(
    compose: Compose, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    config = compose("train", "resume=/runs/a", "split=holdout")
    monkeypatch.setattr(overview, "is_sweep_job", lambda: True)
    overview.print_settings(config)
    assert list(rows_of(caplog)) == ["Run folder", "Task"]
    assert list(prepare(caplog, config, index_of(("train", 0)))) == ["Split", "Network", "Weights"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    overview.print_settings(config)
    assert rows_of(caplog) == {}
