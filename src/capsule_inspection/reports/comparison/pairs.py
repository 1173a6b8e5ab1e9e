"""Statistical comparison of pairs of models on the images that both were tested on.

The tests are those of `metrics.paired_tests`; here it is decided which are made, on which images,
and what a pair shows. `decision` draws the conclusion from all pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from capsule_inspection.metrics import names
from capsule_inspection.metrics.intervals import Limits
from capsule_inspection.metrics.paired_auroc import PairedScores, auroc_difference
from capsule_inspection.metrics.paired_overlap import overlap_differences
from capsule_inspection.metrics.paired_tests import (
    PairedDifference,
    corrected_resampled_t_test,
    holm,
    mean_difference,
    required_sample_size,
)
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.table import NO_FOLD, ModelRuns, get_fold, get_seed
from capsule_inspection.types import TRAIN, ConfigurationError, Costs

ERROR_RATES = (names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE)
SIGNIFICANCE = 0.05
"""Level of the primary endpoint over all pairs together, and of one-sided tests of a margin."""
MIN_FOLDS = 3
"""Trainings needed for a test over trainings; with two it has one degree of freedom."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DecisionSettings:
    """What decides, named before looking: the primary metric and the margin that matters.

    `primary` None is expected cost where costs are given, balanced accuracy where all models name
    defects, else AUROC.
    """

    primary: str | None = None
    margin: float = 0.05
    costs: Costs | None = None

    def primary_metric(self, models: Sequence[ModelRuns]) -> str:
        """The metric that decides a comparison of these models."""
        if self.primary is not None:
            return self.primary
        if self.costs is not None:
            return names.EXPECTED_COST
        names_defects = all(model.names_defects for model in models)
        return names.BALANCED_ACCURACY if names_defects else names.AUROC


class Verdict(StrEnum):
    """What a pair shows."""

    BETTER = "better"
    TRADE_OFF = "trade_off"
    EQUIVALENT = "equivalent"
    NOT_DISTINGUISHABLE = "not_distinguishable"
    REFUSED = "refused"


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
class PairwiseComparison:
    """Two models on the images that they share.

    `differences` are first minus second by metric; `corrected_p_values` (Holm) and `simultaneous`
    intervals (Bonferroni) are for all pairs that were compared by the metric, `num_pairs`.
    `num_correct` counts the images that each predicts correctly, `num_only_first` those that only
    the first does (over several seeds: mean fractions, summed). `required_images` is the range of
    the numbers of images that would show a difference of the margin in the primary metric.
    `better` is the model that is better in the primary metric, `worse_in` the error rates in which
    it is worse, or not shown to be no worse. `not_comparable`, `missing_auroc` and `missing_masks`
    say why something is not compared.
    """

    first: str
    second: str
    num_images: int
    num_groups: int
    num_first_images: int
    num_second_images: int
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    corrected_p_values: dict[str, float] = field(default_factory=dict)
    simultaneous: dict[str, Limits] = field(default_factory=dict)
    num_pairs: dict[str, int] = field(default_factory=dict)
    num_correct: tuple[float, float] | None = None
    num_only_first: float = 0.0
    num_only_second: float = 0.0
    required_images: tuple[int, int] | None = None
    verdict: Verdict = Verdict.REFUSED
    better: str | None = None
    worse_in: tuple[str, ...] = ()
    equal_rate: EqualRate | None = None
    retraining_tests: dict[str, RetrainingTest] | None = None
    not_comparable: str | None = None
    missing_auroc: str | None = None
    missing_masks: str | None = None

    def other(self, model: str) -> str:
        """The other model of the pair."""
        return self.second if model == self.first else self.first

    def is_significant(self, metric: str) -> bool:
        """Whether the two differ in a metric, at 5% for all pairs together."""
        return self.corrected_p_values.get(metric, 1.0) < SIGNIFICANCE

    def winner(self, metric: str) -> str | None:
        """The model that is significantly better in a metric."""
        if not self.is_significant(metric):
            return None
        is_higher = self.differences[metric].value > 0
        return self.first if is_higher != (metric in LOWER_IS_BETTER) else self.second


