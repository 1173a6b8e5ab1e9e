"""Compares finished runs and writes the comparison into a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from capsule_inspection.files import atomic_write, atomic_write_text
from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import short_metric_label
from capsule_inspection.reports.comparison import (
    cost_tables,
    interval_plots,
    learning_curves,
    localization,
    localization_plots,
    tables,
)
from capsule_inspection.reports.comparison.classifier_plots import (
    MAX_PLOTTED_MODELS,
    classifier_disagreements,
    confusion_matrices,
)
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.model_runs import ModelRuns
from capsule_inspection.reports.comparison.page import Comparison, to_html, to_markdown
from capsule_inspection.reports.comparison.pairwise import MAX_MODELS_FOR_ALL_PAIRS, compare_pairs
from capsule_inspection.reports.comparison.run_groups import group_runs
from capsule_inspection.reports.comparison.summary import summarize
from capsule_inspection.reports.comparison.thresholds import threshold_table
from capsule_inspection.reports.comparison.validation_ranking import rank_on_validation
from capsule_inspection.reports.html import EmbeddedImage
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import ConfigurationError, RunError

PAGE, MARKDOWN, TABLE, PLOTS = "comparison.html", "comparison.md", "comparison.csv", "figures"
RUNNING, INTERRUPTED = "running", "interrupted"
NamedPlot = tuple[str, str, Callable[[], Figure]]
"""File name without its ending, caption, and the function that draws it."""

_CAPTION_SUFFIXES = {
    "": "",
    "_segmentation": ", segmentation models",
    "_one_class": ", models without class probabilities",
}
"""Suffixes of the file names of learning curves, and of their captions where there are several."""

NO_RANKING = "they share no validation metric to choose by, and no test metric may choose"


def read_finished(folder: Path) -> RunFolder:
    """Read a run. Raises RunError where it is not finished."""
    run = read_run(folder)
    status = run.record.get("status")
    if status in (RUNNING, INTERRUPTED):
        raise RunError(
            f"{folder}: this run is not finished (its record says {status}). Wait for it, or "
            f"finish it with python train.py resume={folder}"
        )
    return run


def compare(
    runs: Sequence[RunFolder], *, reference: str | None = None, failures: Sequence[str] = ()
) -> Comparison:
    """Compare runs. `failures` are sentences about runs that are left out.

    Raises RunError where a run cannot be compared, ConfigurationError where there is no model of
    the name `reference`.
    """
    results = [measure(model) for model in group_runs(runs)]
    known = [result.name for result in results]
    if reference is not None and reference not in known:
        raise ConfigurationError(
            f"reference={reference}: no model of this name. Compared are: {', '.join(known)}."
        )
    pairs = compare_pairs(results, reference=reference)
    found = [
        tables.image_metrics_table(results),
        localization.localization_table(results),
        localization.class_means_table(results),
        localization.overlap_table(results),
        threshold_table(results),
        tables.settings_table(results),
        cost_tables.training_table(results),
        tables.recall_table(results),
        tables.seeds_table(results),
        cost_tables.cost_table(results),
    ]
    return Comparison(
        results=results,
        pairs=pairs,
        summary=summarize(results, pairs),
        tables=[table for table in found if table is not None],
        failures=list(failures),
        reference_note=_reference_note(results, is_named=reference is not None),
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write page, Markdown, CSV and plots into a folder; returns the path of the page.

    The page is written last: where it exists, the comparison is complete.
    """
    plotted, note = _choose_plotted(comparison.results)
    plots = [
        EmbeddedImage(f"{PLOTS}/{name}.png", caption, _encode_png(draw()))
        for name, caption, draw in _list_plots(plotted)
    ]
    for plot in plots:
        with atomic_write(output / plot.file) as partial_file:
            partial_file.write_bytes(plot.content)
    atomic_write_text(output / TABLE, tables.to_csv(comparison.results))
    atomic_write_text(output / MARKDOWN, to_markdown(comparison, plots))
    atomic_write_text(output / PAGE, to_html(comparison, plots, plots_note=note))
    return output / PAGE


