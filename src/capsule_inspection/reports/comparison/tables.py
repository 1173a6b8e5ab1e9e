"""The tables of a comparison.

Which metrics a table shows, and in which order, is decided in `metrics.registry`; notes below them
stand in `comparison_notes.j2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import (
    ANOMALY_METRICS,
    IMAGE_METRICS,
    MAP_METRICS,
    MASK_METRICS,
    SEED_METRICS,
    metric_heading,
    metric_label,
)
from capsule_inspection.metrics.thresholds import CONFORMAL, F1, OPERATING_POINT, SIGMA
from capsule_inspection.reports.comparison import costs, settings
from capsule_inspection.reports.comparison.costs import Spread
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import PairwiseComparison
from capsule_inspection.reports.comparison.wording import note
from capsule_inspection.reports.formatting import (
    format_difference,
    format_duration,
    format_estimate,
    format_fraction,
    format_limits,
    format_p_value,
    format_percent,
    format_points,
    format_quantity,
    format_rate,
)
from capsule_inspection.reports.tables import Cell, Table

TRAINING_TITLE = "Training"

_RULES = {
    SIGMA: "mean and standard deviation",
    F1: "best F1, with labelled defects",
    OPERATING_POINT: "operating point",
}
"""Descriptions of rules; the names of others describe them."""

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

_MakeCell = Callable[[ModelMetrics], Cell]


def make_tables(results: Sequence[ModelMetrics], primary: str = "") -> list[Table]:
    """All tables that have rows, in the order of the page; the primary metric comes first."""
    makers = (
        partial(image_metrics_table, primary=primary),
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


def image_metrics_table(results: Sequence[ModelMetrics], *, primary: str = "") -> Table | None:
    """The image metrics of each model on its test images."""
    one_class = not all(result.model.names_defects for result in results)
    shown = _known(results, (*IMAGE_METRICS, *(ANOMALY_METRICS if one_class else ())))
    shown.sort(key=lambda metric: metric != primary)
    columns = _metric_columns(shown) | {"images": lambda of: _count_cell(len(of.model.images))}
    text = note("image_metrics", results, list(columns))
    return _table("Test images", results, columns, text, is_leading=True)


def localization_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mask and map metrics of each model; None where no model has any."""
    masks, maps = _known(results, MASK_METRICS), _known(results, MAP_METRICS)
    known = [result for result in results if _known([result], (*masks, *maps))]
    without = [result.name for result in results if result not in known]

    def count_images(result: ModelMetrics) -> Cell:
        found = _known([result], (names.BINARY_DICE_GLOBAL, *MAP_METRICS))
        return _count_cell(result.metrics[found[0]].n if found else None)

    columns = _metric_columns((*masks, *maps)) | {"images": count_images}
    text = note("localization", masks, maps, without)
    return _table("Localization", known, columns, text, is_leading=True)


def class_means_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mean IoU and Dice over the defect classes; None where no model predicts them."""
    named = [result for result in results if result.model.names_defects]
    known = [result for result in named if _known([result], names.MEAN_OVERLAPS)]
    columns = _metric_columns(_known(known, names.MEAN_OVERLAPS))
    title = "Segmentation by class, means"
    return _table(title, known, columns, note("class_means"), is_leading=True)


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
    return _table("Overlap with each defect", known, columns, note("overlap"))


def recall_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Recall of each class; None where there is none.

    Its meaning differs with and without class probabilities: where both stand in one table, a
    column says which.
    """
    recalls = {
        name: partial(_metric_cell, names.class_metric(names.RECALL, name))
        for name in _classes(results, names.RECALL)
    }
    if not recalls:
        return None
    kind = {"what is counted": lambda of: Cell("named" if of.model.names_defects else "rejected")}
    is_mixed = len({result.model.names_defects for result in results}) > 1
    columns = kind | recalls if is_mixed else recalls
    return _table("Recall of each class", results, columns, note("recall", results))


def threshold_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Target and measured false positive rate of each threshold; None without thresholds."""
    found = {result: thresholds for result in results if (thresholds := result.model.thresholds)}

    def describe_target(result: ModelMetrics) -> Cell:
        target = found[result][0].conformal_fpr
        return Cell("none" if target is None else f"at most {format_rate(target)}", target)

    def describe_value(result: ModelMetrics) -> Cell:
        values = [of.value for of in found[result] if of.value is not None]
        return _spread_cell(Spread.of(values), "{:.3g}".format)

    def count_good_images(result: ModelMetrics) -> Cell:
        counts = [float(threshold.good_images) for threshold in found[result]]
        return _spread_cell(Spread.of(counts), _format_integer)

    def describe_sufficiency(result: ModelMetrics) -> Cell:
        thresholds = found[result]
        few = [of for of in thresholds if of.rule == CONFORMAL and not of.enough]
        if not few:
            return Cell("–" if thresholds[0].conformal_fpr is None else "yes")
        runs = f" in {len(few)} of {len(thresholds)} runs" if len(thresholds) > 1 else ""
        return Cell(f"no{runs}: {few[0].required_images} are needed")

    columns: dict[str, _MakeCell] = {
        "rule": lambda of: Cell(_RULES.get(found[of][0].rule, found[of][0].rule)),
        "threshold": describe_value,
        "target: good parts rejected": describe_target,
        "good test images rejected": partial(_metric_cell, names.FALSE_POSITIVE_RATE),
        "good images that set it": count_good_images,
        "enough": describe_sufficiency,
    }
    rules = {thresholds[0].rule for thresholds in found.values()}
    return _table("Thresholds", list(found), columns, note("thresholds", rules))


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
    columns = _run_columns(results, TRAINING_NUMBERS)
    return _table(TRAINING_TITLE, results, columns, note("training", results, list(columns)))


def cost_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Parameters, FLOPs, times and memory of each model."""
    columns: dict[str, _MakeCell] = {
        "initial weights": lambda result: Cell(result.weights),
        **_run_columns(results, COST_NUMBERS),
        "hardware": lambda result: Cell(costs.describe_hardware(result.model.runs)),
    }
    return _table("Cost", results, columns, note("cost", list(columns)))


def seeds_table(results: Sequence[ModelMetrics]) -> Table | None:
    """The variation between seeds; None where no model has several."""
    known = [result for result in results if len(result.model.seeds) > 1]

    def describe(metric: str, result: ModelMetrics) -> Cell:
        values = result.by_seed.get(metric, pd.Series(dtype=float)).dropna()
        if len(values) < 2:
            return _spread_cell(Spread.of(values.tolist()), format_fraction)
        mean, least, most, deviation = values.agg(["mean", "min", "max", "std"])
        spread = f"{format_limits(least, most)}; {format_fraction(deviation)}"
        return Cell(f"{format_fraction(mean)} ({spread})", mean)

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
            Cell(format_limits(difference.ci_low, difference.ci_high, write)),
            Cell(format_limits(low, high, write)),
            Cell(f"{difference.test}, {p_text}", p_value),
            Cell(f"p {format_p_value(corrected)}{suffix}", corrected),
        )
        rows.append(cells)
    columns = ("metric", "difference", "95% interval", "95% interval of all pairs", "test",
               "corrected")  # fmt: skip
    text = note("differences", pair)
    return Table(f"{pair.first}, {pair.second}", columns, tuple(rows), text)


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
    write = format_percent if name in names.RATES else format_fraction
    return Cell(format_estimate(estimate, write), None if estimate is None else estimate.value)


def _count_cell(count: int | None) -> Cell:
    return Cell("–" if count is None else str(count), count)


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
