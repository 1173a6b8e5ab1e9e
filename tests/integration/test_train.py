"""train.py: what a run leaves behind, and that the same seed gives the same."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from omegaconf import DictConfig
from small import REPOSITORY, SMALL, SMALL_NETWORK, Door

from capsule_inspection.data import splits
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.networks.base import Network
from capsule_inspection.networks.custom_resnet import Bottleneck
from capsule_inspection.networks.losses import class_weights, log_prior
from capsule_inspection.runs.machine import Choices
from capsule_inspection.tasks import optimizers, schedulers

RUN = "outputs/classification"


def only_run(folder: Path) -> Path:
    (record,) = folder.rglob("run.json")
    return record.parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_time(path: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(path)]


def test_a_run_leaves_every_file_of_the_contract(door: Door, tmp_path: Path) -> None:
    answer = door("train", *SMALL, *SMALL_NETWORK)
    assert answer.status == 0, answer.err
    run = only_run(tmp_path)
    assert run.parent == tmp_path / RUN / "custom_resnet"
    for name in [
        "config.yaml",
        "split.csv",
        "metrics.csv",
        "metrics.json",
        "predictions.csv",
        "train.log",
        "appearance.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures/curves.png",
        "figures/confusion_matrix.png",
        "figures/explanations.png",
        "explanations.npz",
        "report.html",
    ]:
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents.*"))
    assert not list(run.rglob("*.part"))

    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["weights"]["source"] == "random"
    assert record["epochs"] == 2

    predicted = rows(run / "predictions.csv")
    split = rows(run / "split.csv")
    appearance = json.loads((run / "appearance.json").read_text(encoding="utf-8"))
    assert appearance["count"] == sum(row["split"] == "train" for row in split)
    assert appearance["sizes"] == {"96x96": appearance["count"]}
    held_out = [row for row in split if row["split"] in ("val", "test")]
    assert sorted(int(row["index"]) for row in predicted) == sorted(
        int(row["index"]) for row in held_out
    )
    for row in predicted:
        shares = [float(value) for key, value in row.items() if key.startswith("p_")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert float(row["score"]) == pytest.approx(1 - float(row["p_good"]), abs=1e-5)
    assert len(list((run / "images").iterdir())) == len(predicted)

    figures = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    right = [row["label"] == row["prediction"] for row in predicted if row["split"] == "test"]
    assert figures["test/accuracy"]["value"] == pytest.approx(sum(right) / len(right))
    assert figures["test/accuracy"]["n"] == len(right)
    assert "Run folder:" in answer.out

    assert not (run / "maps.npz").exists()  # it would say that the run is of another task
    defects = {int(row["index"]): row["label"] for row in predicted
               if row["split"] == "test" and row["label"] != "good"}  # fmt: skip
    with np.load(run / "explanations.npz") as stored:
        assert stored["index"].tolist() == list(defects)
        assert stored["maps"].shape == stored["masks"].shape == (len(defects), 32, 96)
        assert stored["maps"].dtype == np.float16
        assert set(stored["maps"].max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert figures["test/pointing_game"]["n"] == len(defects)
    cracks = list(defects.values()).count("crack")
    assert figures["test/pointing_game/crack"]["n"] == cracks
    assert 0 < figures["test/pointing_game_chance"]["value"] < 1
    assert not any(key.startswith("val/pointing") for key in figures)
    assert "highest point of the map" in answer.out
    assert "looked at the defect in" in (run / "report.html").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_to_the_last_bit(door: Door, tmp_path: Path) -> None:
    for name in ("a", "b"):
        answer = door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / name}")
        assert answer.status == 0, answer.err
    a, b = tmp_path / "a", tmp_path / "b"
    assert without_time(a / "metrics.csv") == without_time(b / "metrics.csv")
    assert (a / "predictions.csv").read_bytes() == (b / "predictions.csv").read_bytes()
    assert (a / "split.csv").read_bytes() == (b / "split.csv").read_bytes()
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / 'c'}", "seed=1")
    assert without_time(a / "metrics.csv") != without_time(tmp_path / "c" / "metrics.csv")
    assert (a / "split.csv").read_bytes() == (tmp_path / "c" / "split.csv").read_bytes()


def test_checkpoints_hold_tensors_and_plain_values_only(door: Door, tmp_path: Path) -> None:
    assert door("train", *SMALL, *SMALL_NETWORK).status == 0
    for name in ("best", "last"):
        checkpoint = torch.load(only_run(tmp_path) / f"checkpoints/{name}.ckpt", weights_only=True)
        assert checkpoint["inspection"]["classes"][0] == "good"
        assert len(checkpoint["seen_sha256"][0]) == 64


ARRIVED: dict[str, Callable[[Any], bool]] = {
    "task.sampling=natural": lambda of: of.data.settings.sampling == "natural",
    "task.logit_adjustment=1.0": lambda of: torch.allclose(
        of.task.loss.log_prior, log_prior(of.data.class_counts())
    ),
    "task.label_smoothing=0.1": lambda of: of.task.loss.label_smoothing == 0.1,
    "task.loss=focal": lambda of: of.task.loss.gamma == 2,
    "task.class_weights=effective": lambda of: torch.allclose(
        of.task.loss.class_weights, class_weights(of.data.class_counts(), "effective")
    ),
    "task.mixup=0.4": lambda of: of.data.settings.mixup == 0.4 and of.data.mix is not None,
    "callbacks=none": lambda of: not callbacks(of, EarlyStopping, EMAWeightAveraging),
    "callbacks=no_ema": lambda of: not callbacks(of, EMAWeightAveraging),
    "callbacks.early_stopping.patience=1": lambda of: callbacks(of, EarlyStopping)[0].patience == 1,
    "optimizer=sgd": lambda of: of.task.learning.optimizer.func is torch.optim.SGD,
    "optimizer=adam": lambda of: of.task.learning.optimizer.func is torch.optim.Adam,
    "optimizer=timm": lambda of: of.task.learning.optimizer.func is optimizers.timm_optimizer,
    "optimizer.name=lamb": lambda of: type(of.trainer.optimizers[0]).__name__ == "Lamb",
    "optimizer=torch": lambda of: of.task.learning.optimizer.func is optimizers.torch_optimizer,
    "optimizer.name=NAdam": lambda of: type(of.trainer.optimizers[0]) is torch.optim.NAdam,
    "scheduler=cosine": lambda of: of.task.learning.schedule.func is schedulers.cosine,
    "scheduler=none": lambda of: of.task.learning.schedule.func is schedulers.constant,
    "scheduler=plateau": lambda of: of.task.learning.schedule.func is schedulers.plateau,
    "finetune=head_first": lambda of: of.task.learning.tuning.head_epochs > 0,
    "finetune.head_epochs=1": lambda of: of.task.learning.tuning.head_epochs == 1,
    "finetune=head_only": lambda of: of.task.learning.tuning.head_epochs == -1,
    "finetune=layerwise": lambda of: of.task.learning.tuning.layer_decay == 0.75,
    "split=kfold": lambda of: len(of.data.indices("test")) == len(of.data.labels) // 5,
    "split.fold=4": lambda of: of.data.indices("test") == fold_of(of, 4),
    "trainer.precision=bf16-mixed": lambda of: of.trainer.precision == "bf16-mixed",
    "trainer.channels_last=false": lambda of: not of.data.settings.channels_last,
    "data.roi=none": lambda of: rows_cut_out(of) == {(0, 96)},
    "data.roi=[8,24,88,72]": lambda of: rows_cut_out(of) == {(24, 72)},
    "data.augmentation.noise=0.05": lambda of: of.data.settings.augmentation.noise == 0.05,
    "model.pool=average_max": lambda of: of.task.network.backbone.own_pool.kind == "average_max",
    "model.block=bottleneck": lambda of: any(
        isinstance(module, Bottleneck) for module in of.task.network.modules()
    ),
}
"""What a setting has come to, in what was built of it."""


def callbacks(of: SimpleNamespace, *kinds: type) -> list[Any]:
    return [callback for callback in of.trainer.callbacks if isinstance(callback, kinds)]


def fold_of(of: SimpleNamespace, fold: int) -> list[int]:
    """Test images of a fold, with the settings of conf/split/kfold.yaml."""
    found = splits.kfold(of.data.index, folds=5, fold=fold, val_fraction=0.15, seed=0)
    return [row for row, record in enumerate(found.records) if record.split == "test"]


def rows_cut_out(of: SimpleNamespace) -> set[tuple[int, ...]]:
    """First and last row of what was cut out of the photographs."""
    return {(y0, y1) for _, y0, _, y1 in np.asarray(of.data.dataset.cache.boxes).tolist()}


@pytest.mark.parametrize(
    "settings",
    [
        ["task.sampling=natural", "task.logit_adjustment=1.0", "task.label_smoothing=0.1"],
        ["task.loss=focal", "task.class_weights=effective", "callbacks=none"],
        ["task.mixup=0.4", "optimizer=sgd", "scheduler=cosine"],
        [
            "callbacks=no_ema",
            "callbacks.early_stopping.patience=1",
            "optimizer=adam",
            "scheduler=none",
        ],
        ["finetune=head_first", "finetune.head_epochs=1", "scheduler=plateau"],
        ["finetune=head_only", "optimizer=timm", "optimizer.name=lamb"],
        ["finetune=layerwise", "optimizer=torch", "optimizer.name=NAdam"],
        ["split=kfold", "split.fold=4", "trainer.precision=bf16-mixed"],
        ["data.roi=none", "trainer.channels_last=false", "model.pool=average_max"],
        ["data.roi=[8,24,88,72]", "model.block=bottleneck", "data.augmentation.noise=0.05"],
    ],
    ids=lambda settings: settings[0],
)
def test_each_choice_trains_and_arrives(
    door: Door, built: SimpleNamespace, settings: list[str]
) -> None:
    answer = door("train", *SMALL, *SMALL_NETWORK, *settings)
    assert answer.status == 0, answer.err
    for setting in settings:
        assert ARRIVED[setting](built), setting


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the next training is built of: its task, data and trainer."""
    from capsule_inspection.runs import building

    found = SimpleNamespace()
    make_task, make_trainer = building.build_task, building.build_trainer

    def build_task(config: DictConfig, network: Network, data: InspectionDataModule) -> Any:
        found.task, found.data = make_task(config, network, data), data
        return found.task

    def build_trainer(config: DictConfig, choices: Choices, **parts: Any) -> Any:
        found.trainer = make_trainer(config, choices, **parts)
        return found.trainer

    monkeypatch.setattr(building, "build_task", build_task)
    monkeypatch.setattr(building, "build_trainer", build_trainer)
    return found


