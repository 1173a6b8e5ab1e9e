"""The tables of a comparison, and all of its numbers as CSV and as JSON.

Which metrics a table shows, and in which order, is decided in `metrics.registry`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import (
    ANOMALY_METRICS,
    IMAGE_METRICS,
    LOWER_IS_BETTER,
    MAP_METRICS,
    MASK_METRICS,
    SEED_METRICS,
    metric_heading,
    metric_label,
)
from capsule_inspection.metrics.thresholds import CONFORMAL, F1, GIVEN, OPERATING_POINT, SIGMA
from capsule_inspection.reports.comparison import costs, settings
from capsule_inspection.reports.comparison.caveats import (
    note,
    read_thresholds,
    target_rate,
    too_few_images,
)
from capsule_inspection.reports.comparison.costs import Spread
from capsule_inspection.reports.comparison.decision import Recommendation
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import PairwiseComparison
from capsule_inspection.reports.formatting import (
    format_duration,
    format_estimate,
    format_fraction,
    format_p_value,
    format_percent,
    format_points,
    format_quantity,
)
from capsule_inspection.reports.tables import Cell, Table

FORMAT_VERSION = 1
"""Of comparison.json."""

IMAGE_METRICS_TITLE = "Test images"
LOCALIZATION_TITLE = "Localization"
CLASS_MEANS_TITLE = "Segmentation by class, means"
OVERLAP_TITLE = "Overlap with each defect"
TRAINING_TITLE = "Training"

_RULES = {
    CONFORMAL: "conformal",
    SIGMA: "mean and standard deviation",
    F1: "best F1, with labelled defects",
    OPERATING_POINT: "operating point",
    GIVEN: "given",
}

_format_integer, _format_loss = "{:.0f}".format, "{:.3f}".format

TRAINING_NUMBERS = {
    "stopped at epoch": _format_integer,
    costs.TRAINING_TIME: format_duration,
    "training loss": _format_loss,
    costs.CONVERGED: _format_integer,
    "validation accuracy": format_fraction,
    "validation balanced accuracy": format_fraction,
    "validation binary Dice": format_fraction,
    "validation loss": _format_loss,
    "best epoch": _format_integer,
    costs.GAP: format_points,
}
COST_NUMBERS = {
    costs.PARAMETERS: format_quantity,
    "FLOPs an image": format_quantity,
    "time of an image": "{:.1f} ms".format,
    "images a second, training": format_quantity,
    costs.EPOCH_TIME: format_duration,
    "peak memory": lambda value: f"{value / 1e9:.2f} GB",
}
"""Columns from `costs.run_numbers`, and how a number is written."""


def make_tables(results: Sequence[ModelMetrics]) -> list[Table]:
    """All tables that have rows, in the order of the page."""
    makers = (
        image_metrics_table,
        localization_table,
        class_means_table,
        overlap_table,
        threshold_table,
        settings_table,
        training_table,
        recall_table,
        seeds_table,
        cost_table,
    )
    return [table for make in makers if (table := make(results)) is not None]


def image_metrics_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The image metrics of each model on its test images."""
    models = [result.model for result in results]
    one_class = [result for result in results if not result.model.names_defects]
    with_rate = [result.model for result in one_class if names.TPR_AT_FPR in result.metrics]
    rates = sorted({rate for model in with_rate if (rate := model.runs[0].target_fpr)})
    text = note(
        "image_metrics",
        names_defects=len(one_class) < len(results),
        one_class=bool(one_class),
        has_masks=any(model.has_masks for model in models),
        folds=any(names.AUROC_POOLED in result.metrics for result in results),
        groups=any(model.has_groups for model in models),
        target_rates=[f"{rate:.3g}" for rate in rates],
        rate_label=metric_label(names.TPR_AT_FPR),
    )
    shown = _known(results, (*IMAGE_METRICS, *(ANOMALY_METRICS if one_class else ())))
    columns = _metric_columns(shown) | {"images": lambda of: _count_cell(len(of.model.images))}
    return _table(IMAGE_METRICS_TITLE, results, columns, text, is_leading=True)


def localization_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mask and map metrics of each model; None where no model has any."""
    shown = _known(results, (*MASK_METRICS, *MAP_METRICS))
    known = [result for result in results if _known([result], shown)]
    text = note(
        "localization",
        masks=bool(set(shown) & set(MASK_METRICS)),
        maps=bool(set(shown) & set(MAP_METRICS)),
        without=[result.name for result in results if result not in known],
    )

    def count_images(result: ModelMetrics) -> Cell:
        found = _known([result], (names.BINARY_DICE_GLOBAL, *MAP_METRICS))
        return _count_cell(result.metrics[found[0]].n if found else None)

    columns = _metric_columns(shown) | {"images": count_images}
    return _table(LOCALIZATION_TITLE, known, columns, text, is_leading=True)


def class_means_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mean IoU and Dice over the defect classes; None where no model predicts them."""
    named = [result for result in results if result.model.names_defects]
    known = [result for result in named if _known([result], names.MEAN_OVERLAPS)]
    columns = _metric_columns(_known(known, names.MEAN_OVERLAPS))
    return _table(CLASS_MEANS_TITLE, known, columns, note("class_means"), is_leading=True)


