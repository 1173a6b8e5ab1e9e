"""Tables of test metrics, settings, seeds and pairs; and all numbers of a comparison as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import short_metric_label
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.cells import (
    Cell,
    Table,
    metric_cell,
    metric_heading,
    name_cell,
    recall_definition,
)
from capsule_inspection.reports.comparison.cost_tables import COST_COLUMNS, TRAINING_COLUMNS
from capsule_inspection.reports.comparison.model_metrics import SEED_METRICS, ModelMetrics
from capsule_inspection.reports.comparison.pairwise import PairwiseComparison
from capsule_inspection.reports.comparison.pairwise_summary import format_interval, format_test
from capsule_inspection.reports.formatting import (
    format_fraction,
    format_list,
    format_p_value,
    format_points,
)

IMAGE_METRICS_TITLE = "Test images"
IMAGE_METRICS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.MACRO_F1,
    names.FALSE_NEGATIVE_RATE,
    names.FALSE_POSITIVE_RATE,
    names.AUROC,
)
ANOMALY_METRICS = (
    names.AVERAGE_PRECISION,
    names.F1,
    names.TPR_AT_FPR,
)
"""Shown where a model has no class probabilities."""


def image_metrics_table(results: Sequence[ModelMetrics]) -> Table:
    """The image metrics of each model on its test images."""
    wanted = IMAGE_METRICS if _all_classify(results) else (*IMAGE_METRICS, *ANOMALY_METRICS)
    shown = [name for name in wanted if any(name in result.metrics for result in results)]
    columns = [metric_heading(name) for name in shown]
    rows = [
        (
            name_cell(result),
            *(metric_cell(result.metrics.get(name)) for name in shown),
            Cell(str(len(result.model.image_ids)), len(result.model.image_ids)),
        )
        for result in results
    ]
    note = _image_metrics_note(results)
    columns = ["model", *columns, "images"]
    return Table(IMAGE_METRICS_TITLE, tuple(columns), tuple(rows), note, is_leading=True)


def _all_classify(results: Sequence[ModelMetrics]) -> bool:
    return all(result.model.has_probabilities for result in results)


def _none_classify(results: Sequence[ModelMetrics]) -> bool:
    return not any(result.model.has_probabilities for result in results)


def _image_metrics_note(results: Sequence[ModelMetrics]) -> str:
    sentences = ["Each with its 95% interval; AUROC is that of good against defect."]
    if not _none_classify(results):
        sentences.append(
            "Folds are pooled: every image is tested once for each seed. Over several seeds, "
            "values and limits are averaged."
        )
    if not _all_classify(results):
        sentences += _anomaly_metrics_notes(results)
    if any(result.model.has_masks for result in results):
        sentences.append("Segmentation models classify an image by their predicted mask.")
    return " ".join([*sentences, "↓: lower is better."])


def _anomaly_metrics_notes(results: Sequence[ModelMetrics]) -> list[str]:
    which = "" if _none_classify(results) else " of models without class probabilities"
    sentences = [
        f"Metrics{which} are means over folds and seeds: each training has its own scale, so "
        "scores of several are never pooled. An image that several of them predicted is one image, "
        "in the intervals and in the number of images."
    ]
    if which:
        sentences.append("A classifier and another model are compared by AUROC within folds.")
    with_rate = [result for result in results if names.TPR_AT_FPR in result.metrics]
    rates = {result.model.runs[0].target_fpr for result in with_rate} - {None}
    if rates:
        targets = " or ".join(f"{rate:.3g}" for rate in sorted(rate for rate in rates if rate))
        sentences.append(
            f"{short_metric_label(names.TPR_AT_FPR).capitalize()}: the defects that would be found "
            f"if the threshold let at most {targets} of these good images be rejected."
        )
    return sentences


def recall_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Recall of each class; None where there is none.

    Its meaning differs with and without class probabilities: where both stand in one table, a
    column says which.
    """
    recalls = [names.class_metrics(result.metrics, names.RECALL) for result in results]
    classes = list(dict.fromkeys(name for of_model in recalls for name in of_model))
    if not classes:
        return None
    is_mixed = not _all_classify(results) and not _none_classify(results)
    rows = [
        (
            name_cell(result),
            *([Cell(recall_definition(result))] if is_mixed else []),
            *(metric_cell(of_model.get(name)) for name in classes),
        )
        for result, of_model in zip(results, recalls, strict=True)
    ]
    columns = ("model", *(["what is counted"] if is_mixed else []), *classes)
    return Table("Recall of each class", columns, tuple(rows), _recall_note(results))


