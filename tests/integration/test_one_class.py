"""One-class inspection through the doors: what is used for what, what is left, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import check_agreement, evaluate, predict_test_images
from omegaconf import DictConfig
from quick import QUICK, check_refusal, draw_mvtec, figures_of, record_of, rows_of
from small import ONE_THREAD, SMALL, Answer, Door

from capsule_inspection.metrics.thresholds import conformal_threshold
from capsule_inspection.tasks.reconstruction import ReconstructionTask

NETWORK = (
    "model=autoencoder",
    "model.width=4",
    "model.depth=3",
    "model.bottleneck=8",
    "model.head_width=4",
    "task.window=[32,48]",
    "task.views=2",
    "task.batch_size=8",
)
CUTOUT = (*NETWORK, "model.corruption=cutout")
NOISE_IMAGES = tuple(setting for setting in QUICK if not setting.startswith("model"))


def train(door: Door, folder: Path, *settings: str) -> Answer:
    """A training on drawn capsules, in seconds."""
    return door("train", *SMALL, *CUTOUT, *settings, f"hydra.run.dir={folder}")


def train_on(door: Door, root: Path, *settings: str) -> Answer:
    """A training on a folder of noise images, with run and cache beside it."""
    home = root.parent
    own = [f"data.cache_folder={home / 'cache'}", f"hydra.run.dir={home / 'run'}"]
    quick = [*NOISE_IMAGES, *CUTOUT, "data=mvtec", f"data.root={root}", "task.window=null"]
    return door("train", *quick, *own, *settings)


@pytest.fixture(scope="module")
def trained_once() -> list[Path]:
    """The run that `run` copies, once there is one."""
    return []


@pytest.fixture
def run(
    door: Door,
    tmp_path: Path,
    trained_once: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A copy of a finished run, to be damaged."""
    if not trained_once:
        folder = tmp_path_factory.mktemp("one_class") / "run"
        answer = train(door, folder)
        assert answer.status == 0, answer.err
        assert "finer than" in answer.out
        trained_once.append(folder)
    return shutil.copytree(trained_once[0], tmp_path / "run")


def test_a_run_holds_scores_maps_a_threshold_and_a_page(run: Path) -> None:
    rows = rows_of(run)
    assert {row["split"] for row in rows} == {"val", "calibration", "test"}
    assert {row["prediction"] for row in rows} <= {"good", "defect"}
    assert not any(column.startswith("p_") for column in rows[0])
    known = {"auroc", "average_precision", "f1", "f1_best", "recall_at_false_alarm_rate", "aupro"}
    known |= {"pixel_auroc", "pixel_average_precision", "recall/crack", "recall/good"}
    known |= {"pointing_game", "pointing_game_chance", "pointing_game/crack"}
    assert known <= {key.removeprefix("test/") for key in figures_of(run)}
    test = [row for row in rows if row["split"] == "test"]
    with np.load(run / "maps.npz") as maps:
        assert maps["maps"].shape == (len(test), 32, 96)
        assert maps["maps"].dtype == np.float16
        assert maps["index"].tolist() == [int(row["index"]) for row in test]
        assert set(np.unique(maps["masks"])) == {0, 1, 2, 3, 4, 5}
    index = test[0]["index"]
    assert (run / "images" / f"{index}_reconstruction.jpg").is_file()
    assert (run / "report.html").is_file()
    assert (run / "figures" / "examples.png").is_file()
    record = record_of(run)
    assert record["corruption"] == "cutout"
    assert record["threshold"]["rule"] == "conformal"
    assert record["data"]["images"] == {"train": 11, "val": 2, "test": 29, "calibration": 3}


def test_defects_are_tested_and_nothing_else_and_each_good_image_has_one_purpose(
    run: Path,
) -> None:
    parts: dict[str, set[str]] = {}
    for row in rows_of(run, "split.csv"):
        parts.setdefault(row["split"], set()).add(row["class"])
    assert parts["train"] == parts["val"] == parts["calibration"] == {"good"}
    assert len(parts["test"]) == 6
    trained = {row["sha256"] for row in rows_of(run, "split.csv") if row["split"] == "train"}
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert set(checkpoint["seen_sha256"]) == trained