def _choose_plotted(results: Sequence[ModelMetrics]) -> tuple[list[ModelMetrics], str]:
    """The models in the plots, and a note where those are not all."""
    if len(results) <= MAX_PLOTTED_MODELS:
        return list(results), ""
    ranking = rank_on_validation(results)
    best = ranking.order[:MAX_PLOTTED_MODELS]
    which = f"the {len(best)} of {len(results)} models that are best on validation"
    if ranking.by is None:
        which = f"the first {len(best)} of {len(results)} models ({NO_RANKING})"
    elif ranking.by == names.LOSS:
        which += " (by their loss)"
    plotted = [result for result in results if result in best]
    return plotted, f"The plots show {which}; the tables have all."


def _reference_note(results: Sequence[ModelMetrics], *, is_named: bool) -> str:
    """How the reference of the pairwise comparisons was chosen; empty where it is obvious."""
    if is_named or len(results) <= MAX_MODELS_FOR_ALL_PAIRS:
        return ""
    ranking = rank_on_validation(results)
    compared = f"All are compared with {ranking.order[0].name}"
    if ranking.by is None:
        return f"{compared}, the first of the runs: {NO_RANKING}."
    if ranking.by == names.LOSS:
        return f"{compared}, which has the lowest validation loss."
    if ranking.by != names.BALANCED_ACCURACY:
        return f"{compared}, which has the best validation {short_metric_label(ranking.by)}."
    return ""


def _list_plots(plotted: list[ModelMetrics]) -> list[NamedPlot]:
    classifiers = [result.model for result in plotted if result.model.has_probabilities]
    caption = "Metrics with their 95% intervals"
    plots: list[NamedPlot] = [("overview", caption, lambda: interval_plots.overview(plotted))]
    plots += _list_localization_plots(plotted)
    plots += _list_learning_curves(plotted)
    if any(names.class_metrics(result.metrics, names.RECALL) for result in plotted):
        plots.append(("recall", "Recall of each class", lambda: interval_plots.recalls(plotted)))
    if classifiers:
        plots.append(("confusion", "Confusion matrices", lambda: confusion_matrices(classifiers)))
    if len(classifiers) > 1:
        caption = "Images on which the models disagree"
        plots.append(("disagreement", caption, lambda: classifier_disagreements(classifiers)))
    return plots


def _list_localization_plots(plotted: list[ModelMetrics]) -> list[NamedPlot]:
    """Masks and maps of the same images, and overlap with each defect."""
    plots: list[NamedPlot] = []
    with_maps = localization_plots.models_with_maps([result.model for result in plotted])
    if with_maps:
        caption = "Predicted masks and anomaly maps of the same images"
        plots.append(("masks", caption, lambda: localization_plots.disputed_images(with_maps)))
    with_overlap = [
        result
        for result in plotted
        if result.model.has_probabilities and names.class_metrics(result.metrics, names.IOU_GLOBAL)
    ]
    if with_overlap:
        caption = localization.OVERLAP_TITLE
        plots.append(("overlap", caption, lambda: interval_plots.overlaps(with_overlap)))
    return plots


def _list_learning_curves(plotted: list[ModelMetrics]) -> list[NamedPlot]:
    """Separate plots for models with different losses, in the colours of the other plots."""
    groups: dict[str, list[ModelMetrics]] = {suffix: [] for suffix in _CAPTION_SUFFIXES}
    for result in plotted:
        if all(len(run.epochs) for run in result.model.runs):
            groups[_learning_curve_suffix(result.model)].append(result)
    has_several = sum(bool(group) for group in groups.values()) > 1
    plots: list[NamedPlot] = []
    for suffix, group in groups.items():
        if not group:
            continue
        caption_suffix = _CAPTION_SUFFIXES[suffix] if has_several else ""
        colours = [style.SERIES[plotted.index(result)] for result in group]
        for name, caption, draw in (
            ("learning_curves", "Training over the epochs", learning_curves.over_epochs),
            ("learning_curves_over_time", "Training over time", learning_curves.over_time),
        ):
            drawn = partial(draw, group, colours=colours)
            plots.append((f"{name}{suffix}", f"{caption}{caption_suffix}", drawn))
    return plots


def _learning_curve_suffix(model: ModelRuns) -> str:
    if model.has_masks:
        return "_segmentation"
    return "" if model.has_probabilities else "_one_class"


def _encode_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with style.applied():
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
