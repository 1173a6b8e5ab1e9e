"""Scores of the images: histogram, and a strip of points for each class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.reports.plots import style

_WIDE_RANGE = 40
"""Ratio of the highest score to the median from which the axis is logarithmic."""


@style.styled
def draw_scores(images: pd.DataFrame, threshold: float | None, label: str) -> Figure:
    """Histogram of good images and defects above, a strip for each group below, one axis.

    A row of `images` is an image: `name` of its group, `score` finite and high for defects,
    `is_defect`, `predicted_defect`, and `is_calibration` of those that set the threshold and are no
    test images. Wrong decisions are red crosses.
    """
    groups = list(images.groupby("name", sort=False))
    heights = [1.7, 0.5 + 0.33 * len(groups)]
    figure = style.new_figure(style.HALF_WIDTH, sum(heights) + 0.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    scores = images["score"].to_numpy()
    # Logarithmic where few scores are far above all others.
    is_log = scores.min() > 0 and scores.max() > _WIDE_RANGE * np.median(scores)
    above.set_xscale("log" if is_log else "linear")
    edges = (
        np.geomspace(scores.min(), scores.max(), 31)
        if is_log
        else np.histogram_bin_edges(scores, 30)
    )
    for is_defect, tested in images[~images["is_calibration"]].groupby("is_defect"):
        colour, name = (style.DEFECT, "defect") if is_defect else (style.GOOD, "good")
        above.hist(tested["score"], bins=edges.tolist(), color=colour, alpha=0.7, label=name)
    above.yaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_ylabel("test images")
    above.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if not is_log:
        below.xaxis.set_major_locator(MaxNLocator(5))
    for row, (_, group) in enumerate(groups):
        _draw_strip(below, row, group)
    below.set_yticks(range(len(groups)), [style.shorten(str(name)) for name, _ in groups])
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


def _draw_strip(axes: Axes, row: int, group: pd.DataFrame) -> None:
    group = group.sort_values("score", kind="stable")
    # Steps of the golden ratio separate neighbours without randomness.
    height = row + 0.5 * (((np.arange(len(group)) * 0.618034) % 1) - 0.5)
    score, wrong = group["score"], (group["predicted_defect"] != group["is_defect"]).to_numpy()
    is_defect, is_calibration = group[["is_defect", "is_calibration"]].iloc[0]
    usual = style.GREEN if is_calibration else style.GOOD
    colour = style.DEFECT if is_defect else usual
    axes.plot(score[~wrong], height[~wrong], "o", color=colour, ms=4.5, alpha=0.75)
    axes.plot(score[wrong], height[wrong], "X", color=style.WRONG, ms=6.5, mew=0.3)
    what = "missed" if is_defect else "rejected"
    text_colour = style.WRONG if wrong.any() else style.BLACK
    style.annotate_row(axes, row, f"{wrong.sum()} of {len(group)} {what}", colour=text_colour)
