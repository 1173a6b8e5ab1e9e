"""Groups runs that differ in fold or seed only into one model of a comparison.

For classifiers, the folds are pooled: each image is in the test split of one of them. Seeds are
kept as rows: they are further predictions of the same images, not further images. Without class
probabilities, the predictions of each run are kept apart: a defect may be in the test split of
every fold, and the scores of different runs have no common scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
import pandas as pd

from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.mask_metrics import read_mask_counts
from capsule_inspection.reports.comparison.model_runs import (
    ModelRuns,
    RunPredictions,
    get_fold,
    get_seed,
)
from capsule_inspection.reports.run.files import PROBABILITY
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TEST, VAL, RunError


def group_runs(runs: Sequence[RunFolder]) -> list[ModelRuns]:
    """The models of a comparison, in the order of their first runs.

    Raises RunError where a run has no predictions, its scores are not finite, or its maps are
    damaged.
    """
    groups = _group_by_model(runs)
    names = settings.model_names([settings.model_settings(group[0]) for group in groups])
    return [_pool(name, group) for name, group in zip(names, groups, strict=True)]


def _group_by_model(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Runs of one model; a repeated fold and seed starts another group."""
    groups: dict[tuple[str, int], list[RunFolder]] = {}
    repeats: dict[tuple[str, object, object], int] = {}
    for run in runs:
        key = settings.settings_key(settings.model_settings(run))
        unit = (key, get_seed(run), get_fold(run))
        repeats[unit] = repeats.get(unit, 0) + 1
        groups.setdefault((key, repeats[unit]), []).append(run)
    return list(groups.values())


def _pool(name: str, runs: list[RunFolder]) -> ModelRuns:
    stage = TEST if all(TEST in run.stages() for run in runs) else VAL
    tables = [_read_rows(run, stage) for run in runs]
    classes = runs[0].class_names
    pooled = _pool_by_seed(runs, tables, stage) if runs[0].classes else _pool_images(tables)
    row_of = {image_id: row for row, image_id in enumerate(pooled["image_ids"].tolist())}
    model = ModelRuns(
        name=name,
        runs=tuple(runs),
        seeds=tuple(_seeds(runs)),
        classes=classes,
        stage=stage,
        run_predictions=tuple(
            _run_predictions(run, table, row_of, normal_class=classes[0])
            for run, table in zip(runs, tables, strict=True)
        ),
        **pooled,
    )
    return replace(model, mask_counts=read_mask_counts(model))


class _Pooled(TypedDict, total=False):
    """Fields of a `ModelRuns`; what is missing keeps its default."""

    image_ids: np.ndarray
    labels: np.ndarray
    predicted_labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    num_dropped: int


def _seeds(runs: Sequence[RunFolder]) -> list[int]:
    return sorted({get_seed(run) for run in runs})


def _pool_by_seed(runs: list[RunFolder], run_tables: list[pd.DataFrame], stage: str) -> _Pooled:
    """A row for each seed, over the images that every seed predicted."""
    tables = [
        pd.concat(
            [table for run, table in zip(runs, run_tables, strict=True) if get_seed(run) == seed]
        )
        for seed in _seeds(runs)
    ]
    tables = [table[~table.index.duplicated()] for table in tables]
    shared = tables[0].index
    for table in tables[1:]:
        shared = shared.intersection(table.index, sort=False)
    if not len(shared):
        raise RunError(
            f"{', '.join(str(run.path) for run in runs)}: no image is in the {stage} split of all "
            f"{len(tables)} seeds. Train every seed on the same folds."
        )
    largest = max(len(table) for table in tables)
    tables = [table.loc[shared] for table in tables]
    columns = [PROBABILITY + class_name for class_name in runs[0].classes]
    return _Pooled(
        image_ids=shared.to_numpy(dtype=str),
        labels=tables[0]["label"].to_numpy(dtype=str),
        predicted_labels=np.stack(
            [table["predicted_label"].to_numpy(dtype=str) for table in tables]
        ),
        scores=np.stack([table["score"].to_numpy(np.float64) for table in tables]),
        probabilities=np.stack([table[columns].to_numpy(np.float64) for table in tables]),
        num_dropped=largest - len(shared),
    )


def _pool_images(tables: list[pd.DataFrame]) -> _Pooled:
    """Every image that any run predicted, in order of appearance."""
    table = pd.concat(tables)
    table = table[~table.index.duplicated()]
    return _Pooled(
        image_ids=table.index.to_numpy(dtype=str), labels=table["label"].to_numpy(dtype=str)
    )


def _run_predictions(
    run: RunFolder, table: pd.DataFrame, row_of: dict[str, int], *, normal_class: str
) -> RunPredictions:
    """The predictions of a run, of the images that count."""
    kept = table[[image_id in row_of for image_id in table.index]]
    return RunPredictions(
        fold=get_fold(run),
        seed=get_seed(run),
        rows=np.array([row_of[image_id] for image_id in kept.index], dtype=np.int64),
        indices=kept["index"].to_numpy(np.int64),
        predicted_defect=kept["predicted_label"].to_numpy(dtype=str) != normal_class,
        scores=kept["score"].to_numpy(np.float64),
    )


def _read_rows(run: RunFolder, stage: str) -> pd.DataFrame:
    rows = run.rows_of(stage)
    if rows.empty:
        raise RunError(
            f"{run.path}: it has no predictions of test or validation images, so there is nothing "
            "to compare. Leave it out, or train it with a split that has test images."
        )
    if not np.isfinite(rows["score"]).all():
        raise RunError(
            f"{run.path}: {int((~np.isfinite(rows['score'])).sum())} of {len(rows)} scores are "
            "missing or not finite. Evaluate the run again, or leave it out."
        )
    return rows.set_index(pd.Index(_image_ids(rows), name="image_id"))


def _image_ids(rows: pd.DataFrame) -> list[str]:
    """SHA-256 of each image, numbered where files are equal; it is the same on all machines."""
    repeats = rows["sha256"].groupby(rows["sha256"]).cumcount()
    return [f"{sha256}.{number}" for sha256, number in zip(rows["sha256"], repeats, strict=True)]
