"""One-class runs in a comparison: means over folds, never of pooled scores; pairs; thresholds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import cells, measured, mentions, verdict_of
from drawn_anomaly_runs import draw_folds, draw_one_class_run, one_class_images
from drawn_runs import draw_run, labels_of

from capsule_inspection.metrics.paired import corrected_resampled_t
from capsule_inspection.reports.comparison import maps, one_class, thresholds, words
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.tables import as_csv, quality_table, recall_table
from capsule_inspection.reports.comparison.where import where_table
from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.types import RunError

DEFECTS, GOOD = 14, 12
OF_PAIRS = {"auroc", "defects_missed", "good_rejected"}
KFOLD = labels_of(30)


def stored(runs: Sequence[RunFolder], metric: str = "auroc") -> np.ndarray:
    return np.array([run.figures[f"test/{metric}"].value for run in runs])


def seeds_of_folds(folder: Path, **changed) -> list[RunFolder]:
    folds = (draw_folds(folder / f"{seed}", seed=seed, folds=3, **changed) for seed in range(2))
    return [run for of_seed in folds for run in of_seed]


def with_a_classifier(folder: Path) -> list[RunFolder]:
    images = (np.arange(66), labels_of(66))
    return [
        read_run(draw_run(folder / "named", wrong=(0, 50))),
        draw_one_class_run(folder / "anomaly", images=images, fold=None, maps=True),
    ]


# --- figures


def test_every_figure_is_the_mean_of_those_of_the_folds_whatever_their_offset(tmp_path) -> None:
    runs = draw_folds(tmp_path, maps=True)
    (one,) = measured(runs)

    names = {key.removeprefix("test/") for key in runs[0].figures}
    assert set(one.figures) == names
    assert {"auroc", "f1", "recall/poke", "aupro", "pixel_auroc"} <= names
    for metric, figure in one.figures.items():
        assert figure.value == pytest.approx(stored(runs, metric).mean()), metric
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high

    moved = draw_one_class_run(tmp_path / "moved", fold=4, offset=100.0, maps=True)
    (after,) = measured([*runs[:4], moved])
    assert after.figures == one.figures

    (single,) = measured(runs[:1])
    assert {f"test/{name}": figure for name, figure in single.figures.items()} == runs[0].figures


def test_all_judgements_of_a_defect_count(tmp_path) -> None:
    runs = draw_folds(tmp_path, skill=1.0)
    (contestant,) = gather(runs)

    assert len(contestant.image) == 5 * GOOD + DEFECTS
    called = np.mean([run.scores_of("test").called_defect[GOOD:] for run in runs], axis=0)
    assert 0 < called[0] < 1
    np.testing.assert_allclose(contestant.called_defect[contestant.is_defect], called)
    good = ~contestant.is_defect
    np.testing.assert_allclose(contestant.correct[good], 1 - contestant.called_defect[good])


def test_pixel_figures_need_the_maps_of_every_fold(tmp_path) -> None:
    runs = draw_folds(tmp_path, maps=True)
    (runs[2].path / "maps.npz").unlink()
    figure = measured(runs)[0].figures["aupro"]
    assert figure.value == pytest.approx(stored(runs, "aupro").mean())
    assert (figure.low, figure.high) == (None, None)

    never = draw_one_class_run(tmp_path / "never", fold=4)
    (one,) = measured([*runs[:4], never])
    assert not {*maps.OF_MAPS} & set(one.figures)

    (runs[1].path / "maps.npz").write_bytes(b"no")
    with pytest.raises(RunError, match=r"evaluate\.py"):
        measured(runs[:2])


def test_the_false_alarm_rate_is_that_of_the_settings_then_of_the_record(tmp_path) -> None:
    (first,) = gather([draw_one_class_run(tmp_path / "a", threshold={"false_alarm_rate": None})])
    changed: dict[str, Any] = {"threshold": {}}
    (second,) = gather([draw_one_class_run(tmp_path / "b", settings=changed)])
    (neither,) = gather(
        draw_folds(tmp_path, folds=2, settings=changed, threshold={"false_alarm_rate": None})
    )
    assert one_class.false_alarm_rate(first) == one_class.false_alarm_rate(second) == 0.1
    assert one_class.false_alarm_rate(neither) is None
    assert "recall_at_false_alarm_rate" not in measure(neither).figures


# --- tables and page


def test_figures_of_maps_have_a_table_of_those_that_have_maps(tmp_path) -> None:
    found = measured([*draw_folds(tmp_path, maps=True), *draw_folds(tmp_path, model="bare")])
    table, where, recall = quality_table(found), where_table(found), recall_table(found)

    assert {"F1 of defects", "recall at the false-alarm rate",
            "average precision of defects"} <= set(table.columns)  # fmt: skip
    assert cells(table, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "means over folds and seeds" in table.note
    assert "at most 0.1 of these good images" in table.note
    assert "pooled: every image" not in table.note
    assert where is not None
    assert where.columns == ("model", "pixel AUROC", "AUPRO", "images")
    assert [row[0].text for row in where.rows] == ["autoencoder (5 runs)"]
    assert cells(where, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "nothing is known of where: bare" in where.note
    assert recall is not None
    assert recall.columns == ("model", "good", "crack", "poke")
    assert "are rejected, as defects should be; of good: that pass" in recall.note


@pytest.mark.usefixtures("unrendered")
def test_classifiers_and_one_class_models_share_a_page_that_tells_them_apart(tmp_path) -> None:
    comparison = compare(with_a_classifier(tmp_path))
    recall = recall_table(comparison.measured)
    assert [cells(recall, row)["what is counted"] for row in (0, 1)] == ["named", "rejected"]
    assert recall is not None
    assert recall.note.startswith("The rows do not all mean the same.")

    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(as_csv(comparison.measured))))
    assert (rows[0]["aupro"], rows[1]["accuracy"]) == ("", "")
    assert float(rows[1]["aupro"]) > 0
    assert float(rows[1]["f1_best"]) >= float(rows[1]["f1"])

    html = write_comparison(comparison, tmp_path / "out").read_text()
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"courses_one_class.png", "courses.png", "confusion.png"} <= drawn
    assert "models that name no classes" in html
    assert "Spread over seeds" not in html

    alone = comparison.measured[:1]
    assert "average precision of defects" not in quality_table(alone).columns
    assert "never pooled" not in quality_table(alone).note
    assert thresholds.threshold_table(alone) is None


def test_seeds_and_folds_go_into_one_mean_and_the_page_is_written(tmp_path) -> None:
    first, second = (
        seeds_of_folds(tmp_path / model, model=model, skill=skill)
        for model, skill in (("a", 2.0), ("b", 1.0))
    )
    comparison = compare([*first, *second])
    one = comparison.measured[0]
    assert one.figures["auroc"].value == pytest.approx(stored(first).mean())
    assert one.figures["auroc"].n == 3 * GOOD + DEFECTS
    assert one.by_seed[0]["auroc"] == pytest.approx(stored(first[:3]).mean())

    html = write_comparison(comparison, tmp_path / "out").read_text()
    assert "paired bootstrap within folds" in html
    assert "Thresholds" in html
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"courses_one_class.png", "recall.png", "overview.png"} <= drawn
    assert not {"confusion.png", "courses.png", "disagreement.png"} & drawn
    assert "Spread over seeds" in html


def test_runs_that_were_tested_on_good_images_only_are_shown_too(tmp_path) -> None:
    runs = [
        draw_one_class_run(tmp_path / f"{model}{fold}", model=model, fold=fold,
                           images=one_class_images(fold, defects=0))
        for model in "ab"
        for fold in range(3)
    ]  # fmt: skip
    comparison = compare(runs)

    assert set(comparison.measured[0].figures) == {"good_rejected", "recall/good"}
    assert set(comparison.verdicts[0].differences) == {"good_rejected"}
    assert write_comparison(comparison, tmp_path / "out").is_file()


# --- pairs


def test_two_one_class_models_are_compared_within_folds_and_when_trained_anew(tmp_path) -> None:
    better = draw_folds(tmp_path, model="better", skill=2.5)
    worse = draw_folds(tmp_path, model="worse", skill=0.5)
    verdict = verdict_of([*better, *worse])

    difference = stored(better) - stored(worse)
    assert set(verdict.differences) == OF_PAIRS
    assert verdict.differences["auroc"].value == pytest.approx(difference.mean())
    assert verdict.differences["auroc"].test == "paired bootstrap within folds"
    assert verdict.images == verdict.differences["auroc"].n == 5 * 12 + 14
    assert verdict.differences["defects_missed"].n == 14
    assert verdict.differs("auroc")
    assert verdict.differs("defects_missed")
    assert "better is better in AUROC and defects missed" in words.headline(verdict)
    assert verdict.retrained is not None
    found = verdict.retrained["auroc"]
    # Of 26 test images 14 defects are in every fold: 12 change with the fold.
    expected = corrected_resampled_t(difference, test_images=12, train_images=40)
    assert (found.trainings, found.always_tested) == (5, 14)
    assert found.difference.low == pytest.approx(expected.low)
    assert mentions(words.details(verdict), "of other defects this says nothing")


def test_equal_models_are_not_told_apart_and_a_defect_of_five_folds_is_one_image(tmp_path) -> None:
    runs = draw_folds(tmp_path, model="a", skill=9)
    runs += draw_folds(tmp_path, model="b", skill=9, offset=7.0)
    verdict = verdict_of(runs)
    assert "not distinguishable on these 74 images" in words.headline(verdict)
    assert verdict.differences["auroc"].value == 0

    for run in runs[5:]:  # one defect more is missed by all five: five judgements, but one image
        path = run.path / "predictions.csv"
        lines = path.read_text().splitlines()
        lines[-1] = lines[-1].replace(",defect,", ",good,")
        path.write_text("\n".join(lines) + "\n")
    verdict = verdict_of([read_run(run.path) for run in runs])

    assert verdict.differences["defects_missed"].value == pytest.approx(-1 / 14)
    assert verdict.differences["defects_missed"].p_value == 1.0


def test_scores_of_folds_are_not_pooled_against_a_classifier(tmp_path) -> None:
    """Both on the folds of the classifier; each fold's scores of the one are higher by more."""
    named = [
        read_run(draw_run(tmp_path / f"classifier{fold}", model="resnet", fold=fold, label=KFOLD,
                          first_image=100 * fold, wrong=(fold, 22, 25)))
        for fold in range(5)
    ]  # fmt: skip
    plain, moved = (
        [
            draw_one_class_run(
                tmp_path / f"{offset} {fold}", fold=fold, offset=offset * fold, skill=1.5,
                images=(100 * fold + np.arange(30), KFOLD),
                settings={"split": {"name": "kfold", "fold": fold, "folds": 5}},
            )
            for fold in range(5)
        ]
        for offset in (0.0, 50.0)
    )  # fmt: skip
    verdict = verdict_of([*named, *plain])

    assert verdict.images == 150
    assert set(verdict.differences) == OF_PAIRS
    expected = np.mean(stored(named) - stored(plain))
    assert verdict.differences["auroc"].value == pytest.approx(expected)
    assert verdict.retrained is not None
    assert verdict.retrained["auroc"].always_tested == 0
    assert verdict_of([*named, *moved]).differences == verdict.differences


