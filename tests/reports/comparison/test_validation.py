from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drawn_anomaly_runs import draw_one_class_run
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_segmentation_run

from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import measure
from capsule_inspection.reports.comparison.page import as_html
from capsule_inspection.reports.comparison.validation import Ranking, rank_on_validation
from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run


def ranking_of(runs: Sequence[RunFolder]) -> Ranking:
    return rank_on_validation([measure(contestant) for contestant in gather(runs)])


def names_in(ranking: Ranking) -> list[str]:
    return [one.name for one in ranking.order]


def test_one_class_models_rank_by_the_loss_that_they_share(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(tmp_path / model, model=model, val_loss=loss, skill=skill, maps=False)
        for model, loss, skill in (("a", 0.3, 3.0), ("b", 0.1, 0.0), ("c", 0.2, 2.0))
    ]
    ranking = ranking_of(runs)
    assert ranking.by == "loss"
    assert names_in(ranking) == ["b", "c", "a"]


def test_losses_of_other_terms_do_not_rank(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(
            tmp_path / model, model=model, val_loss=loss, maps=False,
            settings={"task": {"loss": {"l1": weight}}},
        )
        for model, loss, weight in (("a", 0.3, 1.0), ("b", 0.1, 0.5))
    ]  # fmt: skip
    ranking = ranking_of(runs)
    assert ranking.by is None
    assert names_in(ranking) == ["a", "b"]


def test_losses_of_other_folds_do_not_rank(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(tmp_path / model, model=model, fold=fold, maps=False)
        for fold, model in enumerate("ab")
    ]
    assert ranking_of(runs).by is None


def test_classifiers_and_one_class_models_have_no_common_figure(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(tmp_path / "a", model="a", skill=0.0),
        read_run(draw_run(tmp_path / "b")),
    ]
    ranking = ranking_of(runs)
    assert ranking.by is None
    assert names_in(ranking) == ["a", "custom_resnet"]


def test_classifiers_rank_by_balanced_accuracy(tmp_path: Path) -> None:
    runs = [read_run(draw_run(tmp_path / name, model=name)) for name in "ab"]
    path = runs[1].path / "metrics.json"
    path.write_text(path.read_text().replace('"val/balanced_accuracy": {"value": 0.8', '"val/balanced_accuracy": {"value": 0.9'))  # fmt: skip # noqa: E501
    ranking = ranking_of([runs[0], read_run(runs[1].path)])
    assert ranking.by == "balanced_accuracy"
    assert names_in(ranking) == ["b", "a"]


def test_above_eight_models_the_page_says_what_all_are_compared_with(tmp_path: Path) -> None:
    def runs(*, shared_loss: bool) -> list[RunFolder]:
        return [
            draw_one_class_run(
                tmp_path / f"{shared_loss}{n}", model=f"m{n}", val_loss=1 / (n + 1), maps=False,
                settings={"task": {"loss": {"l1": 1.0 if shared_loss else 1.0 + n}}},
            )
            for n in range(9)
        ]  # fmt: skip

    unranked, ranked = compare(runs(shared_loss=False)), compare(runs(shared_loss=True))
    html = as_html(unranked, [], drawn_note="")
    assert "All are compared with m0, the first of the runs: they share no validation" in html
    assert {verdict.first for verdict in ranked.verdicts} == {"m8"}
    assert "All are compared with m8, which has the least validation loss." in as_html(
        ranked, [], drawn_note=""
    )
    page = write_comparison(unranked, tmp_path / "out").read_text()
    assert "Drawn are the first 7 of 9 models (they share no validation figure" in page


def test_models_that_mark_pixels_rank_by_the_overlap_that_chose_their_epoch(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(
            tmp_path / model, model=model, monitored=dice, beside=beside, binary=model == "b"
        )
        for model, dice, beside in (("a", 0.4, 0), ("b", 0.6, 6), ("c", 0.5, 3))
    ]
    ranking = ranking_of(runs)
    assert ranking.by == "foreground_dice"
    assert names_in(ranking) == ["b", "c", "a"]


def test_overlaps_of_other_images_or_of_other_names_do_not_rank(tmp_path: Path) -> None:
    split = [
        draw_segmentation_run(tmp_path / f"s{n}", model=f"m{n}", settings={"split": {"seed": n}})
        for n in range(2)
    ]
    by_names = {"monitor": {"key": "val/mean_iou_smoothed", "value": 0.5}}
    classes = [
        draw_segmentation_run(tmp_path / f"c{n}", model=f"m{n}", binary=bool(n), record=by_names)
        for n in range(2)
    ]
    assert ranking_of(split).by is None
    assert ranking_of(classes).by is None
    assert ranking_of(classes[:1]).by == "mean_iou"


def test_classifiers_and_models_that_mark_pixels_have_no_common_figure(tmp_path: Path) -> None:
    runs = [draw_segmentation_run(tmp_path / "a"), read_run(draw_run(tmp_path / "b"))]
    ranking = ranking_of(runs)
    assert ranking.by is None
    assert names_in(ranking) == ["unet", "custom_resnet"]


def test_above_eight_models_that_mark_pixels_the_best_on_validation_is_told(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(tmp_path / f"{n}", model=f"m{n}", monitored=n / 10) for n in range(9)
    ]
    comparison = compare(runs)
    assert {verdict.first for verdict in comparison.verdicts} == {"m8"}
    assert "All are compared with m8, which has the best validation foreground Dice." in as_html(
        comparison, [], drawn_note=""
    )
