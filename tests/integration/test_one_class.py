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
    figures_of_test,
    predict_test_images,
    rows_of_test,
)
from built import Compose, Prepare, calibrate, drawn_in, judge, preparing
from quick import (
    AUTOENCODER,
    QUICK_DATA,
    check_refusal,
    draw_mvtec,
    figures_of,
    record_of,
    rows_of,
)
from small import SMALL, Door

from capsule_inspection.config import checks
from capsule_inspection.metrics.thresholds import conformal_threshold
from capsule_inspection.reports.run_folder import CHOSE, SEEN
from capsule_inspection.tasks.anomaly_detection.lightning_module import ReconstructionTask
from capsule_inspection.types import (
    CALIBRATION,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
)
from capsule_inspection.workflows.kinds import kind_of


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
    known = {"auroc", "average_precision", "f1", "f1_best", "recall_at_false_alarm_rate", "aupro"}
    known |= {"pixel_auroc", "pixel_average_precision", "recall/crack", "recall/good"}
    known |= {"pointing_game", "pointing_game_chance", "pointing_game/crack"}
    assert known <= {key.removeprefix("test/") for key in figures_of(run)}
    with np.load(run / "maps.npz") as maps:
        assert maps["maps"].shape == (len(test), 32, 96)
        assert maps["maps"].dtype == np.float16
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
    assert set(checkpoint["seen_sha256"]) == trained

    rows, stored = rows_of(run), record_of(run)["threshold"]
    scores = [float(row["score"]) for row in rows if row["split"] == "calibration"]
    expected = conformal_threshold(np.array(scores), 0.05).value
    assert stored["value"] == pytest.approx(expected, rel=1e-6)
    assert checkpoint["inspection"]["fitted"]["threshold"] == stored
    for row in rows:
        called = float(row["score"]) > stored["value"] * (1 + 1e-9)
        assert row["prediction"] == ("defect" if called else "good")
        assert float(row["threshold"]) == pytest.approx(stored["value"], rel=1e-6)
    assert (stored["needed"], stored["enough"]) == (19, False)
    told = "finer than 3 good calibration images allow: it takes at least 19"
    assert told in (run / "train.log").read_text(encoding="utf-8")


