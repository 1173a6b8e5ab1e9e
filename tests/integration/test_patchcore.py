"""PatchCore, from the command line: one run that all tests share, and small ones made ready."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from agreement import (
    check_agreement,
    evaluate,
    metrics_of_test,
    predict_test_images,
    rows_of_test,
)
from built import Compose, Prepare, drawn_in, evaluate_made, fit, preparing
from quick import check_error, metrics_of, record_of, rows_of
from small import SMALL, Cli

from capsule_inspection.inference import exported
from capsule_inspection.metrics.thresholds import conformal_threshold
from capsule_inspection.models import patchcore
from capsule_inspection.tasks.anomaly_detection.lightning_module import PatchCoreModule
from capsule_inspection.types import ConfigurationError, DataError, WeightsError
from capsule_inspection.workflows import train

PATCHCORE = (
    *(name for name in SMALL if not name.startswith("task.epochs")),
    "model=patchcore",
    "model.encoder=custom_resnet",
    "+model.encoder_options.width=8",
    "model.weights=none",
    "model.coreset_size=64",
)


@pytest.fixture(scope="module")
def home(train_once: Callable[..., Path], shared_folder: Path) -> Path:
    """Folder with a finished run, `run`; shared and read-only. It weights scores by neighbours."""
    root = f"data.root={shared_folder / 'patchcore' / 'drawn'}"
    return train_once("patchcore", *PATCHCORE, "model.num_neighbors=3", root)


@pytest.fixture
def prepare(compose: Compose, drawn_folder: Path, tmp_path: Path) -> Prepare:
    return preparing(compose, tmp_path / "ready", *PATCHCORE, *drawn_in(drawn_folder))


def collect(made: train.Training) -> PatchCoreModule:
    """The pass over the training images, and the selection of the bank."""
    task = made.task
    assert isinstance(task, PatchCoreModule)
    for number, batch in enumerate(made.data.train_dataloader()):
        task.training_step(made.data.transform(batch, training=True, epoch=0), number)
    task.on_validation_epoch_start()
    return task


def test_a_run_holds_what_one_of_an_autoencoder_does_but_no_training(home: Path) -> None:
    run = home / "run"
    record, rows, test = record_of(run), rows_of(run), rows_of_test(run)
    assert record["memory_bank"] == {"patches": 64}
    assert record["threshold"]["rule"] == "conformal"
    assert "corruption" not in record
    assert record["data"]["images"] == {"train": 7, "val": 2, "test": 29, "calibration": 7}
    scores = [float(row["score"]) for row in rows if row["split"] == "calibration"]
    expected = conformal_threshold(np.array(scores), 0.05).value
    assert record["threshold"]["value"] == pytest.approx(expected, rel=1e-6)
    assert {"test/auroc", "test/aupro", "test/recall/crack"} <= metrics_of(run).keys()
    with np.load(run / "maps.npz") as maps:
        assert maps["anomaly_map"].shape == (len(test), 32, 96)
        assert np.isfinite(maps["anomaly_map"]).all()
    epochs = rows_of(run, "metrics.csv")
    assert len(epochs) == 1
    assert float(epochs[0]["val/distance"]) > 0
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "Training    none, one pass over the good images" in log
    assert "best so far" not in log


def test_its_page_says_that_nothing_was_trained(home: Path) -> None:
    page = (home / "run" / "report.html").read_text(encoding="utf-8")
    text = html.unescape(" ".join(re.sub(r"<[^>]*>", " ", page).split()))
    for expected in (
        "Nothing was trained: 64 patches of good images were selected in",
        "Their patches are the memory bank: good ones only.",
        "The features of custom_resnet have random weights",
        "Features with ImageNet weights are usually better: model.encoder=",
    ):
        assert expected in text
    for absent in ("more epochs", "Training curves", "The model learned", "reconstruct"):
        assert absent not in text
    assert not (home / "run" / "figures" / "training_curves.png").exists()


def test_the_same_seed_gives_the_same_run(cli: Cli, home: Path, tmp_path: Path) -> None:
    run = tmp_path / "again"
    result = cli("train", *PATCHCORE, "model.num_neighbors=3", f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    assert metrics_of(run) == metrics_of(home / "run")
    scores = [[row["score"] for row in rows_of(of)] for of in (run, home / "run")]
    assert scores[0] == scores[1]


def test_run_evaluation_and_prediction_agree(cli: Cli, home: Path, tmp_path: Path) -> None:
    run, evaluated = home / "run", tmp_path / "evaluated"
    evaluate(cli, run, evaluated)
    assert rows_of(evaluated) == rows_of_test(run)
    assert metrics_of(evaluated) == metrics_of_test(run)
    assert record_of(evaluated)["memory_bank"] == {"patches": 64}
    predict_test_images(cli, run, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", evaluated)


@pytest.mark.parametrize(
    "name", ["torch_export", *(pytest.param(n, marks=pytest.mark.slow) for n in ("onnx",))]
)
def test_an_export_predicts_the_same(cli: Cli, home: Path, tmp_path: Path, name: str) -> None:
    given = ("threads=1", "images=6", f"format={name}", f"output={tmp_path / 'out'}")
    result = cli("export", f"run={home / 'run'}", *given)
    assert result.status == 0, result.err
    assert "0 of 12 differ" in result.out
    assert exported.open_exported(tmp_path / "out", threads=1).metadata.model == "patchcore"


def test_a_finished_run_has_nothing_to_resume(cli: Cli, home: Path) -> None:
    check_error(cli("train", f"resume={home / 'run'}"), "there is nothing to resume")
    result = cli("train", f"resume={home / 'run'}", "task.epochs=3")
    check_error(result, "task.epochs=3: model=patchcore is not trained", status=2)


def test_settings_of_a_training_are_refused_by_the_command(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", *PATCHCORE, "optimizer=sgd", f"hydra.run.dir={tmp_path / 'run'}")
    check_error(result, "optimizer=sgd: model=patchcore is not trained", status=2)
    assert not (tmp_path / "run").exists()


def test_each_image_gives_as_many_candidates_whatever_the_batches(prepare: Prepare) -> None:
    banks = []
    for size in (1, 8):
        made = prepare(f"task.batch_size={size}", "model.candidates=70", "model.coreset_size=66")
        task = collect(made)
        assert task.patches_per_image == 10  # of 7 images
        banks.append(task.network.memory_bank)
        assert len(banks[-1]) == 66
    gap = patchcore.nearest_squares(banks[0][None], banks[1]).max().sqrt()
    assert float(gap) < 1e-2 * float(banks[0].norm(dim=1).mean())


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_the_pass_reads_each_image_once_whatever_is_left_out(
    prepare: Prepare, fraction: float
) -> None:
    made = prepare(f"data.good_fraction={fraction}", "model.coreset=random")
    read = [int(row) for batch in made.data.train_dataloader() for row in batch["index"]]
    assert sorted(read) == made.data.indices("train")
    assert made.data.samples_per_epoch == len(read) == (3 if fraction < 1 else 7)


def test_images_that_are_all_alike_are_refused(prepare: Prepare) -> None:
    made = prepare()
    images = made.data.dataset.cache.images
    rows = made.data.indices("train")
    same = np.repeat(np.asarray(images[rows[:1]]), len(images), axis=0)
    same[1:, 3, 3] += 1
    made.data.dataset.cache = replace(made.data.dataset.cache, images=same)
    with pytest.raises(DataError, match="the 7 good training images are all alike"):
        collect(made)


def test_thresholds_and_coresets_of_each_kind_work(prepare: Prepare) -> None:
    for settings in (
        ("threshold=sigma", "model.coreset=random", "task.image_size=[33,47]"),
        ("threshold=f1", "split=holdout", "model.strides=[4]", "model.neighbourhood=1"),
    ):
        made = prepare(*settings)
        collect(made)
        fitted = fit(made)
        assert fitted is not None
        assert fitted.record["memory_bank"] == {"patches": 64}
        assert "test/auroc" in evaluate_made(made)


def test_a_single_good_image_is_enough_but_not_for_neighbours(prepare: Prepare) -> None:
    single = ("data.good_fraction=0.01",)
    assert len(collect(prepare(*single)).network.memory_bank) > 2
    with pytest.raises(DataError, match=r"num_neighbors=3: expected at most 1 good training image"):
        prepare(*single, "model.num_neighbors=3")


def test_a_bank_beyond_the_memory_is_refused_before_the_images_are_read(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patchcore, "_free_memory_bytes", lambda: 100_000)
    with pytest.raises(ConfigurationError, match=r"model\.candidates=100000: .*has room for \d+\."):
        prepare()


def test_features_that_were_trained_on_test_images_are_refused(
    compose: Compose, finished_home: Path, unet_home: Path, tmp_path: Path
) -> None:
    common = [name for name in PATCHCORE if not name.startswith(("data.", "model.enc", "+model"))]
    for run, encoder, options in (
        (finished_home / "run", "custom_resnet", "{width: 8, depths: [1, 1]}"),
        (unet_home / "run", "autoencoder", "{width: 4}"),
    ):
        data, network = record_of(run)["data"], [f"model.encoder={encoder}", "model.strides=[4,8]"]
        given = [f"model.weights={run}", f"+model.encoder_options={options}", "data.workers=1"]
        place = ["data=mvtec", f"data.root={data['root']}"]
        place.append(f"data.cache_folder={tmp_path / 'cache'}")
        config = compose("train", *common, *network, *given, *place)
        with pytest.raises(WeightsError, match=r"these weights were trained on \d+ images"):
            train._prepare(config, tmp_path, None, None)
