"""Picture of how well marked pixels cover the true defects, class by class.

From figures that are handed over; reads no files, computes no figure of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.metrics import names
from capsule_inspection.reports import style
from capsule_inspection.types import Figures

MEAN, ANY_DEFECT = "mean of the defects", "any defect, whatever its name"

_OF_MEAN = {
    names.IOU_OF_PIXELS: names.MEAN_IOU_OF_PIXELS,
    names.DICE_OF_PIXELS: names.MEAN_DICE_OF_PIXELS,
    names.IOU_OF_IMAGES: names.MEAN_IOU_OF_IMAGES,
    names.DICE_OF_IMAGES: names.MEAN_DICE_OF_IMAGES,
}
_OF_ANY = {
    names.IOU_OF_PIXELS: names.FOREGROUND_IOU_OF_PIXELS,
    names.DICE_OF_PIXELS: names.FOREGROUND_DICE_OF_PIXELS,
    names.IOU_OF_IMAGES: names.FOREGROUND_IOU_OF_IMAGES,
    names.DICE_OF_IMAGES: names.FOREGROUND_DICE_OF_IMAGES,
}
_WHOLES = {MEAN: _OF_MEAN, ANY_DEFECT: _OF_ANY}
_PANELS = {
    "Pooled over pixels": (names.IOU_OF_PIXELS, names.DICE_OF_PIXELS),
    "Mean over images": (names.IOU_OF_IMAGES, names.DICE_OF_IMAGES),
}


@dataclass(frozen=True)
class _Look:
    """How one of the two figures is drawn; `offset` from the height of its row."""

    name: str
    colour: str
    bar: str
    marker: str
    offset: float


_LOOKS = (
    _Look("IoU", style.BLUE, style.SKY, "o", -0.16),
    _Look("Dice", style.VERMILION, "#F2C49B", "D", 0.16),
)


@style.styled
def overlap_by_class(figures: Figures) -> Figure:
    """IoU and Dice of each defect with their 95% intervals, of pixels and of images side by side.

    `figures` have no stage in their keys. The mean of the classes and any defect, whichever name it
    was given, stand below; where there is one class, it alone.
    """
    rows = _rows(figures)
    if not rows:
        return style.message("No mask says where the defects are, so there is no overlap.")
    figure = style.new_figure(11.0, 1.7 + 0.55 * len(rows))
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (title, metrics) in zip(panels, _PANELS.items(), strict=True):
        _panel(axes, figures, rows, metrics)
        axes.set(title=title, xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.set_xlabel("overlap, 1 is a perfect match (bar: 95% interval)")
    panels[0].set_yticks(range(len(rows)), [_label(figures, *row) for row in rows.items()])
    handles = [
        Line2D([], [], color=look.bar, linewidth=7, marker=look.marker, markersize=7,
               markerfacecolor=look.colour, markeredgecolor=look.colour, label=look.name)
        for look in _LOOKS
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def has_overlap(figures: Figures) -> bool:
    """Whether any class has an overlap; `figures` have no stage in their keys."""
    return bool(_rows(figures))


def _rows(figures: Figures) -> dict[str, Mapping[str, str]]:
    """What each row is called, and for each metric of a class the key that it shows."""
    classes = names.of_classes(figures, names.DICE_OF_IMAGES)
    rows: dict[str, Mapping[str, str]] = {
        name: {metric: names.class_metric(metric, name) for metric in _OF_ANY} for name in classes
    }
    return rows if len(rows) < 2 else {**rows, **_WHOLES}


def _label(figures: Figures, name: str, keys: Mapping[str, str]) -> str:
    """The name of a row, and of how many images it is known."""
    known = figures.get(keys[names.DICE_OF_IMAGES])
    images = "" if known is None else f"  ({known.n})"
    return style.short(name, 32) + images


def _panel(
    axes: Axes,
    figures: Figures,
    rows: Mapping[str, Mapping[str, str]],
    metrics: Sequence[str],
) -> None:
    for row, keys in enumerate(rows.values()):
        told = []
        for look, metric in zip(_LOOKS, metrics, strict=True):
            measured = figures.get(keys[metric])
            if measured is not None:
                looks = {"bar": look.bar, "colour": look.colour, "marker": look.marker}
                style.interval_bar(axes, row + look.offset, measured, **looks)
                told.append(f"{look.name} {measured.value:.2f}")
        style.note_beside(axes, row, "\n".join(told))
    if MEAN in rows:
        axes.axhline(len(rows) - len(_WHOLES) - 0.5, color=style.GREY, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
