import json

import numpy as np
import pytest
from drawn_marking_runs import draw_marking_run

from capsule_inspection.contracts import Figure, RunError
from capsule_inspection.metrics.detection import USUAL_FALSE_ALARM_RATE
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.reports.run_folder import read_run


def test_run_folder_is_read_back_with_classes_in_index_order(run_folder):
    run = read_run(run_folder)

    assert run.classes == ("good", "007", "膠囊 $x$")
    assert run.record["status"] == "finished"
    assert run.figures["test/recall/007"] == Figure(0.0, None, None, 2)
    assert run.stages() == ("val", "test")
    assert run.image_path(20).is_file()


def test_predictions_become_arrays_of_class_indices(run_folder):
    predictions, prediction = read_run(run_folder).arrays_of("test")

    assert predictions.index.tolist() == [20, 21, 22, 23, 24, 25]
    assert predictions.label.tolist() == [0, 0, 0, 1, 1, 2]
    assert prediction.tolist() == [0, 0, 2, 0, 1, 2]
    assert predictions.probabilities.sum(axis=1) == pytest.approx(np.ones(6))
    assert predictions.score.dtype == np.float64


def test_empty_cells_are_nan_not_zero(run_folder):
    run = read_run(run_folder)

    assert np.isnan(run.epochs["val/loss"].to_numpy()).tolist() == [False, True, False, True]
    assert run.predictions["dice"].isna().all()


def test_class_called_na_stays_a_class(run_folder):
    path = run_folder / "predictions.csv"
    path.write_text(path.read_text("utf-8").replace("007", "NA"), "utf-8")

    assert read_run(run_folder).predictions["label"].tolist().count("NA") == 4


def test_evaluation_without_epochs_is_read(run_folder):
    (run_folder / "metrics.csv").unlink()

    assert len(read_run(run_folder).epochs) == 0


def test_run_without_probabilities_is_read(run_folder):
    (run_folder / "predictions.csv").write_text(
        "index,split,label,prediction,score\n0,test,good,defect,0.5\n"
    )

    run = read_run(run_folder)

    assert run.classes == ()
    assert not run.has_threshold
    with pytest.raises(RunError, match="names no defects"):
        run.arrays_of("test")
    with pytest.raises(RunError, match=r"expected data\.classes"):
        run.scores_of("test")


def test_one_class_run_gives_scores_and_what_was_decided(anomaly_run):
    run = read_run(anomaly_run)
    scores = run.scores_of("test")

    assert run.good == "good"
    assert run.has_threshold
    assert run.stages() == ("val", "calibration", "test")
    assert scores.threshold == 1.0
    assert scores.is_defect.tolist() == [False] * 12 + [True] * 9
    assert scores.called_defect.tolist() == [True] + [False] * 11 + [True] * 8 + [False]
    assert set(scores.class_name) == {"good", "crack", "poke"}
    assert len(run.scores_of("calibration").score) == 20
    assert len(run.scores_of("train").score) == 0


def test_threshold_of_the_record_is_read_back(anomaly_run):
    threshold = read_run(anomaly_run).threshold

    assert threshold is not None
    assert (threshold.rule, threshold.good_images, threshold.needed) == ("conformal", 20, 9)


@pytest.mark.parametrize("stored", [{"value": 1.0}, [1, 2], {"value": 1.0, "rules": "sigma"}])
def test_threshold_that_is_not_as_expected_is_named(anomaly_run, stored):
    record = json.loads((anomaly_run / "run.json").read_text())
    (anomaly_run / "run.json").write_text(json.dumps({**record, "threshold": stored}))

    with pytest.raises(RunError, match="threshold is not as expected"):
        _ = read_run(anomaly_run).threshold


def test_classification_gives_scores_too_and_has_no_threshold(run_folder):
    run = read_run(run_folder)
    scores = run.scores_of("test")

    assert not run.has_threshold
    assert run.threshold is None
    assert scores.threshold is None
    assert scores.is_defect.tolist() == [False, False, False, True, True, True]
    assert scores.called_defect.tolist() == [False, False, True, False, True, True]


@pytest.mark.parametrize("binary", [False, True])
def test_run_that_marks_pixels_has_a_decision_and_is_no_one_class_run(tmp_path, binary):
    run = read_run(draw_marking_run(tmp_path / "run", binary=binary))

    assert run.marks_pixels
    assert not run.has_threshold
    assert run.decision == Decision(0.5, 5, good_images=2, defect_images=2)
    assert run.scores_of("test").threshold == 0.5
    assert bool(run.classes) != binary
    assert run.good == "good"


def test_other_runs_mark_no_pixels(run_folder, anomaly_run):
    for folder in (run_folder, anomaly_run):
        assert not read_run(folder).marks_pixels
        assert read_run(folder).decision is None


def test_recall_of_marks_is_told_at_the_rate_that_their_task_has(marking_run):
    assert read_run(marking_run).false_alarm_rate == USUAL_FALSE_ALARM_RATE


def test_score_that_is_missing_is_refused(anomaly_run):
    path = anomaly_run / "predictions.csv"
    path.write_text(path.read_text().replace(",1.2,", ",,"))

    with pytest.raises(RunError, match="1 of 21 scores of test are missing"):
        read_run(anomaly_run).scores_of("test")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "predictions.csv"])
def test_missing_file_is_named_with_what_to_do(run_folder, name):
    (run_folder / name).unlink()

    with pytest.raises(RunError, match=rf"{name}: missing.*resume="):
        read_run(run_folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", "cannot be read as JSON"),
        ("run.json", "[]", "expected an object"),
        ("run.json", "{}", "format_version, found None"),
        ("run.json", '{"format_version": 99}', "Update capsule-inspection"),
        ("metrics.json", '{"test/accuracy": 0.5}', "test/accuracy must hold value, low"),
        ("metrics.json", '{"a": {"value": 1, "low": 0, "high": 1}}', "a must hold"),
        ("metrics.csv", "epoch,val/loss\n0,high\n", "found words in val/loss"),
        ("metrics.csv", "step\n0\n", "column epoch is missing"),
        ("predictions.csv", "", "cannot be read as a table"),
        ("predictions.csv", "index,label\n0,good\n", "columns missing: split, prediction, score"),
        (
            "predictions.csv",
            "index,split,label,prediction,score,p_good\n0,test,good,bad,0.5,1\n",
            "no column of probabilities for 'bad'; it has good",
        ),
        (
            "predictions.csv",
            "index,split,label,prediction,score,p_good\n0,test,good,good,0.5\n",
            "not finite for good",
        ),
        (
            "predictions.csv",
            "index,split,label,prediction,score,p_good\n0,test,good,good,a lot,1\n",
            "column score must hold numbers",
        ),
        (
            "predictions.csv",
            "index,split,label,prediction,score\n,test,good,good,0.5\n",
            "index has empty cells",
        ),
    ],
)
def test_broken_file_is_named_with_what_is_wrong(run_folder, name, content, message):
    (run_folder / name).write_text(content)

    with pytest.raises(RunError, match=message) as raised:
        read_run(run_folder)
    assert str(run_folder / name) in str(raised.value)


def test_bytes_that_are_no_text_are_refused(run_folder):
    for name in ("run.json", "metrics.json", "predictions.csv"):
        kept = (run_folder / name).read_bytes()
        (run_folder / name).write_bytes(b"\xff\xfe\x00\x81" * 20)
        with pytest.raises(RunError, match=name):
            read_run(run_folder)
        (run_folder / name).write_bytes(kept)
    assert json.loads((run_folder / "run.json").read_text())
