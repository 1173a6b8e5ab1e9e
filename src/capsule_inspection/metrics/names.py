"""Keys of the metrics that are logged, recorded and shown; built here and nowhere else.

A key is `stage/metric`, or `stage/metric/class` for a metric of one class. Stages and metrics have
no slash; class names may. `registry` describes the metrics. Standard library only.
"""

from __future__ import annotations

from capsule_inspection.types import Estimate, Estimates

LOSS = "loss"
ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced_accuracy"
MACRO_F1 = "macro_f1"
AUROC = "auroc"
AUROC_POOLED = "auroc_pooled"
AVERAGE_PRECISION = "average_precision"
FALSE_NEGATIVE_RATE = "false_negative_rate"
FALSE_POSITIVE_RATE = "false_positive_rate"
F1 = "f1"
F1_MAX = "f1_max"
TPR_AT_FPR = "tpr_at_fpr"
EXPECTED_COST = "expected_cost"
PIXEL_AUROC = "pixel_auroc"
PIXEL_AVERAGE_PRECISION = "pixel_average_precision"
AUPRO = "aupro"
RECALL = "recall"
PRECISION = "precision"
DEFECT_HIT_RATE = "defect_hit_rate"
PIXEL_FPR = "pixel_fpr"
POINTING_GAME = "pointing_game"
POINTING_CHANCE = "pointing_game_chance"

BINARY_DICE, MEAN_IOU = "binary_dice", "mean_iou"
"""Of the validation pixels of an epoch, logged in training."""

IOU_GLOBAL = "iou_global"
DICE_GLOBAL = "dice_global"
IOU_SAMPLEWISE = "iou_samplewise"
DICE_SAMPLEWISE = "dice_samplewise"
MEAN_IOU_GLOBAL = "mean_iou_global"
MEAN_DICE_GLOBAL = "mean_dice_global"
MEAN_IOU_SAMPLEWISE = "mean_iou_samplewise"
MEAN_DICE_SAMPLEWISE = "mean_dice_samplewise"
BINARY_IOU_GLOBAL = "binary_iou_global"
BINARY_DICE_GLOBAL = "binary_dice_global"
BINARY_IOU_SAMPLEWISE = "binary_iou_samplewise"
BINARY_DICE_SAMPLEWISE = "binary_dice_samplewise"

CLASS_OVERLAPS = (IOU_GLOBAL, DICE_GLOBAL, IOU_SAMPLEWISE, DICE_SAMPLEWISE)
RATES = FALSE_NEGATIVE_RATE, FALSE_POSITIVE_RATE, DEFECT_HIT_RATE, PIXEL_FPR
"""Written in percent."""

MEAN_OVERLAPS = tuple(f"mean_{name}" for name in CLASS_OVERLAPS)
"""Means over the defect classes."""
BINARY_OVERLAPS = tuple(f"binary_{name}" for name in CLASS_OVERLAPS)
"""Of any defect, whichever class is predicted."""

PER_CLASS = (RECALL, PRECISION, *CLASS_OVERLAPS, POINTING_GAME)
"""Metrics of single classes; the pointing game is also a metric of all classes."""


def metric_key(stage: str, metric: str) -> str:
    """`test/balanced_accuracy` from its parts."""
    return f"{stage}/{metric}"


def class_metric(metric: str, class_name: str) -> str:
    """`recall/crack`: the metric of one class, without its stage."""
    return f"{metric}/{class_name}"


def with_stage(metrics: Estimates, stage: str) -> dict[str, Estimate]:
    """The same metrics under keys with their stage."""
    return {metric_key(stage, metric): estimate for metric, estimate in metrics.items()}


def metrics_of_stage(metrics: Estimates, stage: str) -> dict[str, Estimate]:
    """The metrics of one stage, their keys without it; in the order in which they came."""
    return _with_prefix(metrics, metric_key(stage, ""))


def class_metrics(metrics: Estimates, metric: str) -> dict[str, Estimate]:
    """One metric of each class by class name, from metrics without a stage."""
    return _with_prefix(metrics, class_metric(metric, ""))


def is_class_metric(metric: str) -> bool:
    """Whether a metric, without its stage, is that of one class."""
    first, slash, _ = metric.partition("/")
    return bool(slash) and first in PER_CLASS


def _with_prefix(metrics: Estimates, prefix: str) -> dict[str, Estimate]:
    return {key.removeprefix(prefix): m for key, m in metrics.items() if key.startswith(prefix)}