def overlap_table(results: Sequence[ModelMetrics]) -> Table | None:
    """IoU and Dice of each defect class; None where no model predicts them."""
    named = [result for result in results if result.model.names_defects]
    known = [of for of in named if names.class_metrics(of.metrics, names.IOU_GLOBAL)]

    def describe(class_name: str, result: ModelMetrics) -> Cell:
        cell = _metric_cell(names.class_metric(names.IOU_GLOBAL, class_name), result)
        dice = result.metrics.get(names.class_metric(names.DICE_GLOBAL, class_name))
        suffix = "" if dice is None else f", Dice {format_fraction(dice.value)}"
        return Cell(cell.text + suffix, cell.value)

    columns = {name: partial(describe, name) for name in _classes(known, names.IOU_GLOBAL)}
    return _table(OVERLAP_TITLE, known, columns, note("overlap"))


def recall_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Recall of each class; None where there is none.

    Its meaning differs with and without class probabilities: where both stand in one table, a
    column says which.
    """
    named = {result.model.names_defects for result in results}
    good_classes = list(dict.fromkeys(result.model.normal_class for result in results))
    text = note("recall", named=True in named, rejected=False in named, good_classes=good_classes)
    kind = {"what is counted": lambda of: Cell("named" if of.model.names_defects else "rejected")}
    recalls = {
        name: partial(_metric_cell, names.class_metric(names.RECALL, name))
        for name in _classes(results, names.RECALL)
    }
    columns = (kind if len(named) > 1 else {}) | recalls
    return _table("Recall of each class", results, columns, text) if recalls else None


def threshold_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Target and measured false positive rate of each threshold; None without thresholds."""
    found = {result: thresholds for result in results if (thresholds := read_thresholds(result))}
    rules = {thresholds[0].rule for thresholds in found.values()}

    def describe_target(result: ModelMetrics) -> Cell:
        target = target_rate(found[result])
        return Cell("none" if target is None else f"at most {format_fraction(target)}", target)

    def describe_value(result: ModelMetrics) -> Cell:
        values = [of.value for of in found[result] if of.value is not None]
        return _spread_cell(Spread.of(values), "{:.3g}".format)

    def count_good_images(result: ModelMetrics) -> Cell:
        counts = [float(threshold.good_images) for threshold in found[result]]
        return _spread_cell(Spread.of(counts), _format_integer)

    def describe_sufficiency(result: ModelMetrics) -> Cell:
        thresholds = found[result]
        insufficient = too_few_images(thresholds)
        if not insufficient:
            return Cell("–" if target_rate(thresholds) is None else "yes")
        runs = f" in {len(insufficient)} of {len(thresholds)} runs" if len(thresholds) > 1 else ""
        return Cell(f"no{runs}: {insufficient[0].required_images} are needed")

    columns: dict[str, _MakeCell] = {
        "rule": lambda result: Cell(_RULES.get(found[result][0].rule, found[result][0].rule)),
        "threshold": describe_value,
        "target: good parts rejected": describe_target,
        "good test images rejected": partial(_metric_cell, names.FALSE_POSITIVE_RATE),
        "good images that set it": count_good_images,
        "enough": describe_sufficiency,
    }
    text = note(
        "thresholds",
        one_class=bool(rules - {OPERATING_POINT, GIVEN}),
        operating_point=OPERATING_POINT in rules,
    )
    return _table("Thresholds", list(found), columns, text)


def settings_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The settings in which models of one architecture differ; None where their names say all."""
    own = {result: settings.model_settings(result.model.runs[0]) for result in results}
    differing = {
        result: settings.distinguishing_settings(of_model, list(own.values()))
        for result, of_model in own.items()
    }
    known = [result for result, text in differing.items() if text]
    return _table("Settings", known, {"what differs": lambda result: Cell(differing[result])})


def training_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Epochs, losses and validation metrics of the trainings."""
    classify = [result.model.names_defects and not result.model.has_masks for result in results]
    text = note(
        "training",
        window=costs.WINDOW,
        tolerance=costs.TOLERANCE,
        classifiers=any(classify),
        others=not all(classify),
    )
    return _table(TRAINING_TITLE, results, _run_columns(results, TRAINING_NUMBERS), text)


