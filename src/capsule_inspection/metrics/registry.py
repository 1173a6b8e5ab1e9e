"""Label, description and direction of each metric, and which tables show it.

The order of `METRICS` is the order in which pages, console and tables show them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.pointing_game import TOLERANCE

TASKS = CLASSIFICATION, ANOMALY_DETECTION, SEGMENTATION = (
    "classification",
    "anomaly_detection",
    "segmentation",
)
_NAMED = CLASSIFICATION, SEGMENTATION
_SCORED = ANOMALY_DETECTION, SEGMENTATION
_MASKS = (SEGMENTATION,)

GOOD, DEFECTS, WITH_MASKS = "good", "defects", "masks"
"""Images that a metric may need: good ones, defects, defects with a mask."""


@dataclass(frozen=True)
class Metric:
    """A metric; `name` is its key without stage.

    `tasks`: those whose runs are expected to have it; only where they name defects if `of_classes`.
    `label`: plain text of at most 28 characters. In `description`, `{rate}` is replaced by the
    target FPR. `needs`: of GOOD, DEFECTS and WITH_MASKS.
    """

    name: str
    label: str
    description: str = ""
    higher_is_better: bool = True
    tasks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    of_classes: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            names.FALSE_POSITIVE_RATE,
            "good parts rejected",
            "False positive rate: the fraction of the good parts that would be thrown out, or "
            "looked at for nothing.",
            higher_is_better=False,
            tasks=TASKS,
            needs=(GOOD,),
        ),
        Metric(
            names.FALSE_NEGATIVE_RATE,
            "defects missed",
            "False negative rate: the fraction of the defective parts that would reach the "
            "customer.",
            higher_is_better=False,
            tasks=TASKS,
            needs=(DEFECTS,),
        ),
        Metric(
            names.EXPECTED_COST,
            "expected cost of a part",
            "Mean cost of a part: that of a missed defect and of a rejected good part, each as "
            "often as it happens at the given fraction of defects.",
            higher_is_better=False,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.DEFECT_HIT_RATE,
            "defect hit rate",
            "Fraction of the defect images on which at least one predicted pixel lies on the "
            "defect, however little of it is covered.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.PIXEL_FPR,
            "pixel false positive rate",
            "Fraction of a good image that is predicted as a defect, on average.",
            higher_is_better=False,
            tasks=_MASKS,
            needs=(GOOD,),
        ),
        Metric(
            names.BINARY_IOU_GLOBAL,
            "binary IoU of pixels",
            "Of the area that is truly a defect or predicted as one, the fraction that is both, "
            "whichever class is predicted. Pooled over pixels: all images count as if they were "
            "one, so large defects and false positives weigh most.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.BINARY_DICE_GLOBAL,
            "binary Dice of pixels",
            "The same as Dice: twice the area that is both, by the sum of the two areas.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.BINARY_IOU_SAMPLEWISE,
            "binary IoU of images",
            "IoU of any defect, of each image by itself. Mean over the images with a defect, so a "
            "small one counts as much as a large one.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.BINARY_DICE_SAMPLEWISE,
            "binary Dice of images",
            "The same as Dice.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.MEAN_IOU_GLOBAL,
            "mean IoU of pixels",
            "For each defect class: of the area that is truly one or predicted as one, the "
            "fraction that is both, pooled over pixels. Mean over the classes, each counting "
            "equally; 1 is perfect. A defect that is predicted as a wrong class counts against "
            "both classes.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
            of_classes=True,
        ),
        Metric(
            names.MEAN_DICE_GLOBAL,
            "mean Dice of pixels",
            "The same as Dice: twice the area that is both, by the sum of the two areas. Never "
            "below IoU: a Dice of 0.67 is an IoU of 0.5.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
            of_classes=True,
        ),
        Metric(
            names.MEAN_IOU_SAMPLEWISE,
            "mean IoU of images",
            "IoU of each image by itself: mean over the images that have the class, then over the "
            "classes. A small defect counts as much as a large one.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
            of_classes=True,
        ),
        Metric(
            names.MEAN_DICE_SAMPLEWISE,
            "mean Dice of images",
            "The same as Dice.",
            tasks=_MASKS,
            needs=(DEFECTS, WITH_MASKS),
            of_classes=True,
        ),
        Metric(
            names.ACCURACY,
            "accuracy",
            "Fraction of all images with the right predicted class.",
            tasks=_NAMED,
            of_classes=True,
        ),
        Metric(
            names.BALANCED_ACCURACY,
            "balanced accuracy",
            "The same with each class counting equally, however few images it has. A "
            "model that predicts good for everything does badly here.",
            tasks=_NAMED,
            of_classes=True,
        ),
        Metric(
            names.MACRO_F1,
            "macro F1",
            "For each class two questions in one: how many of its images are found, "
            "and how many that are predicted as it are of it. Mean over the classes; 1 is perfect.",
            tasks=_NAMED,
            of_classes=True,
        ),
        Metric(
            names.AUROC,
            "AUROC",
            "Of good against defect. Take one good and one defective part at random: how often the "
            "defective one has the higher score. 1 is perfect, 0.5 is guessing; no threshold plays "
            "a part.",
            tasks=TASKS,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.AUROC_POOLED,
            "pooled AUROC",
            "AUROC of the scores of all folds together, as if one network had given them. It also "
            "compares scores of different networks, whose scales may differ.",
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.AVERAGE_PRECISION,
            "average precision",
            "Sort all parts by score, the most suspicious first: how many in the upper "
            "part of the list are defective. 1 is perfect; guessing gives the fraction of defects "
            "among the images.",
            tasks=TASKS,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.F1,
            "F1 of defects",
            "Two questions in one, at the threshold: how many defects are rejected, and how many "
            "of the rejected parts are defective. 1 only where both are perfect.",
            tasks=_SCORED,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.F1_MAX,
            "F1 at the best threshold",
            "The same with the threshold that suits these very test images best: optimistic, what "
            "could be reached at most, not what you will get.",
            tasks=_SCORED,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.TPR_AT_FPR,
            "TPR at the target FPR",
            "Fraction of the defects that would be found with the threshold placed so that false "
            "alarms on these test images just keep to {rate}.",
            tasks=_SCORED,
            needs=(GOOD, DEFECTS),
        ),
        Metric(
            names.PIXEL_AUROC,
            "pixel AUROC",
            "AUROC for single pixels: how often a pixel on a defect is brighter in the "
            "map than one beside it. Most of an image is easy background, so even a poor map may "
            "have 0.9.",
            tasks=_SCORED,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.PIXEL_AVERAGE_PRECISION,
            "pixel average precision",
            "How many of the brightest pixels lie on a defect. Stricter than pixel "
            "AUROC, since defects are small; guessing gives about their fraction of all pixels.",
            tasks=_SCORED,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.AUPRO,
            "AUPRO",
            "How much of each defect the map covers, small defects counting as much as large ones, "
            "while at most 30% of the good pixels are false positives. 1 is perfect, a map at "
            "random has 0.15.",
            tasks=_SCORED,
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.POINTING_GAME,
            "pointing game",
            "Fraction of the defect images in which the highest point of the "
            f"map lies on the defect, or nearer to it than {100 * TOLERANCE:g}% of the image's "
            "height. The map of a classifier shows what supports the true class, others "
            "what is anomalous, so all models can be compared.",
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(
            names.POINTING_CHANCE,
            "pointing game by chance",
            "What a point would reach that is put anywhere on the part: the larger the "
            "defects, the more. Only what is clearly above it shows that the model looks at the "
            "defects.",
            needs=(DEFECTS, WITH_MASKS),
        ),
        Metric(names.RECALL, "recall"),
        Metric(names.PRECISION, "precision"),
        Metric(names.IOU_GLOBAL, "IoU of pixels"),
        Metric(names.DICE_GLOBAL, "Dice of pixels"),
        Metric(names.IOU_SAMPLEWISE, "IoU of images"),
        Metric(names.DICE_SAMPLEWISE, "Dice of images"),
        Metric(names.LOSS, "loss", higher_is_better=False),
        Metric(names.BINARY_DICE, "binary Dice"),
        Metric(names.MEAN_IOU, "mean IoU"),
    )
}

LOWER_IS_BETTER = frozenset(m.name for m in METRICS.values() if not m.higher_is_better)

IMAGE_METRICS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.MACRO_F1,
    names.FALSE_NEGATIVE_RATE,
    names.FALSE_POSITIVE_RATE,
    names.EXPECTED_COST,
    names.AUROC,
    names.AUROC_POOLED,
)
"""Of the test images of a comparison."""
ANOMALY_METRICS = names.AVERAGE_PRECISION, names.F1, names.TPR_AT_FPR
"""Also shown there where a model does not name defects."""
MASK_METRICS = (
    names.BINARY_DICE_GLOBAL,
    names.BINARY_DICE_SAMPLEWISE,
    names.DEFECT_HIT_RATE,
    names.PIXEL_FPR,
)
MAP_METRICS = names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO
SEED_METRICS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.BINARY_DICE_GLOBAL,
    names.MEAN_IOU_GLOBAL,
)
"""Shown for each seed."""


_FIRST = names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE
_OF_SCORES = names.AVERAGE_PRECISION, names.F1, names.TPR_AT_FPR
_NEXT = {
    CLASSIFICATION: (names.BALANCED_ACCURACY, names.ACCURACY, names.MACRO_F1, names.AUROC),
    ANOMALY_DETECTION: (names.AUROC, names.AUPRO, names.PIXEL_AUROC, *_OF_SCORES),
    SEGMENTATION: (
        *(names.DEFECT_HIT_RATE, names.PIXEL_FPR, names.BINARY_DICE_GLOBAL),
        *(names.AUROC, *_OF_SCORES),
    ),
}
"""What matters most for each task after the first two, in this order; none repeats another."""


def headline_metrics(task: str, measured: Collection[str]) -> list[str]:
    """The six metrics of a task to look at first, of those that were measured."""
    order = (*_FIRST, *_NEXT[task]) if task in _NEXT else measured  # an added task has its own
    return [name for name in order if name in measured and not names.is_class_metric(name)][:6]


def metrics_of(task: str, *, names_defects: bool = True) -> tuple[str, ...]:
    """The metrics that a run of a task is expected to have, in their order."""
    return tuple(
        metric.name
        for metric in METRICS.values()
        if task in metric.tasks and (names_defects or not metric.of_classes)
    )


def metric_label(name: str) -> str:
    """Label of a metric, without its stage: `AUROC`, `recall of crack`."""
    metric, _, class_name = name.partition("/")
    label = METRICS[metric].label if metric in METRICS else metric.replace("_", " ")
    return f"{label} of {class_name}" if class_name else label


def metric_heading(name: str) -> str:
    """Label of a metric; an arrow where lower is better."""
    return f"{metric_label(name)}{' ↓' if name in LOWER_IS_BETTER else ''}"


def metric_description(name: str, *, target_fpr: float | None = None) -> str:
    """Description of a metric, in a sentence or two; "" where it has no description."""
    rate = "the target rate" if target_fpr is None else f"{100 * target_fpr:.3g}%"
    return METRICS[name].description.replace("{rate}", rate) if name in METRICS else ""
