"""Names of the figures that are logged, recorded and shown; built here and nowhere else.

A key is `stage/metric`, or `stage/metric/class` for a figure that belongs to one class. Stages hold
no slash, metrics neither; class names may. Standard library only.
"""

from __future__ import annotations

from capsule_inspection.types import Figure, Figures

LOSS = "loss"
ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced_accuracy"
MACRO_F1 = "macro_f1"
AUROC = "auroc"
AVERAGE_PRECISION = "average_precision"
DEFECTS_MISSED = "defects_missed"
GOOD_REJECTED = "good_rejected"
F1 = "f1"
F1_BEST = "f1_best"
RECALL_AT_RATE = "recall_at_false_alarm_rate"
PIXEL_AUROC = "pixel_auroc"
PIXEL_AVERAGE_PRECISION = "pixel_average_precision"
AUPRO = "aupro"
RECALL = "recall"
PRECISION = "precision"
IOU_OF_PIXELS = "iou_of_pixels"
DICE_OF_PIXELS = "dice_of_pixels"
IOU_OF_IMAGES = "iou_of_images"
DICE_OF_IMAGES = "dice_of_images"
MEAN_IOU_OF_PIXELS = "mean_iou_of_pixels"
MEAN_DICE_OF_PIXELS = "mean_dice_of_pixels"
MEAN_IOU_OF_IMAGES = "mean_iou_of_images"
MEAN_DICE_OF_IMAGES = "mean_dice_of_images"
FOREGROUND_IOU_OF_PIXELS = "foreground_iou_of_pixels"
FOREGROUND_DICE_OF_PIXELS = "foreground_dice_of_pixels"
FOREGROUND_IOU_OF_IMAGES = "foreground_iou_of_images"
FOREGROUND_DICE_OF_IMAGES = "foreground_dice_of_images"
DEFECTS_TOUCHED = "defects_touched"
FALSE_ALARM_AREA = "false_alarm_area"
POINTING_GAME = "pointing_game"
POINTING_CHANCE = "pointing_game_chance"

LOWER_IS_BETTER = frozenset({LOSS, DEFECTS_MISSED, GOOD_REJECTED, FALSE_ALARM_AREA})
PER_CLASS = (
    RECALL,
    PRECISION,
    IOU_OF_PIXELS,
    DICE_OF_PIXELS,
    IOU_OF_IMAGES,
    DICE_OF_IMAGES,
    POINTING_GAME,
)
"""What may stand before the name of a class; the pointing game has a figure of all classes too."""

OVERLAPS_OF_CLASS = (IOU_OF_PIXELS, DICE_OF_PIXELS, IOU_OF_IMAGES, DICE_OF_IMAGES)
MEAN_OVERLAPS = (
    MEAN_IOU_OF_PIXELS,
    MEAN_DICE_OF_PIXELS,
    MEAN_IOU_OF_IMAGES,
    MEAN_DICE_OF_IMAGES,
)
"""Of the defects, over their classes."""
FOREGROUND_OVERLAPS = (
    FOREGROUND_IOU_OF_PIXELS,
    FOREGROUND_DICE_OF_PIXELS,
    FOREGROUND_IOU_OF_IMAGES,
    FOREGROUND_DICE_OF_IMAGES,
)
"""Of any defect, whichever name it has."""


def figure_key(stage: str, metric: str) -> str:
    """`test/balanced_accuracy` from its parts."""
    return f"{stage}/{metric}"


def class_metric(metric: str, class_name: str) -> str:
    """`recall/crack`: the metric of one class, without its stage."""
    return f"{metric}/{class_name}"


def with_stage(figures: Figures, stage: str) -> dict[str, Figure]:
    """The same figures under keys that say their stage."""
    return {figure_key(stage, metric): figure for metric, figure in figures.items()}


def of_stage(figures: Figures, stage: str) -> dict[str, Figure]:
    """The figures of one stage, their keys without it; in the order in which they came."""
    prefix = figure_key(stage, "")
    return {key.removeprefix(prefix): f for key, f in figures.items() if key.startswith(prefix)}


def is_of_class(metric: str) -> bool:
    """Whether a metric, without its stage, is that of one class."""
    first, slash, _ = metric.partition("/")
    return bool(slash) and first in PER_CLASS


def of_classes(figures: Figures, metric: str) -> dict[str, Figure]:
    """One metric of each class by class name, from figures without a stage."""
    prefix = class_metric(metric, "")
    return {key.removeprefix(prefix): f for key, f in figures.items() if key.startswith(prefix)}
