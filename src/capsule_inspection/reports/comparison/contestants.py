"""Runs that differ in fold or seed only, pooled into one contestant of a comparison.

Folds are laid beside each other: every image is in the test part of one of them. Seeds are kept as
rows: they say of the same images what other first weights made of them, and are no further images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from capsule_inspection.contracts import TEST, VAL, RunError
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.run_folder import PROBABILITY, RunFolder

IMAGE = "image"
"""Column that tells images apart, also between run folders of several machines."""


@dataclass(frozen=True)
class Contestant:
    """One model and all that its runs said of their test images.

    `classes` begin with the good one. `stage` is test, or val where a run has no test part.
    Shapes, for S seeds and N images that all seeds were asked about: image (N,) str;
    label (N,) str; prediction (S, N) str; score (S, N), high for defects; probabilities (S, N, C),
    None where the model names no classes.
    """

    name: str
    runs: tuple[RunFolder, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    stage: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    score: np.ndarray
    probabilities: np.ndarray | None
    dropped: int = 0
    """Images left out because not every seed was asked about them."""

    @property
    def task(self) -> str:
        return str(self.runs[0].record.get("task", "classification"))

    @property
    def good(self) -> str:
        """Name of the class without defects."""
        return self.classes[0]

    @property
    def names_defects(self) -> bool:
        """Whether it says which defect it is, or only that it is one."""
        return self.probabilities is not None

    @property
    def is_optimistic(self) -> bool:
        """Whether these very images chose the epoch."""
        return self.stage != TEST or any(bool(run.record.get("optimistic")) for run in self.runs)

    @cached_property
    def is_defect(self) -> np.ndarray:
        """(N,) bool."""
        return self.label != self.good

    @cached_property
    def correct(self) -> np.ndarray:
        """Share of the seeds that named an image correctly, (N,) in [0, 1]."""
        return (self.prediction == self.label).mean(axis=0)

    @cached_property
    def called_defect(self) -> np.ndarray:
        """Share of the seeds that called an image a defect, (N,) in [0, 1]."""
        return (self.prediction != self.good).mean(axis=0)

    def places_of(self, image: str) -> list[tuple[RunFolder, int]]:
        """The runs that were tested on an image, with its index in each."""
        return [
            (run, found[image]) for run, found in zip(self.runs, self._index_of, strict=True)
            if image in found
        ]  # fmt: skip

    @cached_property
    def _index_of(self) -> list[dict[str, int]]:
        tables = [_rows(run, self.stage) for run in self.runs]
        return [dict(zip(table.index, table["index"].tolist(), strict=True)) for table in tables]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each image."""
        return {image: row for row, image in enumerate(self.image.tolist())}


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


def seed_of(run: RunFolder) -> int:
    """The seed that a run was trained with."""
    return int(run.record.get("seed", 0))


def fold_of(run: RunFolder) -> int | None:
    """The fold that was a run's test part; None where the split has none."""
    fold = run.settings.get(settings.FOLD)
    return None if fold is None else int(fold)


def _pool(name: str, runs: list[RunFolder]) -> Contestant:
    seeds = sorted({seed_of(run) for run in runs})
    stage = TEST if all(TEST in run.stages() for run in runs) else VAL
    tables = [
        pd.concat([_rows(run, stage) for run in runs if seed_of(run) == seed]) for seed in seeds
    ]
    tables = [table[~table.index.duplicated()] for table in tables]
    shared = tables[0].index
    for table in tables[1:]:
        shared = shared.intersection(table.index, sort=False)
    if not len(shared):
        raise RunError(
            f"{', '.join(str(run.path) for run in runs)}: no image is in the {stage} part of all "
            f"{len(seeds)} seeds. Train every seed on the same folds."
        )
    most = max(len(table) for table in tables)
    tables = [table.loc[shared] for table in tables]
    classes = _classes(runs[0])
    columns = [PROBABILITY + class_name for class_name in runs[0].classes]
    return Contestant(
        name=name,
        runs=tuple(runs),
        seeds=tuple(seeds),
        classes=classes,
        stage=stage,
        image=shared.to_numpy(dtype=str),
        label=tables[0]["label"].to_numpy(dtype=str),
        prediction=np.stack([table["prediction"].to_numpy(dtype=str) for table in tables]),
        score=np.stack([table["score"].to_numpy(np.float64) for table in tables]),
        probabilities=np.stack([table[columns].to_numpy(np.float64) for table in tables])
        if columns
        else None,
        dropped=most - len(shared),
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
