"""Facts of the summary: usability of the model, its errors, and how reliable that is.

From the metrics, predictions and record of a run; the sentences stand in templates/run_text.j2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.metrics import names, registry
from capsule_inspection.metrics.registry import CLASSIFICATION
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.metrics.thresholds import (
    CONFORMAL,
    OperatingPoint,
    exceeds,
    exceeds_target_fpr,
    operating_points,
)
from capsule_inspection.reports.run.files import PROBABILITY
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.reports.run.usability import PRESORT, Usability, rate_usability, verdict_of
from capsule_inspection.types import GOOD_LABEL, Estimate

if TYPE_CHECKING:
    import pandas as pd

FEW_IMAGES = 60
"""With fewer images the interval of a perfect result still reaches 6%."""

_ERROR_RATES = names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE
_Z_SQUARED = 1.959964**2


@dataclass(frozen=True)
class Summary:
    """The facts about one split; `metrics` have no stage in their keys.

    `missing` has the labels of the metrics that were not measured by what they lack: images,
    defects, good, maps or masks, and "" where it is unknown. `num_groups` is below `num_images`
    where some images are of one part. `class_errors` has the defect classes, the worst first, with
    `name`, `errors` (images that are misclassified; of a binary model, missed) and `images`. `few`
    has the error rates of few observations, with the highest rate that a result without a mistake
    admits. `pointing` rates the pointing game against chance: "", unknown, below, elsewhere (above
    chance, but mostly elsewhere) or above. `scores` are those of the images.
    """

    stage: str
    metrics: Mapping[str, Estimate]
    missing: dict[str, list[str]]
    num_good: int
    num_defects: int
    num_groups: int
    usability: Usability
    exceeds_target_fpr: bool
    class_errors: list[dict[str, Any]]
    few: dict[str, float]
    pointing: str
    operating_points: list[OperatingPoint]
    scores: np.ndarray
    takes_threshold: bool

    @property
    def num_images(self) -> int:
        return self.num_good + self.num_defects

    @property
    def verdict(self) -> str:
        """The usability as a part of a sentence."""
        return verdict_of(self.metrics)

    @property
    def better_point(self) -> OperatingPoint | None:
        """The best other operating point, where only that one makes the model usable.

        None where `threshold=` cannot set one, as with masks.
        """
        if not self.takes_threshold or self.usability is not Usability.NOT_USABLE:
            return None
        worst = {
            point: max(point.missed.value, point.rejected.value)
            for point in self.operating_points
            if not point.is_chosen and point.missed is not None and point.rejected is not None
        }
        best = min(worst, key=worst.__getitem__, default=None)
        return None if best is None or worst[best] > PRESORT else best

    def format_threshold(self, value: float) -> str:
        """A threshold with as many digits as it needs to decide the same on these images."""
        decided = exceeds(self.scores, value)
        texts = (f"{value:.{digits}g}" for digits in range(3, 18))
        return next(of for of in texts if (exceeds(self.scores, float(of)) == decided).all())

    @property
    def has_groups(self) -> bool:
        """Whether some images are of one part, and count as one observation."""
        return self.num_groups < self.num_images


def summarize(run: RunFolder, stage: str) -> Summary:
    """The facts of a run, from one split.

    Raises RunError where the record of the threshold or the post-processing is not as expected.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    images = run.images_of(stage)
    return Summary(
        stage=stage,
        metrics=metrics,
        missing=_missing_metrics(run, images, metrics),
        num_good=int((~images["is_defect"]).sum()),
        num_defects=int(images["is_defect"].sum()),
        num_groups=images["observation"].nunique(),
        usability=rate_usability(metrics),
        exceeds_target_fpr=_exceeds_target_fpr(run, metrics.get(names.FALSE_POSITIVE_RATE)),
        class_errors=_count_class_errors(images),
        few={
            name: _Z_SQUARED / (metrics[name].n + _Z_SQUARED)
            for name in _ERROR_RATES
            if name in metrics and metrics[name].n < FEW_IMAGES
        },
        pointing=_rate_pointing(metrics),
        operating_points=_operating_points(run, images),
        scores=images["score"].to_numpy(),
        takes_threshold=not run.has_masks,
    )


def _exceeds_target_fpr(run: RunFolder, rejected: Estimate | None) -> bool:
    threshold = run.threshold
    if threshold is None or rejected is None or threshold.rule != CONFORMAL:
        return False
    count = round(rejected.value * rejected.n)
    return threshold.enough and exceeds_target_fpr(threshold, count, rejected.n)


def _missing_metrics(
    run: RunFolder, images: pd.DataFrame, metrics: Mapping[str, Estimate]
) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for name in registry.metrics_of(run.task, names_defects=run.names_defects):
        if name not in metrics:
            lacking = _find_lacking(run, images, registry.METRICS[name].needs)
            missing.setdefault(lacking, []).append(registry.metric_label(name))
    return missing


def _find_lacking(run: RunFolder, images: pd.DataFrame, needs: Collection[str]) -> str:
    if images.empty:
        return "images"
    if registry.DEFECTS in needs and not images["is_defect"].any():
        return "defects"
    if registry.GOOD in needs and images["is_defect"].all():
        return "good"
    if registry.WITH_MASKS not in needs:
        return ""
    if run.maps is None:
        return "maps"
    return "" if defect_pixels(run.maps.masks).any() else "masks"


def _count_class_errors(images: pd.DataFrame) -> list[dict[str, Any]]:
    defects = images[images["is_defect"]].assign(wrong=lambda of: ~of["correct"])
    counts = defects.groupby("label").agg(
        errors=("wrong", "sum"), images=("wrong", "size"), rate=("wrong", "mean")
    )
    counts = counts.sort_values("rate", ascending=False, kind="stable").reset_index(names="name")
    found: list[dict[Any, Any]] = counts.to_dict("records")
    return found


def _rate_pointing(metrics: Mapping[str, Estimate]) -> str:
    game, chance = metrics.get(names.POINTING_GAME), metrics.get(names.POINTING_CHANCE)
    if game is None or chance is None:
        return ""
    assert game.ci_low is not None
    assert game.ci_high is not None
    if game.ci_low <= chance.value <= game.ci_high:
        return "unknown"
    if game.value < chance.value:
        return "below"
    return "elsewhere" if 2 * game.value < 1 else "above"


def _operating_points(run: RunFolder, images: pd.DataFrame) -> list[OperatingPoint]:
    """Error rates at other thresholds; empty where neither scores nor classes decide."""
    argmax_defect = None
    if run.task == CLASSIFICATION:
        probabilities = images[[PROBABILITY + name for name in run.classes]].to_numpy()
        argmax_defect = probabilities.argmax(axis=1) != GOOD_LABEL
    if images.empty or (run.score_threshold is None and argmax_defect is None):
        return []
    columns = (images[name].to_numpy() for name in ("is_defect", "score", "observation"))
    return operating_points(*columns, chosen=run.score_threshold, argmax_defect=argmax_defect)
