"""Figures of several folds of one model, pooled: `python benchmarks/pooled.py <run> <run> ...`.

Reads predictions.csv of finished runs; each image may be in the test part of one run only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from capsule_inspection.contracts import TEST, RunError
from capsule_inspection.metrics.classification import classification_figures
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.summary import summary_table


def main(folders: list[Path]) -> None:
    """Print the figures of each run's test part, and of all of them together."""
    runs = [read_run(folder) for folder in folders]
    hashes = [sha256 for run in runs for sha256 in run.rows_of(TEST)["sha256"]]
    if len(set(hashes)) < len(hashes):
        raise RunError("some images are in the test part of several runs. Name folds of one split.")
    for run in runs:
        shown = {key: run.figures[f"test/{key}"].value for key in ("accuracy", "balanced_accuracy")}
        auroc = run.figures["test/auroc"].value
        seconds = run.record["training_time_s"]
        print(f"{run.path.name}: {shown}, auroc {auroc:.3f}, {seconds:.0f} s")
    predictions = [run.arrays_of(TEST)[0] for run in runs]
    figures = classification_figures(
        np.concatenate([part.label for part in predictions]),
        np.concatenate([part.probabilities for part in predictions]),
        classes=runs[0].classes,
    )
    Console().print(summary_table(with_stage(figures, TEST), stage=TEST))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
