"""evaluate.py: the figures of a finished classifier on its own and on other images."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from agreement import check_agreement, evaluate, predict_test_images, rows_of_test
from built import Compose, fit, preparing
from omegaconf import OmegaConf
from PIL import Image
from quick import (
    QUICK,
    accept_changes,
    check_error,
    content,
    draw_mvtec,
    metrics_of,
    move_images,
    record_of,
    rows_of,
)
from small import ONE_THREAD, Cli

from capsule_inspection.types import DataError
from capsule_inspection.workflows import run_files


@pytest.mark.pictures
def test_run_evaluation_and_prediction_agree_and_the_evaluation_goes_into_the_run(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    whole = metrics_of(finished)
    for stage in ("val", "test"):
        result = cli("evaluate", f"run={finished}", f"subset={stage}", "trainer.threads=1")
        assert result.status == 0, result.err
        (output,) = (finished / "evaluation").iterdir()
        assert rows_of(output) == [row for row in rows_of(finished) if row["split"] == stage]
        own = {key: value for key, value in whole.items() if key.startswith(f"{stage}/")}
        assert metrics_of(output) == own != {}
        output.rename(tmp_path / stage)
    assert (tmp_path / "test" / "figures" / "confusion_matrix.png").is_file()
    predict_test_images(cli, finished, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", tmp_path / "test")


def test_another_threshold_replaces_that_of_the_run_and_is_recorded(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    scores = sorted(float(row["score"]) for row in rows_of_test(finished))
    middle = (scores[0] + scores[1]) / 2  # all but one image are defects
    for name, setting in (("number", f"threshold={middle!r}"), ("classes", "threshold=argmax")):
        evaluate(cli, finished, tmp_path / name, setting)
        predict_test_images(cli, finished, tmp_path / f"{name} predicted", setting)
        check_agreement(tmp_path / f"{name} predicted", tmp_path / name)
    by_number, by_class = (rows_of(tmp_path / name) for name in ("number", "classes"))
    for row, other in zip(by_number, by_class, strict=True):
        assert (row["score"], float(row["threshold"])) == (other["score"], pytest.approx(middle))
        assert (row["predicted_label"] == "good") == (float(row["score"]) == scores[0])
        of_classes = {key[2:]: float(value) for key, value in other.items() if key[:2] == "p_"}
        assert other["predicted_label"] == max(of_classes, key=of_classes.__getitem__)
        assert other["threshold"] == ""
    assert record_of(tmp_path / "number")["threshold"]["rule"] == "given"
    assert record_of(tmp_path / "number")["threshold"]["value"] == middle
    assert record_of(tmp_path / "classes")["threshold"]["rule"] == "argmax"
    assert record_of(tmp_path / "classes")["threshold"]["value"] is None
    stored = json.loads((tmp_path / "number predicted" / "prediction.json").read_text())
    assert stored["threshold"] == middle
    rejected = metrics_of(tmp_path / "number")["test/false_positive_rate"]["value"]
    good = [row for row in by_number if row["label"] == "good"]
    assert rejected == sum(row["predicted_label"] != "good" for row in good) / len(good)


def test_the_operating_point_decides_and_is_kept_with_the_model(finished: Path) -> None:
    record = record_of(finished)["threshold"]
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["inspection"]["fitted"]["post_processor"] == record
    assert (record["rule"], record["criterion"]) == ("operating_point", "balanced_error")
    rows = rows_of(finished)
    counts = Counter(row["label"] == "good" for row in rows if row["split"] == "val")
    assert (record["good_images"], record["defect_images"]) == (counts[True], counts[False])
    for row in rows:
        assert float(row["threshold"]) == pytest.approx(record["value"], rel=1e-8)
        is_defect = float(row["score"]) > record["value"]
        assert (row["predicted_label"] != "good") == is_defect
        of_defects = {name: float(row[f"p_{name}"]) for name in ("crack", "poke")}
        if is_defect:
            assert row["predicted_label"] == max(of_defects, key=of_defects.__getitem__)
    wrong = [row["label"] != row["predicted_label"] for row in rows_of_test(finished)]
    accuracy = metrics_of(finished)["test/accuracy"]["value"]
    assert accuracy == pytest.approx(1 - sum(wrong) / len(wrong))


def test_costs_move_the_operating_point_and_a_missing_side_leaves_the_default(
    compose: Compose, finished_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = [f"data.root={finished_home / 'bottle'}", f"data.cache_folder={tmp_path / 'cache'}"]
    prepare = preparing(compose, tmp_path / "ready", *QUICK, "data=mvtec", *places)
    defaults = []
    for cost in (1, 20):
        made = prepare(f"cost.false_negative={cost}", "cost.false_positive=1")
        threshold = fit(made).record["threshold"]
        assert threshold["criterion"] == "expected_cost"
        defaults.append(threshold["default"])
    odds = [value / (1 - value) for value in defaults]
    assert odds[0] / odds[1] == pytest.approx(20)
    made = prepare("task.logit_adjustment=1")  # every class as probable as the others
    made.data.labels[made.data.indices("val")] = 0
    threshold = fit(made).record["threshold"]
    assert threshold["value"] == threshold["default"] == pytest.approx(2 / 3)
    assert not threshold["enough"]
    assert "and 0 with a defect, and needs both" in caplog.text


def test_how_sure_it_may_be_is_fitted_kept_and_evaluated(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    record, path = record_of(finished), finished / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    scaling = checkpoint["inspection"]["fitted"]["model"]
    assert record["temperature_scaling"] == scaling
    assert scaling["images"] == record["data"]["images"]["val"]
    assert scaling["temperature"] > 0
    assert scaling["temperature"] != 1
    del checkpoint["inspection"]["fitted"]  # as in a run that was not finished
    torch.save(checkpoint, path)
    evaluate(cli, finished, tmp_path / "unscaled", "verify=skip")
    rows = zip(rows_of(tmp_path / "unscaled"), rows_of_test(finished), strict=True)
    for before, after in rows:
        raw, scaled = ([math.log(float(value)) for key, value in row.items() if key[:2] == "p_"]
                       for row in (before, after))  # fmt: skip
        expected = [value / scaling["temperature"] for value in raw]
        expected[0] += scaling["good_shift"]
        assert [value - scaled[1] for value in scaled] == pytest.approx(
            [value - expected[1] for value in expected], abs=1e-4
        )


def test_a_network_may_speak_for_itself_but_must_be_shown_every_class(
    compose: Compose, finished_home: Path, tmp_path: Path
) -> None:
    places = [f"data.root={finished_home / 'bottle'}", f"data.cache_folder={tmp_path / 'cache'}"]
    prepare = preparing(compose, tmp_path / "ready", *QUICK, "data=mvtec", *places)
    fitted = fit(prepare("task.temperature_scaling=false", "threshold=argmax"))
    assert (fitted.model, fitted.post_processor["value"]) == ({}, None)
    with pytest.raises(DataError, match="crack, poke have no training image"):
        prepare("data.defect_fraction=0")


def test_other_images_of_the_same_classes_are_all_test_images(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    run, other = finished_home / "run", tmp_path / "other parts (膠囊)"
    draw_mvtec(other, counts={"crack": 4}, first_seed=500)
    (other / "test" / "good").mkdir()
    rows = rows_of(run, "split.csv")
    seen = next(r["path"] for r in rows if (r["split"], r["class"]) == ("train", "good"))
    shutil.copy(finished_home / "bottle" / seen, other / "test" / "good" / "seen.png")
    place = [f"data.root={other}", f"data.cache_folder={tmp_path / 'cache'}"]
    output = tmp_path / "figures"
    result = evaluate(cli, run, output, "data=mvtec", *place, "split=test_only")
    found = rows_of(output)
    assert len(found) == 5
    assert {row["split"] for row in found} == {"test"}
    assert "p_poke" in found[0]
    assert "1 of the 5 images were used in training" in result.out
    record = record_of(output)
    assert record["optimistic"] is True
    assert record["training_overlap"] == 1


def test_an_image_that_the_split_lacks_is_refused_with_the_split_that_takes_it(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    there = move_images(finished, tmp_path)
    pixels = np.full((64, 96, 3), 128, np.uint8)
    Image.fromarray(pixels).save(there / "train" / "good" / "further.png")
    place = [f"data.root={there}", f"data.cache_folder={tmp_path / 'cache'}"]
    result = cli("evaluate", f"run={finished}", *place, f"output={tmp_path / 'out'}")
    check_error(result, "images have no row", "split=test_only evaluates it on all of them")


def test_a_run_whose_images_have_moved_is_evaluated_with_their_new_place(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    there, output, cache = move_images(finished, tmp_path), tmp_path / "out", tmp_path / "cache"
    result = cli("evaluate", f"run={finished}", f"output={tmp_path / 'refused'}")
    check_error(result, f"{tmp_path / 'gone'}: there is no such folder")
    evaluate(cli, finished, output, f"data.root={there}", f"data.cache_folder={cache}")
    assert rows_of(output) == rows_of_test(finished)
    assert record_of(output)["data"]["root"] == str(there)
    assert cache.is_dir()


def test_other_images_are_cropped_and_scaled_as_those_of_the_run(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    config = OmegaConf.load(finished / "config.yaml")
    config.data.roi = [10, 4, 30, 36]
    OmegaConf.save(config, finished / "config.yaml")
    accept_changes(finished)
    own, named = tmp_path / "own", tmp_path / "named"
    place = [f"data.root={config.data.root}", f"data.cache_folder={tmp_path / 'cache'}"]
    evaluate(cli, finished, own, *place)
    assert rows_of(own) != rows_of_test(finished)
    split = ("split=manifest", f"split.path={finished / 'split.csv'}")
    evaluate(cli, finished, named, "data=mvtec", *place, *split)
    assert rows_of(named) == rows_of(own)


def test_a_stopped_evaluation_is_begun_anew_and_a_finished_one_is_kept(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    run, output, undisturbed = finished_home / "run", tmp_path / "out", tmp_path / "other"
    with monkeypatch.context() as patch:
        patch.setattr(run_files, "write_metrics", stop)
        assert cli("evaluate", f"run={run}", f"output={output}", ONE_THREAD).status == 130
    assert (output / "predictions.csv").is_file()
    evaluate(cli, run, output)
    evaluate(cli, run, undisturbed)
    differ = ("run.json", "output.json", "train.log", "config.yaml")  # times, and the folder
    before = content(output)
    assert {name: of for name, of in before.items() if name not in differ} == {
        name: of for name, of in content(undisturbed).items() if name not in differ
    }
    record = record_of(output)
    assert record["status"] == "finished"
    assert {"config.yaml", "predictions.csv", "metrics.json"} <= set(record["files"])
    assert (
        f"Finished before with the same images and settings, kept: {output}"
        in evaluate(cli, run, output).out
    )
    result = cli("evaluate", f"run={run}", f"output={output}", ONE_THREAD, "subset=val")
    check_error(
        result, "the output of another run, other images or other settings", "name another folder"
    )
    assert {**content(output), "train.log": before["train.log"]} == before
