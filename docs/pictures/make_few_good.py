"""Makes the picture of docs/anomaly_detection.md: image AUROC over the number of good images.

The values are in few_good.csv, a row for each run; finished runs can replace them.
Run: python docs/pictures/make_few_good.py
     python docs/pictures/make_few_good.py outputs/sweeps/<time>/*     # uses these runs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import RunFiles

HERE = Path(__file__).parent
TABLE = HERE / "few_good.csv"
METRICS = ("auroc", "pixel_auroc", "aupro")
LOOKS = {
    ("patchcore", "imagenet"): (style.BLUE, "o"),
    ("patchcore", "synthetic"): (style.GREEN, "D"),
    ("autoencoder", "random"): (style.ORANGE, "s"),
}


def row_of(run: Path) -> dict[str, object]:
    """Model, good training images and test metrics of a run."""
    record, config = read_record(run), load_stored(run / RunFiles.CONFIG)
    metrics = json.loads((run / RunFiles.METRICS).read_text())
    return {
        "model": config.model.name,
        "weights": record["weights"]["source"],
        "good_images": record["data"]["images"]["train"],
        "fold": config.split.fold,
        "seed": config.seed,
        **{name: metrics[f"test/{name}"]["value"] for name in METRICS},
    }


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """Image AUROC of each fold as a point, and the mean of the folds as a line."""
    figure = style.new_figure(7.0, 3.6)
    axes = figure.subplots()
    for (model, weights), (colour, marker) in LOOKS.items():
        found = table[(table["model"] == model) & (table["weights"] == weights)]
        if found.empty:
            continue
        mean = found.groupby("good_images")["auroc"].mean()
        axes.scatter(found["good_images"], found["auroc"], s=14, color=colour, alpha=0.5)
        axes.plot(
            mean.index, mean, color=colour, marker=marker, label=f"{model}, {weights} weights"
        )
    axes.set_xscale("log")
    counts = sorted(table["good_images"].unique())
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("good training images")
    axes.set_title("image AUROC")
    axes.legend(loc="lower right")
    return figure


def main(runs: list[str]) -> None:
    """Read the finished runs into the table, if there are any, and draw."""
    if runs:
        folders = [Path(run) for run in runs if (Path(run) / RunFiles.METRICS).is_file()]
        rows = pd.DataFrame([row_of(folder) for folder in folders])
        rows.sort_values(["model", "weights", "good_images", "fold"]).to_csv(TABLE, index=False)
    style.save(draw(pd.read_csv(TABLE)), HERE / "few_good.png")


if __name__ == "__main__":
    main(sys.argv[1:])