def test_seeds_are_averaged_within_folds_and_other_seeds_compared_on_what_they_share(
    tmp_path,
) -> None:
    two = seeds_of_folds(tmp_path, model="a", skill=2.0)
    one = draw_folds(tmp_path, model="b", skill=1.0, folds=3)
    expected = np.mean(stored(two).reshape(2, 3).mean(axis=0) - stored(one))
    assert verdict_of([*two, *one]).differences["auroc"].value == pytest.approx(expected)

    images = (np.arange(30), KFOLD)
    runs = [
        draw_one_class_run(tmp_path / model, model=model, seed=seed, fold=None, images=images)
        for seed, model in enumerate("ab")
    ]
    expected = stored(runs)[0] - stored(runs)[1]
    assert verdict_of(runs).differences["auroc"].value == pytest.approx(expected)


def test_one_class_models_of_different_folds_are_compared_on_what_a_fold_shares(tmp_path) -> None:
    runs = [
        draw_one_class_run(tmp_path / model, model=model, fold=fold)
        for fold, model in enumerate("ab")
    ]
    verdict = verdict_of(runs)
    assert verdict.differences == {}
    assert "share no good images" in words.details(verdict)[0]
    assert "split.fold" in words.details(verdict)[0]

    label = labels_of(60, good=40)
    whole = draw_one_class_run(tmp_path / "holdout", model="b", fold=None,
                               images=(np.arange(60), label))  # fmt: skip
    halves = [
        draw_one_class_run(tmp_path / f"{fold}", model="a", fold=fold,
                           images=(np.arange(60)[fold::2], label[fold::2]))
        for fold in range(2)
    ]  # fmt: skip
    verdict = verdict_of([*halves, whole])
    assert set(verdict.differences) == {"defects_missed", "good_rejected"}
    assert any(line.startswith("AUROC is not compared: a has") for line in words.details(verdict))

    # The second tests half of each fold's good images and other ones.
    label = np.array([0] * 12 + [1] * 14)
    second = [
        draw_one_class_run(
            tmp_path / f"b{fold}", model="b", fold=fold,
            images=(np.append(12 * fold + np.r_[:6, 500:506], 1000 + np.arange(14)), label),
        )
        for fold in range(2)
    ]  # fmt: skip
    verdict = verdict_of([*draw_folds(tmp_path, model="a", folds=2), *second])
    assert verdict.differences["auroc"].n == 2 * 6 + 14
    assert verdict.retrained is None


