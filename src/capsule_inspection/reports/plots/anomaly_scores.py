"""Plots of anomaly scores: histogram, scores by class, ROC and PRO curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.metrics.localization import FPR_LIMIT
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimate

_WIDE_RANGE = 40
"""Ratio of the highest score to the median from which the axis is logarithmic."""

ANOMALY_SCORE = "anomaly score (higher: less like the good ones)"

Curve = tuple[np.ndarray, np.ndarray]
"""False-positive rate and true-positive rate: (P,) both."""


@style.styled
def score_histogram(
    score: np.ndarray,
    is_defect: np.ndarray,
    threshold: float | None = None,
    *,
    calibration: np.ndarray | None = None,
    score_name: str = ANOMALY_SCORE,
) -> Figure:
    """Histogram of the scores of good images and of defects, with the threshold.

    Shapes: score (N,) finite, high for defects; is_defect (N,) bool; calibration (M,), the scores
    of the good images that set the threshold. `score_name` explains high values in brackets.
    """
    scores = _all_scores(score, calibration)
    if not len(scores):
        return style.text_figure("No images have a score here.")
    figure = style.new_figure(9.5, 3.8)
    axes = figure.subplots()
    _scale_scores(axes, scores)
    edges = _bin_edges(scores, logarithmic=axes.get_xscale() == "log")
    for name, rows, colour in (
        ("good", ~is_defect, style.BLUE),
        ("defect", is_defect, style.ORANGE),
    ):
        if rows.any():
            label = f"{name} ({_format_images(rows.sum())})"
            axes.hist(score[rows], bins=edges, color=colour, alpha=0.7, label=label)
    has_ticks = calibration is not None and len(calibration) > 0
    if calibration is not None and has_ticks:
        _draw_calibration(axes, calibration)
    _draw_threshold(axes, threshold)
    axes.set(xlabel=_score_label(axes, score_name), ylabel="test images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, prune="lower" if has_ticks else None))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _all_scores(score: np.ndarray, calibration: np.ndarray | None) -> np.ndarray:
    return score if calibration is None else np.concatenate([score, calibration])


def _scale_scores(axes: Axes, score: np.ndarray) -> None:
    """Use a logarithmic axis where few scores are far above all others."""
    if score.min() > 0 and score.max() > _WIDE_RANGE * np.median(score):
        axes.set_xscale("log")


def _score_label(axes: Axes, score_name: str) -> str:
    is_logarithmic = axes.get_xscale() == "log"
    return f"{score_name.removesuffix(')')}, logarithmic)" if is_logarithmic else score_name


def _bin_edges(score: np.ndarray, *, logarithmic: bool) -> list[float]:
    if logarithmic:
        return np.geomspace(score.min(), score.max(), 31).tolist()
    return np.histogram_bin_edges(score, bins=30).tolist()


def _format_images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _draw_calibration(axes: Axes, calibration: np.ndarray) -> None:
    """Draw a tick below the bars for each image that set the threshold."""
    axes.plot(
        calibration,
        np.full(len(calibration), 0.04),
        "|",
        transform=axes.get_xaxis_transform(),
        color=style.GREEN,
        markersize=9,
        markeredgewidth=1.2,
        label=f"good, set the threshold\n({_format_images(len(calibration))})",
    )
    axes.set_ylim(bottom=-0.09 * axes.get_ylim()[1])


def _draw_threshold(axes: Axes, threshold: float | None) -> None:
    if threshold is None:
        return
    axes.axvline(threshold, color=style.BLACK, linewidth=1.5, linestyle=(0, (4, 2)))
    position = axes.transAxes.inverted().transform(axes.transData.transform((threshold, 0)))[0]
    axes.annotate(
        f"threshold {threshold:.3g}: rejected to the right of it",
        (threshold, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="left" if position < 0.5 else "right",
        fontsize=10,
    )


@dataclass(frozen=True)
class ScoreGroup:
    """Images of one class. Shapes: score (N,) finite; predicted_defect (N,) bool."""

    name: str
    is_defect: bool
    score: np.ndarray
    predicted_defect: np.ndarray


@style.styled
def scores_by_class(
    groups: Sequence[ScoreGroup], threshold: float, *, score_name: str = ANOMALY_SCORE
) -> Figure:
    """A strip of points for each group, and the number of errors in it.

    A group without images has no strip. `score_name` is as in `score_histogram`.
    """
    groups = [group for group in groups if len(group.score)]
    if not groups:
        return style.text_figure("No images have a score here.")
    figure = style.new_figure(9.5, 1.5 + 0.5 * len(groups))
    axes = figure.subplots()
    _scale_scores(axes, np.concatenate([group.score for group in groups]))
    for row, group in enumerate(groups):
        _draw_strip(axes, row, group)
    _draw_threshold(axes, threshold)
    axes.set_yticks(range(len(groups)), [style.shorten(group.name) for group in groups])
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=_score_label(axes, score_name))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
    return figure


def _draw_strip(axes: Axes, row: int, group: ScoreGroup) -> None:
    """Draw the points of one group; errors are red crosses."""
    order = np.argsort(group.score, kind="stable")
    score, wrong = group.score[order], (group.predicted_defect != group.is_defect)[order]
    # Steps of the golden ratio separate neighbours without randomness.
    height = row + 0.5 * (((np.arange(len(score)) * 0.618034) % 1) - 0.5)
    colour = style.ORANGE if group.is_defect else style.BLUE
    axes.plot(score[~wrong], height[~wrong], "o", color=colour, markersize=5, alpha=0.75)
    axes.plot(score[wrong], height[wrong], "X", color=style.VERMILION, markersize=7, mew=0.3)
    what = "missed" if group.is_defect else "rejected"
    colour = style.VERMILION if wrong.any() else style.BLACK
    style.annotate_row(axes, row, f"{wrong.sum()} of {len(score)} {what}", colour=colour)


@style.styled
def roc(
    image_curve: Curve,
    pixel_curve: Curve | None = None,
    *,
    auroc: Estimate | None = None,
    pixel_auroc: Estimate | None = None,
    operating_point: tuple[float, float] | None = None,
) -> Figure:
    """ROC curve of the images, and of the pixels where masks are known.

    `operating_point` has the false-positive and true-positive rate of the threshold in use.
    """
    panels = [("Images", image_curve, auroc, ("good images rejected", "defect images found"))]
    if pixel_curve is not None:
        axis_names = ("good pixels taken for a defect", "defect pixels found")
        panels.append(("Pixels", pixel_curve, pixel_auroc, axis_names))
    figure = style.new_figure(4.9 * len(panels), 4.9)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, curve, area, (across, up)) in zip(all_axes, panels, strict=True):
        axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate("guessing", (0.72, 0.66), color=style.GREY, fontsize=10)
        axes.plot(*curve, color=style.BLUE)
        axes.set(xlabel=f"fraction of {across}", ylabel=f"fraction of {up}", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(title + (f": AUROC {area.value:.3f}" if area else ""))
    if operating_point is not None:
        all_axes[0].plot(
            *operating_point, "o", color=style.VERMILION, markersize=9, label="threshold in use"
        )
        all_axes[0].legend(loc="lower right")
    return figure


@style.styled
def pro(curve: Curve, *, aupro: Estimate | None = None) -> Figure:
    """Per-region overlap over the false-positive rate, up to the limit of AUPRO.

    `curve` has the fraction of good pixels and the mean fraction of each defect region, from 0 on.
    """
    limit = FPR_LIMIT
    rate, overlap = curve
    is_below = rate <= limit
    rate = np.append(rate[is_below], limit)
    overlap = np.append(overlap[is_below], np.interp(limit, *curve))
    figure = style.new_figure(7.6, 4.6)
    axes = figure.subplots()
    axes.fill_between(rate, overlap, color=style.SKY, alpha=0.35, linewidth=0)
    axes.plot(rate, overlap, color=style.BLUE)
    axes.plot([0, limit], [0, limit], color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.axvline(limit, color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, limit * 1.02), ylim=(0, 1.02))
    axes.set_xlabel("false-positive rate of the pixels")
    axes.set_ylabel("fraction of each defect that is covered")
    known = f" = {aupro.value:.3f}" if aupro else ""
    axes.set_title(f"AUPRO{known}: the shaded part of the box")
    axes.annotate(
        "A perfect map fills the box; a random one\n(dashed) 0.15 of it.",
        (0.95, 0.38),
        xycoords="axes fraction",
        ha="right",
        fontsize=10,
    )
    return figure
