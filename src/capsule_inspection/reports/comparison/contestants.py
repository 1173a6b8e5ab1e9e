"""Runs that differ in fold or seed only, pooled into one contestant of a comparison.

Of classifiers, folds are laid beside each other: every image is in the test part of one of them.
Seeds are kept as rows: they say of the same images what other first weights made of them, and are
no further images. Of models that name no classes all judgements are kept as they are: a defect
may be in the test part of every fold, and scores of several models have no common scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.contestant import (
    Contestant,
    Judgements,
    fold_of,
    seed_of,
)
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.reports.run_tables import PROBABILITY
from capsule_inspection.types import TEST, VAL, RunError

IMAGE = "image"
"""Column that tells images apart, also between run folders of several machines."""


def gather(runs: Sequence[RunFolder]) -> list[Contestant]:
    """The contestants of a comparison, in the order in which their first runs came.

    Raises RunError where a run has no predictions of images, or its scores are not finite.
    """
    groups = _groups(runs)
    names = settings.names_of([settings.model_settings(group[0]) for group in groups])
    return [_pool(name, group) for name, group in zip(names, groups, strict=True)]


def _groups(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Runs of one model; a fold and seed that comes twice begins another group."""
    groups: dict[tuple[str, int], list[RunFolder]] = {}
    seen: dict[tuple[str, object, object], int] = {}
    for run in runs:
        key = settings.as_key(settings.model_settings(run))
        unit = (key, seed_of(run), fold_of(run))
        seen[unit] = seen.get(unit, 0) + 1
        groups.setdefault((key, seen[unit]), []).append(run)
    return list(groups.values())


def _pool(name: str, runs: list[RunFolder]) -> Contestant:
    stage = TEST if all(TEST in run.stages() for run in runs) else VAL
    tables = [_rows(run, stage) for run in runs]
    classes = _classes(runs[0])
    found = _by_seed(runs, tables, stage) if runs[0].classes else _all_judged(tables)
    row_of = {image: row for row, image in enumerate(found["image"].tolist())}
    return Contestant(
        name=name,
        runs=tuple(runs),
        seeds=tuple(_seeds(runs)),
        classes=classes,
        stage=stage,
        judgements=tuple(
            _judgements(run, table, row_of, good=classes[0])
            for run, table in zip(runs, tables, strict=True)
        ),
        **found,
    )


class _Pooled(TypedDict, total=False):
    """Fields of a contestant; what is missing keeps its default."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    score: np.ndarray
    probabilities: np.ndarray
    dropped: int


def _seeds(runs: Sequence[RunFolder]) -> list[int]:
    return sorted({seed_of(run) for run in runs})


def _by_seed(runs: list[RunFolder], of_runs: list[pd.DataFrame], stage: str) -> _Pooled:
    """A row a seed, of the images that every seed was asked about."""
    tables = [
        pd.concat([table for run, table in zip(runs, of_runs, strict=True) if seed_of(run) == seed])
        for seed in _seeds(runs)
    ]
    tables = [table[~table.index.duplicated()] for table in tables]
    shared = tables[0].index
    for table in tables[1:]:
        shared = shared.intersection(table.index, sort=False)
    if not len(shared):
        raise RunError(
            f"{', '.join(str(run.path) for run in runs)}: no image is in the {stage} part of all "
            f"{len(tables)} seeds. Train every seed on the same folds."
        )
    most = max(len(table) for table in tables)
    tables = [table.loc[shared] for table in tables]
    columns = [PROBABILITY + class_name for class_name in runs[0].classes]
    return _Pooled(
        image=shared.to_numpy(dtype=str),
        label=tables[0]["label"].to_numpy(dtype=str),
        prediction=np.stack([table["prediction"].to_numpy(dtype=str) for table in tables]),
        score=np.stack([table["score"].to_numpy(np.float64) for table in tables]),
        probabilities=np.stack([table[columns].to_numpy(np.float64) for table in tables]),
        dropped=most - len(shared),
    )


def _all_judged(tables: list[pd.DataFrame]) -> _Pooled:
    """Every image that any run was asked about, in the order in which they came."""
    table = pd.concat(tables)
    table = table[~table.index.duplicated()]
    return _Pooled(image=table.index.to_numpy(dtype=str), label=table["label"].to_numpy(dtype=str))


def _judgements(
    run: RunFolder, table: pd.DataFrame, row_of: dict[str, int], *, good: str
) -> Judgements:
    """What a run said of the images that count."""
    kept = table[[image in row_of for image in table.index]]
    return Judgements(
        fold=fold_of(run),
        seed=seed_of(run),
        row=np.array([row_of[image] for image in kept.index], dtype=np.int64),
        index=kept["index"].to_numpy(np.int64),
        called_defect=kept["prediction"].to_numpy(dtype=str) != good,
        score=kept["score"].to_numpy(np.float64),
    )


def _rows(run: RunFolder, stage: str) -> pd.DataFrame:
    rows = run.rows_of(stage)
    if rows.empty:
        raise RunError(
            f"{run.path}: it has no predictions of test or validation images, so there is nothing "
            "to compare. Leave it out, or train it with a split that has a test part."
        )
    if not np.isfinite(rows["score"]).all():
        raise RunError(
            f"{run.path}: {int((~np.isfinite(rows['score'])).sum())} of {len(rows)} scores are "
            "missing or not finite. Evaluate the run again, or leave it out."
        )
    return rows.set_index(pd.Index(_identities(rows), name=IMAGE))


def _identities(rows: pd.DataFrame) -> list[str]:
    """Content of each image, numbered where two files are equal; the path where no hash is kept."""
    hashes = rows["sha256"] if "sha256" in rows and rows["sha256"].all() else rows["path"]
    repeats = hashes.groupby(hashes).cumcount()
    return [f"{sha256}.{number}" for sha256, number in zip(hashes, repeats, strict=True)]


def _classes(run: RunFolder) -> tuple[str, ...]:
    known = run.classes or tuple(run.record.get("data", {}).get("classes", ()))
    if not known:
        raise RunError(f"{run.path}: its record names no classes, so good cannot be told apart.")
    return known
