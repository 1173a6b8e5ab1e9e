"""In what two models differ on the images that both were tested on.

The tests are those of `metrics.paired_tests`, `paired_auroc` and `paired_overlap`; here it is
decided which are made, and on which images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_auroc import PairedScores, auroc_difference
from capsule_inspection.metrics.paired_overlap import overlap_differences
from capsule_inspection.metrics.paired_tests import (
    PairedDifference,
    corrected_resampled_t_test,
    cost_difference,
    mean_difference,
)
from capsule_inspection.reports.comparison.metrics import ERROR_RATES
from capsule_inspection.reports.comparison.table import NO_FOLD, ModelRuns, get_fold, get_seed
from capsule_inspection.reports.comparison.wording import note
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN, Costs

MIN_FOLDS = 3
"""Trainings needed for a test over trainings; with two it has one degree of freedom."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class EqualRate:
    """Defects missed by both where each rejects at most the same fraction of the good images.

    The thresholds are those of the scores of these very images, for each run by itself.
    """

    false_positive_rate: float
    missed: tuple[float, float]
    difference: PairedDifference


@dataclass(frozen=True)
class RetrainingTest:
    """Nadeau and Bengio's test over folds of the difference in one metric.

    `num_always_tested` is the number of images that every fold tests, such as the defects of
    one-class runs: the test says nothing about other images like them.
    """

    difference: PairedDifference
    num_trainings: int
    num_always_tested: int = 0


