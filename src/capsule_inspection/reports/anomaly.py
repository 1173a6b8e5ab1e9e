"""Pictures of scores: how good images and defects are spread, and what each threshold would do.

From arrays and figures that are handed over; reads no files, computes no figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.metrics.localisation import FALSE_POSITIVE_LIMIT
from capsule_inspection.reports import style
from capsule_inspection.types import Figure as Measured

_WIDE_RANGE = 40
"""From this many times the median on, the highest score would press all others together."""

ANOMALY_SCORE = "anomaly score (higher: less like the good ones)"

Curve = tuple[np.ndarray, np.ndarray]
"""Share of the good ones that is called a defect, and of the defects that is found: (P,) both."""


@style.styled
def score_histogram(
    score: np.ndarray,
    is_defect: np.ndarray,
    threshold: float | None = None,
    *,
    calibration: np.ndarray | None = None,
    score_name: str = ANOMALY_SCORE,
) -> Figure:
    """How the scores of good images and of defects are spread, and where the threshold cuts.

    Shapes: score (N,) finite, high for defects; is_defect (N,) bool; calibration (M,), the scores
    of the good images that set the threshold. `score_name` says in brackets what higher means.
    """
    drawn = _all_scores(score, calibration)
    if not len(drawn):
        return style.message("No images have a score here.")
    figure = style.new_figure(9.5, 3.8)
    axes = figure.subplots()
    _scale_scores(axes, drawn)
    edges = _edges(drawn, logarithmic=axes.get_xscale() == "log")
    for name, rows, colour in (
        ("good", ~is_defect, style.BLUE),
        ("defect", is_defect, style.ORANGE),
    ):
        if rows.any():
            label = f"{name} ({_images(rows.sum())})"
            axes.hist(score[rows], bins=edges, color=colour, alpha=0.7, label=label)
    has_ticks = calibration is not None and len(calibration) > 0
    if calibration is not None and has_ticks:
        _mark_calibration(axes, calibration)
    _mark_threshold(axes, threshold)
    axes.set(xlabel=_score_label(axes, score_name), ylabel="test images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, prune="lower" if has_ticks else None))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _all_scores(score: np.ndarray, calibration: np.ndarray | None) -> np.ndarray:
    return score if calibration is None else np.concatenate([score, calibration])


def _scale_scores(axes: Axes, score: np.ndarray) -> None:
    """A logarithmic axis where few scores are far above all others."""
    if score.min() > 0 and score.max() > _WIDE_RANGE * np.median(score):
        axes.set_xscale("log")


def _score_label(axes: Axes, score_name: str) -> str:
    is_logarithmic = axes.get_xscale() == "log"
    return f"{score_name.removesuffix(')')}, logarithmic)" if is_logarithmic else score_name


def _edges(score: np.ndarray, *, logarithmic: bool) -> list[float]:
    if logarithmic:
        return np.geomspace(score.min(), score.max(), 31).tolist()
    return np.histogram_bin_edges(score, bins=30).tolist()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _mark_calibration(axes: Axes, calibration: np.ndarray) -> None:
    """A tick below the bars for each image that set the threshold."""
    axes.plot(
        calibration,
        np.full(len(calibration), 0.04),
        "|",
        transform=axes.get_xaxis_transform(),
        color=style.GREEN,
        markersize=9,
        markeredgewidth=1.2,
        label=f"good, set the threshold\n({_images(len(calibration))})",
    )
    axes.set_ylim(bottom=-0.09 * axes.get_ylim()[1])


def _mark_threshold(axes: Axes, threshold: float | None) -> None:
    if threshold is None:
        return
    axes.axvline(threshold, color=style.BLACK, linewidth=1.5, linestyle=(0, (4, 2)))
    place = axes.transAxes.inverted().transform(axes.transData.transform((threshold, 0)))[0]
    axes.annotate(
        f"threshold {threshold:.3g}: rejected to the right of it",
        (threshold, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="left" if place < 0.5 else "right",
        fontsize=10,
    )


@dataclass(frozen=True)
class ScoreGroup:
    """Images that belong together. Shapes: score (N,) finite; called_defect (N,) bool."""

    name: str
    is_defect: bool
    score: np.ndarray
    called_defect: np.ndarray


@style.styled
def scores_by_class(
    groups: Sequence[ScoreGroup], threshold: float, *, score_name: str = ANOMALY_SCORE
) -> Figure:
    """A strip of points for each group, and how many of them lie on the wrong side.

    A group without images has no strip. `score_name` is as of `score_histogram`.
    """
    groups = [group for group in groups if len(group.score)]
    if not groups:
        return style.message("No images have a score here.")
    figure = style.new_figure(9.5, 1.5 + 0.5 * len(groups))
    axes = figure.subplots()
    _scale_scores(axes, np.concatenate([group.score for group in groups]))
    for row, group in enumerate(groups):
        _strip(axes, row, group)
    _mark_threshold(axes, threshold)
    axes.set_yticks(range(len(groups)), [style.short(group.name) for group in groups])
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=_score_label(axes, score_name))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
    return figure


def _strip(axes: Axes, row: int, group: ScoreGroup) -> None:
    """The points of one group; what is on the wrong side is a red cross."""
    order = np.argsort(group.score, kind="stable")
    score, wrong = group.score[order], (group.called_defect != group.is_defect)[order]
    # Steps of the golden ratio spread neighbours apart without any chance in it.
    height = row + 0.5 * (((np.arange(len(score)) * 0.618034) % 1) - 0.5)
    colour = style.ORANGE if group.is_defect else style.BLUE
    axes.plot(score[~wrong], height[~wrong], "o", color=colour, markersize=5, alpha=0.75)
    axes.plot(score[wrong], height[wrong], "X", color=style.VERMILION, markersize=7, mew=0.3)
    what = "let through" if group.is_defect else "rejected"
    colour = style.VERMILION if wrong.any() else style.BLACK
    style.note_beside(axes, row, f"{wrong.sum()} of {len(score)} {what}", colour=colour)


@style.styled
def roc(
    of_images: Curve,
    of_pixels: Curve | None = None,
    *,
    auroc: Measured | None = None,
    pixel_auroc: Measured | None = None,
    now: tuple[float, float] | None = None,
) -> Figure:
    """What every threshold would do to images, and to pixels where masks are known.

    `now` is what the threshold in use does: share of good images rejected, of defects found.
    """
    panels = [("Images", of_images, auroc, ("good images rejected", "defect images found"))]
    if of_pixels is not None:
        axis_names = ("good pixels taken for a defect", "defect pixels found")
        panels.append(("Pixels", of_pixels, pixel_auroc, axis_names))
    figure = style.new_figure(4.9 * len(panels), 4.9)
    found = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, curve, area, (across, up)) in zip(found, panels, strict=True):
        axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate("guessing", (0.72, 0.66), color=style.GREY, fontsize=10)
        axes.plot(*curve, color=style.BLUE)
        axes.set(xlabel=f"share of {across}", ylabel=f"share of {up}", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(title + (f": AUROC {area.value:.3f}" if area else ""))
    if now is not None:
        found[0].plot(*now, "o", color=style.VERMILION, markersize=9, label="threshold in use")
        found[0].legend(loc="lower right")
    return figure


@style.styled
def pro(curve: Curve, *, aupro: Measured | None = None) -> Figure:
    """How much of each defect the maps cover, up to the false alarms where AUPRO ends.

    `curve` is the share of good pixels and the mean share of each defect region, rising from 0.
    """
    limit = FALSE_POSITIVE_LIMIT
    rate, overlap = curve
    inside = rate <= limit
    rate = np.append(rate[inside], limit)
    overlap = np.append(overlap[inside], np.interp(limit, *curve))
    figure = style.new_figure(7.6, 4.6)
    axes = figure.subplots()
    axes.fill_between(rate, overlap, color=style.SKY, alpha=0.35, linewidth=0)
    axes.plot(rate, overlap, color=style.BLUE)
    axes.plot([0, limit], [0, limit], color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.axvline(limit, color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, limit * 1.02), ylim=(0, 1.02))
    axes.set_xlabel("share of good pixels that the map marks by mistake")
    axes.set_ylabel("share of each defect that is covered")
    known = f" = {aupro.value:.3f}" if aupro else ""
    axes.set_title(f"AUPRO{known}: the shaded part of the box")
    axes.annotate(
        "A perfect map fills the box; one that marks\nat random (dashed) 0.15 of it.",
        (0.95, 0.38),
        xycoords="axes fraction",
        ha="right",
        fontsize=10,
    )
    return figure
