"""Scores of the images: histogram, and a strip of points for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.reports.plots import style

_WIDE_RANGE = 40
"""Ratio of the highest score to the median from which the axis is logarithmic."""


@dataclass(frozen=True)
class ScoreGroup:
    """Images of one class; those of `is_calibration` set the threshold and are no test images.

    Shapes: score (N,) finite, high for defects; predicted_defect (N,) bool.
    """

    name: str
    is_defect: bool
    score: np.ndarray
    predicted_defect: np.ndarray
    is_calibration: bool = False


@style.styled
def draw_scores(groups: Sequence[ScoreGroup], threshold: float | None, label: str) -> Figure:
    """Histogram of good images and defects above, a strip for each group below, one axis.

    Groups without images are left out. Wrong decisions are red crosses.
    """
    groups = [group for group in groups if len(group.score)]
    if not groups:
        return style.text_figure("No images have a score here.")
    heights = [1.7, 0.5 + 0.33 * len(groups)]
    figure = style.new_figure(style.HALF_WIDTH, sum(heights) + 0.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    scores = np.concatenate([group.score for group in groups])
    # Logarithmic where few scores are far above all others.
    is_log = scores.min() > 0 and scores.max() > _WIDE_RANGE * np.median(scores)
    above.set_xscale("log" if is_log else "linear")
    edges = (
        np.geomspace(scores.min(), scores.max(), 31)
        if is_log
        else np.histogram_bin_edges(scores, 30)
    )
    for name, is_defect in (("good", False), ("defect", True)):
        of_kind = [g.score for g in groups if g.is_defect == is_defect and not g.is_calibration]
        if of_kind:
            colour = style.DEFECT if is_defect else style.GOOD
            above.hist(
                np.concatenate(of_kind), bins=edges.tolist(), color=colour, alpha=0.7, label=name
            )
    above.yaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_ylabel("test images")
    above.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if not is_log:
        below.xaxis.set_major_locator(MaxNLocator(5))
    for row, group in enumerate(groups):
        _draw_strip(below, row, group)
    below.set_yticks(range(len(groups)), [style.shorten(group.name) for group in groups])
    below.set(ylim=(len(groups) - 0.4, -0.6), xlabel=f"{label}, logarithmic" if is_log else label)
    below.spines["left"].set_visible(False)
    below.tick_params(axis="y", length=0, pad=9)
    if threshold is not None:
        for axes in (above, below):
            axes.axvline(threshold, color=style.BLACK, lw=1.5, ls=(0, (4, 2)))
        above.set_title(
            f"threshold {threshold:.3g}: rejected to the right of it", size=10, weight="normal"
        )
    return figure


def _draw_strip(axes: Axes, row: int, group: ScoreGroup) -> None:
    order = np.argsort(group.score, kind="stable")
    score, wrong = group.score[order], (group.predicted_defect != group.is_defect)[order]
    # Steps of the golden ratio separate neighbours without randomness.
    height = row + 0.5 * (((np.arange(len(score)) * 0.618034) % 1) - 0.5)
    usual = style.GREEN if group.is_calibration else style.GOOD
    colour = style.DEFECT if group.is_defect else usual
    axes.plot(score[~wrong], height[~wrong], "o", color=colour, ms=4.5, alpha=0.75)
    axes.plot(score[wrong], height[wrong], "X", color=style.WRONG, ms=6.5, mew=0.3)
    what = "missed" if group.is_defect else "rejected"
    text_colour = style.WRONG if wrong.any() else style.BLACK
    style.annotate_row(axes, row, f"{wrong.sum()} of {len(score)} {what}", colour=text_colour)
