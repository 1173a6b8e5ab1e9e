"""train.py: what a run leaves behind, and that the same seed gives the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from omegaconf import DictConfig, OmegaConf
from quick import CLASSIFIER, metrics_of, record_of, rows_of, temporary_files
from small import Cli

from capsule_inspection.data import splits
from capsule_inspection.models.custom_resnet import Bottleneck
from capsule_inspection.models.losses.classification import class_weights, log_prior
from capsule_inspection.tasks import optimization
from capsule_inspection.workflows import train
from capsule_inspection.workflows.callbacks import build_callbacks
from capsule_inspection.workflows.trainer import build_trainer

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
CONTRACT = [
    "config.yaml",
    "split.csv",
    "metrics.csv",
    "metrics.json",
    "predictions.csv",
    "train.log",
    "ood.json",
    BEST,
    LAST,
    "figures/training_curves.png",
    "figures/confusion_matrix.png",
    "figures/explanations.png",
    "explanations.npz",
    "report.html",
]


def settings_of(home: Path) -> list[str]:
    """Those of the finished run."""
    data = [f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'cache'}"]
    return [*CLASSIFIER, *data]


def epochs_of(run: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(run, "metrics.csv")]


def weights_in(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / name, weights_only=True)["state_dict"]


def test_a_run_leaves_every_file_of_the_contract(finished_home: Path) -> None:
    run = finished_home / "run"
    for name in CONTRACT:
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents.*"))
    assert not temporary_files(run)
    assert not (run / "maps.npz").exists()  # it would mean that the run is of another task
    record = record_of(run)
    assert record["status"] == "finished"
    assert record["weights"]["source"] == "random"
    assert record["epochs"] == 2
    # What split=auto has become: a run is resumed, evaluated and compared with it.
    assert OmegaConf.load(run / "config.yaml").split.name == "holdout"
    for name in (BEST, LAST):
        checkpoint = torch.load(run / name, weights_only=True)
        assert checkpoint["inspection"]["classes"][0] == "good"
        assert len(checkpoint["training_hashes"][0]) == 64


def test_every_image_that_was_held_out_is_predicted_and_counted(finished_home: Path) -> None:
    run = finished_home / "run"
    predicted, split = rows_of(run), rows_of(run, "split.csv")
    held_out = [row["index"] for row in split if row["split"] in ("val", "test")]
    assert sorted(row["index"] for row in predicted) == sorted(held_out)
    assert len(list((run / "images").iterdir())) == len(predicted)
    for row in predicted:
        shares = [float(value) for key, value in row.items() if key.startswith("p_")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert float(row["score"]) == pytest.approx(1 - float(row["p_good"]), abs=1e-5)
    detector = json.loads((run / "ood.json").read_text(encoding="utf-8"))
    assert detector["num_images"] == sum(row["split"] == "train" for row in split)
    assert detector["sizes"] == {"40x40": detector["num_images"]}
    figures = metrics_of(run)
    right = [row["label"] == row["predicted_label"] for row in predicted if row["split"] == "test"]
    assert figures["test/accuracy"]["value"] == pytest.approx(sum(right) / len(right))
    assert figures["test/accuracy"]["n"] == len(right)


def test_where_it_looked_is_kept_and_counted_for_each_test_defect(finished_home: Path) -> None:
    run = finished_home / "run"
    figures = metrics_of(run)
    defects = {
        int(row["index"]): row["label"]
        for row in rows_of(run)
        if row["split"] == "test" and row["label"] != "good"
    }
    with np.load(run / "explanations.npz") as stored:
        assert stored["index"].tolist() == list(defects)
        assert stored["anomaly_map"].shape == stored["masks"].shape == (len(defects), 32, 32)
        assert stored["anomaly_map"].dtype == np.float16
        assert set(stored["anomaly_map"].max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert figures["test/pointing_game"]["n"] == len(defects)
    cracks = list(defects.values()).count("crack")
    assert figures["test/pointing_game/crack"]["n"] == cracks
    assert 0 < figures["test/pointing_game_chance"]["value"] < 1
    assert not any(key.startswith("val/pointing") for key in figures)
    assert "lay on the defect in" in (run / "report.html").read_text(encoding="utf-8")


def test_tensorboard_has_curves_pictures_configuration_and_hparams(finished_home: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(finished_home / "run"))
    events.Reload()
    tags = events.Tags()
    curves = {"train/loss", "val/balanced_accuracy", "optimizer/learning_rate"}
    verdict = [tag for tag in tags["scalars"] if tag.startswith("verdict/")]
    assert curves | {"verdict/balanced accuracy"} <= set(tags["scalars"])
    assert len(verdict) == 6
    cards = sorted({*tags["scalars"], *tags["images"]})
    num_curves = len(cards) - len(verdict) - len(tags["images"])
    groups = [tag.partition("/")[0] for tag in cards]
    assert set(groups[:num_curves]) == {"optimizer", "train", "val"}, "the curves come first"
    assert "custom_scalars__config__" in tags["tensors"]
    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = {"model", "weights", "data", "image_size", "batch_size", "epochs", "lr", "seed"}
    found = HParamsPluginData.FromString(session).session_start_info.hparams
    assert set(found) == settings
    assert found["image_size"].string_value == "32x32"
    assert [event.step for event in events.Scalars("val/loss")] == [1, 2]
    images = {"visual/augmented_images", "visual/confusion_matrix", "visual/misclassified_images"}
    assert images <= set(tags["images"])
    assert any(tag.startswith("configuration") for tag in tags["tensors"])


def test_the_same_seed_gives_the_same_to_the_last_bit_also_where_the_cache_was_damaged(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    shared = finished_home / "cache"
    remembered = [
        path.relative_to(shared)
        for folder in ("decoded", "index", "duplicates")
        for path in (shared / folder).iterdir()
        if path.suffix not in (".lock", ".part")
    ]
    assert {path.parts[0] for path in remembered} == {"decoded", "index", "duplicates"}
    for path in remembered:
        content = (shared / path).read_bytes()
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_bytes(content[: len(content) // 2])
    own = (f"data.cache_folder={cache}", f"hydra.run.dir={run}")
    result = cli("train", *settings_of(finished_home)[:-1], *own)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == f"Run folder  {run}"
    assert lines[1].startswith("Task        classification with model=")
    assert any(line.startswith("defects missed") for line in lines)
    assert [line.split(maxsplit=1)[0] for line in lines[-5:]] == [
        "Verdict:", "Report", "Predict", "Try", "Curves",
    ]  # fmt: skip
    assert lines[-4] == f"Report      {run / 'report.html'}"
    assert lines[-3] == f"Predict     python predict.py run={run} input=path/to/images"
    assert epochs_of(run) == epochs_of(finished_home / "run")
    for name in ("split.csv", "predictions.csv", "metrics.json"):
        assert (run / name).read_bytes() == (finished_home / "run" / name).read_bytes(), name
    first, second = weights_in(run, LAST), weights_in(finished_home / "run", LAST)
    assert all(torch.equal(first[key], second[key]) for key in first.keys() | second.keys())
    assert "all files are read again" in (run / "train.log").read_text(encoding="utf-8")
    decoded = [path for path in remembered if path.parts[0] == "decoded"]
    assert any((cache / path).read_bytes() == (shared / path).read_bytes() for path in decoded)
    assert not temporary_files(cache)


@pytest.fixture
def build(
    compose: Callable[..., DictConfig], finished_home: Path, tmp_path: Path
) -> Callable[..., SimpleNamespace]:
    """All that a training with these settings begins with: its task, data and trainer."""

    def build(*settings: str) -> SimpleNamespace:
        config = compose("train", *settings_of(finished_home), *settings)
        begun = train._prepare(config, tmp_path, None, None)
        callbacks = build_callbacks(config, begun.task, tmp_path, begun.epoch_metrics)
        trainer = build_trainer(config, begun.runtime, callbacks=callbacks, loggers=[])
        return SimpleNamespace(task=begun.task, data=begun.data, trainer=trainer)

    return build


def test_another_seed_begins_elsewhere_with_the_same_split(
    build: Callable[..., SimpleNamespace],
) -> None:
    first, other = (build(f"seed={seed}") for seed in (0, 1))
    assert first.data.index == other.data.index
    assert not torch.equal(first.task.network.head.weight, other.task.network.head.weight)


def optimizer_of(of: SimpleNamespace) -> str:
    parameters = [{"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": 0.1}]
    return type(of.task.optimization.optimizer(parameters)).__name__


def callbacks(of: SimpleNamespace, *kinds: type) -> list[Any]:
    return [callback for callback in of.trainer.callbacks if isinstance(callback, kinds)]


def fold_of(of: SimpleNamespace, fold: int) -> list[int]:
    """Test images of a fold, with the settings of conf/split/kfold.yaml."""
    found = splits.kfold(of.data.index, folds=5, fold=fold, val_fraction=0.15, seed=0)
    return [row for row, record in enumerate(found.samples) if record.split == "test"]


def rows_cut_out(of: SimpleNamespace) -> set[tuple[int, ...]]:
    """First and last row of what was cut out of the images."""
    return {(y0, y1) for _, y0, _, y1 in np.asarray(of.data.dataset.cache.boxes).tolist()}


ARRIVED: dict[str, Callable[[Any], bool]] = {
    "task.sampling=natural": lambda of: of.data.settings.sampling == "natural",
    "task.logit_adjustment=1.0": lambda of: torch.allclose(
        of.task.loss.logit_offset, log_prior(of.data.class_counts())
    ),
    "task.label_smoothing=0.1": lambda of: of.task.loss.label_smoothing == 0.1,
    "task.loss=focal": lambda of: of.task.loss.gamma == 2,
    "task.class_weights=effective": lambda of: torch.allclose(
        of.task.loss.class_weights, class_weights(of.data.class_counts(), "effective")
    ),
    "task.mixup=0.4": lambda of: of.data.settings.mixup == 0.4 and of.data.mixup is not None,
    "callbacks=none": lambda of: not callbacks(of, EarlyStopping, EMAWeightAveraging),
    "callbacks=no_ema": lambda of: not callbacks(of, EMAWeightAveraging),
    "callbacks.early_stopping.patience=1": lambda of: callbacks(of, EarlyStopping)[0].patience == 1,
    "optimizer=sgd": lambda of: of.task.optimization.optimizer.func is torch.optim.SGD,
    "optimizer=adam": lambda of: of.task.optimization.optimizer.func is torch.optim.Adam,
    "optimizer=timm": lambda of: of.task.optimization.optimizer.func is optimization.timm_optimizer,
    "optimizer.name=lamb": lambda of: optimizer_of(of) == "Lamb",
    "optimizer=torch": lambda of: (
        of.task.optimization.optimizer.func is optimization.torch_optimizer
    ),
    "optimizer.name=NAdam": lambda of: optimizer_of(of) == "NAdam",
    "scheduler=cosine": lambda of: (
        of.task.optimization.schedule.func is optimization.cosine_schedule
    ),
    "scheduler=none": lambda of: (
        of.task.optimization.schedule.func is optimization.constant_schedule
    ),
    "scheduler=plateau": lambda of: (
        of.task.optimization.schedule.func is optimization.plateau_schedule
    ),
    "finetune=head_first": lambda of: of.task.optimization.fine_tuning.head_epochs > 0,
    "finetune.head_epochs=1": lambda of: of.task.optimization.fine_tuning.head_epochs == 1,
    # The initial weights are random: the head alone is trained where finetune asks for it only.
    "task.head_epochs=1": lambda of: of.task.optimization.fine_tuning.head_epochs == 0,
    "finetune=head_only": lambda of: of.task.optimization.fine_tuning.head_epochs == -1,
    "finetune=layerwise": lambda of: of.task.optimization.fine_tuning.layer_decay == 0.75,
    "split=kfold": lambda of: len(of.data.indices("test")) == len(of.data.labels) // 5,
    "split.fold=4": lambda of: of.data.indices("test") == fold_of(of, 4),
    "trainer.precision=bf16-mixed": lambda of: of.trainer.precision == "bf16-mixed",
    "trainer.channels_last=false": lambda of: not of.data.settings.channels_last,
    "data.roi=none": lambda of: rows_cut_out(of) == {(0, 40)},
    "data.roi=[10,4,30,36]": lambda of: rows_cut_out(of) == {(4, 36)},
    "data.augmentation.noise=0.05": lambda of: of.data.settings.augmentation.noise == 0.05,
    "model.pool=avgmax": lambda of: of.task.network.backbone.own_pool.pool_type == "avgmax",
    "model.block=bottleneck": lambda of: any(
        isinstance(module, Bottleneck) for module in of.task.network.modules()
    ),
}
"""What a setting has come to, in what was built of it."""


@pytest.mark.parametrize(
    "settings",
    [
        "task.sampling=natural task.logit_adjustment=1.0 optimizer=sgd scheduler=cosine "
        "task.head_epochs=1",
        "task.loss=focal task.class_weights=effective callbacks=none finetune=layerwise",
        "task.mixup=0.4 callbacks=no_ema callbacks.early_stopping.patience=1 optimizer=adam",
        "finetune=head_first finetune.head_epochs=1 scheduler=plateau task.label_smoothing=0.1",
        "finetune=head_only optimizer=timm optimizer.name=lamb scheduler=none data.roi=none",
        "split=kfold split.fold=4 trainer.precision=bf16-mixed optimizer=torch "
        "optimizer.name=NAdam",
        "data.roi=[10,4,30,36] model.block=bottleneck data.augmentation.noise=0.05 "
        "trainer.channels_last=false model.pool=avgmax",
    ],
)
def test_each_choice_arrives(build: Callable[..., SimpleNamespace], settings: str) -> None:
    built = build(*settings.split())
    for setting in settings.split():
        assert ARRIVED[setting](built), setting


def test_averaging_changes_what_is_validated_and_kept_and_nothing_of_the_learning(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    averaged, plain = finished_home / "run", tmp_path / "run"
    given = ("callbacks=no_ema", f"hydra.run.dir={plain}")
    result = cli("train", *settings_of(finished_home), *given)
    assert result.status == 0, result.err
    losses = [[row["train/loss"] for row in epochs_of(run)] for run in (averaged, plain)]
    assert losses[0] == losses[1]
    assert epochs_of(averaged)[-1]["val/loss"] != epochs_of(plain)[-1]["val/loss"]
    kept, left = (weights_in(run, BEST) for run in (averaged, plain))
    assert kept.keys() == left.keys()
    assert not torch.equal(kept["network.head.weight"], left["network.head.weight"])


def test_a_run_goes_on_from_weights_and_split_of_another_and_its_head_alone_learns(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    first, run = finished_home / "run", tmp_path / "run"
    given = [
        *("data=manifest", f"data.path={first / 'split.csv'}"),
        *("split=manifest", f"split.path={first / 'split.csv'}"),
        *(f"model.weights={first / BEST}", "finetune=head_only", f"hydra.run.dir={run}"),
    ]
    result = cli("train", *settings_of(finished_home), *given)
    assert result.status == 0, result.err + result.out
    assert (run / "split.csv").read_bytes() == (first / "split.csv").read_bytes()
    assert record_of(run)["weights"]["source"] == "file"
    before, after = weights_in(first, BEST), weights_in(run, LAST)
    changed = {
        key
        for key in before
        if key.startswith("network.")
        and before[key].is_floating_point()
        and not torch.allclose(before[key], after[key], atol=1e-6)
    }
    assert changed
    assert all(key.startswith("network.head") for key in changed)


def test_figures_of_the_origins_split_are_called_optimistic(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    result = cli("train", *settings_of(finished_home), "split=val_as_test", "task.epochs=1")
    assert result.status == 0, result.err
    assert "Optimistic" in result.out
    (run,) = (tmp_path / "outputs" / "classification" / "custom_resnet").iterdir()
    assert record_of(run)["optimistic"] is True
    figures = metrics_of(run)
    assert figures["test/accuracy"] == figures["val/accuracy"]


def test_a_sweep_names_its_jobs_and_survives_a_failing_one(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    swept = ("optimizer.lr=0.001,-1", "data.image_size=[32,96],[4000,12]")
    result = cli("train", "-m", *settings_of(finished_home), "task.epochs=1", *swept)
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    jobs = sorted(path.parent.name for path in sweep.glob("*/job.json"))
    assert jobs[0] == "00_lr0.001_image_size-32-96"
    assert len(jobs) == 4
    assert [
        record_of(sweep / job)["status"] for job in jobs if (sweep / job / "run.json").is_file()
    ] == ["finished"]
    assert result.status == 1
    assert "3 of the 4 jobs of this sweep did not finish" in result.err