def _recall_note(results: Sequence[ModelMetrics]) -> str:
    good_classes = list(dict.fromkeys(result.model.normal_class for result in results))
    named = "Fraction of the images of a class that are classified correctly; – where it has none."
    rejected = (
        "Fraction of the images of a class that are rejected, as defects should be; of "
        f"{format_list(good_classes)}: that are accepted."
    )
    if _all_classify(results):
        return named
    if _none_classify(results):
        return f"{rejected} – where it has none."
    return (
        "The rows do not all mean the same. Named: the fraction of the images of a class that are "
        "assigned to this very class; a defect that is taken for another is not counted. Rejected: "
        f"the {rejected[0].lower()}{rejected[1:]} That is the easier task, so compare rows of one "
        "kind only; defects missed and good ones rejected, above, mean the same for all."
    )


def settings_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The settings in which models of one architecture differ; None where their names say all."""
    all_settings = [settings.model_settings(result.model.runs[0]) for result in results]
    rows = [
        (name_cell(result), Cell(text))
        for result, own in zip(results, all_settings, strict=True)
        if (text := settings.distinguishing_settings(own, all_settings))
    ]
    return Table("Settings", ("model", "what differs"), tuple(rows)) if rows else None


def seeds_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The variation between seeds; None where no model has several."""
    with_seeds = [result for result in results if len(result.model.seeds) > 1]
    if not with_seeds:
        return None
    known = {
        metric for result in with_seeds for values in result.by_seed.values() for metric in values
    }
    shown = [metric for metric in SEED_METRICS if metric in known]
    rows = []
    for result in with_seeds:
        cells = [name_cell(result), Cell(", ".join(map(str, result.model.seeds)))]
        for metric in shown:
            values = [of_seed[metric] for of_seed in result.by_seed.values() if metric in of_seed]
            cells.append(_seed_spread_cell(values))
        rows.append(tuple(cells))
    return Table(
        "Spread over seeds",
        ("model", "seeds", *map(short_metric_label, shown)),
        tuple(rows),
        "Mean (least to most; standard deviation) on the same test images, with other initial "
        "weights and another order of training.",
    )


def pair_table(pair: PairwiseComparison) -> Table:
    """All metrics of a pair with their tests."""
    rows = [
        (
            Cell(short_metric_label(name)),
            Cell(format_points(difference.value), difference.value),
            Cell(format_interval(difference).strip(" ()") or "–"),
            Cell(format_test(difference), difference.p_value),
            _corrected_cell(pair, name),
            Cell("yes" if pair.is_significant(name) else "no"),
        )
        for name, difference in pair.differences.items()
    ]
    columns = ("metric", "difference in points", "95% interval", "test", "corrected", "significant")
    return Table("", columns, tuple(rows))


def _corrected_cell(pair: PairwiseComparison, name: str) -> Cell:
    """The p value, corrected for the number of pairs that were tested by this metric."""
    pairs, p_value = pair.num_pairs(name), pair.corrected_p_values.get(name)
    suffix = f", for {pairs} pairs" if pairs > 1 else ""
    return Cell(f"p {format_p_value(p_value)}{suffix}", p_value)


def to_csv(results: Sequence[ModelMetrics]) -> str:
    """A row for each model: all metrics with limits and n, all numbers of training and cost."""
    metrics = list(dict.fromkeys(name for result in results for name in result.metrics))
    suffixes = ("", "_low", "_high", "_n")
    costs = (*TRAINING_COLUMNS, *COST_COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "task", "runs", "seeds", "stage", "optimistic", "initial_weights"]
        + [f"{name}{suffix}" for name in metrics for suffix in suffixes]
        + [label.replace(",", "").replace(" ", "_") for label, _, _ in costs]
    )
    for result in results:
        row: list[object] = [result.name, result.model.task, len(result.model.runs)]
        row += [" ".join(map(str, result.model.seeds)), result.model.stage]
        row += [result.model.is_optimistic, result.weights]
        for name in metrics:
            estimate = result.metrics.get(name)
            row += ["", "", "", ""] if estimate is None else list(vars(estimate).values())
        spreads = [result.cost(run_value) for _, run_value, _ in costs]
        row += ["" if spread is None else spread.mean for spread in spreads]
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def _seed_spread_cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell("–")
    least, most = format_fraction(min(values)), format_fraction(max(values))
    if len(values) < 2:
        return Cell(least, values[0])
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    text = f"{format_fraction(mean)} ({least} to {most}; {format_fraction(deviation)})"
    return Cell(text, mean)
