"""Figures with their intervals, the contestants of a comparison beside each other.

From figures that are handed over; reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.reports import style
from capsule_inspection.reports.comparison import where, words
from capsule_inspection.reports.comparison.measured import Measured
from capsule_inspection.types import Figure as Value

_RECALL_TITLES = {"named": "Recall of each class", "rejected": "Defects rejected, good let pass"}


@style.styled
def recalls(measured: Sequence[Measured]) -> Figure:
    """Recall of each class with its interval, the contestants beside each other.

    Where some name no classes the legend says whose images were named and whose only rejected.
    """
    of_class = {one.name: names.of_classes(one.figures, names.RECALL) for one in measured}
    classes = list(dict.fromkeys(name for found in of_class.values() for name in found))
    rows = {name: [found.get(name) for found in of_class.values()] for name in classes}
    labels = [f"{style.short(name)}  ({_images(found)})" for name, found in rows.items()]
    counted = [words.counted(one.contestant) for one in measured]
    contestants, title = list(of_class), _RECALL_TITLES[counted[0]]
    if len(set(counted)) > 1:
        contestants = [f"{one.name}: {what}" for one, what in zip(measured, counted, strict=True)]
        title = "Recall of each class: named, or rejected"
    return _intervals(
        list(rows.values()), labels, contestants, title=f"{title} (bar: 95% interval)"
    )


@style.styled
def overlaps(measured: Sequence[Measured]) -> Figure:
    """IoU of each defect class over pixels with its interval; of those that name what they mark."""
    of_class = {one.name: names.of_classes(one.figures, names.IOU_OF_PIXELS) for one in measured}
    counts = [names.of_classes(one.figures, names.IOU_OF_IMAGES) for one in measured]
    classes = list(dict.fromkeys(name for found in of_class.values() for name in found))
    labels = [
        f"{style.short(name)}  ({_images([found.get(name) for found in counts])})"
        for name in classes
    ]
    rows = [[found.get(name) for found in of_class.values()] for name in classes]
    title = "IoU of each defect, over pixels (bar: 95% interval)"
    return _intervals(rows, labels, list(of_class), title=title)


@style.styled
def overview(measured: Sequence[Measured]) -> Figure:
    """The figures that decide, with their intervals, the contestants beside each other."""
    wanted = (*words.SPOKEN, names.PIXEL_AUROC, names.AUPRO)
    found = {name: [where.figure_of(one, name) for one in measured] for name in wanted}
    shown = [name for name in wanted if any(found[name])]
    rows = [found[name] for name in shown]
    lower = dict.fromkeys(names.LOWER_IS_BETTER, " (lower is better)")
    labels = [f"{words.metric(name)}{lower.get(name, '')}" for name in shown]
    return _intervals(
        rows, labels, [one.name for one in measured], title="Figures with their 95% intervals"
    )


def _images(found: Sequence[Value | None]) -> str:
    counts = sorted({value.n for value in found if value is not None})
    return "–".join(map(str, counts))


def _intervals(
    rows: Sequence[Sequence[Value | None]],
    labels: Sequence[str],
    contestants: Sequence[str],
    *,
    title: str,
) -> Figure:
    step = 0.8 / max(1, len(contestants))
    height = len(rows) * (0.35 + 0.16 * len(contestants))
    figure = style.new_figure(9.0, 1.3 + height + 0.22 * len(contestants))
    axes = figure.subplots()
    for i, name in enumerate(contestants):
        colour = style.SERIES[i]
        place = np.arange(len(rows)) + (i - (len(contestants) - 1) / 2) * step
        known = [(at, row[i]) for at, row in zip(place, rows, strict=True)]
        for at, value in known:
            if value is not None and value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [at, at], color=colour, linewidth=4, alpha=0.35,
                          solid_capstyle="butt")  # fmt: skip
        points = [(value.value, at) for at, value in known if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=5.5,
                      label=style.short(name, 60))  # fmt: skip
    axes.set_yticks(range(len(rows)), labels)
    axes.set(xlim=(-0.01, 1.01), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    figure.legend(loc="outside lower left", ncols=1)
    return figure
