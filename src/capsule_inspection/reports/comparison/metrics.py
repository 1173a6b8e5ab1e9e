"""The test metrics of a model over its runs, each with its 95% interval.

Values and limits are averaged over seeds: an image that was predicted three times is one image, so
seeds must not make intervals narrower. Scores of different trainings are never pooled, except for
the AUROC that is named so, and maps are not either; predictions and pixels of the folds of a seed
are. Images of one group are one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.classification import classification_metrics
from capsule_inspection.metrics.detection import (
    FoldPredictions,
    anomaly_metrics,
    expected_cost,
    mean_anomaly_metrics,
)
from capsule_inspection.metrics.localization import mean_localization_metrics
from capsule_inspection.metrics.pixel_counts import count_pixels
from capsule_inspection.metrics.registry import MAP_METRICS, SEED_METRICS
from capsule_inspection.metrics.segmentation import pooled_overlap_metrics
from capsule_inspection.reports.comparison.costs import Spread, run_numbers
from capsule_inspection.reports.comparison.table import ModelRuns, annotated_images
from capsule_inspection.reports.run.files import PROBABILITY
from capsule_inspection.types import Costs, Estimate

ERROR_RATES = (names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE)


@dataclass(frozen=True, eq=False)
class ModelMetrics:
    """A model and its test metrics, without the stage in the keys."""

    model: ModelRuns
    metrics: dict[str, Estimate]

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def weights(self) -> str:
        """Sources of the initial weights."""
        records = (run.record.get("weights") or {} for run in self.model.runs)
        return ", ".join(sorted({str(record.get("source", "unknown")) for record in records}))

    def cost(self, name: str) -> Spread | None:
        """A number of `costs.run_numbers`, over the runs that have it; None where none has."""
        return Spread.of([numbers[name] for numbers in self._numbers if name in numbers])

    @cached_property
    def _numbers(self) -> list[dict[str, float]]:
        return [run_numbers(run) for run in self.model.runs]

    @cached_property
    def by_seed(self) -> pd.DataFrame:
        """`SEED_METRICS`, a row for each seed; NaN where it does not have one.

        The folds of a seed are pooled; AUROC is the mean over those with good images and defects.
        """
        rows, found = self.model.rows, {}
        if self.model.names_defects:
            by_class = rows.groupby(["seed", "label"])["correct"].mean()
            found[names.ACCURACY] = rows.groupby("seed")["correct"].mean()
            found[names.BALANCED_ACCURACY] = by_class.groupby("seed").mean()
        by_run = rows.groupby(["seed", "run"])[["is_defect", "score"]].apply(_auroc)
        found[names.AUROC] = by_run.groupby("seed").mean()
        masks = [_mask_metrics(self.model, [row]) for row in range(len(self.model.seeds))]
        overlaps = pd.DataFrame(
            [{name: estimate.value for name, estimate in of.items()} for of in masks],
            index=self.model.seeds,
        )
        table = pd.DataFrame(found).join(overlaps)
        return table[[name for name in SEED_METRICS if name in table]].dropna(axis=1, how="all")


def measure(model: ModelRuns, costs: Costs | None = None) -> ModelMetrics:
    """The metrics of all test images of a model; of a single run those that it stored.

    Not where another run of the comparison knows more groups: then they count in its intervals too.
    With costs also the expected cost of a part, for `costs.defect_rate` or else the fraction of
    defects among the images. Raises RunError where maps are damaged.
    """
    runs = model.runs
    metrics = names.metrics_of_stage(runs[0].metrics, model.stage) if len(runs) == 1 else {}
    if not metrics or _has_joined_groups(model):
        metrics |= _image_metrics(model) | _mask_metrics(model) | _map_metrics(model)
    missed, rejected = (metrics.get(name) for name in ERROR_RATES)
    if costs is not None and missed is not None and rejected is not None:
        rate = model.images["is_defect"].mean() if costs.defect_rate is None else costs.defect_rate
        metrics[names.EXPECTED_COST] = expected_cost(
            missed, rejected, costs=costs, defect_rate=float(rate)
        )
    return ModelMetrics(model, metrics)


def _has_joined_groups(model: ModelRuns) -> bool:
    """Whether groups of other runs join images that stood apart in its only run."""
    own = model.runs[0].images_of(model.stage)["observation"].nunique()
    return bool(model.images["group"].nunique() < own)


def _image_metrics(model: ModelRuns) -> dict[str, Estimate]:
    if not model.names_defects:
        return _mean_over_runs(model)
    metrics = _mean_metrics(
        [_classifier_metrics(model, of) for _, of in model.rows.groupby("seed")]
    )
    if len(model.folds) > 1 and names.AUROC in metrics:
        metrics[names.AUROC_POOLED] = metrics.pop(names.AUROC)
        of_runs = _mean_over_runs(model)
        if names.AUROC in of_runs:
            metrics[names.AUROC] = of_runs[names.AUROC]
    return metrics


def _mean_over_runs(model: ModelRuns) -> dict[str, Estimate]:
    """Metrics that pool nothing: means over the runs of what each of them measures."""
    target_fpr = model.runs[0].target_fpr
    runs = [_fold_predictions(rows) for _, rows in model.rows.groupby("run")]
    metrics = mean_anomaly_metrics(runs, target_fpr=0.0 if target_fpr is None else target_fpr)
    if target_fpr is None:
        metrics.pop(names.TPR_AT_FPR, None)
    return metrics


def _classifier_metrics(model: ModelRuns, rows: pd.DataFrame) -> dict[str, Estimate]:
    """The image metrics of one seed."""
    code = {name: index for index, name in enumerate(model.classes)}
    arrays = _fold_predictions(rows)
    metrics = classification_metrics(
        rows["label"].map(code).to_numpy(),
        rows[[PROBABILITY + name for name in model.classes]].to_numpy(np.float64),
        classes=model.classes,
        predicted_label=rows["predicted_label"].map(code).to_numpy(),
        score=arrays.score,
        group=arrays.group,
    )
    if not model.has_masks:
        return metrics
    target_fpr = model.runs[0].target_fpr
    assert target_fpr is not None
    of_masks = anomaly_metrics(
        arrays.is_defect,
        arrays.predicted_defect,
        arrays.score,
        class_names=arrays.class_name,
        target_fpr=target_fpr,
        group=arrays.group,
    )
    return of_masks | metrics


def _fold_predictions(rows: pd.DataFrame) -> FoldPredictions:
    return FoldPredictions(
        is_defect=rows["is_defect"].to_numpy(bool),
        predicted_defect=rows["predicted_defect"].to_numpy(bool),
        score=rows["score"].to_numpy(np.float64),
        class_name=rows["label"].to_numpy(object),
        group=rows["group"].to_numpy(object),
    )


def _auroc(rows: pd.DataFrame) -> float:
    """The AUROC of one run; NaN where it has only good images or only defects."""
    is_defect, score = rows["is_defect"].to_numpy(), rows["score"].to_numpy()
    if is_defect.all() or not is_defect.any():
        return np.nan
    return intervals.auroc(score[~is_defect], score[is_defect]).value


def _mask_metrics(model: ModelRuns, seeds: Sequence[int] | None = None) -> dict[str, Estimate]:
    """Segmentation metrics over seeds (rows of the counts); empty where a run kept no masks."""
    masks, group = model.mask_counts, model.images["group"].to_numpy(dtype=str)
    if masks is None or not masks.is_complete:
        return {}
    chosen = range(len(model.seeds)) if seeds is None else seeds
    known = [(masks.counts[seed], masks.known[seed]) for seed in chosen]
    by_seed = [[(counts[rows], group[rows])] for counts, rows in known]
    return pooled_overlap_metrics(by_seed, classes=masks.classes)


def _map_metrics(model: ModelRuns) -> dict[str, Estimate]:
    """Means over the runs; without intervals where a run kept its metrics but no maps."""
    counted = []
    for number, run in enumerate(model.runs):
        maps = run.read_maps()
        if maps is None:
            return _mean_of_stored(model)
        map_rows, image_ids = annotated_images(model.rows_of_run(number), maps)
        counts = count_pixels(map(maps.map_of, map_rows), map(maps.target_mask_of, map_rows))
        counted.append((counts, model.images["group"].loc[image_ids].to_numpy(dtype=str)))
    return mean_localization_metrics(counted)


def _mean_of_stored(model: ModelRuns) -> dict[str, Estimate]:
    stored = [names.metrics_of_stage(run.metrics, model.stage) for run in model.runs]
    shared = [name for name in MAP_METRICS if all(name in of_run for of_run in stored)]
    means = {name: np.mean([of_run[name].value for of_run in stored]) for name in shared}
    groups = model.images["group"].nunique()
    return {name: Estimate(float(mean), None, None, groups) for name, mean in means.items()}


def _mean_metrics(by_seed: Sequence[dict[str, Estimate]]) -> dict[str, Estimate]:
    """Values and limits averaged over seeds, of the metrics that all seeds have."""
    shared = [key for key in by_seed[0] if all(key in metrics for metrics in by_seed)]
    means = {}
    for key in shared:
        table = pd.DataFrame([metrics[key].as_dict() for metrics in by_seed], dtype=float)
        mean = table.mean(skipna=False)
        low, high = (None if np.isnan(mean[end]) else float(mean[end]) for end in ("low", "high"))
        means[key] = Estimate(float(mean["value"]), low, high, int(table["n"].min()))
    return means