# --- thresholds


def of_two_folds(folder: Path, **changed) -> Measured:
    (one,) = measured(draw_folds(folder, folds=2, **changed))
    return one


def row_of(of: Measured) -> list[str]:
    table = thresholds.threshold_table([of])
    assert table is not None
    return [cell.text for cell in table.rows[0]]


def test_rules_that_promise_nothing_are_not_held_against_a_rate(tmp_path) -> None:
    for rule, defects in (("sigma", 0), ("f1", 7)):
        threshold = {"rule": rule, "defect_images": defects, "false_alarm_rate": None,
                     "needed": None}  # fmt: skip
        one = of_two_folds(tmp_path / rule, threshold=threshold)
        assert row_of(one)[2::3] == ["no promise", "–"]
        assert thresholds.sentences([one]) == []
        told = [line for line in thresholds.caveats([one]) if "rule f1" in line]
        assert len(told) == (rule == "f1")
        start = "autoencoder: the threshold was chosen with labelled defects"
        assert all(line.startswith(start) for line in told)


def test_table_and_answer_hold_the_promised_rate_against_what_is_rejected(tmp_path) -> None:
    comparison = compare(draw_folds(tmp_path, folds=2, skill=0.0))
    (one,), answer = comparison.measured, comparison.answer
    row = row_of(one)
    assert row[:3] == ["autoencoder (2 runs)", "conformal", "at most .100"]
    assert row[3].startswith(f"{one.figures['good_rejected'].value:.3f}".lstrip("0"))
    assert row[4:] == ["20", "yes"]
    assert not mentions(thresholds.caveats([one]), "beyond chance")

    start = "Good ones rejected against what was asked for: autoencoder ."
    assert any(line.startswith(start) for line in answer.best)
    assert any(line.endswith("asked .100.") for line in answer.best)
    assert "Not shown to be better than guessing, by AUROC: autoencoder." in answer.caveats


