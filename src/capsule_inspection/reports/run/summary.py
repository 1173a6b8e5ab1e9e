"""Facts of the summary: usability of the model, its errors, and how reliable that is.

From the metrics, predictions and record of a run; the sentences stand in templates/run_text.j2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import ANOMALY_DETECTION, CLASSIFICATION, SEGMENTATION
from capsule_inspection.metrics.thresholds import (
    CONFORMAL,
    OperatingPoint,
    exceeds_target_fpr,
    operating_points,
)
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.reports.run.usability import (
    Usability,
    needs_other_threshold,
    rate_usability,
)
from capsule_inspection.types import GOOD_LABEL, Estimate

FEW_IMAGES = 60
"""With fewer images the interval of a perfect result still reaches 6%."""

TILES = {
    CLASSIFICATION: (names.BALANCED_ACCURACY, names.AUROC),
    ANOMALY_DETECTION: (names.AUROC, names.AUPRO),
    SEGMENTATION: (names.DEFECT_HIT_RATE, names.BINARY_DICE_GLOBAL),
}
"""Metrics at the top of the page of each task, beside the two error rates."""

_ERROR_RATES = names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE
_Z_SQUARED = 1.959964**2


@dataclass(frozen=True)
class ClassErrors:
    """How many images of a defect class are misclassified; of a binary model, missed."""

    name: str
    errors: int
    images: int


@dataclass(frozen=True)
class Summary:
    """The facts about one split; `metrics` have no stage in their keys.

    `num_groups` is below `num_images` where some images are of one part. `class_errors` are of the
    defect classes, the worst first. `few` has the error rates of few observations, with the highest
    rate that a result without a mistake admits. `pointing` rates the pointing game against chance:
    "", unknown, below, elsewhere (above chance, but mostly elsewhere) or above. `relative_area` is
    the smallest region as a fraction of the network's input, None where it is unknown.
    """

    stage: str
    metrics: Mapping[str, Estimate]
    num_good: int
    num_defects: int
    num_groups: int
    usability: Usability
    needs_other_threshold: bool
    exceeds_target_fpr: bool
    class_errors: list[ClassErrors]
    few: dict[str, float]
    pointing: str
    relative_area: float | None
    operating_points: list[OperatingPoint]

    @property
    def num_images(self) -> int:
        return self.num_good + self.num_defects

    @property
    def has_groups(self) -> bool:
        """Whether some images are of one part, and count as one observation."""
        return self.num_groups < self.num_images


def summarize(run: RunFolder, stage: str) -> Summary:
    """The facts of a run, from one split.

    Raises RunError where the record of the threshold or the post-processing is not as expected.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    scores = run.scores_of(stage)
    return Summary(
        stage=stage,
        metrics=metrics,
        num_good=int((~scores.is_defect).sum()),
        num_defects=int(scores.is_defect.sum()),
        num_groups=scores.num_groups,
        usability=rate_usability(metrics),
        needs_other_threshold=needs_other_threshold(metrics),
        exceeds_target_fpr=_exceeds_target_fpr(run, metrics.get(names.FALSE_POSITIVE_RATE)),
        class_errors=_count_class_errors(run, stage),
        few={
            name: _Z_SQUARED / (metrics[name].n + _Z_SQUARED)
            for name in _ERROR_RATES
            if name in metrics and metrics[name].n < FEW_IMAGES
        },
        pointing=_rate_pointing(metrics),
        relative_area=_relative_area(run),
        operating_points=_operating_points(run, stage),
    )


def _exceeds_target_fpr(run: RunFolder, rejected: Estimate | None) -> bool:
    threshold = run.threshold
    if threshold is None or rejected is None or threshold.rule != CONFORMAL:
        return False
    count = round(rejected.value * rejected.n)
    return threshold.enough and exceeds_target_fpr(threshold, count, rejected.n)


def _count_class_errors(run: RunFolder, stage: str) -> list[ClassErrors]:
    rows = run.rows_of(stage)
    label, predicted = rows["label"], rows["predicted_label"]
    is_wrong = predicted != label if run.names_defects else predicted == run.normal_class
    wrong = is_wrong.groupby(label).agg(["sum", "size", "mean"])
    return [
        ClassErrors(str(name), int(of["sum"]), int(of["size"]))
        for name, of in wrong.sort_values("mean", ascending=False, kind="stable").iterrows()
        if name != run.normal_class
    ]


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


def _relative_area(run: RunFolder) -> float | None:
    processor, size = run.mask_postprocessor, run.settings.get("data.image_size")
    if processor is None or not isinstance(size, list) or len(size) != 2:
        return None
    return processor.min_area_px / (size[0] * size[1])


def _operating_points(run: RunFolder, stage: str) -> list[OperatingPoint]:
    """Error rates at other thresholds; empty where neither scores nor classes decide."""
    scores = run.scores_of(stage)
    argmax_defect = None
    if run.task == CLASSIFICATION:
        probabilities = run.arrays_of(stage).probabilities
        assert probabilities is not None
        argmax_defect = probabilities.argmax(axis=1) != GOOD_LABEL
    if not len(scores.score) or (scores.threshold is None and argmax_defect is None):
        return []
    return operating_points(
        scores.is_defect,
        scores.score,
        scores.group,
        chosen=scores.threshold,
        argmax_defect=argmax_defect,
    )
