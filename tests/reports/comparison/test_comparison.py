"""What the report tells of classifiers, on predictions made to order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from compared import mentions, verdict_of
from drawn_runs import CLASSES, draw_run, labels_of

from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.convergence import converged_at
from capsule_inspection.reports.comparison.page import Comparison, as_html, as_markdown
from capsule_inspection.reports.comparison.tables import as_csv
from capsule_inspection.reports.comparison.writing import compare, read_finished, write_comparison
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.types import ConfigurationError, RunError

NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}


def drawn(folder: Path, model: str, **changed) -> RunFolder:
    return read_run(draw_run(folder / model, model=model, **changed))


def compare_errors(
    folder: Path, errors: Mapping[str, Sequence[int]], *, images: int = 66
) -> Comparison:
    return compare([drawn(folder, name, wrong=e, images=images) for name, e in errors.items()])


@pytest.mark.parametrize("errors", [NESTED, DISJOINT], ids=["nested", "disjoint"])
def test_one_image_of_66_is_no_difference_but_thirteen_may_be(tmp_path, errors) -> None:
    comparison = compare_errors(tmp_path, errors)
    verdicts = {(v.first, v.second): v for v in comparison.verdicts}
    small = verdicts["sixty", "fifty_nine"]
    assert small.right == (60, 59)
    assert small.corrected["accuracy"] == 1.0
    assert "not distinguishable on these 66 images" in words.headline(small)
    assert small.needed is not None
    assert mentions(words.details(small), f"about {small.needed:,} test images")

    large = verdicts["sixty", "forty_seven"]
    assert large.differs("accuracy")
    if errors is DISJOINT:
        assert large.differences["accuracy"].p_value == pytest.approx(0.01463, abs=1e-4)
        assert large.corrected["accuracy"] == pytest.approx(3 * 0.01463, abs=3e-4)
        assert not verdicts["fifty_nine", "forty_seven"].differs("accuracy")
        return
    assert large.corrected["accuracy"] == pytest.approx(3 * 2 * 0.5**13)
    assert "sixty is better in accuracy" in words.headline(large)
    recommended = comparison.answer.recommendation
    assert recommended.startswith("No choice is justified between sixty and fifty_nine")
    assert "forty_seven is worse" in recommended
    assert "take the smallest, sixty: 5 M parameters against up to 10 M" in recommended

    rows = list(csv.DictReader(io.StringIO(as_csv(comparison.measured))))
    assert [row["model"] for row in rows] == list(NESTED)
    assert float(rows[0]["accuracy"]) == pytest.approx(60 / 66)
    assert float(rows[2]["accuracy_low"]) < 47 / 66 < float(rows[2]["accuracy_high"])
    assert rows[0]["training_time"] == "65.0"
    pages = [write_comparison(comparison, tmp_path / name).read_bytes() for name in ("x", "y")]
    assert pages[0] == pages[1]


def test_a_clear_winner_is_recommended_and_a_single_run_is_no_choice(tmp_path) -> None:
    comparison = compare_errors(tmp_path, {"best": range(2), "worst": range(30)})
    assert comparison.answer.recommendation.startswith("best is recommended")

    record = {"optimistic": True}
    comparison = compare([drawn(tmp_path, "only", wrong=range(3), record=record)])
    assert comparison.verdicts == []
    assert "nothing to compare it with" in comparison.answer.recommendation
    assert any(line.startswith("Optimistic") for line in comparison.answer.caveats)
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_models_that_are_better_in_different_figures_are_told_apart(tmp_path) -> None:
    label = labels_of(200)
    good, defects = np.flatnonzero(label == 0).tolist(), np.flatnonzero(label).tolist()
    comparison = compare_errors(tmp_path, {"a": good[:40], "b": defects[:40]}, images=200)
    assert "but b is better in" in words.headline(comparison.verdicts[0])
    recommended = comparison.answer.recommendation
    assert "Which figure matters is yours to say" in recommended
    assert "do not tell them apart" not in recommended
    assert "either will do" not in recommended


@pytest.mark.usefixtures("unrendered")
def test_models_on_different_images_are_not_compared_and_not_called_alike(tmp_path) -> None:
    a, b, c = (
        drawn(tmp_path, name, wrong=wrong, first_image=first)
        for name, wrong, first in (("a", (), 0), ("b", range(30), 0), ("c", (), 500))
    )
    comparison = compare([a, c])
    (verdict,) = comparison.verdicts
    assert words.headline(verdict) == "a and c cannot be compared."
    assert "share none" in words.details(verdict)[0]
    assert comparison.answer.recommendation.startswith("No choice is justified")
    assert write_comparison(comparison, tmp_path / "out").is_file()

    recommended = compare([a, b, c]).answer.recommendation
    assert "not all of these were compared with each other" in recommended
    assert "these images do not tell them apart" not in recommended


def test_runs_are_compared_on_the_images_and_labels_that_they_share(tmp_path) -> None:
    label = labels_of(40)
    whole = drawn(tmp_path, "a", label=label)
    verdict = verdict_of([whole, drawn(tmp_path, "b", label=label[5:], first_image=5)])
    assert verdict.images == 35
    assert "on the 35 images that both were tested on, of 40 and 35" in words.details(verdict)[0]

    changed = label.copy()
    changed[:2] = 1
    verdict = verdict_of([whole, drawn(tmp_path, "c", label=changed)])
    assert "2 of the 40 images" in words.details(verdict)[0]


@pytest.mark.usefixtures("unrendered")
def test_a_class_that_one_run_has_never_seen_is_no_obstacle(tmp_path) -> None:
    runs = [drawn(tmp_path, "a", wrong=(1, 2)), drawn(tmp_path, "b", classes=(*CLASSES, "dent"))]
    comparison = compare(runs)
    assert comparison.verdicts[0].images == 66
    assert write_comparison(comparison, tmp_path / "out").is_file()


@pytest.mark.usefixtures("unrendered")
def test_a_run_of_another_task_is_compared_on_what_both_say(tmp_path) -> None:
    folder = draw_run(tmp_path / "b", model="autoencoder", record={"task": "reconstruction"})
    path = folder / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    columns = ["index", "path", "sha256", "split", "label", "prediction", "score"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            called = "good" if row["prediction"] == "good" else "defect"
            writer.writerow(row | {"prediction": called})
    figures = json.loads((folder / "metrics.json").read_text())
    kept = ("test/auroc", "test/defects_missed", "test/good_rejected")
    (folder / "metrics.json").write_text(json.dumps({key: figures[key] for key in kept}))
    comparison = compare([read_run(draw_run(tmp_path / "a", wrong=(0, 50))), read_run(folder)])
    (verdict,) = comparison.verdicts
    assert set(verdict.differences) == {"defects_missed", "good_rejected", "auroc"}
    assert write_comparison(comparison, tmp_path / "out").is_file()


def folds(folder: Path, errors: Mapping[str, Sequence[int]], seeds: int) -> list[RunFolder]:
    """Models with so many errors in each of five folds, the same with every seed."""
    return [
        drawn(folder / f"{seed} {fold}", model, seed=seed, fold=fold, images=30,
              first_image=100 * fold, wrong=range(count))
        for model, counts in errors.items()
        for seed in range(seeds)
        for fold, count in enumerate(counts)
    ]  # fmt: skip


def test_folds_are_judged_as_overlapping_trainings_and_seeds_make_them_no_surer(tmp_path) -> None:
    once, thrice = (
        verdict_of(folds(tmp_path / f"{seeds}", {"a": range(1, 6), "b": [0] * 5}, seeds))
        for seeds in (1, 3)
    )
    assert once.images == 150
    assert mentions(words.details(once), "Nadeau and Bengio")
    assert once.retrained is not None
    assert thrice.retrained is not None
    first, third = once.retrained["accuracy"], thrice.retrained["accuracy"]
    assert (first.trainings, third.trainings) == (5, 15)
    assert third.difference.p_value == pytest.approx(first.difference.p_value)


def test_a_reference_is_taken_by_name_or_above_eight_models_by_validation(tmp_path) -> None:
    runs = [drawn(tmp_path, f"m{n}", wrong=range(n), thumbnails=False) for n in range(9)]
    verdicts = compare(runs).verdicts
    assert len(verdicts) == 8
    assert {verdict.first for verdict in verdicts} == {"m0"}
    assert {verdict.first for verdict in compare(runs[:3], reference="m1").verdicts} == {"m1"}
    with pytest.raises(ConfigurationError, match="Compared are: m0, m1, m2"):
        compare(runs[:3], reference="d")


def test_an_unfinished_run_is_refused(tmp_path) -> None:
    folder = draw_run(tmp_path / "a", record={"status": "running"})
    with pytest.raises(RunError, match="not finished"):
        read_finished(folder)


def test_names_from_files_are_escaped(tmp_path) -> None:
    classes = ("good", "<script>alert(1)</script>", "a|b *c*")
    run = read_run(draw_run(tmp_path / "a", model="<b>&", classes=classes, wrong=(60,)))
    comparison = compare([run])
    html = as_html(comparison, [], drawn_note="")
    assert "<script>alert" not in html
    assert "<b>&" not in html
    assert r"a\|b \*c\*" in as_markdown(comparison, [])


def test_a_p_value_does_not_look_like_the_limit_that_it_is_below() -> None:
    for value, told in ((0.0496, "= .0496"), (0.05, "= .050"), (0.2, "= .200")):
        assert words.p(value) == told
    assert words.p(None) == "not known"


def test_a_course_converges_where_it_arrives_and_stays() -> None:
    rising = np.concatenate([np.linspace(0, 1, 20), np.ones(40)])
    found = converged_at(rising)
    assert found is not None
    assert 17 <= found <= 22
    sparse = np.full(120, np.nan)
    sparse[::2] = rising
    assert converged_at(sparse) == 2 * found
    assert converged_at(np.full(30, 0.7)) == 4
    still_rising, jumping = np.linspace(0, 1, 60), np.tile([0.0] * 6 + [1.0] * 6, 6)
    for course in (still_rising, jumping, np.ones(9)):  # the last is too short to tell
        assert converged_at(course) is None
