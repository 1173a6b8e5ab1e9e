"""What the report says, on predictions made to order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from drawn_runs import CLASSES, draw_run, labels_of

from capsule_inspection.contracts import ConfigurationError, RunError
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.page import Comparison, as_html, as_markdown
from capsule_inspection.reports.comparison.tables import as_csv
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.reports.comparison.writing import (
    compare,
    read_finished,
    write_comparison,
)
from capsule_inspection.reports.run_folder import read_run

NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}


def compare_errors(
    folder: Path, errors: Mapping[str, Sequence[int]], *, images: int = 66
) -> Comparison:
    runs = [
        read_run(draw_run(folder / name, model=name, wrong=wrong, images=images))
        for name, wrong in errors.items()
    ]
    return compare(runs)


def verdict_of(comparison: Comparison, first: str, second: str) -> Verdict:
    return next(v for v in comparison.verdicts if (v.first, v.second) == (first, second))


@pytest.mark.parametrize("errors", [NESTED, DISJOINT], ids=["nested", "disjoint"])
def test_one_image_of_66_is_no_difference(tmp_path: Path, errors: dict[str, range]) -> None:
    verdict = verdict_of(compare_errors(tmp_path, errors), "sixty", "fifty_nine")
    assert verdict.right == (60, 59)
    assert verdict.corrected["accuracy"] == 1.0
    assert "not distinguishable on these 66 images" in words.headline(verdict)
    assert verdict.needed is not None
    assert any(f"about {verdict.needed:,} test images" in line for line in words.details(verdict))


def test_nested_errors_show_thirteen_images_to_be_a_difference(tmp_path: Path) -> None:
    verdict = verdict_of(compare_errors(tmp_path, NESTED), "sixty", "forty_seven")
    assert verdict.corrected["accuracy"] == pytest.approx(3 * 2 * 0.5**13)
    assert "sixty is better in accuracy" in words.headline(verdict)


def test_disjoint_errors_show_it_too_but_seven_against_nineteen_no_more(tmp_path: Path) -> None:
    comparison = compare_errors(tmp_path, DISJOINT)
    third = verdict_of(comparison, "sixty", "forty_seven")
    assert third.differences["accuracy"].p_value == pytest.approx(0.01463, abs=1e-4)
    assert third.corrected["accuracy"] == pytest.approx(3 * 0.01463, abs=3e-4)
    assert third.differs("accuracy")
    second = verdict_of(comparison, "fifty_nine", "forty_seven")
    assert not second.differs("accuracy")


def test_the_recommendation_says_that_no_choice_is_justified(tmp_path: Path) -> None:
    comparison = compare_errors(tmp_path, NESTED)
    said = comparison.answer.recommendation
    assert said.startswith("No choice is justified between sixty and fifty_nine")
    assert "forty_seven is worse" in said
    assert "take the smallest, sixty: 5 M parameters against up to 10 M" in said


def test_a_clear_winner_is_recommended(tmp_path: Path) -> None:
    comparison = compare_errors(tmp_path, {"best": range(2), "worst": range(30)})
    assert comparison.answer.recommendation.startswith("best is recommended")


def test_a_single_run_is_shown_without_a_choice(tmp_path: Path) -> None:
    comparison = compare_errors(tmp_path, {"only": range(3)})
    assert comparison.verdicts == []
    assert "nothing to compare it with" in comparison.answer.recommendation
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_runs_on_different_images_are_refused_in_words(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / name, model=name, first_image=first))
        for name, first in (("a", 0), ("b", 500))
    ]
    comparison = compare(runs)
    (verdict,) = comparison.verdicts
    assert words.headline(verdict) == "a and b cannot be compared."
    assert "share none" in words.details(verdict)[0]
    assert comparison.answer.recommendation.startswith("No choice is justified")
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_runs_that_share_some_images_are_compared_on_those(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / "a", model="a", label=labels_of(40))),
        read_run(draw_run(tmp_path / "b", model="b", label=labels_of(40)[5:], first_image=5)),
    ]
    (verdict,) = compare(runs).verdicts
    assert verdict.images == 35
    assert "on the 35 images that both were tested on, of 40 and 35" in words.details(verdict)[0]


def test_other_labels_of_the_same_images_are_refused_in_words(tmp_path: Path) -> None:
    label = labels_of(30)
    changed = label.copy()
    changed[:2] = 1
    runs = [
        read_run(draw_run(tmp_path / "a", model="a", label=label)),
        read_run(draw_run(tmp_path / "b", model="b", label=changed)),
    ]
    (verdict,) = compare(runs).verdicts
    assert "2 of the 30 images" in words.details(verdict)[0]


def test_a_class_that_one_run_has_never_seen_is_no_obstacle(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / "a", model="a", wrong=(1, 2))),
        read_run(draw_run(tmp_path / "b", model="b", classes=(*CLASSES, "dent"))),
    ]
    comparison = compare(runs)
    assert comparison.verdicts[0].images == 66
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_a_run_of_another_task_is_compared_on_what_both_say(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "b", model="autoencoder", record={"task": "reconstruction"})
    path = folder / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, ["index", "path", "sha256", "split", "label", "prediction", "score"],
            extrasaction="ignore",
        )  # fmt: skip
        writer.writeheader()
        writer.writerows(
            row | {"prediction": "good" if row["prediction"] == "good" else "defect"}
            for row in rows
        )
    figures = json.loads((folder / "metrics.json").read_text())
    kept = ("test/auroc", "test/defects_missed", "test/good_rejected")
    (folder / "metrics.json").write_text(json.dumps({key: figures[key] for key in kept}))
    comparison = compare([read_run(draw_run(tmp_path / "a", wrong=(0, 50))), read_run(folder)])
    (verdict,) = comparison.verdicts
    assert set(verdict.differences) == {"defects_missed", "good_rejected", "auroc"}
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_optimistic_figures_are_called_so(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "a", record={"optimistic": True})
    assert any(line.startswith("Optimistic") for line in compare([read_run(folder)]).answer.caveats)


def test_folds_are_judged_by_a_test_that_knows_that_training_sets_overlap(tmp_path: Path) -> None:
    runs = [
        read_run(
            draw_run(
                tmp_path / f"{model}{fold}",
                model=model,
                fold=fold,
                images=30,
                first_image=100 * fold,
                wrong=range(count + fold % 2),
            )
        )
        for model, count in (("a", 1), ("b", 8))
        for fold in range(5)
    ]
    (verdict,) = compare(runs).verdicts
    assert verdict.images == 150
    assert verdict.retrained is not None
    assert verdict.retrained["accuracy"].trainings == 5
    assert any("Nadeau and Bengio" in line for line in words.details(verdict))


def test_above_eight_models_each_is_compared_with_the_best_on_validation(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{n}", model=f"m{n}", wrong=range(n), thumbnails=False))
        for n in range(9)
    ]
    verdicts = compare(runs).verdicts
    assert len(verdicts) == 8
    assert {verdict.first for verdict in verdicts} == {"m0"}


def test_a_reference_is_taken_by_name(tmp_path: Path) -> None:
    runs = [read_run(draw_run(tmp_path / name, model=name)) for name in ("a", "b", "c")]
    assert {verdict.first for verdict in compare(runs, reference="b").verdicts} == {"b"}
    with pytest.raises(ConfigurationError, match="Compared are: a, b, c"):
        compare(runs, reference="d")


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "a", record={"status": "running"})
    with pytest.raises(RunError, match="not finished"):
        read_finished(folder)


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    classes = ("good", "<script>alert(1)</script>", "a|b *c*")
    run = read_run(draw_run(tmp_path / "a", model="<b>&", classes=classes, wrong=(60,)))
    comparison = compare([run])
    html = as_html(comparison, [], drawn_note="")
    assert "<script>alert" not in html
    assert "<b>&" not in html
    assert r"a\|b \*c\*" in as_markdown(comparison, [])


def test_the_csv_has_a_row_a_model_and_every_figure(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(compare_errors(tmp_path, NESTED).measured))))
    assert [row["model"] for row in rows] == list(NESTED)
    assert float(rows[0]["accuracy"]) == pytest.approx(60 / 66)
    assert float(rows[2]["accuracy_low"]) < 47 / 66 < float(rows[2]["accuracy_high"])
    assert rows[0]["training_time"] == "65.0"


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    comparison = compare_errors(tmp_path, NESTED)
    pages = [write_comparison(comparison, tmp_path / name).read_bytes() for name in ("x", "y")]
    assert pages[0] == pages[1]


def of_folds(folder: Path, seeds: range) -> Verdict:
    """Two models that differ by one image more in each fold, the same with every seed."""
    runs = [
        read_run(
            draw_run(
                folder / f"{model}{seed}{fold}",
                model=model,
                seed=seed,
                fold=fold,
                images=30,
                first_image=100 * fold,
                wrong=range(fold + 1 if model == "a" else 0),
            )
        )
        for model in "ab"
        for seed in seeds
        for fold in range(5)
    ]
    return compare(runs).verdicts[0]


def test_more_seeds_of_the_same_folds_make_no_test_over_folds_surer(tmp_path: Path) -> None:
    once, thrice = of_folds(tmp_path / "1", range(1)), of_folds(tmp_path / "3", range(3))
    assert once.retrained is not None
    assert thrice.retrained is not None
    first, third = once.retrained["accuracy"], thrice.retrained["accuracy"]
    assert (first.trainings, third.trainings) == (5, 15)
    assert third.difference.p_value == pytest.approx(first.difference.p_value)


def test_models_that_are_better_in_different_figures_are_told_apart(tmp_path: Path) -> None:
    label = labels_of(200)
    good = [int(row) for row in (label == 0).nonzero()[0]]
    defects = [int(row) for row in (label != 0).nonzero()[0]]
    comparison = compare_errors(tmp_path, {"a": good[:40], "b": defects[:40]}, images=200)
    assert "but b is better in" in words.headline(comparison.verdicts[0])
    said = comparison.answer.recommendation
    assert "Which figure matters is yours to say" in said
    assert "do not tell them apart" not in said
    assert "either will do" not in said


def test_models_that_were_not_compared_are_not_said_to_be_alike(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / name, model=name, wrong=wrong, first_image=first))
        for name, wrong, first in (("a", (), 0), ("b", range(30), 0), ("c", (), 500))
    ]
    said = compare(runs).answer.recommendation
    assert "not all of these were compared with each other" in said
    assert "these images do not tell them apart" not in said


@pytest.mark.parametrize(
    ("value", "told"), [(0.0496, "= .0496"), (0.05, "= .050"), (0.2, "= .200")]
)
def test_a_p_value_does_not_look_like_the_limit_that_it_is_below(value: float, told: str) -> None:
    assert words.p(value) == told
