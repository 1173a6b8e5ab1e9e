"""Localization of defects: tables and sentences on anomaly maps and predicted masks.

For segmentation models, and for other models with anomaly maps; classifiers have neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import short_metric_label
from capsule_inspection.reports.comparison.cells import (
    Cell,
    Table,
    metric_cell,
    metric_heading,
    name_cell,
)
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairwise import PairwiseComparison
from capsule_inspection.reports.comparison.pairwise_summary import find_winners
from capsule_inspection.reports.formatting import (
    format_estimate,
    format_fraction,
    format_list,
    format_percent,
)
from capsule_inspection.types import Estimate

LOCALIZATION_TITLE = "Localization"
CLASS_MEANS_TITLE = "Segmentation by class, means"
OVERLAP_TITLE = "Overlap with each defect"
MAIN_METRIC = names.BINARY_DICE_GLOBAL
MAX_LISTED_PAIRS = 3
"""More pairs without a significant difference are counted, not listed."""

_MASK_METRICS = (
    names.BINARY_DICE_GLOBAL,
    names.BINARY_DICE_SAMPLEWISE,
    names.DEFECT_HIT_RATE,
    names.PIXEL_FPR,
)
_MAP_METRICS = (names.PIXEL_AUROC, names.AUPRO)
_MASKS_NOTE = (
    "Overlap of the predicted with the target masks, as any defect, whatever the predicted class. "
    "Of pixels: all images are pooled, so large defects and false positives weigh most. Of images: "
    "the mean over the images with a defect, so a small one counts as much as a large one. Defect "
    "hit rate: the fraction of defects that contain any predicted pixel. Pixel false-positive "
    "rate: the fraction of the pixels of good images in the predicted masks. Folds of a seed are "
    "pooled, then the mean over seeds is taken."
)
_MAPS_NOTE = (
    "Pixel AUROC and AUPRO compare anomaly maps with the target masks, without any threshold; "
    "means over runs, for all models with maps alike."
)
_CLASS_MEANS_NOTE = (
    "As above, but only pixels of the right class count: for each defect class, then the mean "
    "over classes, so a rare class counts as much as a frequent one."
)


def localization_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mask and map metrics of each model; None where no model has any."""
    shown = _known_metrics(results, (*_MASK_METRICS, *_MAP_METRICS))
    notes = [_MASKS_NOTE] if set(shown) & set(_MASK_METRICS) else []
    notes += [_MAPS_NOTE] if set(shown) & set(_MAP_METRICS) else []
    known = [result for result in results if _known_metrics([result], shown)]
    unknown = [result.name for result in results if result not in known]
    if unknown:
        notes.append(f"Not shown, since they localize no defects: {format_list(unknown)}.")
    rows = [(*_cells(result, shown), _images_cell(result)) for result in known]
    return _make_table(
        LOCALIZATION_TITLE, [*map(metric_heading, shown), "images"], rows, " ".join(notes)
    )


