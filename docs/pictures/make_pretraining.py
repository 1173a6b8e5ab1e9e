"""Makes the picture of docs/pretraining.md: accuracy over the number of real defects to learn from.

The counts are in pretraining.csv, a row for each class of a run; finished runs can replace them.
Run: python docs/pictures/make_pretraining.py
     python docs/pictures/make_pretraining.py outputs/sweeps/<time>/*     # uses these runs
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.metrics import intervals
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import TEST, TRAIN, RunFiles

HERE = Path(__file__).parent
TABLE = HERE / "pretraining.csv"
LOOKS = {
    "random": (style.GREY, "o"),
    "synthetic": (style.BLUE, "s"),
    "imagenet": (style.GREEN, "D"),
}
"""Of initial weights, in the order of the legend; the longest trainings are hollow."""
_OFFSET = 1.15
"""Offset of the longest trainings to the right."""
GOOD = "good"


def rows_of(run: Path) -> list[dict[str, object]]:
    """Of each class: the number of test images, and of those with the right prediction."""
    record, config = read_record(run), load_stored(run / RunFiles.CONFIG)
    split = pd.read_csv(run / RunFiles.SPLIT)
    used = (split["split"] == TRAIN) & (split["class"] != GOOD)
    predictions = pd.read_csv(run / RunFiles.PREDICTIONS)
    predictions = predictions[predictions["split"] == TEST]
    common = {
        "model": config.model.name,
        "weights": record["weights"]["source"],
        "fraction": config.data.defect_fraction,
        "fold": config.split.get("fold", 0),
        "seed": config.seed,
        "epochs": config.task.epochs,
        "real_defects": int(used.sum()),
    }
    return [
        {
            **common,
            "label": label,
            "images": len(of_class),
            "right": int((of_class["predicted_label"] == label).sum()),
        }
        for label, of_class in predictions.groupby("label")
    ]


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """Accuracy and balanced accuracy of all folds pooled, with their 95% intervals."""
    figure = style.new_figure(9.0, 3.6)
    accuracy, balanced = figure.subplots(1, 2, sharex=True)
    for weights, (colour, marker) in LOOKS.items():
        for epochs, found in table[table["weights"] == weights].groupby("epochs"):
            full = epochs == table["epochs"].max()
            style_of = {"color": colour, "marker": marker, "mfc": "white" if full else colour}
            style_of["label"] = f"{weights}, {epochs} epochs"
            _line(accuracy, balanced, found, style_of, offset=_OFFSET if full else 1.0)
    for axes, title in ((accuracy, "accuracy, 6 classes"), (balanced, "balanced accuracy")):
        axes.set_title(title)
        axes.set_xlabel("real training images with a defect")
        axes.set_xscale("symlog", linthresh=5)
        counts = sorted({round(float(n)) for n in _defects(table)})
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
    always_good = table[table["label"] == GOOD]["images"].sum() / table["images"].sum()
    accuracy.axhline(always_good, color=style.BLACK, linestyle=":", linewidth=1)
    accuracy.annotate("always good", (counts[0], always_good - 0.06), fontsize=9)
    figure.legend(
        *balanced.get_legend_handles_labels(), title="initial weights", loc="outside right upper"
    )
    return figure


def _defects(table: pd.DataFrame) -> pd.Series:
    """Training images with a defect for each fraction, mean over folds."""
    return table.groupby("fraction")["real_defects"].mean()


def _line(
    accuracy: Axes,
    balanced: Axes,
    found: pd.DataFrame,
    style_of: Mapping[str, Any],
    *,
    offset: float,
) -> None:
    counts = _defects(found)
    for axes, is_balanced in ((accuracy, False), (balanced, True)):
        points = []
        for fraction in counts.index:
            of_class = (
                found[found["fraction"] == fraction].groupby("label")[["right", "images"]].sum()
            )
            right, images = of_class["right"].to_numpy(), of_class["images"].to_numpy()
            points.append(
                intervals.mean_of_proportions(right, images)
                if is_balanced
                else intervals.proportion(int(right.sum()), int(images.sum()))
            )
        values = [point.value for point in points]
        below = [point.value - (point.ci_low or 0.0) for point in points]
        above = [(point.ci_high or 1.0) - point.value for point in points]
        axes.errorbar(offset * counts.to_numpy(), values, [below, above], capsize=3, **style_of)


def main(runs: list[str]) -> None:
    """Read the finished runs into the table, if there are any, and draw."""
    if runs:
        folders = [Path(run) for run in runs if (Path(run) / RunFiles.METRICS).is_file()]
        rows = [row for folder in folders for row in rows_of(folder)]
        pd.DataFrame(rows).to_csv(TABLE, index=False)
    style.save(draw(pd.read_csv(TABLE)), HERE / "pretraining.png")


if __name__ == "__main__":
    main(sys.argv[1:])