def test_run_evaluation_prediction_and_page_agree(
    door: Door, compose: Compose, autoencoder_home: Path, tmp_path: Path
) -> None:
    from capsule_inspection.workflows import hardware, serving
    from capsule_inspection.workflows.opening import open_predictor

    run, evaluated = autoencoder_home / "run", tmp_path / "evaluated"
    evaluate(door, run, evaluated)
    assert rows_of(evaluated) == rows_of_test(run)
    assert figures_of(evaluated) == figures_of_test(run)
    with np.load(run / "maps.npz") as first, np.load(evaluated / "maps.npz") as second:
        assert np.array_equal(first["maps"], second["maps"])
    predict_test_images(door, run, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", evaluated)
    rows = rows_of(tmp_path / "predicted")
    assert {row["prediction"] for row in rows} == {"good", "defect"}
    assert {row["regions"] for row in rows} == {""}
    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = open_predictor(run, hardware.choose(config.trainer), explain="none")
    inspect = serving.answering(predictor, None, count=0)
    for row in (rows[0], max(rows, key=lambda row: float(row["score"]))):
        words, picture, _ = inspect(row["path"])
        assert ('class="verdict bad">Defect<' in words) == (row["prediction"] == "defect")
        assert f"a defect above the threshold {float(row['threshold']):.3g}" in words
        assert picture is not None


def test_it_judges_kinds_of_defects_that_it_has_never_heard_of_and_that_have_no_masks(
    door: Door, autoencoder_home: Path, tmp_path: Path
) -> None:
    other, output = tmp_path / "other", tmp_path / "judged"
    run = autoencoder_home / "run"
    drawn = Path(record_of(run)["data"]["root"])
    shutil.copytree(drawn / "test" / "poke", other / "test" / "hole")
    shutil.copytree(drawn / "train", other / "train")
    place = [f"data.root={other}", f"data.cache_folder={tmp_path / 'cache'}"]
    answer = evaluate(door, run, output, "data=mvtec", *place, "split=all_test")
    assert "had a part in choosing the epoch, the threshold or the decision" in answer.out
    figures = figures_of(output)
    assert {"test/recall/hole", "test/auroc"} <= figures.keys()
    assert not any("aupro" in key or "pixel" in key or "pointing" in key for key in figures)
    stages = [row["split"] for row in rows_of(run, "split.csv")]
    assert record_of(output)[SEEN] == stages.count("train")
    assert record_of(output)[CHOSE] == stages.count("val") + stages.count("calibration")
    described = record_of(output)["data"]
    assert described["name"] == "mvtec"
    assert described["classes"][-1] == "hole"
    assert described["images"] == {"test": 25}


def test_a_checkpoint_without_its_threshold_is_refused(
    door: Door, autoencoder_run: Path, tmp_path: Path
) -> None:
    path = autoencoder_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["inspection"]["fitted"]
    torch.save(checkpoint, path)
    answer = door("evaluate", f"run={autoencoder_run}", f"output={tmp_path / 'again'}")
    check_refusal(answer, "best.ckpt", "has no threshold", "python train.py resume=")


def test_a_resumed_training_sees_windows_then_whole_images_and_ends_as_an_undisturbed_one(
    door: Door, autoencoder_home: Path, tmp_path: Path
) -> None:
    settings = (*SMALL, *AUTOENCODER)
    whole = autoencoder_home / "run"
    seen = check_resumed(door, ReconstructionTask, whole, tmp_path / "again", *settings)
    first = seen.index((32, 96))
    assert 0 < first < len(seen)
    assert seen == [(32, 48)] * first + [(32, 96)] * (len(seen) - first)


@pytest.mark.parametrize("split", ["holdout", "kfold"])
def test_on_a_split_of_classifiers_good_images_teach_and_all_are_tested(
    prepare: Prepare, split: str
) -> None:
    made = prepare(f"split={split}")
    data = made.data
    good = set(np.flatnonzero(data.labels == 0).tolist())
    of_split = {stage: set(np.flatnonzero(data.stages == stage).tolist()) for stage in (TRAIN, VAL)}
    assert of_split[TRAIN] - good
    assert of_split[VAL] - good
    drawn = {draw.row for draw in data.train_dataloader().sampler}  # type: ignore[attr-defined]
    assert drawn == of_split[TRAIN] & good
    assert made.task.seen_sha256 == sorted(data.index.records[row].sha256 for row in drawn)
    assert set(data.indices(VAL)) == of_split[VAL] & good
    assert set(data.indices(CALIBRATION, every_label=True)) <= good
    assert data.indices(TEST) == np.flatnonzero(data.stages == TEST).tolist()
    assert set(data.labels[data.indices(TEST)]) == {0, 1, 2, 3, 4, 5}


def test_each_rule_takes_its_threshold_from_its_own_images(
    prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    made = prepare("threshold=sigma", "threshold.sigmas=2")
    threshold, kind = calibrate(made)["threshold"], kind_of(made.config)
    made.data.predict_stage = CALIBRATION
    scores = kind.predict(made.task, made.data, CALIBRATION, choices=made.choices).score
    assert len(scores) == 3
    expected = np.mean(scores) + 2 * np.std(scores, ddof=1)
    assert threshold["value"] == pytest.approx(expected, rel=1e-6)

    made = prepare("split=holdout", "threshold=f1")
    threshold = calibrate(made)["threshold"]
    assert "no longer an inspection that has seen good images only" in caplog.text
    assert (threshold["rule"], threshold["defect_images"]) == ("f1", 5)
    assert {key.partition("/")[0] for key in judge(made)} == {"test"}  # val chose
    with pytest.raises(DataError, match=r"threshold=f1 needs good and defect .*split=holdout"):
        prepare("threshold=f1")


@pytest.mark.parametrize("corruption", ["none", "noise"])
def test_without_a_head_the_residual_is_the_map(prepare: Prepare, corruption: str) -> None:
    made = prepare(f"model.corruption={corruption}")
    assert calibrate(made)["corruption"] == corruption
    assert made.task.fitted["spread"].shape == (2, 32, 96)
    assert "test/auroc" in judge(made)


def test_a_training_that_steps_limit_begins_with_windows_too(prepare: Prepare) -> None:
    limits = ("trainer.max_epochs=-1", "trainer.max_steps=6", "task.epochs=2")
    spoiling = prepare(*limits, "task.window=[30,90]").data.corruption
    assert spoiling is not None
    assert (spoiling.window_at(0), spoiling.window_at(1)) == ((30, 90), None)


def test_synthetic_defects_are_learnt_from_on_drawn_capsules(prepare: Prepare) -> None:
    data = prepare("model.corruption=painted", "task.painting.variants=2").data
    spoilt = data.spoil(next(iter(data.train_dataloader())), training=True, epoch=1)
    differs = (spoilt["image"] != spoilt["target"]).any(dim=-1)
    assert differs.any()
    assert spoilt["mask"][differs].float().mean() > 0.5


@pytest.mark.pictures
def test_without_defects_training_and_threshold_work_and_the_page_says_what_is_missing(
    door: Door, tmp_path: Path
) -> None:
    run, root = tmp_path / "run", draw_mvtec(tmp_path / "good only", counts={"good": 14})
    data = ("data=mvtec", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}")
    window = "task.window=null"
    answer = door("train", *QUICK_DATA, *AUTOENCODER, window, *data, f"hydra.run.dir={run}")
    assert answer.status == 0, answer.err
    told = ("good_rejected", "recall/good")
    assert figures_of(run).keys() == {f"{stage}/{n}" for stage in ("val", "test") for n in told}
    assert record_of(run)["threshold"]["good_images"] > 0
    assert "no defect images" in (run / "report.html").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model.head=true", "model.corruption=noise"], "model.head=true"),
        (["task.map.source=head", "model.corruption=none"], "task.map.source=head"),
        (["task.window=[16,16]", "model.depth=5"], "task.window=[16, 16]"),
        (["model.depth=6", "task.window=null"], "The nearest that fits is [64, 96]"),
        (["split.val=0"], "split.val=0"),
        ([f"task.loss_weights.{name}=0" for name in ("l1", "gradient", "spoilt")],
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
        ([*AUTOENCODER, "task.window=[4,4]"], "task.window"),
        ([*AUTOENCODER, "model.head=1"], "model.head=1"),
        ([*AUTOENCODER, "model.name=unet"], "model.name=unet"),
        *(
            ([*AUTOENCODER, f"threshold.false_alarm_rate={rate}"], "between 0 and 1")
            for rate in ("0", "1", "1.5", "-0.1")
        ),
        (["split=one_class"], "a classifier learns nothing"),
        (["task=reconstruction"], "model=custom_resnet is for task=classification"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_read(
    compose: Compose, settings: list[str], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        checks.check(compose("train", *settings))


def test_classifiers_have_no_threshold(door: Door) -> None:
    check_refusal(door("train", "threshold=sigma"), "no such group of settings", status=2)
    answer = door("train", "threshold.false_alarm_rate=0.1")
    check_refusal(answer, "threshold.false_alarm_rate: there is no such setting", status=2)


@pytest.mark.slow
def test_the_comparison_of_corruptions_ends_with_a_table_of_means_over_folds(
    door: Door, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    network = [name for name in AUTOENCODER if not name.startswith(("model=", "model.corruption"))]
    answer = door(
        "train",
        "experiment=one_class_comparison",
        *SMALL,
        *network,
        *("data.size_px=200", "task.image_size=[64,176]", "task.painting.variants=2"),
        "task.epochs=1",
        "split.fold=0,1",
        f"hydra.sweep.dir={sweep}",
        f"data.root={tmp_path / 'drawn'}",
        f"data.cache_folder={tmp_path / 'cache'}",
    )
    assert answer.status == 0, answer.err
    assert len(list(sweep.glob("*/run.json"))) == 6
    table = rows_of(sweep / "comparison", "comparison.csv")
    assert len(table) == 3
    for corruption in ("none", "noise", "painted"):
        assert any(corruption in row["model"] for row in table)
    for row in table:
        assert row["runs"] == "2"
        assert 0 <= float(row["auroc"]) <= 1
        assert float(row["aupro_low"]) <= float(row["aupro"]) <= float(row["aupro_high"])
