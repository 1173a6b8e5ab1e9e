"""Figures and tables of one-class runs: means over folds, never of pooled scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_anomaly_runs import draw_folds, draw_one_class_run, one_class_images
from drawn_runs import draw_run, labels_of

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.comparison import maps, one_class
from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.tables import as_csv, quality_table, recall_table
from capsule_inspection.reports.comparison.where import where_table
from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run

DEFECTS, GOOD = 14, 12


def measured(runs: Sequence[RunFolder]) -> list[Measured]:
    return [measure(contestant) for contestant in gather(runs)]


def cells(table: Table | None, row: int) -> dict[str, str]:
    assert table is not None
    return {column: cell.text for column, cell in zip(table.columns, table.rows[row], strict=True)}


def mean_of_stored(runs: Sequence[RunFolder], metric: str) -> float:
    return float(np.mean([run.figures[f"test/{metric}"].value for run in runs]))


def test_every_figure_is_the_mean_of_those_of_the_folds(tmp_path: Path) -> None:
    runs = draw_folds(tmp_path)
    (one,) = measured(runs)

    stored = {key.removeprefix("test/") for key in runs[0].figures}
    assert set(one.figures) == stored
    assert {"auroc", "f1", "recall/poke", "aupro", "pixel_auroc"} <= stored
    for metric, figure in one.figures.items():
        assert figure.value == pytest.approx(mean_of_stored(runs, metric)), metric
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high


def test_an_offset_of_one_folds_scores_changes_nothing(tmp_path: Path) -> None:
    runs = draw_folds(tmp_path)
    moved = [*runs[:4], draw_one_class_run(tmp_path / "moved", fold=4, offset=100.0)]

    (before,), (after,) = measured(runs), measured(moved)

    assert after.figures == before.figures


def test_seeds_and_folds_go_into_one_mean(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(tmp_path / f"{seed}{fold}", seed=seed, fold=fold)
        for seed in range(2)
        for fold in range(3)
    ]
    (one,) = measured(runs)

    assert one.figures["auroc"].value == pytest.approx(mean_of_stored(runs, "auroc"))
    assert one.figures["auroc"].n == 3 * GOOD + DEFECTS
    assert one.by_seed[0]["auroc"] == pytest.approx(mean_of_stored(runs[:3], "auroc"))


def test_all_judgements_of_a_defect_count(tmp_path: Path) -> None:
    runs = draw_folds(tmp_path, skill=1.0)
    (contestant,) = gather(runs)

    assert len(contestant.image) == 5 * GOOD + DEFECTS
    called = np.mean([run.scores_of("test").called_defect[GOOD:] for run in runs], axis=0)
    assert 0 < called[0] < 1
    np.testing.assert_allclose(contestant.called_defect[contestant.is_defect], called)
    good = ~contestant.is_defect
    np.testing.assert_allclose(contestant.correct[good], 1 - contestant.called_defect[good])


def test_a_single_run_shows_its_stored_figures(tmp_path: Path) -> None:
    run = draw_one_class_run(tmp_path / "a")
    (one,) = measured([run])
    assert {f"test/{name}": figure for name, figure in one.figures.items()} == run.figures


def test_pixel_figures_without_maps_have_no_interval(tmp_path: Path) -> None:
    runs = draw_folds(tmp_path)
    (runs[2].path / "maps.npz").unlink()
    (one,) = measured(runs)

    figure = one.figures["aupro"]
    assert figure.value == pytest.approx(mean_of_stored(runs, "aupro"))
    assert (figure.low, figure.high) == (None, None)


def test_a_fold_that_never_had_maps_leaves_no_pixel_figures(tmp_path: Path) -> None:
    runs = [*draw_folds(tmp_path, folds=4), draw_one_class_run(tmp_path / "e", fold=4, maps=False)]
    (one,) = measured(runs)
    assert not {*maps.OF_MAPS} & set(one.figures)


def test_damaged_maps_are_refused_with_advice(tmp_path: Path) -> None:
    runs = draw_folds(tmp_path, folds=2)
    (runs[1].path / "maps.npz").write_bytes(b"no")
    with pytest.raises(RunError, match=r"evaluate\.py"):
        measured(runs)


def test_the_asked_rate_is_that_of_the_settings_then_of_the_record(tmp_path: Path) -> None:
    (first,) = gather([draw_one_class_run(tmp_path / "a", threshold={"false_alarm_rate": None})])
    changed: dict[str, Any] = {"threshold": {}}
    (second,) = gather([draw_one_class_run(tmp_path / "b", settings=changed)])
    (neither,) = gather(
        draw_folds(tmp_path, folds=2, settings=changed, threshold={"false_alarm_rate": None})
    )
    assert one_class.false_alarm_rate(first) == one_class.false_alarm_rate(second) == 0.1
    assert one_class.false_alarm_rate(neither) is None
    assert "recall_at_false_alarm_rate" not in measure(neither).figures


def test_figures_of_maps_have_a_table_of_those_that_have_maps(tmp_path: Path) -> None:
    runs = [*draw_folds(tmp_path), *draw_folds(tmp_path, model="bare", maps=False)]
    table, where = quality_table(measured(runs)), where_table(measured(runs))

    assert {"F1 of defects", "recall at the false-alarm rate",
            "average precision of defects"} <= set(table.columns)  # fmt: skip
    assert cells(table, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert where is not None
    assert where.columns == ("model", "pixel AUROC", "AUPRO", "images")
    assert [row[0].text for row in where.rows] == ["autoencoder (5 runs)"]
    assert cells(where, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "nothing is known of where: bare" in where.note
    assert "means over folds and seeds" in table.note
    assert "at most 0.1 of these good images" in table.note
    assert "pooled: every image" not in table.note


def test_classifiers_alone_have_the_columns_that_they_had(tmp_path: Path) -> None:
    table = quality_table(measured([read_run(draw_run(tmp_path / "a"))]))
    assert "average precision of defects" not in table.columns
    assert "never pooled" not in table.note


def mixed(folder: Path) -> list[RunFolder]:
    runs = [
        draw_one_class_run(folder / "anomaly", images=(np.arange(66), labels_of(66)), fold=None)
    ]
    return [read_run(draw_run(folder / "named", wrong=(0, 50))), *runs]


def test_recall_of_both_kinds_says_that_they_mean_different_things(tmp_path: Path) -> None:
    table = recall_table(measured(mixed(tmp_path)))

    assert [cells(table, row)["what is counted"] for row in (0, 1)] == ["named", "rejected"]
    assert table is not None
    assert table.note.startswith("The rows do not all mean the same.")


def test_recall_of_one_class_models_is_the_share_rejected(tmp_path: Path) -> None:
    table = recall_table(measured(draw_folds(tmp_path)))

    assert table is not None
    assert table.columns == ("model", "good", "crack", "poke")
    assert "are rejected, as defects should be; of good: that pass" in table.note


def test_the_csv_has_every_figure_of_both_kinds(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = list(
        csv.DictReader(io.StringIO(as_csv(measured(mixed(tmp_path)))))
    )
    assert (rows[0]["aupro"], rows[1]["accuracy"]) == ("", "")
    assert float(rows[1]["aupro"]) > 0
    assert float(rows[1]["f1_best"]) >= float(rows[1]["f1"])


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_page_of_one_class_models_is_written(tmp_path: Path, seeds: int) -> None:
    runs = [
        run
        for seed in range(seeds)
        for model, skill in (("a", 2.0), ("b", 1.0))
        for run in draw_folds(tmp_path / f"{seed}", model=model, seed=seed, skill=skill, folds=3)
    ]
    comparison = compare(runs)
    html = write_comparison(comparison, tmp_path / "out").read_text()

    assert "paired bootstrap within folds" in html
    assert "Thresholds" in html
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"courses_one_class.png", "recall.png", "overview.png"} <= drawn
    assert not {"confusion.png", "courses.png", "disagreement.png"} & drawn
    assert ("Spread over seeds" in html) == (seeds > 1)


def test_the_page_of_both_kinds_is_written(tmp_path: Path) -> None:
    html = write_comparison(compare(mixed(tmp_path)), tmp_path / "out").read_text()

    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"courses_one_class.png", "courses.png", "confusion.png"} <= drawn
    assert "models that name no classes" in html


def test_runs_that_were_tested_on_good_images_only_are_shown_too(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(
            tmp_path / f"{model}{fold}",
            model=model,
            fold=fold,
            images=one_class_images(fold, defects=0),
            maps=False,
        )
        for model in "ab"
        for fold in range(3)
    ]
    comparison = compare(runs)

    assert set(comparison.measured[0].figures) == {"good_rejected", "recall/good"}
    assert set(comparison.verdicts[0].differences) == {"good_rejected"}
    assert write_comparison(comparison, tmp_path / "out").is_file()