def cost_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Parameters, FLOPs, times and memory of each model."""
    columns: dict[str, _MakeCell] = {
        "initial weights": lambda result: Cell(result.weights),
        **_run_columns(results, COST_NUMBERS),
        "hardware": lambda result: Cell(costs.describe_hardware(result.model.runs)),
    }
    return _table("Cost", results, columns, note("cost"))


def seeds_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The variation between seeds; None where no model has several."""
    known = [result for result in results if len(result.model.seeds) > 1]

    def describe(metric: str, result: ModelMetrics) -> Cell:
        values = result.by_seed.get(metric, pd.Series(dtype=float)).dropna()
        if len(values) < 2:
            return _spread_cell(Spread.of(values.tolist()), format_fraction)
        mean, least, most, deviation = values.agg(["mean", "min", "max", "std"])
        least, most, deviation = map(format_fraction, (least, most, deviation))
        return Cell(f"{format_fraction(mean)} ({least} to {most}; {deviation})", mean)

    shown = [metric for metric in SEED_METRICS if any(metric in of.by_seed for of in known)]
    seeds = {"seeds": lambda result: Cell(", ".join(map(str, result.model.seeds)))}
    columns = seeds | {metric_label(metric): partial(describe, metric) for metric in shown}
    return _table("Spread over seeds", known, columns, note("seeds"))


def pair_table(pair: PairwiseComparison) -> Table:
    """All metrics of a pair with their intervals and tests."""
    rows = []
    for name, difference in pair.differences.items():
        write = partial(format_difference, name)
        low, high = pair.simultaneous.get(name, (None, None))
        p_value, corrected = difference.p_value, pair.corrected_p_values.get(name)
        p_text = "not tested" if p_value is None else f"p {format_p_value(p_value)}"
        pairs = pair.num_pairs.get(name, 1)
        suffix = f", for {pairs} pairs" if pairs > 1 and corrected is not None else ""
        cells = (
            Cell(metric_label(name)),
            Cell(write(difference.value), difference.value),
            Cell(_format_limits(difference.ci_low, difference.ci_high, write)),
            Cell(_format_limits(low, high, write)),
            Cell(f"{difference.test}, {p_text}", p_value),
            Cell(f"p {format_p_value(corrected)}{suffix}", corrected),
        )
        rows.append(cells)
    columns = ("metric", "difference in points", "95% interval", "95% interval of all pairs",
               "test", "corrected")  # fmt: skip
    return Table("", columns, tuple(rows))


def format_difference(metric: str, value: float) -> str:
    """A difference with its sign: in points, except for costs."""
    if metric == names.EXPECTED_COST:
        return f"{value:+.3g}".replace("-", "−")
    return format_points(value)


def to_csv(results: Sequence[ModelMetrics]) -> str:
    """A row for each model: all metrics with limits and n, all numbers of training and cost."""
    metrics = dict.fromkeys(name for result in results for name in result.metrics)
    rows = []
    for result in results:
        model = result.model
        row: dict[str, Any] = {
            "model": result.name,
            "task": model.task,
            "runs": len(model.runs),
            "seeds": " ".join(map(str, model.seeds)),
            "stage": model.stage,
            "optimistic": model.is_optimistic,
            "initial_weights": result.weights,
        }
        for name in metrics:
            values = result.metrics[name].as_dict() if name in result.metrics else {}
            row[name] = values.get("value")
            row |= {f"{name}_{key}": values.get(key) for key in ("low", "high", "n")}
        rows.append(row | {key: spread and spread.mean for key, spread in _costs(result).items()})
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def to_json(
    results: Sequence[ModelMetrics],
    pairs: Sequence[PairwiseComparison],
    recommendation: Recommendation,
    text: str,
) -> str:
    """The recommendation, its primary endpoint, all models and all pairs, for machines."""
    primary = recommendation.primary
    content = {
        "format_version": FORMAT_VERSION,
        "recommendation": {
            "model": recommendation.model,
            "reason": str(recommendation.reason),
            "text": text,
        },
        "primary": {
            "metric": primary,
            "label": metric_label(primary),
            "margin": recommendation.margin,
            "higher_is_better": primary not in LOWER_IS_BETTER,
        },
        "models": [_model_to_dict(result) for result in results],
        "pairs": [_pair_to_dict(pair) for pair in pairs],
    }
    # JSON has no NaN, which metrics.json of a run may hold.
    finite = json.loads(json.dumps(content), parse_constant=lambda constant: None)
    return json.dumps(finite, indent=1) + "\n"