@dataclass(frozen=True)
class ModelPair:
    """Two models, and the images that both were tested on, in one order."""

    models: tuple[ModelRuns, ModelRuns]
    images: pd.DataFrame

    @classmethod
    def of(cls, first: ModelRuns, second: ModelRuns) -> ModelPair:
        """The second model's columns of `ModelRuns.images` end in `_2`."""
        shared = first.images.join(second.images.add_suffix("_2"), how="inner")
        return cls((first, second), shared)

    def both(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A column of `ModelRuns.images` of both models."""
        images = self.images
        return images[column].to_numpy(np.float64), images[f"{column}_2"].to_numpy(np.float64)

    @property
    def name_defects(self) -> bool:
        """Whether both models name defects."""
        return all(model.names_defects for model in self.models)

    @property
    def has_good_and_defects(self) -> bool:
        """Whether the shared images are of both sides."""
        return bool(self.images["is_defect"].nunique() == 2)


def why_not_comparable(pair: ModelPair) -> str | None:
    """Why two models cannot be compared; None where they can."""
    images = pair.images
    if images.empty:
        return note("no_shared_images")
    labels = [images[f"is_defect{end}"].astype(bool) for end in ("", "_2")]
    if pair.name_defects:  # each may have a name of its own for the good class
        ends = zip(("", "_2"), labels, strict=True)
        labels = [images[f"label{end}"].where(is_defect, "") for end, is_defect in ends]
    differing = int((labels[0] != labels[1]).sum())
    if differing:
        return note("other_labels", differing, len(images))
    have_both = [model.images["is_defect"].nunique() == 2 for model in pair.models]
    if all(have_both) and not (pair.name_defects or pair.has_good_and_defects):
        return note("no_shared_side", bool(images["is_defect"].iloc[0]))
    return None


def image_differences(pair: ModelPair, costs: Costs | None) -> dict[str, PairedDifference]:
    """The differences in accuracy, AUROC and error rates, and in costs where they are given."""
    images = pair.images
    group, is_defect = images["group"].to_numpy(), images["is_defect"].to_numpy(bool)
    found: dict[str, PairedDifference] = {}
    if pair.name_defects:
        correct = pair.both("correct")
        found[names.ACCURACY] = mean_difference(*correct, group=group)
        found[names.BALANCED_ACCURACY] = mean_difference(
            *correct, group=group, stratum=images["label"].to_numpy()
        )
    auroc = _auroc_difference(pair)
    if auroc is not None:
        found[names.AUROC] = auroc
    wrong = [np.where(is_defect, 1 - rejected, rejected) for rejected in pair.both("rejected")]
    for metric, side in zip(ERROR_RATES, (is_defect, ~is_defect), strict=True):
        if side.any():
            found[metric] = mean_difference(wrong[0][side], wrong[1][side], group=group[side])
    if costs is not None and pair.has_good_and_defects:
        found[names.EXPECTED_COST] = cost_difference(
            wrong[0], wrong[1], is_defect=is_defect, group=group, costs=costs
        )
    return found


def _auroc_difference(pair: ModelPair) -> PairedDifference | None:
    """The mean over folds; None where no fold has good images and defects that both predicted.

    A model without folds has one scale, on which the images of all folds of the other can stand;
    so its images are divided as those of the other are.
    """
    columns = ["fold", "seed", "image_id", "score"]
    first, second = (
        model.rows.loc[model.rows["image_id"].isin(pair.images.index), columns].assign(model=number)
        for number, model in enumerate(pair.models)
    )
    without = [NO_FOLD in set(table["fold"]) for table in (first, second)]
    if without[0] and not (second["fold"] == NO_FOLD).all():
        first = _in_folds_of(first, second)
    elif without[1] and not (first["fold"] == NO_FOLD).all():
        second = _in_folds_of(second, first)
    usable = []
    for _, rows in pd.concat([first, second]).groupby("fold"):
        scores = rows.pivot_table(index="image_id", columns=["model", "seed"], values="score")
        scores = scores.dropna()
        images = pair.images.loc[scores.index]
        if rows["model"].nunique() == 2 and images["is_defect"].nunique() == 2:
            usable.append(
                PairedScores(
                    scores[0].to_numpy().T,
                    scores[1].to_numpy().T,
                    is_defect=images["is_defect"].to_numpy(bool),
                    image=images.index.to_numpy(),
                    group=images["group"].to_numpy(),
                )
            )
    return auroc_difference(usable) if usable else None


def _in_folds_of(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of a model without folds in each fold in which the other has the image."""
    folds = other[["image_id", "fold"]].drop_duplicates()
    return table.drop(columns="fold").merge(folds, on="image_id")


def mask_differences(pair: ModelPair) -> tuple[dict[str, PairedDifference], str | None]:
    """The differences in segmentation, and why two segmentation models have none."""
    counts = [masks for model in pair.models if (masks := model.mask_counts) is not None]
    if len(counts) < 2:
        return {}, None
    both = list(zip(pair.models, counts, strict=True))
    incomplete = [model.name for model, masks in both if not masks.is_complete]
    if incomplete:
        return {}, note("no_masks", incomplete)
    rows = [model.images.index.get_indexer(pair.images.index) for model in pair.models]
    known = [of.known[:, at].all(axis=0) for of, at in zip(counts, rows, strict=True)]
    shared = known[0] & known[1]
    found: dict[str, PairedDifference] = {}
    if shared.any():
        found = overlap_differences(
            counts[0].counts[:, rows[0][shared]],
            counts[1].counts[:, rows[1][shared]],
            group=pair.images["group"].to_numpy()[shared],
            by_class=pair.name_defects and counts[0].classes == counts[1].classes,
        )
    return found, None if found else note("no_shared_masks")


def compare_at_equal_rate(pair: ModelPair) -> EqualRate:
    """Missed defects where both reject as few good images as the stricter of the two does."""
    is_defect = pair.images["is_defect"].to_numpy(bool)
    rate = min(float(rejected[~is_defect].mean()) for rejected in pair.both("rejected"))
    missed = [1 - _rejected_at(model, pair.images.index, rate)[is_defect] for model in pair.models]
    group = pair.images["group"].to_numpy()[is_defect]
    difference = mean_difference(missed[0], missed[1], group=group)
    return EqualRate(rate, (float(missed[0].mean()), float(missed[1].mean())), difference)


def _rejected_at(model: ModelRuns, image_ids: pd.Index, rate: float) -> np.ndarray:
    """Fraction of the runs that reject each image, with thresholds of the same rate, (N,)."""
    rows = model.rows[model.rows["image_id"].isin(image_ids)]

    def reject(of_run: pd.DataFrame) -> pd.Series:
        good = np.sort(of_run.loc[~of_run["is_defect"], "score"])[::-1]
        allowed = int(rate * len(good) + _ROUNDING)
        threshold = good[allowed] if allowed < len(good) else -np.inf
        return of_run["score"] > threshold

    decided = pd.concat([reject(of_run) for _, of_run in rows.groupby("run")])
    by_image = decided.groupby(rows["image_id"].loc[decided.index]).mean()
    return by_image.reindex(image_ids).to_numpy(np.float64)


def retraining_tests(pair: ModelPair, metrics: Sequence[str]) -> dict[str, RetrainingTest] | None:
    """Nadeau and Bengio's test over folds, of trainings of equal seed and fold; None without folds.

    Seeds of one fold are averaged first: they share their images. Also None where a model has no
    class probabilities and two trainings of equal fold were tested on different images. The images
    that every fold tests are no source of variation between folds, so they do not count as test
    images.
    """
    tested = pd.concat(
        [model.rows.groupby(["seed", "fold"])["image_id"].agg(frozenset) for model in pair.models],
        axis=1,
        join="inner",
        keys=(0, 1),
    ).drop(index=NO_FOLD, level="fold", errors="ignore")
    if len(tested.index.unique("fold")) < MIN_FOLDS:
        return None
    runs = [_runs_of(model, tested.index) for model in pair.models]
    trained = [run.record.get("data", {}).get("images", {}).get(TRAIN) for of in runs for run in of]
    if None in trained or not (pair.name_defects or (tested[0] == tested[1]).all()):
        return None
    always = len(frozenset.intersection(*tested[0]))
    test_images = tested.map(len).to_numpy().mean() - always
    first, second = (
        pd.DataFrame([_stored_metrics(run, model.stage) for run in of], index=tested.index)
        for model, of in zip(pair.models, runs, strict=True)
    )
    by_fold = (first - second).dropna(axis=1).groupby("fold").mean()
    found = {}
    for metric in metrics:
        if metric in by_fold:
            difference = corrected_resampled_t_test(
                by_fold[metric].to_numpy(),
                test_images=float(test_images),
                train_images=float(np.mean(trained)),
            )
            found[metric] = RetrainingTest(difference, len(tested), always)
    return found


def _runs_of(model: ModelRuns, units: pd.Index) -> list[RunFolder]:
    """The runs of these seeds and folds."""
    run_of = {(get_seed(run), get_fold(run)): run for run in model.runs}
    return [run_of[unit] for unit in units]


def _stored_metrics(run: RunFolder, stage: str) -> dict[str, float]:
    of_stage = names.metrics_of_stage(run.metrics, stage)
    return {name: estimate.value for name, estimate in of_stage.items()}