def class_means_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Mean IoU and Dice over the defect classes; None where no model predicts them."""
    shown = _known_metrics(results, names.MEAN_OVERLAPS)
    rows = [_cells(result, shown) for result in results if _known_metrics([result], shown)]
    return _make_table(
        CLASS_MEANS_TITLE, [metric_heading(name) for name in shown], rows, _CLASS_MEANS_NOTE
    )


def _known_metrics(results: Sequence[ModelMetrics], wanted: Sequence[str]) -> list[str]:
    """The metrics that any of the models has."""
    return [name for name in wanted if any(comparable_metric(result, name) for result in results)]


def _make_table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], note: str
) -> Table | None:
    return Table(title, ("model", *columns), tuple(rows), note, is_leading=True) if rows else None


def _cells(result: ModelMetrics, shown: Sequence[str]) -> tuple[Cell, ...]:
    return name_cell(result), *(_cell(result, name) for name in shown)


def comparable_metric(result: ModelMetrics, name: str) -> Estimate | None:
    """A metric; None for a mean over classes of a model that does not tell defects apart."""
    if name in names.MEAN_OVERLAPS and not result.model.has_probabilities:
        return None
    return result.metrics.get(name)


def _cell(result: ModelMetrics, name: str) -> Cell:
    estimate = comparable_metric(result, name)
    if estimate is None or name != names.PIXEL_FPR:
        return metric_cell(estimate)
    text = format_percent(estimate.value)
    if estimate.ci_low is not None and estimate.ci_high is not None:
        text += f" ({format_percent(estimate.ci_low)} to {format_percent(estimate.ci_high)})"
    return Cell(text, estimate.value)


def _images_cell(result: ModelMetrics) -> Cell:
    metrics = (result.metrics.get(name) for name in (MAIN_METRIC, *_MAP_METRICS))
    counts = [estimate.n for estimate in metrics if estimate]
    return Cell(str(counts[0]), counts[0]) if counts else Cell("–")


def overlap_table(results: Sequence[ModelMetrics]) -> Table | None:
    """IoU and Dice of each defect class; None where no model predicts them."""
    with_classes = [result for result in results if result.model.has_probabilities]
    ious = {
        result.name: names.class_metrics(result.metrics, names.IOU_GLOBAL)
        for result in with_classes
    }
    classes = list(dict.fromkeys(name for of_model in ious.values() for name in of_model))
    if not classes:
        return None
    rows = [
        (name_cell(result), *(_overlap_cell(result, name) for name in classes))
        for result in with_classes
        if ious[result.name]
    ]
    note = (
        "IoU with its 95% interval, then Dice, over the pixels of all images together. Only pixels "
        "of the right class count."
    )
    return Table(OVERLAP_TITLE, ("model", *classes), tuple(rows), note)


def _overlap_cell(result: ModelMetrics, class_name: str) -> Cell:
    iou = result.metrics.get(names.class_metric(names.IOU_GLOBAL, class_name))
    dice = result.metrics.get(names.class_metric(names.DICE_GLOBAL, class_name))
    if iou is None or dice is None:
        return metric_cell(iou)
    return Cell(f"{format_estimate(iou)}, Dice {format_fraction(dice.value)}", iou.value)


def sentences(results: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison]) -> list[str]:
    """The best segmentation, and which pairs differ significantly in it."""
    known = [result for result in results if MAIN_METRIC in result.metrics]
    if len(known) < 2:
        return []
    best = max(result.metrics[MAIN_METRIC].value for result in known)
    leaders = [result for result in known if result.metrics[MAIN_METRIC].value == best]
    leader_names = format_list([result.name for result in leaders])
    leading = (
        f"Best {short_metric_label(MAIN_METRIC)}: {leader_names}, "
        f"{format_estimate(leaders[0].metrics[MAIN_METRIC])}."
    )
    return [leading, *_describe_pairs([pair for pair in pairs if pair.masks is not None])]


def _describe_pairs(pairs: Sequence[PairwiseComparison]) -> list[str]:
    losers_of: dict[str, list[str]] = {}
    undecided: list[str] = []
    for pair in pairs:
        winner = find_winners(pair).get(MAIN_METRIC)
        if winner is None:
            undecided.append(f"{pair.first} and {pair.second}")
        else:
            loser = pair.second if winner == pair.first else pair.first
            losers_of.setdefault(winner, []).append(loser)
    found = [
        f"{winner} segments defects better than {format_list(losers)}."
        for winner, losers in losers_of.items()
    ]
    if undecided:
        is_short = len(undecided) <= MAX_LISTED_PAIRS
        which = "; ".join(undecided) if is_short else f"{len(undecided)} pairs"
        found.append(f"Not distinguishable in segmentation: {which}.")
    return found


def caveats(results: Sequence[ModelMetrics]) -> list[str]:
    """Segmentation models that did not keep their predicted masks."""
    found = []
    for result in results:
        counts = result.model.mask_counts
        if counts is None or counts.is_complete:
            continue
        missing = counts.runs_without_masks
        if not missing:
            found.append(
                f"{result.name}: predicted masks are kept of test images only, so it is not "
                "compared in segmentation."
            )
            continue
        consequence = (
            "it is not compared in segmentation"
            if MAIN_METRIC in result.metrics
            else "its segmentation metrics are left out"
        )
        found.append(
            f"{result.name}: {len(missing)} of {len(result.model.runs)} runs kept no predicted "
            f"masks ({format_list(missing)}), so {consequence}. Evaluate again with evaluate.py "
            "run=<run folder>."
        )
    return found
