"""Runs that mark pixels in a comparison: what decides, figures of pixels, tables, pairs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import cells, measured, mentions, verdict_of
from drawn_anomaly_runs import draw_one_class_run
from drawn_runs import draw_run
from drawn_segmentation_runs import (
    change_maps,
    draw_segmentation_folds,
    draw_segmentation_run,
    images_of_fold,
)

from capsule_inspection.metrics.names import of_stage
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.dissent import photographs_of_dissent, seen_by
from capsule_inspection.reports.comparison.page import as_html, as_markdown
from capsule_inspection.reports.comparison.tables import as_csv, quality_table, seeds_table
from capsule_inspection.reports.comparison.terminal import print_comparison
from capsule_inspection.reports.comparison.where import named_table, overlap_table, where_table
from capsule_inspection.reports.comparison.where_pictures import shown_in
from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.types import RunError

IMAGES = 20
DICE, IOU = "foreground_dice_of_pixels", "mean_iou_of_pixels"
OVERLAPS = {IOU, DICE, "defects_touched", "false_alarm_area", "iou_of_pixels/crack"}
OF_MAPS = ("pixel_auroc", "aupro")
OF_DECISIONS = {"defects_missed", "good_rejected", "auroc"}
NUMBER, LABEL = images_of_fold(0)


def marks(folder: Path, model: str, **changed) -> RunFolder:
    return draw_segmentation_run(folder / model, model=model, **changed)


def mixed(folder: Path) -> list[RunFolder]:
    """Two that mark pixels (one without names), a classifier and one with a map, on 20 images."""
    return [
        marks(folder, "near", thumbnails=True),
        marks(folder, "binary", beside=4, binary=True),
        read_run(draw_run(folder / "named", wrong=(9, 11), label=LABEL)),
        draw_one_class_run(folder / "map", fold=None, images=(NUMBER, LABEL), skill=1.0, maps=True),
    ]


# --- figures


def test_what_was_marked_decides_and_not_the_largest_probability(tmp_path) -> None:
    """The probabilities say good of every image; of 12 defects two are taken for the other."""
    (whole,) = measured(draw_segmentation_folds(tmp_path / "folds", folds=2))
    unet = marks(tmp_path, "unet")

    assert of_stage(unet.figures, "test")["accuracy"].value == pytest.approx(16 / 20)
    assert whole.figures["defects_missed"].value == 0
    assert whole.figures["auroc"].value > 0.9
    assert whole.figures["accuracy"].value == pytest.approx(whole.contestant.correct.mean())

    named = read_run(draw_run(tmp_path / "named", label=LABEL))
    verdict = verdict_of([unet, named])
    areas = [run.figures["test/auroc"].value for run in (unet, named)]
    assert areas[0] > 0.8
    assert verdict.differences["auroc"].value == pytest.approx(areas[0] - areas[1])
    assert verdict.right == (16, 20)


def test_pooled_folds_have_the_figures_of_one_run_of_all_images_and_means_of_maps(tmp_path) -> None:
    parts = [images_of_fold(fold) for fold in range(3)]
    number, label = (np.concatenate([part[of] for part in parts]) for of in (0, 1))
    runs = draw_segmentation_folds(tmp_path / "folds")
    (folds,) = measured(runs)
    whole = of_stage(marks(tmp_path, "one", images=(number, label)).figures, "test")

    assert set(folds.figures) == set(whole)
    for name in set(whole) - {"macro_f1", "pixel_average_precision", *OF_MAPS}:
        assert folds.figures[name].value == pytest.approx(whole[name].value), name
        assert folds.figures[name].n == whole[name].n, name
    (beside,) = measured(far := draw_segmentation_folds(tmp_path / "far", beside=4))
    for name in OF_MAPS:
        mean = np.mean([run.figures[f"test/{name}"].value for run in far])
        assert beside.figures[name].value == pytest.approx(mean)


def test_seeds_are_averaged_and_make_no_further_images(tmp_path) -> None:
    runs = [draw_segmentation_run(tmp_path / f"{seed}", seed=seed) for seed in range(3)]
    (one,) = measured(runs)
    each = [run.figures[f"test/{DICE}"].value for run in runs]

    assert one.figures[DICE].value == pytest.approx(np.mean(each))
    assert one.figures[DICE].n == IMAGES
    assert [of_seed[DICE] for of_seed in one.by_seed.values()] == pytest.approx(each)
    told = cells(seeds_table([one]), 0)["foreground Dice of pixels"]
    assert told.startswith(f"{np.mean(each):.3f}".removeprefix("0"))


def test_runs_without_names_are_means_over_runs_with_their_marks_pooled(tmp_path) -> None:
    runs = draw_segmentation_folds(tmp_path, binary=True)
    (one,) = measured(runs)

    assert not one.contestant.names_defects
    assert one.contestant.marks is not None
    assert one.contestant.marks.classes == ("good", "defect")
    expected = np.mean([run.figures["test/auroc"].value for run in runs])
    assert one.figures["auroc"].value == pytest.approx(expected)
    assert one.figures[DICE].n == 3 * IMAGES
    assert "recall_at_false_alarm_rate" in one.figures


def test_missing_maps_leave_the_overlap_out_and_the_answer_says_so(tmp_path) -> None:
    runs = [*draw_segmentation_folds(tmp_path), marks(tmp_path, "b")]
    (runs[1].path / "maps.npz").unlink()
    comparison = compare(runs)

    lacking, other = comparison.measured
    assert not OVERLAPS & set(lacking.figures)
    assert set(other.figures) > OVERLAPS
    assert lacking.figures["aupro"].low is None
    told = "unet: 1 of 3 runs kept no marked pixels (unet1), so the figures of what it marks are "
    assert mentions(comparison.answer.caveats, f"{told}left out")

    # A single run shows what it stored, and is not compared by it.
    comparison = compare([marks(tmp_path, "a", maps=False), runs[-1]])
    assert set(comparison.measured[0].figures) > OVERLAPS
    assert DICE not in comparison.verdicts[0].differences
    told = "a: 1 of 1 runs kept no marked pixels (a), so it is not compared"
    assert any(line.startswith(told) for line in comparison.answer.caveats)
    html = as_html(comparison, [], drawn_note="")
    assert "How they mark defects is not compared: a kept no marked pixels" in html


def test_classes_that_the_run_has_not_are_refused_with_advice(tmp_path) -> None:
    runs = draw_segmentation_folds(tmp_path, folds=2)
    change_maps(runs[0].path, "marked", value=9)
    with pytest.raises(RunError, match=r"classes that the run has not.*evaluate\.py"):
        measured(runs)


# --- tables, page and pictures


def test_the_tables_tell_where_and_which_and_say_who_tells_nothing(
    tmp_path, capsys, monkeypatch
) -> None:
    comparison = compare(mixed(tmp_path))
    found = comparison.measured
    where, named, overlap = where_table(found), named_table(found), overlap_table(found)
    assert where is not None
    assert where.columns == (
        "model", "foreground Dice of pixels", "foreground Dice of images", "defects touched",
        "false-alarm area ↓", "pixel AUROC", "AUPRO", "images",
    )  # fmt: skip
    assert [row[0].text for row in where.rows] == ["near", "binary", "autoencoder"]
    assert "nothing is known of where: custom_resnet" in where.note
    assert cells(where, 0)["false-alarm area ↓"].endswith("%)")
    assert cells(where, 2)["foreground Dice of pixels"] == "–"
    assert cells(where, 2)["AUPRO"] != "–"
    assert named is not None
    assert [row[0].text for row in named.rows] == ["near"]
    assert cells(overlap, 0)["crack"].count("Dice") == 1
    assert "AUPRO" not in quality_table(found).columns
    only_named = found[2:3]
    assert where_table(only_named) is named_table(only_named) is overlap_table(only_named) is None

    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert float(rows[0][DICE]) > float(rows[1][DICE])
    assert rows[2][DICE] == ""
    assert rows[0]["validation_foreground_Dice"] == "0.4"
    text = as_markdown(comparison, [])
    parts = ["## Where is the defect?", "## Verdicts", "## Overlap with each defect"]
    assert sorted(parts, key=text.index) == parts

    monkeypatch.setenv("COLUMNS", "120")
    print_comparison(comparison)
    lines = [row for row in capsys.readouterr().out.splitlines() if "│ foreground Dice of p" in row]
    of_three, of_last = ([cell.strip() for cell in row.split("│")[2:-1]] for row in lines)
    told = [cells(where, row)["foreground Dice of pixels"] for row in range(2)]
    assert of_three == [*told, "–"]
    assert of_last == ["–"]

    html = write_comparison(comparison, tmp_path / "out").read_text()
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"marks.png", "overlap.png", "courses_segmentation.png", "courses.png",
            "courses_one_class.png", "confusion.png"} <= drawn  # fmt: skip
    assert "models that mark pixels" in html
    assert "Models that mark pixels call an image by what they marked in it." in html

    # By marks only those are compared that mark; by names only those that tell names.
    pairs = {(v.first, v.second): v for v in comparison.verdicts}
    by_marks = pairs.pop(("near", "binary"))
    assert DICE in by_marks.differences
    assert IOU not in by_marks.differences
    assert set(pairs["near", "custom_resnet"].differences) == {
        "accuracy", "balanced_accuracy", *OF_DECISIONS
    }  # fmt: skip
    assert set(pairs["near", "autoencoder"].differences) == OF_DECISIONS
    assert all(v.marks is None and v.no_marks is None for v in pairs.values())

    near, _, classifier, with_map = gather(mixed(tmp_path / "pictures"))
    assert shown_in([classifier, with_map]) == []
    assert [one.name for one in shown_in([with_map, classifier, near])] == ["near", "autoencoder"]


def test_the_image_of_a_class_is_that_on_which_marks_differ_most(tmp_path) -> None:
    near, far = marks(tmp_path, "near"), marks(tmp_path, "far")
    change_maps(far.path, "marked", rows=[3, 14, 17], value=0)
    change_maps(far.path, "marked", rows=(3, 0), value=1)
    contestants = gather([near, far])

    chosen = photographs_of_dissent(contestants)

    numbers = [int(image.split(".")[0], 16) for image in chosen]
    assert numbers == [3, 14, 17]  # the good one, a crack and a poke
    seen = seen_by(contestants[1], chosen)[chosen[1]]
    assert seen.marked is not None
    assert not seen.marked.any()
    assert seen.truth.any()


# --- pairs


def test_the_model_that_marks_closer_to_the_defects_is_better(tmp_path) -> None:
    near, far = marks(tmp_path, "near", beside=0), marks(tmp_path, "far", beside=5)
    comparison = compare([near, far])
    (verdict,) = comparison.verdicts

    for metric in (DICE, IOU):
        difference = near.figures[f"test/{metric}"].value - far.figures[f"test/{metric}"].value
        assert verdict.differences[metric].value == pytest.approx(difference)
        assert verdict.differs(metric)
    assert verdict.marks is not None
    assert (verdict.marks.images, verdict.marks.defects) == (20, 12)
    assert verdict.marks.dice[0] == pytest.approx(near.figures[f"test/{DICE}"].value)
    told = "near is better in foreground Dice of pixels and mean IoU of pixels"
    assert told in words.headline(verdict)
    assert "near marks defects better than far." in comparison.answer.best
    assert comparison.answer.recommendation.startswith("near is recommended")


def test_equal_models_are_not_told_apart_by_what_they_mark_and_many_pairs_are_counted(
    tmp_path,
) -> None:
    runs = [marks(tmp_path, name) for name in "abcd"]
    comparison = compare(runs[:2])
    (verdict,) = comparison.verdicts

    assert (verdict.differences[DICE].value, verdict.differences[DICE].p_value) == (0, 1.0)
    assert verdict.marks is not None
    assert verdict.marks.needed is None
    assert "not distinguishable on these 20 images" in words.headline(verdict)
    assert "Not to be told apart in how they mark defects: a and b." in comparison.answer.best
    assert "Not to be told apart in how they mark defects: 6 pairs." in compare(runs).answer.best


def test_a_small_difference_says_how_many_images_it_would_take(tmp_path) -> None:
    """The one lies beside the defects by as much as the other, but in other images."""
    verdict = verdict_of([marks(tmp_path, m, seed=s, beside=2) for s, m in enumerate("ab")])

    assert not verdict.differs(DICE)
    assert verdict.marks is not None
    assert verdict.marks.needed is not None
    told = [line for line in words.details(verdict) if "would be needed" in line]
    assert mentions(told, f"about {verdict.marks.needed:,} test images")


def test_folds_and_seeds_are_compared_image_by_image(tmp_path) -> None:
    near = [
        run
        for seed in range(2)
        for run in draw_segmentation_folds(tmp_path / f"{seed}", model="near", seed=seed)
    ]
    far = draw_segmentation_folds(tmp_path, model="far", beside=4)
    verdict = verdict_of([*near, *far])

    assert verdict.differences[DICE].n == 60
    assert verdict.differs(DICE)
    assert verdict.retrained is not None
    assert verdict.retrained[DICE].trainings == 3
    told = "Trained anew on other images of the kind, foreground Dice of pixels: it"
    assert any(line.startswith(told) for line in words.details(verdict))


def test_p_values_are_corrected_for_the_pairs_that_were_tested_by_the_same_figure(tmp_path) -> None:
    a, b, c = (marks(tmp_path, m, beside=beside) for m, beside in (("a", 0), ("b", 0), ("c", 5)))
    comparison = compare([a, b, c])
    of_pair = {(v.first, v.second): v for v in comparison.verdicts}

    alone = of_pair["a", "c"].differences[DICE].p_value
    assert alone is not None
    assert of_pair["a", "c"].corrected[DICE] == pytest.approx(3 * alone)
    assert of_pair["a", "b"].corrected[DICE] == 1.0
    assert {"a marks defects better than c.", "b marks defects better than c.",
            "Not to be told apart in how they mark defects: a and b."} <= set(
        comparison.answer.best)  # fmt: skip

    map_only = draw_one_class_run(tmp_path / "map", fold=None, images=(NUMBER, LABEL), skill=1.0)
    verdict = compare([a, c, map_only]).verdicts[0]
    assert (verdict.pairs("auroc"), verdict.pairs("accuracy"), verdict.pairs(DICE)) == (3, 1, 1)
    assert verdict.corrected[DICE] == verdict.differences[DICE].p_value
    told = words.details(verdict)
    assert any("foreground Dice" in line and "corrected" not in line for line in told)


def test_models_are_compared_on_the_marked_images_that_they_share(tmp_path) -> None:
    def pair(name: str, first: Any, second: Any, beside: int = 1):
        return verdict_of([
            marks(tmp_path / name, "a", images=(NUMBER[first], LABEL[first]), beside=0),
            marks(tmp_path / name, "b", images=(NUMBER[second], LABEL[second]), beside=beside),
        ])  # fmt: skip

    some = pair("some", np.r_[:16], np.r_[4:20], beside=5)
    assert some.marks is not None
    assert (some.marks.images, some.marks.defects) == (12, 8)

    none = pair("none", np.r_[0:8, 8:14], np.r_[0:8, 14:20])
    assert DICE not in none.differences
    assert mentions(words.details(none), "share no marked photograph of a defect")

    few = pair("few", np.r_[:12], np.r_[:12], beside=6)
    assert not few.differs(DICE)
    told = "not tested, fewer than 6 photographs are marked differently"
    assert mentions(words.details(few), told)