@dataclass(frozen=True)
class _Pair:
    """Two models, and the images that both were tested on, in one order."""

    first: ModelRuns
    second: ModelRuns
    images: pd.DataFrame

    @classmethod
    def of(cls, first: ModelRuns, second: ModelRuns) -> _Pair:
        shared = first.images.join(second.images.add_suffix("_2"), how="inner")
        return cls(first, second, shared)

    def both(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A column of `ModelRuns.images` of both models."""
        images = self.images
        return images[column].to_numpy(np.float64), images[f"{column}_2"].to_numpy(np.float64)

    @property
    def name_defects(self) -> bool:
        return self.first.names_defects and self.second.names_defects

    @property
    def has_good_and_defects(self) -> bool:
        return bool(self.images["is_defect"].nunique() == 2)


def compare_pairs(
    results: Sequence[ModelMetrics], settings: DecisionSettings, *, reference: str | None = None
) -> list[PairwiseComparison]:
    """Compare every pair of models, or each with a reference.

    Raises ConfigurationError where no pair can be compared by the primary metric that is named.
    """
    models = {result.name: result.model for result in results}
    chosen = (
        itertools.combinations(models.values(), 2)
        if reference is None
        else [(models[reference], model) for name, model in models.items() if name != reference]
    )
    pairs = [_Pair.of(*both) for both in chosen]
    compared = [_compare(pair, settings) for pair in pairs]
    primary = settings.primary_metric(list(models.values()))
    _require_primary(compared, settings)
    return [
        replace(decided, equal_rate=_compare_at_equal_rate(pair))
        if decided.verdict is Verdict.TRADE_OFF and pair.has_good_and_defects
        else decided
        for decided, pair in zip(decide(compared, primary, settings), pairs, strict=True)
    ]


def decide(
    compared: Sequence[PairwiseComparison], primary: str, settings: DecisionSettings
) -> list[PairwiseComparison]:
    """The comparisons, corrected for their number, with what each shows."""
    return [_decide(comparison, primary, settings) for comparison in _correct(compared)]


def _require_primary(compared: Sequence[PairwiseComparison], settings: DecisionSettings) -> None:
    known = list(dict.fromkeys(metric for pair in compared for metric in pair.differences))
    if known and settings.primary is not None and settings.primary not in known:
        raise ConfigurationError(
            f"compare.primary={settings.primary}: no two of these models can be compared by it. "
            f"Choose one of {', '.join(known)}."
        )


def _compare(pair: _Pair, settings: DecisionSettings) -> PairwiseComparison:
    first, second = pair.first, pair.second
    found = PairwiseComparison(
        first.name,
        second.name,
        len(pair.images),
        pair.images["group"].nunique(),
        len(first.images),
        len(second.images),
        not_comparable=_why_not_comparable(pair),
    )
    if found.not_comparable:
        return found
    differences = _image_differences(pair, settings) | _mask_differences(pair)
    has_auroc = names.AUROC in differences or not pair.has_good_and_defects
    has_masks = names.BINARY_DICE_GLOBAL in differences
    found = replace(
        found,
        differences=differences,
        missing_auroc=None if has_auroc else _why_no_auroc(pair),
        missing_masks=None if has_masks else _why_no_masks(pair),
        retraining_tests=_retraining_tests(first, second, list(differences)),
    )
    if not pair.name_defects:
        return found
    correct = pair.both("correct")
    return replace(
        found,
        num_correct=(float(correct[0].sum()), float(correct[1].sum())),
        num_only_first=float(np.maximum(correct[0] - correct[1], 0).sum()),
        num_only_second=float(np.maximum(correct[1] - correct[0], 0).sum()),
    )


def _why_not_comparable(pair: _Pair) -> str | None:
    """Why two models cannot be compared; None where they can."""
    images = pair.images
    if images.empty:
        return (
            "they were tested on different images and share none, so only their intervals stand "
            "beside each other. Train or evaluate both with the same split (split=manifest "
            "split.path=<run>/split.csv)"
        )
    label = "label" if pair.name_defects else "is_defect"
    differing = int((images[label] != images[f"{label}_2"]).sum())
    if differing:
        return (
            f"{differing} of the {len(images)} images that they share have another label in "
            "one than in the other. Bring the labels into agreement and evaluate both again"
        )
    models = pair.first, pair.second
    if pair.name_defects or pair.has_good_and_defects:
        return None
    if not all(model.images["is_defect"].nunique() == 2 for model in models):
        return None
    shared, missing = "defects", "good images"
    if not images["is_defect"].iloc[0]:
        shared, missing = missing, shared
    return (
        f"they were tested on the same {shared} but share no {missing}, so missed defects cannot "
        "be weighed against rejected good images. Train both on the same folds (split.fold) of the "
        "same split"
    )


def _image_differences(pair: _Pair, settings: DecisionSettings) -> dict[str, PairedDifference]:
    images, rejected = pair.images, pair.both("rejected")
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
    wrong = [np.where(is_defect, 1 - of_model, of_model) for of_model in rejected]
    for metric, side in zip(ERROR_RATES, (is_defect, ~is_defect), strict=True):
        if side.any():
            of_side = wrong[0][side], wrong[1][side]
            found[metric] = mean_difference(*of_side, group=group[side])
    costs = settings.costs
    if costs is not None and pair.has_good_and_defects:
        rate = is_defect.mean() if costs.defect_rate is None else costs.defect_rate
        of_sides = costs.false_negative * rate, costs.false_positive * (1 - rate)
        weights = {True: of_sides[0] / sum(of_sides), False: of_sides[1] / sum(of_sides)}
        relative = mean_difference(
            wrong[0], wrong[1], group=group, stratum=is_defect, stratum_weights=weights
        )
        found[names.EXPECTED_COST] = relative.scaled(float(sum(of_sides)))
    return found


def _auroc_difference(pair: _Pair) -> PairedDifference | None:
    """The mean over folds; None where no fold has good images and defects that both predicted.

    A model without folds has one scale, on which the images of all folds of the other can stand;
    so its images are divided as those of the other are.
    """
    shared = pair.images.index
    tables = []
    for model in (pair.first, pair.second):
        rows = model.rows[model.rows["image_id"].isin(shared)]
        tables.append(rows[["fold", "seed", "image_id", "score"]])
    folds = [set(table["fold"]) for table in tables]
    if NO_FOLD in folds[0] and folds[1] != {NO_FOLD}:
        tables[0] = _in_folds_of(tables[0], tables[1])
    elif NO_FOLD in folds[1] and folds[0] != {NO_FOLD}:
        tables[1] = _in_folds_of(tables[1], tables[0])
    scores = [
        {
            fold: of_fold.pivot_table(index="image_id", columns="seed", values="score").dropna()
            for fold, of_fold in table.groupby("fold", sort=True)
        }
        for table in tables
    ]
    usable = []
    for fold, of_first in scores[0].items():
        of_second = scores[1].get(fold)
        if of_second is None:
            continue
        ids = of_first.index.intersection(of_second.index)
        images = pair.images.loc[ids]
        if images["is_defect"].nunique() == 2:
            usable.append(
                PairedScores(
                    of_first.loc[ids].to_numpy().T,
                    of_second.loc[ids].to_numpy().T,
                    images["is_defect"].to_numpy(bool),
                    image=ids.to_numpy(),
                    group=images["group"].to_numpy(),
                )
            )
    return auroc_difference(usable) if usable else None


def _in_folds_of(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of a model without folds in each fold in which the other has the image."""
    folds = other[["image_id", "fold"]].drop_duplicates()
    return table.drop(columns="fold").merge(folds, on="image_id")


def _why_no_auroc(pair: _Pair) -> str:
    return (
        f"AUROC is not compared: the scores of {pair.first.name} and {pair.second.name} have "
        "scales of their own in each fold, and in no fold were both models tested on the same good "
        "images and defects. Train both with the same split and folds (split, split.folds, "
        "split.seed, split.fold)"
    )


def _mask_differences(pair: _Pair) -> dict[str, PairedDifference]:
    counts = [model.mask_counts for model in (pair.first, pair.second)]
    if any(of_model is None or not of_model.is_complete for of_model in counts):
        return {}
    known, matrices = np.ones(len(pair.images), dtype=bool), []
    for model, of_model in zip((pair.first, pair.second), counts, strict=True):
        assert of_model is not None
        rows = model.images.index.get_indexer(pair.images.index)
        matrices.append(of_model.counts[:, rows])
        known &= of_model.known[:, rows].all(axis=0)
    if not known.any():
        return {}
    return overlap_differences(
        matrices[0][:, known],
        matrices[1][:, known],
        group=pair.images["group"].to_numpy()[known],
        by_class=pair.name_defects and pair.first.classes == pair.second.classes,
    )


def _why_no_masks(pair: _Pair) -> str | None:
    """Why two segmentation models are not compared in segmentation; None for other models."""
    models = pair.first, pair.second
    if any(model.mask_counts is None for model in models):
        return None
    incomplete = [
        model.name
        for model in models
        if model.mask_counts is not None and not model.mask_counts.is_complete
    ]
    if incomplete:
        return (
            f"Segmentation is not compared: {' and '.join(incomplete)} kept no predicted masks "
            "of these images"
        )
    return (
        "Segmentation is not compared: they share no image of a defect with a target mask and "
        "predicted masks of both"
    )


def _correct(comparisons: Sequence[PairwiseComparison]) -> list[PairwiseComparison]:
    """Correct p values and intervals of each metric for the number of pairs."""
    tested: dict[str, dict[int, float]] = {}
    for row, pair in enumerate(comparisons):
        for metric, difference in pair.differences.items():
            if difference.p_value is not None:
                tested.setdefault(metric, {})[row] = difference.p_value
    corrected = {
        metric: dict(zip(of_pairs, holm(list(of_pairs.values())).tolist(), strict=True))
        for metric, of_pairs in tested.items()
    }
    num_pairs = {metric: len(of_pairs) for metric, of_pairs in tested.items()}
    return [
        replace(
            pair,
            corrected_p_values={
                metric: of_pairs[row] for metric, of_pairs in corrected.items() if row in of_pairs
            },
            simultaneous={
                metric: limits
                for metric, difference in pair.differences.items()
                if (limits := difference.interval(1 - SIGNIFICANCE / num_pairs.get(metric, 1)))
            },
            num_pairs=num_pairs,
        )
        for row, pair in enumerate(comparisons)
    ]


def _decide(
    comparison: PairwiseComparison, primary: str, settings: DecisionSettings
) -> PairwiseComparison:
    """What the pair shows in the primary metric and the error rates."""
    difference = comparison.differences.get(primary)
    if difference is None or difference.p_value is None:
        return comparison
    level = SIGNIFICANCE / comparison.num_pairs[primary]
    comparison = replace(
        comparison, required_images=required_sample_size(difference, settings.margin, alpha=level)
    )
    rates = [rate for rate in ERROR_RATES if rate != primary and rate in comparison.differences]
    better = comparison.winner(primary)
    if better is not None:
        worse_in = tuple(
            rate for rate in rates if not _is_no_worse(comparison, better, rate, settings.margin)
        )
        verdict = Verdict.TRADE_OFF if worse_in else Verdict.BETTER
        return replace(comparison, verdict=verdict, better=better, worse_in=worse_in)
    if all(
        comparison.differences[metric].is_equivalent(settings.margin, alpha=SIGNIFICANCE)
        for metric in (primary, *rates)
    ):
        return replace(comparison, verdict=Verdict.EQUIVALENT)
    winners = {comparison.winner(rate) for rate in rates} - {None}
    is_trade_off = len(winners) > 1
    verdict = Verdict.TRADE_OFF if is_trade_off else Verdict.NOT_DISTINGUISHABLE
    return replace(comparison, verdict=verdict)


def _is_no_worse(comparison: PairwiseComparison, model: str, rate: str, margin: float) -> bool:
    """Whether the model's error rate is shown to be higher by less than the margin, if at all."""
    difference = comparison.differences[rate]
    if model == comparison.second:
        difference = difference.mirrored()
    return difference.is_below(margin, alpha=SIGNIFICANCE)


def _compare_at_equal_rate(pair: _Pair) -> EqualRate:
    """Missed defects where both reject as few good images as the stricter of the two does."""
    is_defect = pair.images["is_defect"].to_numpy(bool)
    rejected = pair.both("rejected")
    rate = min(float(of_model[~is_defect].mean()) for of_model in rejected)
    group = pair.images["group"].to_numpy()[is_defect]
    missed = [
        1 - _rejected_at(model, pair.images.index, rate)[is_defect]
        for model in (pair.first, pair.second)
    ]
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


def _retraining_tests(
    first: ModelRuns, second: ModelRuns, metrics: Sequence[str]
) -> dict[str, RetrainingTest] | None:
    """Nadeau and Bengio's test over folds, of trainings of equal seed and fold; None without folds.

    Seeds of one fold are averaged first: they share their images. Also None where a model has no
    class probabilities and two trainings of equal fold were tested on different images. The images
    that every fold tests are no source of variation between folds, so they do not count as test
    images.
    """
    runs = [
        {
            (get_seed(run), get_fold(run)): (run, frozenset(rows["image_id"]))
            for number, run in enumerate(model.runs)
            if get_fold(run) != NO_FOLD and len(rows := model.rows_of_run(number))
        }
        for model in (first, second)
    ]
    units = [unit for unit in runs[0] if unit in runs[1]]
    if len({fold for _, fold in units}) < MIN_FOLDS:
        return None
    pairs = [(runs[0][unit], runs[1][unit]) for unit in units]
    trained = [
        run.record.get("data", {}).get("images", {}).get(TRAIN) for of in pairs for run, _ in of
    ]
    name_defects = first.names_defects and second.names_defects
    if None in trained or (not name_defects and any(one[1] != two[1] for one, two in pairs)):
        return None
    always = len(frozenset.intersection(*(tested for (_, tested), _ in pairs)))
    tested = float(np.mean([len(images) for of in pairs for _, images in of])) - always
    found: dict[str, RetrainingTest] = {}
    for metric in metrics:
        key = names.metric_key(first.stage, metric)
        if not all(key in run.metrics for of in pairs for run, _ in of):
            continue
        values = pd.Series(
            [one[0].metrics[key].value - two[0].metrics[key].value for one, two in pairs]
        )
        by_fold = values.groupby([fold for _, fold in units]).mean().to_numpy()
        difference = corrected_resampled_t_test(
            by_fold, test_images=tested, train_images=float(np.mean(trained))
        )
        found[metric] = RetrainingTest(difference, len(pairs), always)
    return found