def test_the_threshold_comes_from_the_calibration_images_alone_and_is_kept_with_the_model(
    run: Path,
) -> None:
    rows = rows_of(run)
    scores = [float(row["score"]) for row in rows if row["split"] == "calibration"]
    threshold = conformal_threshold(np.array(scores), 0.05)
    assert not threshold.enough
    stored = record_of(run)["threshold"]
    assert stored["value"] == pytest.approx(threshold.value, rel=1e-6)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["inspection"]["fitted"]["threshold"] == stored
    for row in rows:
        called = float(row["score"]) > stored["value"] * (1 + 1e-9)
        assert (row["prediction"] == "defect") == called
        assert float(row["threshold"]) == pytest.approx(stored["value"], rel=1e-6)


def test_evaluation_repeats_scores_figures_and_maps(door: Door, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    answer = door("evaluate", f"run={run}", f"output={output}", ONE_THREAD)
    assert answer.status == 0, answer.err
    assert rows_of(output) == [row for row in rows_of(run) if row["split"] == "test"]
    own = {key: value for key, value in figures_of(run).items() if key.startswith("test/")}
    assert figures_of(output) == own
    with np.load(run / "maps.npz") as first, np.load(output / "maps.npz") as second:
        assert np.array_equal(first["maps"], second["maps"])


def test_photographs_get_the_answers_that_the_run_gave_for_its_test_images(
    door: Door,
    compose: Callable[..., DictConfig],
    run: Path,
    tmp_path: Path,
    without_pictures: None,
) -> None:
    from capsule_inspection.runs import machine, serving
    from capsule_inspection.runs.opening import open_predictor

    evaluate(door, run, tmp_path / "evaluated")
    predict_test_images(door, run, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", tmp_path / "evaluated")
    rows = rows_of(tmp_path / "predicted")
    assert {row["prediction"] for row in rows} == {"good", "defect"}
    assert {row["regions"] for row in rows} == {""}
    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = open_predictor(run, machine.choose(config.trainer), explain="none")
    inspect = serving.answering(predictor, None, count=0)
    for row in (rows[0], max(rows, key=lambda row: float(row["score"]))):
        words, picture, _ = inspect(row["path"])
        assert ('class="verdict bad">Defect<' in words) == (row["prediction"] == "defect")
        assert f"a defect above the threshold {float(row['threshold']):.3g}" in words
        assert picture is not None


@pytest.mark.usefixtures("without_pictures")
def test_it_judges_kinds_of_defects_that_it_has_never_heard_of(
    door: Door, run: Path, tmp_path: Path
) -> None:
    other, output = tmp_path / "other", tmp_path / "judged"
    drawn = Path(record_of(run)["data"]["root"])
    shutil.copytree(drawn / "test" / "poke", other / "test" / "hole")
    shutil.copytree(drawn / "train", other / "train")
    settings = ["data=mvtec", f"data.root={other}", "split=all_test"]
    answer = door("evaluate", f"run={run}", *settings, f"output={output}")
    assert answer.status == 0, answer.err
    assert "had a part in choosing the epoch, the threshold or the decision" in answer.out
    assert "test/recall/hole" in figures_of(output)
    assert "test/aupro" not in figures_of(output)
    described = record_of(output)["data"]
    assert described["name"] == "mvtec"
    assert described["classes"][-1] == "hole"
    assert described["images"] == {"test": 25}


def test_a_checkpoint_without_its_threshold_is_refused(
    door: Door, run: Path, tmp_path: Path
) -> None:
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["inspection"]["fitted"]
    torch.save(checkpoint, path)
    answer = door("evaluate", f"run={run}", f"output={tmp_path / 'again'}")
    check_refusal(answer, "best.ckpt", "has no threshold", "python train.py resume=")


def test_the_same_seed_gives_the_same_scores_also_after_an_interruption(
    door: Door, run: Path, tmp_path: Path
) -> None:
    # What depends on the number of epochs is left out: a longer training is another one.
    same = ("scheduler=none", "task.whole_from=0")
    shorter, whole = tmp_path / "shorter", tmp_path / "whole"
    assert train(door, shorter, "task.epochs=1", *same).status == 0
    assert train(door, whole, "task.epochs=2", *same).status == 0
    answer = door("train", f"resume={shorter}", "task.epochs=2")
    assert answer.status == 0, answer.err
    assert figures_of(shorter) == figures_of(whole)
    assert rows_of(shorter) == rows_of(whole)
    again = tmp_path / "again"
    assert train(door, again).status == 0
    assert rows_of(again) == rows_of(run)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("split", ["holdout", "kfold"])
def test_on_a_split_of_classifiers_the_test_images_are_theirs(
    door: Door, tmp_path: Path, split: str
) -> None:
    folder = tmp_path / split
    assert train(door, folder, f"split={split}", "task.epochs=1").status == 0
    rows = [row for row in rows_of(folder, "split.csv") if row["split"] in ("test", "train")]
    assert {row["class"] for row in rows if row["split"] == "train"} > {"good"}
    tested = {row["path"] for row in rows_of(folder) if row["split"] == "test"}
    assert tested == {row["path"] for row in rows if row["split"] == "test"}
    images = record_of(folder)["data"]["images"]
    good = [row for row in rows if row["split"] == "train" and row["class"] == "good"]
    assert images["train"] == len(good)
    assert {row["label"] for row in rows_of(folder) if row["split"] != "test"} == {"good"}


@pytest.mark.usefixtures("without_pictures")
def test_defects_choose_a_threshold_only_where_that_is_asked_for(
    door: Door, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    answer = train(door, folder, "split=holdout", "threshold=f1", "task.epochs=1")
    assert answer.status == 0, answer.err
    assert "no longer an inspection that has seen good images only" in answer.out
    threshold = record_of(folder)["threshold"]
    assert threshold["rule"] == "f1"
    assert threshold["defect_images"] == 5
    assert not any(key.startswith("val/") for key in figures_of(folder))
    refused = train(door, tmp_path / "other", "threshold=f1", "task.epochs=1")
    check_refusal(refused, "threshold=f1 needs good and defect images in val", "split=holdout")
    assert not (tmp_path / "other" / "checkpoints").exists()


@pytest.mark.usefixtures("without_pictures")
def test_a_training_that_time_limits_begins_with_windows_too(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = ReconstructionTask.training_step

    def step(self: ReconstructionTask, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(tuple(batch["image"].shape[2:]))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(ReconstructionTask, "training_step", step)
    limits = [
        "trainer.max_epochs=-1",
        "trainer.max_steps=6",
        "task.epochs=2",
        "task.window=[30,90]",
    ]
    answer = train(door, tmp_path / "run", *limits, "scheduler=none")
    assert answer.status == 0, answer.err
    assert seen == [(30, 90)] * 3 + [(32, 96)] * 3


@pytest.mark.usefixtures("without_pictures")
def test_mean_and_sigmas_set_the_threshold_too(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(door, folder, "threshold=sigma", "threshold.sigmas=2", "task.epochs=1").status == 0
    scores = [float(row["score"]) for row in rows_of(folder) if row["split"] == "calibration"]
    expected = np.mean(scores) + 2 * np.std(scores, ddof=1)
    assert record_of(folder)["threshold"]["value"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("corruption", ["none", "noise"])
def test_without_a_head_the_residual_is_the_map(
    door: Door, tmp_path: Path, corruption: str
) -> None:
    folder = tmp_path / "run"
    answer = train(door, folder, f"model.corruption={corruption}", "task.epochs=2")
    assert answer.status == 0, answer.err
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["inspection"]["fitted"]["spread"].shape == (2, 32, 96)
    assert "test/auroc" in figures_of(folder)


@pytest.mark.usefixtures("without_pictures")
def test_painted_defects_are_learnt_from_on_drawn_capsules(door: Door, tmp_path: Path) -> None:
    settings = ["task.image_size=[64,176]", "data.size_px=200", "task.painting.variants=2"]
    folder = tmp_path / "run"
    answer = train(door, folder, *settings, "model.corruption=painted", "task.epochs=1")
    assert answer.status == 0, answer.err
    assert "train/segmentation" in rows_of(folder, "metrics.csv")[0]


def test_without_defects_training_and_threshold_work_and_the_page_says_what_is_missing(
    door: Door, tmp_path: Path
) -> None:
    root = draw_mvtec(tmp_path / "good only", counts={"good": 14})
    answer = train_on(door, root)
    assert answer.status == 0, answer.err
    run = tmp_path / "run"
    assert set(figures_of(run)) == {
        "val/good_rejected", "val/recall/good", "test/good_rejected", "test/recall/good",
    }  # fmt: skip
    assert record_of(run)["threshold"]["good_images"] > 0
    assert "no defect images" in (run / "report.html").read_text(encoding="utf-8").lower()


def test_without_masks_the_figures_of_pixels_are_absent(door: Door, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bottle", counts={"good": 14, "crack": 4})
    for mask in (root / "ground_truth" / "crack").iterdir():
        mask.unlink()
    (root / "ground_truth" / "crack").rmdir()
    (root / "ground_truth").rmdir()
    answer = train_on(door, root)
    assert answer.status == 0, answer.err
    figures = figures_of(tmp_path / "run")
    assert "test/auroc" in figures
    assert "test/aupro" not in figures
    assert not any("pointing" in key for key in figures)
    assert "without masks" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8").lower()


def test_too_few_good_images_for_the_split_are_named(door: Door, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bottle", counts={"good": 4, "crack": 5})
    check_refusal(train_on(door, root), "at least 5 good images", "found 4", "fewer folds")


def test_an_image_that_cannot_be_halved_so_often_is_named_with_the_nearest_that_fits(
    door: Door, tmp_path: Path
) -> None:
    answer = train(door, tmp_path / "run", "model.depth=6")
    check_refusal(answer, "model.depth=6", "The nearest that fits is [64, 96]", status=2)


@pytest.mark.parametrize("rate", ["0", "1", "1.5", "-0.1"])
def test_a_false_alarm_rate_outside_of_0_and_1_is_refused_before_anything_is_read(
    door: Door, tmp_path: Path, rate: str
) -> None:
    answer = train(door, tmp_path / "run", f"threshold.false_alarm_rate={rate}")
    check_refusal(answer, "threshold.false_alarm_rate", "between 0 and 1", status=2)


@pytest.mark.usefixtures("without_pictures")
def test_a_rate_finer_than_the_calibration_allows_is_told_with_what_it_would_take(
    door: Door, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    answer = train(door, folder, "threshold.false_alarm_rate=0.01", "task.epochs=1")
    assert answer.status == 0, answer.err
    assert "finer than 3 good calibration images allow: it takes at least 99" in answer.out
    assert record_of(folder)["threshold"]["needed"] == 99
    assert record_of(folder)["threshold"]["enough"] is False


@pytest.mark.parametrize(
    ("settings", "expected", "status"),
    [
        (["model.head=true", "model.corruption=noise"], "model.head=true", 2),
        (["task.map.source=head", "model.corruption=none"], "task.map.source=head", 2),
        (["model.corruption=painting"], "model.corruption=painting", 2),
        (["task.window=[4,4]"], "task.window", 2),
        (["task.window=[16,16]", "model.depth=5"], "task.window=[16, 16]", 2),
        (["model.head=1"], "model.head=1", 2),
        (["model.name=unet"], "model.name=unet", 2),
        (["split.val=0"], "split.val=0", 2),
        (["task.loss_weights.l1=0", "task.loss_weights.gradient=0", "task.loss_weights.spoilt=0"],
         "task.loss_weights", 2),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(
    door: Door, tmp_path: Path, settings: list[str], expected: str, status: int
) -> None:
    check_refusal(train(door, tmp_path / "run", *settings), expected, status=status)


def test_task_model_and_split_that_do_not_go_together_are_refused(door: Door) -> None:
    check_refusal(door("train", "split=one_class"), "a classifier learns nothing", status=2)
    answer = door("train", "task=reconstruction")
    check_refusal(answer, "model=custom_resnet is for task=classification", status=2)


def test_classifiers_have_no_threshold(door: Door) -> None:
    check_refusal(door("train", "threshold=sigma"), "no such group of settings", status=2)
    answer = door("train", "threshold.false_alarm_rate=0.1")
    check_refusal(answer, "threshold.false_alarm_rate: there is no such setting", status=2)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_the_comparison_of_corruptions_ends_with_a_table_of_means_over_folds(
    door: Door, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    settings = ["data.size_px=200", "task.image_size=[64,176]", "task.painting.variants=2"]
    answer = door(
        "train",
        "experiment=one_class_comparison",
        *SMALL,
        *NETWORK[1:],
        *settings,
        "task.epochs=1",
        "split.fold=0,1",
        f"hydra.sweep.dir={sweep}",
        f"data.root={tmp_path / 'drawn'}",
        f"data.cache_folder={tmp_path / 'cache'}",
    )
    assert answer.status == 0, answer.err
    table = rows_of(sweep / "comparison", "comparison.csv")
    assert len(table) == 3
    for corruption in ("none", "noise", "painted"):
        assert any(corruption in row["model"] for row in table)
    for row in table:
        runs = [path.parent for path in sweep.glob("*/run.json")]
        assert len(runs) == 6
        assert row["runs"] == "2"
        assert 0 <= float(row["auroc"]) <= 1
        assert float(row["aupro_low"]) <= float(row["aupro"]) <= float(row["aupro_high"])