def test_too_few_good_images_for_the_promised_rate_are_told(tmp_path) -> None:
    one = of_two_folds(tmp_path, threshold={"good_images": 5, "enough": False})

    assert row_of(one)[5] == "no in 2 of 2 runs: 9 are needed"
    (told,) = [line for line in thresholds.caveats([one]) if "takes 9" in line]
    assert "5 good images set the threshold" in told
    assert "expect up to .167" in told


def test_more_rejected_than_promised_beyond_chance_is_told_where_it_was_promised(tmp_path) -> None:
    enough = {"false_alarm_rate": 0.001, "good_images": 2000}
    few = {"false_alarm_rate": 0.001, "good_images": 20, "enough": False, "needed": 999}
    kept, broken = (
        thresholds.caveats(
            measured([draw_one_class_run(tmp_path / name, threshold=threshold,
                                         images=one_class_images(0, good=400))])
        )
        for name, threshold in (("few", few), ("enough", enough))
    )  # fmt: skip
    assert any(line.endswith("differ from those that set the threshold.") for line in broken)
    assert not mentions(kept, "beyond chance")
    assert mentions(kept, "takes 999")


def test_below_50_good_images_a_training_the_share_is_uncertain(tmp_path) -> None:
    for good, is_told in ((49, True), (50, False)):
        run = draw_one_class_run(tmp_path / f"{good}", images=one_class_images(0, good=good))
        assert mentions(thresholds.caveats(measured([run])), "uncertain") == is_told