def test_averaging_changes_what_is_validated_and_kept_and_nothing_of_the_learning(
    door: Door, tmp_path: Path
) -> None:
    for name in ("default", "no_ema"):
        settings = [f"callbacks={name}", "task.epochs=4", f"hydra.run.dir={tmp_path / name}"]
        answer = door("train", *SMALL, *SMALL_NETWORK, *settings)
        assert answer.status == 0, answer.err
    averaged, plain = (rows(tmp_path / name / "metrics.csv") for name in ("default", "no_ema"))
    assert [row["train/loss"] for row in averaged] == [row["train/loss"] for row in plain]
    assert averaged[-1]["val/loss"] != plain[-1]["val/loss"]
    kept, left = (
        torch.load(tmp_path / name / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        for name in ("default", "no_ema")
    )
    assert kept.keys() == left.keys()
    assert not torch.equal(kept["network.head.weight"], left["network.head.weight"])


def test_the_head_alone_learns_where_it_should(door: Door, tmp_path: Path) -> None:
    door("train", *SMALL, *SMALL_NETWORK, "finetune=head_only", "task.epochs=3")
    run = only_run(tmp_path)
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    fresh = tmp_path / "fresh"
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={fresh}", "optimizer.lr=1e-12")
    first = torch.load(fresh / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    changed = {
        key
        for key in first
        if first[key].is_floating_point()
        and "running" not in key
        and not torch.allclose(first[key], last[key], atol=1e-6)
    }
    assert changed
    assert all(key.startswith("network.head") for key in changed)


def test_figures_of_the_origins_split_are_called_optimistic(door: Door, tmp_path: Path) -> None:
    answer = door("train", *SMALL, *SMALL_NETWORK, "split=origin")
    assert answer.status == 0, answer.err
    assert "Optimistic" in answer.out
    run = only_run(tmp_path)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["optimistic"] is True
    figures = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert figures["test/accuracy"] == figures["val/accuracy"]


def test_a_frozen_split_is_used_again(door: Door, tmp_path: Path) -> None:
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / 'a'}", "split.seed=5")
    answer = door(
        "train",
        *SMALL,
        *SMALL_NETWORK,
        "split=manifest",
        f"split.path={tmp_path / 'a' / 'split.csv'}",
        f"hydra.run.dir={tmp_path / 'b'}",
    )
    assert answer.status == 0, answer.err
    frozen = [(row["path"], row["split"]) for row in rows(tmp_path / "a" / "split.csv")]
    assert frozen == [(row["path"], row["split"]) for row in rows(tmp_path / "b" / "split.csv")]


def test_a_sweep_names_its_jobs_and_survives_a_failing_one(door: Door, tmp_path: Path) -> None:
    answer = door(
        "train", "-m", *SMALL, *SMALL_NETWORK[1:], "model=custom_resnet", "seed=3",
        "optimizer.lr=0.001,0.01", "data.image_size=[32,96],[4000,12]",
    )  # fmt: skip
    assert (tmp_path / "outputs" / "sweeps").is_dir(), answer.err
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    jobs = sorted(path.parent.name for path in sweep.glob("*/job.json"))
    assert jobs[0] == "00_lr0.001_image_size-32-96"
    assert len(jobs) == 4
    statuses = [
        json.loads((sweep / job / "run.json").read_text(encoding="utf-8"))["status"]
        for job in jobs
        if (sweep / job / "run.json").is_file()
    ]
    assert statuses == ["finished", "finished"]
    assert answer.status == 1
    assert "2 of the 4 jobs of this sweep did not finish" in answer.err


def test_weights_of_a_run_are_refused_where_they_have_seen_the_test_images(
    door: Door, tmp_path: Path
) -> None:
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / 'a'}")
    weights = f"model.weights={tmp_path / 'a' / 'checkpoints' / 'best.ckpt'}"
    again = door("train", *SMALL, *SMALL_NETWORK, weights, "task.epochs=1")
    assert again.status == 0, again.err
    other = door("train", *SMALL, *SMALL_NETWORK, weights, "split.seed=9")
    assert other.status == 1
    assert "these weights were trained on" in other.err