def _model_to_dict(result: ModelMetrics) -> dict[str, Any]:
    spreads = {key: spread for key, spread in _costs(result).items() if spread is not None}
    return {
        "name": result.name,
        "task": result.model.task,
        "runs": [str(run.path) for run in result.model.runs],
        "seeds": list(result.model.seeds),
        "folds": [fold for fold in result.model.folds if fold >= 0],
        "metrics": {name: estimate.as_dict() for name, estimate in result.metrics.items()},
        "costs": {key: vars(spread) for key, spread in spreads.items()},
    }


def _pair_to_dict(pair: PairwiseComparison) -> dict[str, Any]:
    differences = {}
    for name, difference in pair.differences.items():
        low, high = pair.simultaneous.get(name, (None, None))
        differences[name] = {
            "value": difference.value,
            "low": difference.ci_low,
            "high": difference.ci_high,
            "p": difference.p_value,
            "p_corrected": pair.corrected_p_values.get(name),
            "simultaneous_low": low,
            "simultaneous_high": high,
            "test": difference.test,
        }
    return {
        "first": pair.first,
        "second": pair.second,
        "images": pair.num_images,
        "groups": pair.num_groups,
        "verdict": str(pair.verdict),
        "better": pair.better,
        "differences": differences,
    }


def _costs(result: ModelMetrics) -> dict[str, Spread | None]:
    """All numbers of training and cost, by their headings as keys."""
    return {
        heading.replace(",", "").replace(" ", "_"): result.cost(heading)
        for heading in (*TRAINING_NUMBERS, *COST_NUMBERS)
    }


_MakeCell = Callable[[ModelMetrics], Cell]


def _table(
    title: str,
    results: Sequence[ModelMetrics],
    columns: Mapping[str, _MakeCell],
    text: str = "",
    *,
    is_leading: bool = False,
) -> Table | None:
    """A row for each model; None without rows or columns."""

    def name_cell(result: ModelMetrics) -> Cell:
        runs = len(result.model.runs)
        return Cell(result.name if runs == 1 else f"{result.name} ({runs} runs)")

    rows = [(name_cell(of), *(make(of) for make in columns.values())) for of in results]
    if not rows or not columns:
        return None
    return Table(title, ("model", *columns), tuple(rows), text, is_leading)


def _known(results: Sequence[ModelMetrics], wanted: Sequence[str]) -> list[str]:
    """The metrics that any of the models has."""
    return [name for name in wanted if any(name in result.metrics for result in results)]


def _classes(results: Sequence[ModelMetrics], metric: str) -> list[str]:
    """The classes of which any of the models has the metric."""
    by_model = (names.class_metrics(result.metrics, metric) for result in results)
    return list(dict.fromkeys(name for of_model in by_model for name in of_model))


def _metric_columns(shown: Sequence[str]) -> dict[str, _MakeCell]:
    return {metric_heading(name): partial(_metric_cell, name) for name in shown}


def _metric_cell(name: str, result: ModelMetrics) -> Cell:
    """A metric with its interval; a dash where there is none."""
    estimate = result.metrics.get(name)
    if estimate is None:
        return Cell("–")
    if name != names.PIXEL_FPR:
        return Cell(format_estimate(estimate), estimate.value)
    limits = _format_limits(estimate.ci_low, estimate.ci_high, format_percent)
    text = format_percent(estimate.value)
    return Cell(text if limits == "–" else f"{text} ({limits})", estimate.value)


def _count_cell(count: int | None) -> Cell:
    return Cell("–" if count is None else str(count), count)


def _format_limits(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    return "–" if low is None or high is None else f"{write(low)} to {write(high)}"


def _run_columns(
    results: Sequence[ModelMetrics], wanted: Mapping[str, Callable[[float], str]]
) -> dict[str, _MakeCell]:
    """The columns in which any of the models has a number."""

    def describe(heading: str, result: ModelMetrics) -> Cell:
        spread, runs = result.cost(heading), result.model.runs
        if spread is None and heading == costs.CONVERGED:
            return Cell("not" if any(map(costs.has_convergence, runs)) else "–")
        cell = _spread_cell(spread, wanted[heading])
        if spread is None or spread.count == len(runs):
            return cell
        return Cell(f"{cell.text}, {spread.count} of {len(runs)} runs", cell.value)

    known = [heading for heading in wanted if any(result.cost(heading) for result in results)]
    return {heading: partial(describe, heading) for heading in known}


def _spread_cell(spread: Spread | None, write: Callable[[float], str]) -> Cell:
    """A mean over runs, with the range where they differ; a dash where there is none."""
    if spread is None:
        return Cell("–")
    text, least, most = map(write, (spread.mean, spread.least, spread.most))
    return Cell(text if least == most else f"{text} ({least} to {most})", spread.mean)
