"""Makes the picture of docs/pretraining.md: accuracy over the number of real defects to learn from.

The figures lie beside it in pretraining.csv, one row a run; runs that you have can take their place.
Run: python docs/pictures/make_pretraining.py
     python docs/pictures/make_pretraining.py outputs/sweeps/<time>/*     # figures of these runs first
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
"""Of first weights, in the order of the legend; the longest trainings are hollow."""
_BESIDE = 1.15
"""The longest trainings stand a little to the right of the others."""
GOOD = "good"


def rows_of(run: Path) -> list[dict[str, object]]:
    """Of each class: how many test images it has, and how many were named right."""
    record, config = read_record(run), load_stored(run / RunFiles.CONFIG)
    split = pd.read_csv(run / RunFiles.SPLIT)
    shown = (split["split"] == TRAIN) & (split["class"] != GOOD)
    answers = pd.read_csv(run / RunFiles.PREDICTIONS)
    answers = answers[answers["split"] == TEST]
    common = {
        "model": config.model.name,
        "weights": record["weights"]["source"],
        "share": config.data.defect_fraction,
        "fold": config.split.get("fold", 0),
        "seed": config.seed,
        "epochs": config.task.epochs,
        "real_defects": int(shown.sum()),
    }
    return [
        {
            **common,
            "label": label,
            "images": len(of_class),
            "right": int((of_class["predicted_label"] == label).sum()),
        }
        for label, of_class in answers.groupby("label")
    ]


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """Accuracy and balanced accuracy of all folds pooled, with their 95% intervals."""
    figure = style.new_figure(9.0, 3.6)
    accuracy, balanced = figure.subplots(1, 2, sharex=True)
    for weights, (colour, marker) in LOOKS.items():
        for epochs, found in table[table["weights"] == weights].groupby("epochs"):
            full = epochs == table["epochs"].max()
            look = {"color": colour, "marker": marker, "mfc": "white" if full else colour}
            look["label"] = f"{weights}, {epochs} epochs"
            _line(accuracy, balanced, found, look, beside=_BESIDE if full else 1.0)
    for axes, title in ((accuracy, "accuracy, 6 classes"), (balanced, "balanced accuracy")):
        axes.set_title(title)
        axes.set_xlabel("real images with a defect to learn from")
        axes.set_xscale("symlog", linthresh=5)
        counts = sorted({round(float(n)) for n in _defects(table)})
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
    always_good = table[table["label"] == GOOD]["images"].sum() / table["images"].sum()
    accuracy.axhline(always_good, color=style.BLACK, linestyle=":", linewidth=1)
    accuracy.annotate("always good", (counts[0], always_good - 0.06), fontsize=9)
    figure.legend(
        *balanced.get_legend_handles_labels(), title="first weights", loc="outside right upper"
    )
    return figure


def _defects(table: pd.DataFrame) -> pd.Series:
    """Of each share: defects to learn from, mean over folds."""
    return table.groupby("share")["real_defects"].mean()


def _line(
    accuracy: Axes,
    balanced: Axes,
    found: pd.DataFrame,
    look: Mapping[str, Any],
    *,
    beside: float,
) -> None:
    counts = _defects(found)
    for axes, is_balanced in ((accuracy, False), (balanced, True)):
        points = []
        for share in counts.index:
            of_class = found[found["share"] == share].groupby("label")[["right", "images"]].sum()
            right, images = of_class["right"].to_numpy(), of_class["images"].to_numpy()
            points.append(
                intervals.mean_of_proportions(right, images)
                if is_balanced
                else intervals.proportion(int(right.sum()), int(images.sum()))
            )
        values = [point.value for point in points]
        below = [point.value - (point.ci_low or 0.0) for point in points]
        above = [(point.ci_high or 1.0) - point.value for point in points]
        axes.errorbar(beside * counts.to_numpy(), values, [below, above], capsize=3, **look)


def main(runs: list[str]) -> None:
    """Take the figures of finished runs into the table, if any are named, and draw."""
    if runs:
        folders = [Path(run) for run in runs if (Path(run) / RunFiles.METRICS).is_file()]
        rows = [row for folder in folders for row in rows_of(folder)]
        pd.DataFrame(rows).to_csv(TABLE, index=False)
    style.save(draw(pd.read_csv(TABLE)), HERE / "pretraining.png")


if __name__ == "__main__":
    main(sys.argv[1:])
