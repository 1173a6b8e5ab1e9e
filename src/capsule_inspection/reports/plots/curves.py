"""Curves with all thresholds: ROC, per-region overlap, precision and recall.

scikit-learn's displays are not used: `plot` imports pyplot, and with it global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics.localization import FPR_LIMIT
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimate

_MAX_COLUMNS = 3


@dataclass(frozen=True)
class Curve:
    """One panel.

    Shapes: x and y (P,) in [0, 1]. `chance` is the line of guessing as its two ends, y at x 0 and
    at `limit`, the end of the x axis; `point` is the operating point; `is_stepped` as in average
    precision: each value of y holds until the next x.
    """

    title: str
    x: np.ndarray
    y: np.ndarray
    labels: tuple[str, str]
    chance: tuple[float, float] = (0.0, 1.0)
    limit: float = 1.0
    point: tuple[float, float] | None = None
    is_stepped: bool = False


def roc(
    title: str,
    curve: tuple[np.ndarray, np.ndarray],
    auroc: Estimate | None,
    what: str,
    point: tuple[float, float] | None = None,
) -> Curve:
    """False-positive and true-positive rates of `what`: images or pixels."""
    area = f": AUROC {auroc.value:.3f}" if auroc else ""
    labels = (f"fraction of good {what} rejected", f"fraction of defect {what} found")
    return Curve(f"{title}{area}", *curve, labels, point=point)


def per_region_overlap(curve: tuple[np.ndarray, np.ndarray], aupro: Estimate | None) -> Curve:
    """The mean fraction of each defect region over the fraction of good pixels, up to the limit."""
    rate, overlap = curve
    is_below = rate <= FPR_LIMIT
    x = np.append(rate[is_below], FPR_LIMIT)
    y = np.append(overlap[is_below], np.interp(FPR_LIMIT, *curve))
    area = f": AUPRO {aupro.value:.3f}" if aupro else ""
    labels = ("fraction of good pixels rejected", "fraction of each defect covered")
    return Curve(f"Regions{area}", x, y, labels, chance=(0.0, FPR_LIMIT), limit=FPR_LIMIT)


def precision_recall(name: str, is_class: np.ndarray, score: np.ndarray) -> Curve:
    """One class against the rest. Shapes: is_class (N,) bool, score (N,)."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labels = ("recall", "precision")
    if not is_class.any():
        return Curve(f"{style.shorten(name)}: no images", np.zeros(0), np.zeros(0), labels)
    precision, recall, _ = precision_recall_curve(is_class, score)
    average = average_precision_score(is_class, score)
    chance = (float(is_class.mean()),) * 2
    title = f"{style.shorten(name, 18)} ({is_class.sum()}): AP {average:.2f}"
    return Curve(title, recall, precision, labels, chance=chance, is_stepped=True)


@style.styled
def draw_curves(curves: Sequence[Curve]) -> Figure:
    """A panel for each curve, three in a row; more than two take the full width of a page."""
    columns = min(len(curves), _MAX_COLUMNS)
    rows = -(-len(curves) // columns)
    width = style.HALF_WIDTH if len(curves) < _MAX_COLUMNS else style.FULL_WIDTH
    size = min(width / columns, 4.0) if rows == 1 else 2.6
    figure = style.new_figure(width, size * rows + 0.1)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=rows > 1, sharey=rows > 1)
    for axes in panels.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, curve in zip(panels.flat, curves, strict=False):
        axes.plot([0, curve.limit], curve.chance, color=style.GREY, lw=1.0, ls=(0, (4, 3)))
        style_of = "steps-post" if curve.is_stepped else "default"
        axes.plot(curve.x, curve.y, color=style.BLUE, drawstyle=style_of)
        if curve.point is not None:
            axes.plot(*curve.point, "D", color=style.BLACK, ms=7, label="decision in use")
            axes.legend(loc="lower right")
        margin = 0.02 * curve.limit
        axes.set(xlim=(-margin, curve.limit + margin), ylim=(-0.02, 1.04), title=curve.title)
        axes.set(xlabel=curve.labels[0], ylabel=curve.labels[1])
        if rows > 1:
            axes.label_outer()
    return figure
