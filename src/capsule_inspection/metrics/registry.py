"""Label, description and direction of each metric, for the console, pages and plots."""

from __future__ import annotations

from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.pointing_game import TOLERANCE

CLASSIFICATION, DETECTION, LOCALIZATION, SEGMENTATION = (
    "classification",
    "detection",
    "localization",
    "segmentation",
)


@dataclass(frozen=True)
class Metric:
    """A metric; `name` is its key without stage.

    `label` is for the page of a run, `short_label` for tables of a comparison; both are plain text.
    In `description`, `{rate}` is replaced by the target FPR. `task` is one of classification (which
    defect), detection (is there one), localization (where, by a map), segmentation (by a mask).
    """

    name: str
    task: str
    label: str
    short_label: str = ""
    description: str = ""
    higher_is_better: bool = True


METRICS = {
    metric.name: metric
    for metric in (
        Metric(names.LOSS, CLASSIFICATION, "loss", higher_is_better=False),
        Metric(
            names.ACCURACY,
            CLASSIFICATION,
            "accuracy",
            description="Fraction of all images with the right predicted class.",
        ),
        Metric(
            names.BALANCED_ACCURACY,
            CLASSIFICATION,
            "balanced accuracy",
            description="The same with each class counting equally, however few images it has. A "
            "model that predicts good for everything does badly here.",
        ),
        Metric(
            names.MACRO_F1,
            CLASSIFICATION,
            "macro F1",
            description="For each class two questions in one: how many of its images are found, "
            "and how many that are predicted as it are of it. Mean over the classes; 1 is perfect.",
        ),
        Metric(names.RECALL, CLASSIFICATION, "recall"),
        Metric(names.PRECISION, CLASSIFICATION, "precision"),
        Metric(
            names.FALSE_POSITIVE_RATE,
            DETECTION,
            "false positive rate, good parts rejected (lower is better)",
            "good ones rejected",
            "Good parts that would be thrown out, or looked at for nothing.",
            higher_is_better=False,
        ),
        Metric(
            names.FALSE_NEGATIVE_RATE,
            DETECTION,
            "false negative rate, missed defects (lower is better)",
            "defects missed",
            "Defective parts that would reach the customer.",
            higher_is_better=False,
        ),
        Metric(
            names.AUROC,
            DETECTION,
            "AUROC, good against defect",
            "AUROC",
            "Take one good and one defective part at random: how often the defective one has the "
            "higher score. 1 is perfect, 0.5 is guessing; no threshold plays a part.",
        ),
        Metric(
            names.AVERAGE_PRECISION,
            DETECTION,
            "average precision of defects",
            description="Sort all parts by score, the most suspicious first: how many in the upper "
            "part of the list are defective. 1 is perfect; guessing gives the fraction of defects "
            "among the images.",
        ),
        Metric(
            names.F1,
            DETECTION,
            "F1 of defects at the threshold",
            "F1 of defects",
            "Two questions in one: how many defects are rejected, and how many of the rejected "
            "parts are defective. 1 only where both are perfect.",
        ),
        Metric(
            names.F1_MAX,
            DETECTION,
            "F1 at the best threshold (optimistic)",
            "F1 of defects at the best threshold",
            "The same with the threshold that suits these very test images best: what could be "
            "reached at most, not what you will get.",
        ),
        Metric(
            names.TPR_AT_FPR,
            DETECTION,
            "defects found at the target false positive rate",
            "recall at the target false-positive rate",
            "Fraction of the defects that would be found with the threshold placed so that false "
            "alarms on these test images just keep to {rate}.",
        ),
        Metric(
            names.PIXEL_AUROC,
            LOCALIZATION,
            "pixel AUROC",
            description="AUROC for single pixels: how often a pixel on a defect is brighter in the "
            "map than one beside it. Most of an image is easy background, so even a poor map may "
            "have 0.9.",
        ),
        Metric(
            names.PIXEL_AVERAGE_PRECISION,
            LOCALIZATION,
            "pixel average precision",
            description="How many of the brightest pixels lie on a defect. Stricter than pixel "
            "AUROC, since defects are small; guessing gives about their fraction of all pixels.",
        ),
        Metric(
            names.AUPRO,
            LOCALIZATION,
            "AUPRO, regions up to 30% false alarms",
            "AUPRO",
            "How much of each defect the map covers, small defects counting as much as large ones, "
            "while at most 30% of the good pixels are false positives. 1 is perfect, a map at "
            "random has 0.15.",
        ),
        Metric(
            names.POINTING_GAME,
            LOCALIZATION,
            "highest point of the map on the defect",
            "pointing game",
            "The pointing game: fraction of the defect images in which the highest point of the "
            f"map lies on the defect, or nearer to it than {100 * TOLERANCE:g}% of the image's "
            "height. The map of a classifier shows what supports the true class, others "
            "what is anomalous, so all models can be compared.",
        ),
        Metric(
            names.POINTING_CHANCE,
            LOCALIZATION,
            "the same for a point at random on the part",
            "pointing game chance",
            "What a point would reach that is put anywhere on the part: the larger the "
            "defects, the more. Only what is clearly above it shows that the model looks at the "
            "defects.",
        ),
        Metric(
            names.DEFECT_HIT_RATE,
            SEGMENTATION,
            "defects hit by the predicted mask",
            "defect hit rate",
            "Fraction of the defect images on which at least one predicted pixel lies on the "
            "defect, however little of it is covered.",
        ),
        Metric(
            names.PIXEL_FPR,
            SEGMENTATION,
            "pixel false positive rate on good images (lower is better)",
            "pixel false-positive rate",
            "Fraction of a good image that is predicted as a defect, on average.",
            higher_is_better=False,
        ),
        Metric(names.BINARY_DICE, SEGMENTATION, "binary Dice"),
        Metric(names.MEAN_IOU, SEGMENTATION, "mean IoU"),
        Metric(
            names.BINARY_IOU_GLOBAL,
            SEGMENTATION,
            "IoU of any defect, pooled over pixels",
            "binary IoU of pixels",
            "Of the area that is truly a defect or predicted as one, the fraction that is both, "
            "whichever class is predicted. All images counted as if they were one.",
        ),
        Metric(
            names.BINARY_DICE_GLOBAL,
            SEGMENTATION,
            "Dice of any defect, pooled over pixels",
            "binary Dice of pixels",
            "The same as Dice: twice the area that is both, by the sum of the two areas.",
        ),
        Metric(
            names.BINARY_IOU_SAMPLEWISE,
            SEGMENTATION,
            "IoU of any defect, mean over images",
            "binary IoU of images",
            "IoU of any defect, of each image by itself, averaged over the images with a defect.",
        ),
        Metric(
            names.BINARY_DICE_SAMPLEWISE,
            SEGMENTATION,
            "Dice of any defect, mean over images",
            "binary Dice of images",
            "The same as Dice.",
        ),
        Metric(
            names.MEAN_IOU_GLOBAL,
            SEGMENTATION,
            "mean IoU of the defects, pooled over pixels",
            "mean IoU of pixels",
            "For each defect class: of the area that is truly one or predicted as one, the "
            "fraction that is both. Mean over the classes, each counting equally; 1 is perfect. A "
            "defect that is predicted as a wrong class counts against both classes.",
        ),
        Metric(
            names.MEAN_DICE_GLOBAL,
            SEGMENTATION,
            "mean Dice of the defects, pooled over pixels",
            "mean Dice of pixels",
            "The same as Dice: twice the area that is both, by the sum of the two areas. Never "
            "below IoU: a Dice of 0.67 is an IoU of 0.5.",
        ),
        Metric(
            names.MEAN_IOU_SAMPLEWISE,
            SEGMENTATION,
            "mean IoU of the defects, mean over images",
            "mean IoU of images",
            "IoU of each image by itself, averaged over the images that have the class, then over "
            "the classes. A small defect counts as much as a large one.",
        ),
        Metric(
            names.MEAN_DICE_SAMPLEWISE,
            SEGMENTATION,
            "mean Dice of the defects, mean over images",
            "mean Dice of images",
            "The same as Dice.",
        ),
        Metric(names.IOU_GLOBAL, SEGMENTATION, "IoU, pooled over pixels"),
        Metric(names.DICE_GLOBAL, SEGMENTATION, "Dice, pooled over pixels"),
        Metric(names.IOU_SAMPLEWISE, SEGMENTATION, "IoU, mean over images"),
        Metric(names.DICE_SAMPLEWISE, SEGMENTATION, "Dice, mean over images"),
    )
}

LOWER_IS_BETTER = frozenset(m.name for m in METRICS.values() if not m.higher_is_better)


def metric_label(name: str) -> str:
    """Label of a metric, without its stage."""
    return METRICS[name].label if name in METRICS else name.replace("_", " ")


def short_metric_label(name: str) -> str:
    """Short label of a metric, without its stage: `AUROC`, `recall of crack`."""
    metric, _, class_name = name.partition("/")
    if class_name:
        return f"{metric} of {class_name}"
    short = METRICS[name].short_label if name in METRICS else ""
    return short or metric_label(name)


def metric_description(name: str, *, target_fpr: float | None = None) -> str:
    """Description of a metric, in a sentence or two; "" where it has no description."""
    rate = "the target rate" if target_fpr is None else f"{100 * target_fpr:.3g}%"
    return METRICS[name].description.replace("{rate}", rate) if name in METRICS else ""
