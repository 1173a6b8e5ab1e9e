"""One-class inspection: what each image is used for, what a run holds, and what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from agreement import (
    check_agreement,
    check_resumed,
    evaluate,
    metrics_of_test,
    page_model,
    predict_test_images,
    rows_of_test,
)
from built import Compose, Prepare, drawn_in, evaluate_made, fit, preparing
from quick import (
    AUTOENCODER,
    QUICK_DATA,
    accept_changes,
    check_error,
    draw_mvtec,
    metrics_of,
    record_of,
    rows_of,
)
from small import SMALL, Cli

from capsule_inspection.config import checks
from capsule_inspection.metrics.thresholds import conformal_threshold
from capsule_inspection.reports.run.run_folder import SELECTION_OVERLAP, TRAINING_OVERLAP
from capsule_inspection.tasks.anomaly_detection.lightning_module import AnomalyDetectionModule
from capsule_inspection.types import (
    CALIBRATION,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
)


@pytest.fixture
def prepare(compose: Compose, drawn_folder: Path, tmp_path: Path) -> Prepare:
    """A small training made ready: `prepare("split=holdout")`."""
    common = (*SMALL, *AUTOENCODER, *drawn_in(drawn_folder))
    return preparing(compose, tmp_path / "ready", *common)


def test_a_run_holds_scores_maps_a_threshold_and_a_page(autoencoder_home: Path) -> None:
    run = autoencoder_home / "run"
    rows, test = rows_of(run), rows_of_test(run)
    assert {row["split"] for row in rows} == {"val", "calibration", "test"}
    assert not any(column.startswith("p_") for column in rows[0])
    known = {"auroc", "average_precision", "f1", "f1_max", "tpr_at_fpr", "aupro"}
    known |= {"pixel_auroc", "pixel_average_precision", "recall/crack", "recall/good"}
    known |= {"pointing_game", "pointing_game_chance", "pointing_game/crack"}
    assert known <= {key.removeprefix("test/") for key in metrics_of(run)}
    with np.load(run / "maps.npz") as maps:
        assert maps["anomaly_map"].shape == (len(test), 32, 96)
        assert maps["anomaly_map"].dtype == np.float16
        assert maps["index"].tolist() == [int(row["index"]) for row in test]
        assert set(np.unique(maps["masks"])) == {0, 1, 2, 3, 4, 5}
    for name in (f"images/{test[0]['index']}_reconstruction.jpg", "report.html"):
        assert (run / name).is_file()
    assert (run / "figures" / "examples.png").is_file()
    record = record_of(run)
    assert record["corruption"] == "cutout"
    assert record["threshold"]["rule"] == "conformal"
    assert record["data"]["images"] == {"train": 11, "val": 2, "test": 29, "calibration": 3}
    assert "train/segmentation" in rows_of(run, "metrics.csv")[0]


def test_each_good_image_has_one_purpose_and_calibration_alone_sets_the_threshold(
    autoencoder_home: Path,
) -> None:
    run = autoencoder_home / "run"
    parts: dict[str, set[str]] = {}
    for row in rows_of(run, "split.csv"):
        parts.setdefault(row["split"], set()).add(row["class"])
    assert parts["train"] == parts["val"] == parts["calibration"] == {"good"}
    assert len(parts["test"]) == 6
    trained = {row["sha256"] for row in rows_of(run, "split.csv") if row["split"] == "train"}
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert set(checkpoint["training_hashes"]) == trained

    rows, stored = rows_of(run), record_of(run)["threshold"]
    scores = [float(row["score"]) for row in rows if row["split"] == "calibration"]
    expected = conformal_threshold(np.array(scores), 0.05).value
    assert stored["value"] == pytest.approx(expected, rel=1e-6)
    assert checkpoint["inspection"]["fitted"]["post_processor"] == stored
    for row in rows:
        called = float(row["score"]) > stored["value"] * (1 + 1e-9)
        assert row["predicted_label"] == ("defect" if called else "good")
        assert float(row["threshold"]) == pytest.approx(stored["value"], rel=1e-6)
    assert (stored["required_images"], stored["enough"]) == (19, False)
    told = "finer than 3 good calibration images allow: it takes at least 19"
    assert told in (run / "train.log").read_text(encoding="utf-8")


def test_run_evaluation_prediction_and_page_agree(
    cli: Cli, compose: Compose, autoencoder_home: Path, tmp_path: Path
) -> None:
    from capsule_inspection.workflows import hardware
    from capsule_inspection.workflows.load_run import load_predictor

    run, evaluated = autoencoder_home / "run", tmp_path / "evaluated"
    evaluate(cli, run, evaluated)
    assert rows_of(evaluated) == rows_of_test(run)
    assert metrics_of(evaluated) == metrics_of_test(run)
    with np.load(run / "maps.npz") as first, np.load(evaluated / "maps.npz") as second:
        assert np.array_equal(first["anomaly_map"], second["anomaly_map"])
    predict_test_images(cli, run, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", evaluated)
    rows = rows_of(tmp_path / "predicted")
    assert {row["predicted_label"] for row in rows} == {"good", "defect"}
    assert {row["regions"] for row in rows} == {""}
    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = load_predictor(run, hardware.resolve_runtime(config.trainer))
    model = page_model(predictor, run, tmp_path)
    for row in (rows[0], max(rows, key=lambda row: float(row["score"]))):
        shown = model.predict(Path(row["path"]))
        assert shown.row["predicted_label"] == row["predicted_label"]
        assert shown.row["threshold"] == pytest.approx(float(row["threshold"]))
        assert shown.overlay is not None


def test_unknown_defect_types_without_masks_are_evaluated(
    cli: Cli, autoencoder_home: Path, tmp_path: Path
) -> None:
    other, output = tmp_path / "other", tmp_path / "judged"
    run = autoencoder_home / "run"
    drawn = Path(record_of(run)["data"]["root"])
    shutil.copytree(drawn / "test" / "poke", other / "test" / "hole")
    shutil.copytree(drawn / "train", other / "train")
    place = [f"data.root={other}", f"data.cache_folder={tmp_path / 'cache'}"]
    result = evaluate(cli, run, output, "data=mvtec", *place, "split=test_only")
    assert "these metrics are optimistic" in result.out
    figures = metrics_of(output)
    assert {"test/recall/hole", "test/auroc"} <= figures.keys()
    assert not any("aupro" in key or "pixel" in key or "pointing" in key for key in figures)
    stages = [row["split"] for row in rows_of(run, "split.csv")]
    assert record_of(output)[TRAINING_OVERLAP] == stages.count("train")
    assert record_of(output)[SELECTION_OVERLAP] == stages.count("val") + stages.count("calibration")
    described = record_of(output)["data"]
    assert described["name"] == "mvtec"
    assert described["classes"][-1] == "hole"
    assert described["images"] == {"test": 25}


def test_a_checkpoint_without_its_threshold_is_refused(
    cli: Cli, autoencoder_run: Path, tmp_path: Path
) -> None:
    path = autoencoder_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["inspection"]["fitted"]
    torch.save(checkpoint, path)
    accept_changes(autoencoder_run)
    result = cli("evaluate", f"run={autoencoder_run}", f"output={tmp_path / 'again'}")
    check_error(result, "best.ckpt", "has no threshold", "python train.py resume=")


def test_a_resumed_training_uses_crops_then_full_images_and_ends_as_an_undisturbed_one(
    cli: Cli, autoencoder_home: Path, tmp_path: Path
) -> None:
    settings = (*SMALL, *AUTOENCODER)
    whole = autoencoder_home / "run"
    sizes = check_resumed(cli, AnomalyDetectionModule, whole, tmp_path / "again", *settings)
    first = sizes.index((32, 96))
    assert 0 < first < len(sizes)
    assert sizes == [(32, 48)] * first + [(32, 96)] * (len(sizes) - first)


@pytest.mark.parametrize("split", ["holdout", "kfold"])
def test_on_a_split_of_classifiers_only_good_images_train_and_all_are_tested(
    prepare: Prepare, split: str
) -> None:
    made = prepare(f"split={split}")
    data = made.data
    good = set(np.flatnonzero(data.labels == 0).tolist())
    of_split = {split: set(np.flatnonzero(data.splits == split).tolist()) for split in (TRAIN, VAL)}
    assert of_split[TRAIN] - good
    assert of_split[VAL] - good
    drawn = {draw.row for draw in data.train_dataloader().sampler}  # type: ignore[attr-defined]
    assert drawn == of_split[TRAIN] & good
    assert made.task.training_hashes == sorted(data.index.samples[row].sha256 for row in drawn)
    assert set(data.indices(VAL)) == of_split[VAL] & good
    assert set(data.indices(CALIBRATION, every_label=True)) <= good
    assert data.indices(TEST) == np.flatnonzero(data.splits == TEST).tolist()
    assert set(data.labels[data.indices(TEST)]) == {0, 1, 2, 3, 4, 5}


def test_each_rule_takes_its_threshold_from_its_own_images(
    prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    made = prepare("threshold=sigma", "threshold.num_std=2")
    evaluate_made(made)
    rows = rows_of(made.folder)
    scores = [float(row["score"]) for row in rows if row["split"] == CALIBRATION]
    assert len(scores) == 3
    expected = np.mean(scores) + 2 * np.std(scores, ddof=1)
    assert float(rows[0]["threshold"]) == pytest.approx(expected, rel=1e-6)

    made = prepare("split=holdout", "threshold=f1")
    fitted = fit(made)
    assert fitted is not None
    threshold = fitted.record["threshold"]
    assert "no longer fitted on good images only" in caplog.text
    assert (threshold["rule"], threshold["defect_images"]) == ("f1", 5)
    assert {key.partition("/")[0] for key in evaluate_made(made)} == {"test"}  # val selected
    with pytest.raises(DataError, match=r"threshold=f1 needs good and defect .*split=holdout"):
        prepare("threshold=f1")


@pytest.mark.parametrize("corruption", ["none", "noise"])
def test_without_a_head_the_residual_is_the_map(prepare: Prepare, corruption: str) -> None:
    made = prepare(f"model.corruption={corruption}")
    fitted = fit(made)
    assert fitted is not None
    assert fitted.record["corruption"] == corruption
    assert fitted.model["residual_std"].shape == (2, 32, 96)
    assert "test/auroc" in evaluate_made(made)


def test_a_training_that_steps_limit_begins_with_crops_too(prepare: Prepare) -> None:
    limits = ("trainer.max_epochs=-1", "trainer.max_steps=6", "task.epochs=2")
    transform = prepare(*limits, "task.crop_size=[30,90]").data.batch_transform
    assert transform is not None
    assert [transform.crops.size_at(epoch) for epoch in (0, 1)] == [(30, 90), None]


def test_synthetic_defects_are_learnt_from_on_drawn_capsules(prepare: Prepare) -> None:
    data = prepare("model.corruption=synthetic_defects", "data.synthesis.variants=2").data
    batch = data.transform_raw(next(iter(data.train_dataloader())), training=True, epoch=1)
    differs = (batch["image"] != batch["target"]).any(dim=-1)
    assert differs.any()
    assert batch["mask"][differs].float().mean() > 0.5


@pytest.mark.pictures
def test_without_defects_training_and_threshold_work_and_the_page_says_what_is_missing(
    cli: Cli, tmp_path: Path
) -> None:
    run, root = tmp_path / "run", draw_mvtec(tmp_path / "good only", counts={"good": 14})
    data = ("data=mvtec", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}")
    window = "task.crop_size=null"
    result = cli("train", *QUICK_DATA, *AUTOENCODER, window, *data, f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    told = ("false_positive_rate", "recall/good")
    assert metrics_of(run).keys() == {f"{stage}/{n}" for stage in ("val", "test") for n in told}
    assert record_of(run)["threshold"]["good_images"] > 0
    assert "no defect images" in (run / "report.html").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model.head=true", "model.corruption=noise"], "model.head=true"),
        (["task.map.source=head", "model.corruption=none"], "task.map.source=head"),
        (["task.crop_size=[16,16]", "model.depth=5"], "task.crop_size=[16, 16]"),
        (["model.depth=6", "task.crop_size=null"], "The nearest valid size is [64, 96]"),
        (["split.val=0"], "split.val=0"),
        ([f"task.loss_weights.{name}=0" for name in ("l1", "gradient", "corrupted")],
         "task.loss_weights"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_each_other_are_refused(
    prepare: Prepare, settings: list[str], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        prepare(*settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([*AUTOENCODER, "model.corruption=painting"], "model.corruption=painting"),
        ([*AUTOENCODER, "task.crop_size=[4,4]"], "task.crop_size"),
        ([*AUTOENCODER, "model.head=1"], "model.head=1"),
        ([*AUTOENCODER, "model.name=unet"], "model.name=unet"),
        *(
            ([*AUTOENCODER, f"threshold.target_fpr={rate}"], "between 0 and 1")
            for rate in ("0", "1", "1.5", "-0.1")
        ),
        (["split=one_class"], "a classifier needs defects"),
        (["task=anomaly_detection"], "model=custom_resnet is for task=classification"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_read(
    compose: Compose, settings: list[str], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        checks.check(compose("train", *settings))


def test_another_threshold_decides_and_is_recorded(
    cli: Cli, autoencoder_home: Path, tmp_path: Path
) -> None:
    run = autoencoder_home / "run"
    evaluate(cli, run, tmp_path / "out", "threshold=0")
    rows = rows_of(tmp_path / "out")
    assert {(row["predicted_label"], float(row["threshold"])) for row in rows} == {("defect", 0.0)}
    stored, own = (record_of(folder)["threshold"] for folder in (tmp_path / "out", run))
    assert (stored["rule"], stored["value"]) == ("given", 0.0)
    assert stored["target_fpr"] == own["target_fpr"]
    assert metrics_of(tmp_path / "out")["test/false_positive_rate"]["value"] == 1


def test_segmentation_has_no_group_of_thresholds_and_classifiers_no_target_rate(cli: Cli) -> None:
    result = cli("train", "model=unet", "threshold=sigma")
    check_error(result, "threshold: the chosen model has no such choices", status=2)
    result = cli("train", "threshold.target_fpr=0.1")
    check_error(result, "threshold.target_fpr: there is no such setting", status=2)


@pytest.mark.slow
def test_the_comparison_of_corruptions_ends_with_a_table_of_means_over_folds(
    cli: Cli, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    network = [name for name in AUTOENCODER if not name.startswith(("model=", "model.corruption"))]
    result = cli(
        "train",
        "experiment=one_class_comparison",
        *SMALL,
        *network,
        *("data.size_px=200", "task.image_size=[64,176]", "data.synthesis.variants=2"),
        "task.epochs=1",
        "split.fold=0,1",
        f"hydra.sweep.dir={sweep}",
        f"data.root={tmp_path / 'drawn'}",
        f"data.cache_folder={tmp_path / 'cache'}",
    )
    assert result.status == 0, result.err
    assert len(list(sweep.glob("*/run.json"))) == 6
    table = rows_of(sweep / "comparison", "comparison.csv")
    assert len(table) == 3
    for corruption in ("none", "noise", "synthetic_defects"):
        assert any(corruption in row["model"] for row in table)
    for row in table:
        assert row["runs"] == "2"
        assert 0 <= float(row["auroc"]) <= 1
        assert float(row["aupro_low"]) <= float(row["aupro"]) <= float(row["aupro_high"])
