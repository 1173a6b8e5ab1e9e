"""Runs that mark pixels in a comparison: what decides, figures of pixels, tables, pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_anomaly_runs import draw_one_class_run
from drawn_runs import draw_run
from drawn_segmentation_runs import (
    draw_segmentation_folds,
    draw_segmentation_run,
    images_of_fold,
)

from capsule_inspection.contracts import RunError
from capsule_inspection.metrics.names import of_stage
from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.dissent import photographs_of_dissent, seen_by
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.page import as_html, as_markdown
from capsule_inspection.reports.comparison.tables import as_csv, quality_table, seeds_table
from capsule_inspection.reports.comparison.terminal import print_comparison
from capsule_inspection.reports.comparison.where import named_table, overlap_table, where_table
from capsule_inspection.reports.comparison.where_pictures import shown_in
from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run

IMAGES = 20
OVERLAPS = {"mean_iou_of_pixels", "foreground_dice_of_pixels", "defects_touched",
            "false_alarm_area", "iou_of_pixels/crack"}  # fmt: skip
OF_MAPS = ("pixel_auroc", "aupro")


def measured(runs: Sequence[RunFolder]) -> list[Measured]:
    return [measure(contestant) for contestant in gather(runs)]


def cells(table: Table | None, row: int) -> dict[str, str]:
    assert table is not None
    return {column: cell.text for column, cell in zip(table.columns, table.rows[row], strict=True)}


def mixed(folder: Path) -> list[RunFolder]:
    """Two that mark pixels (one without names), a classifier and one with a map, on 20 images."""
    number, label = images_of_fold(0)
    return [
        draw_segmentation_run(folder / "near", model="near", thumbnails=True),
        draw_segmentation_run(folder / "binary", model="binary", beside=4, binary=True),
        read_run(draw_run(folder / "named", wrong=(9, 11), label=label)),
        draw_one_class_run(folder / "map", fold=None, images=(number, label)),
    ]


def test_what_was_marked_decides_and_not_the_largest_probability(tmp_path: Path) -> None:
    """The probabilities say good of every image; of 12 defects two are taken for the other."""
    (whole,) = measured(draw_segmentation_folds(tmp_path / "folds", folds=2))
    stored = of_stage(draw_segmentation_run(tmp_path / "one").figures, "test")

    assert stored["accuracy"].value == pytest.approx(16 / 20)
    assert whole.figures["defects_missed"].value == 0
    assert whole.figures["auroc"].value > 0.9
    assert whole.figures["accuracy"].value == pytest.approx(whole.contestant.correct.mean())


def test_pooled_folds_have_the_figures_of_one_run_of_all_images(tmp_path: Path) -> None:
    parts = [images_of_fold(fold) for fold in range(3)]
    all_images = tuple(np.concatenate(of_all) for of_all in zip(*parts, strict=True))
    (folds,) = measured(draw_segmentation_folds(tmp_path / "folds"))
    whole = of_stage(
        draw_segmentation_run(tmp_path / "one", images=(all_images[0], all_images[1])).figures,
        "test",
    )

    assert set(folds.figures) == set(whole)
    for name in set(whole) - {"macro_f1", "pixel_average_precision", *OF_MAPS}:
        assert folds.figures[name].value == pytest.approx(whole[name].value), name
        assert folds.figures[name].n == whole[name].n, name


def test_figures_of_maps_are_means_over_runs_as_for_all_others(tmp_path: Path) -> None:
    runs = draw_segmentation_folds(tmp_path, beside=4)
    (one,) = measured(runs)
    for name in OF_MAPS:
        mean = np.mean([run.figures[f"test/{name}"].value for run in runs])
        assert one.figures[name].value == pytest.approx(mean)


def test_seeds_are_averaged_and_make_no_further_images(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(tmp_path / f"{seed}", seed=seed, record={"seed": seed})
        for seed in range(3)
    ]
    (one,) = measured(runs)
    each = [run.figures["test/foreground_dice_of_pixels"].value for run in runs]

    assert one.figures["foreground_dice_of_pixels"].value == pytest.approx(np.mean(each))
    assert one.figures["foreground_dice_of_pixels"].n == IMAGES
    by_seed = [of_seed["foreground_dice_of_pixels"] for of_seed in one.by_seed.values()]
    assert by_seed == pytest.approx(each)
    assert cells(seeds_table([one]), 0)["foreground Dice of pixels"].startswith(
        f"{np.mean(each):.3f}".removeprefix("0")
    )


def test_runs_without_names_are_means_over_runs_with_their_marks_pooled(tmp_path: Path) -> None:
    runs = draw_segmentation_folds(tmp_path, binary=True)
    (one,) = measured(runs)

    assert not one.contestant.names_defects
    assert one.contestant.marks is not None
    assert one.contestant.marks.classes == ("good", "defect")
    assert one.figures["auroc"].value == pytest.approx(
        np.mean([run.figures["test/auroc"].value for run in runs])
    )
    assert one.figures["foreground_dice_of_pixels"].n == 3 * IMAGES
    assert "recall_at_false_alarm_rate" in one.figures


def test_the_tables_tell_where_and_which_and_say_who_tells_nothing(tmp_path: Path) -> None:
    found = measured(mixed(tmp_path))
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


def test_a_table_of_classifiers_alone_says_nothing_of_where(tmp_path: Path) -> None:
    found = measured([read_run(draw_run(tmp_path / "a"))])
    assert (where_table(found), named_table(found), overlap_table(found)) == (None, None, None)


def test_missing_maps_leave_the_overlap_out_and_the_answer_says_so(tmp_path: Path) -> None:
    runs = [*draw_segmentation_folds(tmp_path), draw_segmentation_run(tmp_path / "b", model="b")]
    (runs[1].path / "maps.npz").unlink()
    comparison = compare(runs)

    lacking, other = comparison.measured
    assert not OVERLAPS & set(lacking.figures)
    assert set(other.figures) > OVERLAPS
    assert lacking.figures["aupro"].low is None
    assert any(
        "unet: 1 of 3 runs kept no marked pixels (unet1), so the figures of what it marks are left "
        "out" in caveat
        for caveat in comparison.answer.caveats
    )


def test_a_single_run_without_maps_shows_what_it_stored_and_is_not_compared(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(tmp_path / "a", model="a", maps=False),
        draw_segmentation_run(tmp_path / "b", model="b", beside=6),
    ]
    comparison = compare(runs)

    assert set(comparison.measured[0].figures) > OVERLAPS
    assert "foreground_dice_of_pixels" not in comparison.verdicts[0].differences
    assert any(
        line.startswith("a: 1 of 1 runs kept no marked pixels (a), so it is not compared")
        for line in comparison.answer.caveats
    )
    assert "How they mark defects is not compared: a kept no marked pixels" in as_html(
        comparison, [], drawn_note=""
    )


def test_classes_that_the_run_has_not_are_refused_with_advice(tmp_path: Path) -> None:
    run = draw_segmentation_run(tmp_path / "a", fold=0)
    with np.load(run.path / "maps.npz") as stored:
        arrays = {name: stored[name] for name in stored}
    arrays["marked"] = arrays["marked"] * 9
    np.savez(run.path / "maps.npz", **arrays)
    with pytest.raises(RunError, match=r"classes that the run has not.*evaluate\.py"):
        measured([run, draw_segmentation_run(tmp_path / "b", fold=1)])


def test_the_csv_and_the_markdown_have_the_figures_of_pixels(tmp_path: Path) -> None:
    comparison = compare(mixed(tmp_path))
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(as_csv(comparison.measured))))

    assert float(rows[0]["foreground_dice_of_pixels"]) > float(rows[1]["foreground_dice_of_pixels"])
    assert rows[2]["foreground_dice_of_pixels"] == ""
    assert rows[0]["validation_foreground_Dice"] == "0.4"
    text = as_markdown(comparison, [])
    assert text.index("## Where is the defect?") < text.index("## Verdicts")
    assert text.index("## Verdicts") < text.index("## Overlap with each defect")


def test_the_terminal_has_the_figures_of_pixels_beside_the_right_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    comparison = compare(mixed(tmp_path))
    print_comparison(comparison)

    rows = [row for row in capsys.readouterr().out.splitlines() if "│ foreground Dice of p" in row]
    of_three, of_last = ([cell.strip() for cell in row.split("│")[2:-1]] for row in rows)
    where = where_table(comparison.measured)
    told = [cells(where, row)["foreground Dice of pixels"] for row in range(2)]
    assert of_three == [*told, "–"]
    assert of_last == ["–"]


def test_the_page_of_all_kinds_is_written(tmp_path: Path) -> None:
    html = write_comparison(compare(mixed(tmp_path)), tmp_path / "out").read_text()

    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"marks.png", "overlap.png", "courses_segmentation.png", "courses.png",
            "courses_one_class.png", "confusion.png"} <= drawn  # fmt: skip
    assert "models that mark pixels" in html
    assert "Models that mark pixels call an image by what they marked in it." in html


def test_the_photograph_of_a_class_is_that_on_which_marks_differ_most(tmp_path: Path) -> None:
    near = draw_segmentation_run(tmp_path / "near", model="near")
    far = draw_segmentation_run(tmp_path / "far", model="far")
    with np.load(far.path / "maps.npz") as stored:
        arrays = {name: stored[name] for name in stored}
    arrays["marked"][[3, 14, 17]] = 0
    arrays["marked"][3, 0] = 1
    np.savez(far.path / "maps.npz", **arrays)
    contestants = gather([near, far])

    chosen = photographs_of_dissent(contestants)

    numbers = [int(image.split(".")[0], 16) for image in chosen]
    assert numbers == [3, 14, 17]  # the good one, a crack and a poke
    seen = seen_by(contestants[1], chosen)[chosen[1]]
    assert seen.marked is not None
    assert not seen.marked.any()
    assert seen.truth.any()


def test_pictures_of_marks_need_a_model_that_marks(tmp_path: Path) -> None:
    near, _, named, with_map = gather(mixed(tmp_path))
    assert shown_in([named, with_map]) == []
    assert [one.name for one in shown_in([with_map, named, near])] == ["near", "autoencoder"]