def test_tensorboard_has_curves_pictures_configuration_and_hparams(
    door: Door, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert door("train", *SMALL, *SMALL_NETWORK).status == 0
    events = EventAccumulator(str(only_run(tmp_path)))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "val/balanced_accuracy", "optimizer/learning_rate"} <= set(
        tags["scalars"]
    )
    assert [event.step for event in events.Scalars("val/loss")] == [0, 1]
    assert {"train/augmented_images", "results/confusion_matrix", "results/worst_mistakes"} <= set(
        tags["images"]
    )
    assert "hparams/test/balanced_accuracy" in tags["scalars"]
    assert any(tag.startswith("configuration") for tag in tags["tensors"])


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path, drawn_folder: Path) -> None:
    run = tmp_path / "run"
    data = [f"data.root={drawn_folder / 'drawn'}", f"data.cache_folder={drawn_folder / 'cache'}"]
    settings = [setting for setting in SMALL if setting != "trainer=cpu"]
    device = ["trainer=ddp", "trainer.accelerator=cpu", f"hydra.run.dir={run}"]
    answer = subprocess.run(
        [sys.executable, REPOSITORY / "train.py", *settings, *SMALL_NETWORK, *data, *device],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(rows(run / "metrics.csv")) == 2
    split = rows(run / "split.csv")
    held_out = [row for row in split if row["split"] in ("val", "test")]
    assert len(rows(run / "predictions.csv")) == len(held_out)
