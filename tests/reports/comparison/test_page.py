"""The page of a comparison, its Markdown, and every sentence of both."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from comparisons import mentions, with_groups, write
from sample_runs import labels_of, write_classification_run

from capsule_inspection.metrics.paired_tests import PairedDifference
from capsule_inspection.reports.comparison import costs
from capsule_inspection.reports.comparison.costs import Spread
from capsule_inspection.reports.comparison.decision import Reason, Recommendation
from capsule_inspection.reports.comparison.differences import EqualRate, RetrainingTest
from capsule_inspection.reports.comparison.page import (
    Comparison,
    details,
    embed_plots,
    headline,
    recommendation_text,
    to_html,
    to_markdown,
)
from capsule_inspection.reports.comparison.pairs import (
    DecisionSettings,
    PairwiseComparison,
    Verdict,
)
from capsule_inspection.reports.comparison.plots import list_plots
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.wording import paragraphs
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import Costs

NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}
LABEL = labels_of(200)
GOOD, DEFECTS = np.flatnonzero(LABEL == 0).tolist(), np.flatnonzero(LABEL).tolist()
PRIMARY, MISSED, REJECTED = "balanced_accuracy", "false_negative_rate", "false_positive_rate"


def compare_errors(
    folder: Path, errors: Mapping[str, Sequence[int]], *, images: int = 66, **changed: Any
) -> Comparison:
    runs = [write(folder, name, wrong=wrong, images=images) for name, wrong in errors.items()]
    return compare(runs, **changed)


def text_of(comparison: Comparison) -> str:
    return " ".join(recommendation_text(comparison))


def difference(value: float, low: float, high: float, p_value: float | None) -> PairedDifference:
    return PairedDifference(value, low, high, p_value, 66, "score test", 66)


def pair_of(**changed: Any) -> PairwiseComparison:
    """Two models whose primary metric differs by 12 points, one of three pairs."""
    found = {PRIMARY: difference(0.12, 0.031, 0.21, 0.004)}
    return PairwiseComparison(
        **{
            "first": "a", "second": "b", "num_images": 66, "num_groups": 66,
            "num_first_images": 66, "num_second_images": 66, "differences": found,
            "corrected_p_values": {PRIMARY: 0.012}, "simultaneous": {PRIMARY: (0.01, 0.23)},
            "num_pairs": {PRIMARY: 3}, "verdict": Verdict.BETTER, "better": "a", **changed,
        }
    )  # fmt: skip


def comparison_of(pair: PairwiseComparison, reason: Reason = Reason.RECOMMENDED) -> Comparison:
    """A comparison with this pair only, for its sentences."""
    found = Recommendation(reason, PRIMARY, 0.05, "a", ("a",), ("b",))
    return Comparison([], [pair], found, [], [], [], DecisionSettings())


# --- the recommendation


@pytest.mark.parametrize("errors", [NESTED, DISJOINT], ids=["nested", "disjoint"])
def test_sixty_against_fifty_nine_of_66_justifies_no_choice(tmp_path, errors) -> None:
    comparison = compare_errors(tmp_path, errors)
    pair = comparison.pairs[0]
    first, reasons, *description, cost = recommendation_text(comparison)
    assert first.startswith("No choice is justified between sixty")
    assert "not distinguishable in balanced accuracy on these images" in first
    assert reasons.startswith("That does not mean that they are equal.")
    assert "To detect a difference of 5 points in balanced accuracy, between " in reasons
    assert reasons.endswith("test images would be needed (power 80%, corrected for 3 pairs); "
                            "there are 66.")  # fmt: skip
    if errors is NESTED:
        assert first.endswith("forty_seven is worse in balanced accuracy.")
    else:
        assert description[0].startswith("sixty and forty_seven differ in accuracy and good parts")
        assert description[0].endswith("That describes them, it does not decide.")
    assert cost.startswith("If one must be taken, take sixty, the smallest: 5 M parameters")
    assert cost.endswith("That is a choice by cost, not by quality.")

    assert headline(comparison, pair) == (
        "sixty and fifty_nine: not distinguishable in balanced accuracy on these 66 images."
    )
    found = details(comparison, pair)
    assert mentions(found, "60 against 59 of the same 66 images are classified correctly")
    assert pair.required_images is not None
    low, high = pair.required_images
    assert mentions(found, f"between {low:,} and {high:,} test images")


def test_a_better_model_is_recommended_with_the_differences_to_all_others(tmp_path) -> None:
    errors = {"best": DEFECTS[:2], "worst": DEFECTS[:30], "middle": DEFECTS[:20]}
    comparison = compare_errors(tmp_path, errors, images=200)
    first, *reasons = recommendation_text(comparison)
    assert first == (
        "best is recommended: it is better than worst and middle in balanced accuracy, and it "
        "misses no more defects and rejects no more good parts by more than the margin of 5 points."
    )
    assert reasons[0].startswith(
        "best less worst: +27.9 points, 95% interval +19.1 to +36.1, p < .001"
    )
    assert "corrected for 3 pairs p" in reasons[1]
    assert 'class="verdict good"' in to_html(comparison, [], plots_note="", folder=tmp_path)


def test_a_trade_off_says_what_is_worse_and_whether_more_than_a_threshold_differs(
    tmp_path,
) -> None:
    errors = {"a": GOOD[:12], "b": DEFECTS[:25], "c": [*GOOD[:40], *DEFECTS[:40]]}
    comparison = compare_errors(tmp_path, errors, images=200)
    text = text_of(comparison)
    assert text.startswith("No choice is justified between a and b: it is a trade-off.")
    assert "c is worse in balanced accuracy." in text
    assert "a is better than b in balanced accuracy (+21.9 points" in text
    assert ", but it rejects more good parts (+9.0 points" in text
    assert "More than a threshold seems to differ: where both reject at most" in text
    assert "Which error costs more is yours to decide." in text
    assert 'class="verdict caution"' in to_html(comparison, [], plots_note="", folder=tmp_path)


def test_a_margin_that_is_not_excluded_is_not_called_worse() -> None:
    rates = {MISSED: difference(0.02, -0.03, 0.08, 0.4), REJECTED: difference(0.1, 0.04, 0.2, 0.01)}
    pair = pair_of(
        differences={**pair_of().differences, **rates},
        verdict=Verdict.TRADE_OFF,
        worse_in=(MISSED, REJECTED),
        equal_rate=EqualRate(0.04, (0.1, 0.12), difference(-0.02, -0.06, 0.03, 0.5)),
    )
    comparison = comparison_of(pair, Reason.TRADE_OFF)
    expected = (
        "a is better than b in balanced accuracy (+12.0 points, 95% interval +3.1 to +21.0), but "
        "it is not shown that it misses no more defects by more than the margin of 5 points "
        "(+2.0 points, 95% interval −3.0 to +8.0), and it rejects more good parts (+10.0 points, "
        "95% interval +4.0 to +20.0). A threshold may be all that differs: where both reject at "
        "most 4% of the good parts, in each training by its own scores, a misses 10% of the "
        "defects and b 12% (a less b: −2.0 points, 95% interval −6.0 to +3.0, p = .500)."
    )
    assert expected in details(comparison, pair)
    assert "not shown to be no worse in " in headline(comparison, pair)
    assert headline(comparison, pair).endswith(" and rejects more good parts.")

    swapped = {name: found.mirrored() for name, found in pair.differences.items()}
    mirrored = replace(pair, differences=swapped, better="b", equal_rate=None)
    expected = expected.split(" A threshold")[0].replace("a is better than b", "b is better than a")
    assert expected in details(comparison, mirrored)


def test_two_models_may_each_be_better_in_one_error_rate(tmp_path) -> None:
    comparison = compare_errors(tmp_path, {"a": GOOD[:40], "b": DEFECTS[:20]}, images=200)
    pair = replace(comparison.pairs[0], better=None, verdict=Verdict.TRADE_OFF, worse_in=())
    text = headline(comparison, pair)
    # Half of the twenty wrong ones of 67 defects are taken for another defect.
    assert text.startswith("a and b: a trade-off, a misses fewer defects (−14.9 points, ")
    assert ", b rejects fewer good parts (−30.1 points, " in text
    assert mentions(
        details(comparison, pair), "Neither a nor b is shown to be better in balanced accuracy"
    )


def test_equivalent_models_are_named_with_the_cheapest(tmp_path) -> None:
    label = labels_of(3000)
    good, defects = np.flatnonzero(label == 0), np.flatnonzero(label)
    errors = {"a": [*good[:20], *defects[:5]], "b_larger": [*good[5:25], *defects[2:7]]}
    runs = [write(tmp_path, name, wrong=wrong, label=label, thumbnails=False)
            for name, wrong in errors.items()]  # fmt: skip
    comparison = compare(runs)
    first, *reasons = recommendation_text(comparison)
    assert first.startswith("a and b_larger are equivalent within the margin of 5 points in ")
    assert mentions(reasons, "two one-sided tests")
    assert mentions(reasons, "Take a, the smallest: 1 M parameters against up to 8 M (b_larger).")
    assert headline(comparison, comparison.pairs[0]) == (
        "a and b_larger: equivalent within 5 points on these 3000 images."
    )


def test_no_choice_without_comparison(tmp_path) -> None:
    a, b, c = (
        write(tmp_path, name, wrong=wrong, first_image=first)
        for name, wrong, first in (("a", (), 0), ("b", range(30), 0), ("c", (), 500))
    )
    comparison = compare([a, c])
    assert text_of(comparison).startswith("No choice is justified: no two of these models were")
    assert headline(comparison, comparison.pairs[0]) == "a and c cannot be compared."
    assert details(comparison, comparison.pairs[0])[0].startswith("They were tested on different")
    text = text_of(compare([a, b, c]))
    assert "not all of these were compared with each other" in text
    assert ": they are not distinguishable" not in text

    single = compare([a])
    assert text_of(single) == "One model only, a: there is nothing to compare it with."
    assert "What decides" not in to_html(single, [], plots_note="", folder=tmp_path)


# --- what decides, and the pairs


def test_the_page_says_what_decides(tmp_path) -> None:
    errors = {"a": GOOD[:40], "b": DEFECTS[:10], "c": DEFECTS[:9]}
    comparison = compare_errors(tmp_path, errors, images=200, settings=DecisionSettings(margin=0.1))
    for text in (
        to_html(comparison, [], plots_note="", folder=tmp_path),
        to_markdown(comparison, []),
    ):
        assert "balanced accuracy (compare.primary)" in text
        assert "5% for all 3 pairs together (Holm)" in text
        assert "by more than the margin of 10 points (compare.margin)" in text

    settings = DecisionSettings(costs=Costs(10, 1))
    by_cost = compare_errors(tmp_path / "costs", errors, images=200, settings=settings)
    page = to_html(by_cost, [], plots_note="", folder=tmp_path)
    assert "expected cost of a part (compare.primary)" in page
    assert "cost.false_negative=10 cost.false_positive=1 cost.defect_rate=0.335" in page
    cost = by_cost.pairs[0].differences["expected_cost"].value
    sentence = f"Expected cost of a part of a less b: {cost:+.3g},".replace("-", "−")
    assert mentions(details(by_cost, by_cost.pairs[0]), sentence)


def test_a_pair_has_difference_intervals_and_corrected_test() -> None:
    pair = pair_of(num_correct=(60, 58.5), num_only_first=2, num_only_second=0.5)
    comparison = comparison_of(pair)
    assert headline(comparison, pair) == (
        "a and b: a is better in balanced accuracy (+12.0 points, 95% interval +3.1 to +21.0)."
    )
    assert details(comparison, pair) == [
        "60 against 58.5 of the same 66 images are classified correctly. Only a is right on 2, "
        "only b on 0.5.",
        "Balanced accuracy of a less b: +12.0 points, 95% interval +3.1 to +21.0; score test, "
        "p = .004, corrected for 3 pairs p = .012. The interval for all 3 pairs together is +1.0 "
        "to +23.0.",
    ]
    alone = pair_of(num_pairs={PRIMARY: 1}, corrected_p_values={PRIMARY: 0.004})
    assert details(comparison, alone)[0].endswith("score test, p = .004.")
    other = pair_of(differences={}, verdict=Verdict.REFUSED, missing_auroc="The folds differ.")
    assert headline(comparison, other) == "a and b cannot be compared in balanced accuracy."
    assert details(comparison, other) == ["The folds differ."]


def test_images_of_one_part_are_one_observation(tmp_path) -> None:
    runs = [
        with_groups(
            write_classification_run(tmp_path / name, model=name), lambda i: f"part{i // 2}"
        )
        for name in "ab"
    ]
    comparison = compare(runs)
    (pair,) = comparison.pairs
    assert "on these 66 images of 33 parts" in headline(comparison, pair)
    expected = "Images of one part count as one observation: 66 images of 33 parts."
    assert expected in details(comparison, pair)


def test_a_pair_says_which_images_it_shares(tmp_path) -> None:
    label = labels_of(40)
    whole = write(tmp_path, "a", label=label)
    comparison = compare([whole, write(tmp_path, "b", label=label[5:], first_image=5)])
    found = details(comparison, comparison.pairs[0])
    assert "on the 35 images that both were tested on, of 40 and 35" in found[0]


def test_retraining_is_a_sensitivity_analysis_with_its_assumption() -> None:
    test = RetrainingTest(PairedDifference(0.031, -0.01, 0.07, 0.12, 5, "t test"), 10, 14)
    comparison = comparison_of(pair := pair_of(retraining_tests={"auroc": test}))
    text = details(comparison, pair)[-1]
    assert text.startswith("Sensitivity analysis: Nadeau and Bengio's t test over 10 pairs of")
    assert "It assumes that" in text
    assert "14 images, the defects of one-class runs, are in every test split" in text
    assert text.endswith("AUROC of a less b: +3.1 points, 95% interval −1.0 to +7.0, p = .120.")


# --- page and Markdown


@pytest.mark.usefixtures("unrendered")
def test_page_and_markdown_say_the_same(tmp_path) -> None:
    settings = {"task": {"epochs": 12}}
    runs = [write(tmp_path, name, wrong=wrong, record={"optimistic": True}, settings=settings)
            for name, wrong in NESTED.items()]  # fmt: skip
    comparison = compare(runs, failures=["job 3: out of memory"])
    drawn = list_plots(comparison.results, comparison.pairs, comparison.recommendation)
    plots = embed_plots(dict.fromkeys(drawn, b"\x89PNG" + bytes(30)))
    page = html.unescape(
        to_html(comparison, plots, plots_note="Seven of nine are drawn.", folder=tmp_path)
    )
    text = to_markdown(comparison, plots).replace("\\", "")
    sentences = [
        *recommendation_text(comparison),
        *comparison.caveats,
        *(headline(comparison, pair) for pair in comparison.pairs),
        *(line for pair in comparison.pairs for line in details(comparison, pair)),
        *(table.note for table in comparison.tables),
        *(table.title for table in comparison.tables),
        *(str(run.path) for run in runs),
        *(plot.title for plot in plots),
        "job 3: out of memory",
        "balanced accuracy in training less in validation is −3.3 points (95% interval −18.3 to "
        "+36.7), which so few validation images do not distinguish from none; converged at "
        "epoch 10",
    ]
    assert comparison.caveats
    for sentence in sentences:
        assert sentence in page, sentence
        assert sentence in text, sentence
    assert page.count("data:image/png") == len(plots)
    assert all(plot.caption and plot.section for plot in plots)
    assert all(f"]({plot.file})" in text for plot in plots)
    assert "Seven of nine are drawn." in page
    command = f"python compare.py 'runs=[{','.join(str(run.path) for run in runs)}]'"
    assert f"{command} compare.margin=0.05" in page


def test_names_from_files_are_escaped(tmp_path) -> None:
    classes = ("good", "<script>alert(1)</script>", "a|b *c*")
    names = ("<b>&", "a|b\n\n# *c*")
    runs = [
        read_run(write_classification_run(tmp_path / folder, model=name, classes=classes))
        for folder, name in zip(("one", "two `\n\n# three"), names, strict=True)
    ]
    comparison = compare(runs)
    page = to_html(comparison, [], plots_note="", folder=tmp_path)
    assert "<script>alert" not in page
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    text = to_markdown(comparison, [])
    assert r"a\|b \*c\*" in text
    assert "<b>" not in text
    assert "\n# *c*" not in text
    assert "\n# three" not in text


@pytest.mark.parametrize(
    ("gap", "limits", "expected"),
    [
        (0.134, (0.02, 0.25), "+13.4 points (95% interval +2.0 to +25.0), a sign of overfitting"),
        (0.134, (0.0, 0.25), "+13.4 points (95% interval +0.0 to +25.0), which so few validation"),
        (0.0, (-0.1, 0.1), "+0.0 points (95% interval −10.0 to +10.0), which so few validation"),
        (-0.2, (-0.3, 0.0), "−20.0 points (95% interval −30.0 to +0.0), which so few validation"),
        (-0.2, (-0.3, -0.1), "are augmented, are harder for it"),
        (0.3, None, "+30.0 points."),
        (None, None, ""),
    ],
)
def test_overfitting_is_where_the_gap_exceeds_its_uncertainty(
    tmp_path, gap, limits, expected
) -> None:
    numbers = {costs.GAP: gap} | (
        {} if limits is None else dict(zip((costs.GAP_LOW, costs.GAP_HIGH), limits, strict=True))
    )
    run = replace(write(tmp_path, "m"), epochs=pd.DataFrame())
    result = SimpleNamespace(
        name="m",
        model=SimpleNamespace(runs=[run]),
        cost=lambda of: None if numbers.get(of) is None else Spread.of([numbers[of]]),
    )
    text = " ".join(paragraphs("training", result))
    assert expected in text
    assert bool(text) == (gap is not None)
    assert ("overfitting" in text) == (limits is not None and limits[0] > 0)


def test_runs_link_to_their_pages_also_where_the_folder_is_moved(tmp_path) -> None:
    sweep = tmp_path / "sweep"
    runs = [write(sweep / "jobs #1", name, wrong=range(n)) for n, name in enumerate("abc")]
    for run in runs[:2]:
        (run.path / "report.html").write_text("the page")
    page = to_html(compare(runs), [], plots_note="", folder=sweep / "comparison")
    links = re.findall(r'<a href="([^"#]+)">(\w)</a>', page)
    assert set(links) == {(f"../jobs%20%231/{name}/report.html", name) for name in "ab"}
    (sweep / "comparison").mkdir()
    moved = sweep.rename(tmp_path / "moved")
    for link, _ in links:
        assert (moved / "comparison" / unquote(link)).read_text() == "the page"


def test_curve_plots_of_several_tasks_have_titles_of_their_own() -> None:
    names = ("losses", "losses_segmentation", "learning_curves_anomaly_detection")
    titles = [plot.title for plot in embed_plots(dict.fromkeys(names, b""))]
    assert titles == [
        "Training and validation loss",
        "Training and validation loss, segmentation",
        "Validation over epochs and time, anomaly detection",
    ]
