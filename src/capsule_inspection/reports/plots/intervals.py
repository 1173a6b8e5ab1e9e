"""Metrics of each class with their 95% intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.metrics import names
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimate, Estimates

_LOOKS = (
    {"bar": style.SKY, "colour": style.BLUE, "marker": "o"},
    {"bar": "#F2C49B", "colour": style.VERMILION, "marker": "D"},
)
_DICE = {"all pixels": names.DICE_GLOBAL, "mean of images": names.DICE_SAMPLEWISE}


@style.styled
def draw_intervals(
    rows: Mapping[str, Sequence[Estimate | None]],
    *,
    label: str,
    title: str = "",
    series: Sequence[str] = (),
    notes: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Figure:
    """A row for each name with an estimate of each series, in [0, 1]; `notes` stand to the right.

    Without notes the values do. None where an estimate is unknown. More than two series need
    `colours`, of the form #RRGGBB.
    """
    looks = [{"bar": f"{of}66", "colour": of, "marker": "o"} for of in colours] or _LOOKS
    count = max(len(series), 1)
    height = 1.2 + (0.22 + 0.12 * count) * len(rows) + 0.11 * max(0, count - 2)
    figure = style.new_figure(style.HALF_WIDTH, height)
    axes = figure.subplots()
    for row, estimates in enumerate(rows.values()):
        known = [estimate for estimate in estimates if estimate is not None]
        for place, (estimate, look) in enumerate(zip(estimates, looks, strict=False)):
            if estimate is not None:
                offset = 0.72 / (count + 0.25) * (place - (count - 1) / 2)
                style.interval_bar(axes, row + offset, estimate, **look)
        values = "\n".join(f"{estimate.value:.2f}" for estimate in known)
        style.annotate_row(axes, row, notes[row] if notes else values)
    axes.set_yticks(range(len(rows)), [style.shorten(name, 30) for name in rows])
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel=f"{label} (bar: 95% interval)")
    axes.set_title(title)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
    handles = [
        Line2D([], [], color=look["bar"], lw=7, marker=look["marker"], label=name,
               mfc=look["colour"], mec=look["colour"])
        for name, look in zip(series, looks, strict=False)
    ]  # fmt: skip
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def recall_by_class(metrics: Estimates) -> Figure:
    """Recall of each class, with the number of images; `metrics` have no stage in their keys."""
    recalls = names.class_metrics(metrics, names.RECALL)
    notes = [f"{round(recall.value * recall.n)} of {recall.n}" for recall in recalls.values()]
    return draw_intervals({name: [of] for name, of in recalls.items()}, label="recall", notes=notes)


def overlap_by_class(metrics: Estimates) -> Figure:
    """Dice of each defect class, over all pixels and as a mean of images; IoU is Dice / (2 - Dice).

    With several classes, their mean and the binary Dice stand below.
    """
    classes = names.class_metrics(metrics, names.DICE_SAMPLEWISE)
    rows = {f"{name} ({of.n})": [metrics.get(names.class_metric(metric, name))
                                 for metric in _DICE.values()]
            for name, of in classes.items()}  # fmt: skip
    if len(classes) > 1:
        for name, prefix in (("mean of classes", "mean"), ("any defect", "binary")):
            rows[name] = [metrics.get(f"{prefix}_{metric}") for metric in _DICE.values()]
    return draw_intervals(rows, label="Dice, 1 is a perfect match", series=list(_DICE))
