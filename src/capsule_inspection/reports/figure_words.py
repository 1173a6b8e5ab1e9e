"""What figures are called, and what they mean to somebody who has never heard of them.

Plain text, escaped by whoever puts it on a page. Computes nothing.
"""

from __future__ import annotations

from capsule_inspection.metrics import names
from capsule_inspection.metrics.pointing import TOLERANCE

_NAMES = {
    names.AUROC: "AUROC, good against defect",
    names.AVERAGE_PRECISION: "average precision of defects",
    names.MACRO_F1: "macro F1",
    names.DEFECTS_MISSED: "defects called good (lower is better)",
    names.GOOD_REJECTED: "good called a defect (lower is better)",
    names.F1: "F1 of defects at the threshold",
    names.F1_BEST: "F1 at the best threshold (optimistic)",
    names.RECALL_AT_RATE: "defects found at the false-alarm rate",
    names.PIXEL_AUROC: "pixel AUROC",
    names.PIXEL_AVERAGE_PRECISION: "pixel average precision",
    names.AUPRO: "AUPRO, regions up to 30% false alarms",
    names.MEAN_IOU_OF_PIXELS: "mean IoU of the defects, pooled over pixels",
    names.MEAN_DICE_OF_PIXELS: "mean Dice of the defects, pooled over pixels",
    names.MEAN_IOU_OF_IMAGES: "mean IoU of the defects, mean over images",
    names.MEAN_DICE_OF_IMAGES: "mean Dice of the defects, mean over images",
    names.FOREGROUND_IOU_OF_PIXELS: "IoU of any defect, pooled over pixels",
    names.FOREGROUND_DICE_OF_PIXELS: "Dice of any defect, pooled over pixels",
    names.FOREGROUND_IOU_OF_IMAGES: "IoU of any defect, mean over images",
    names.FOREGROUND_DICE_OF_IMAGES: "Dice of any defect, mean over images",
    names.IOU_OF_PIXELS: "IoU, pooled over pixels",
    names.DICE_OF_PIXELS: "Dice, pooled over pixels",
    names.IOU_OF_IMAGES: "IoU, mean over images",
    names.DICE_OF_IMAGES: "Dice, mean over images",
    names.DEFECTS_TOUCHED: "defects with a mark on them",
    names.FALSE_ALARM_AREA: "marked share of a good image (lower is better)",
    names.POINTING_GAME: "highest point of the map on the defect",
    names.POINTING_CHANCE: "the same for a point at random on the part",
}

_MEANINGS = {
    names.ACCURACY: "Share of all images that got the right name.",
    names.BALANCED_ACCURACY: (
        "The same with each class counting equally, however few images it has. A model that calls "
        "everything good does badly here."
    ),
    names.MACRO_F1: (
        "For each class two questions in one: how many of its images are found, and how many that "
        "got its name are of it. The mean over the classes; 1 is perfect."
    ),
    names.GOOD_REJECTED: "Good parts that would be thrown out, or looked at for nothing.",
    names.DEFECTS_MISSED: "Defective parts that would reach the customer.",
    names.AUROC: (
        "Take one good and one defective part at random: how often the defective one has the "
        "higher score. 1 is perfect, 0.5 is guessing; no threshold plays a part."
    ),
    names.AVERAGE_PRECISION: (
        "Sort all parts by score, the most suspicious first: how many in the upper part of the "
        "list are defective. 1 is perfect; guessing gives the share of defects among the images."
    ),
    names.F1: (
        "Two questions in one: how many defects are rejected, and how many of the rejected parts "
        "are defective. 1 only where both are perfect."
    ),
    names.F1_BEST: (
        "The same with the threshold that suits these very test images best: what could be reached "
        "at most, not what you will get."
    ),
    names.RECALL_AT_RATE: (
        "Share of the defects that would be found with the threshold placed so that false alarms "
        "on these test images just keep to {rate}."
    ),
    names.PIXEL_AUROC: (
        "AUROC for single pixels: how often a pixel on a defect is brighter in the map than one "
        "beside it. Most of an image is easy background, so even a poor map may have 0.9."
    ),
    names.PIXEL_AVERAGE_PRECISION: (
        "How many of the brightest pixels lie on a defect. Stricter than pixel AUROC, since "
        "defects are small; guessing gives about their share of all pixels."
    ),
    names.AUPRO: (
        "How much of each defect the map covers, small defects counting as much as large ones, "
        "while it marks at most 30% of the good pixels by mistake. 1 is perfect, a map at random "
        "has 0.15."
    ),
    names.MEAN_IOU_OF_PIXELS: (
        "For each class of defects: of the area that is truly one or marked as one, the share that "
        "is both. The mean over the classes, each counting equally; 1 is a perfect match. A defect "
        "that is marked under a wrong name counts against both classes."
    ),
    names.MEAN_DICE_OF_PIXELS: (
        "The same as Dice: twice the area that is both, by the sum of the two areas. Never below "
        "IoU: a Dice of 0.67 is an IoU of 0.5."
    ),
    names.MEAN_IOU_OF_IMAGES: (
        "IoU of each image by itself, averaged over the images that have the class, then over the "
        "classes. A small defect counts as much as a large one."
    ),
    names.MEAN_DICE_OF_IMAGES: "The same as Dice.",
    names.FOREGROUND_IOU_OF_PIXELS: (
        "Of the area that is truly a defect or marked as one, the share that is both, whatever "
        "name the mark has. All images counted as if they were one."
    ),
    names.FOREGROUND_DICE_OF_PIXELS: (
        "The same as Dice: twice the area that is both, by the sum of the two areas."
    ),
    names.FOREGROUND_IOU_OF_IMAGES: (
        "IoU of any defect, of each image by itself, averaged over the images with a defect."
    ),
    names.FOREGROUND_DICE_OF_IMAGES: "The same as Dice.",
    names.DEFECTS_TOUCHED: (
        "Share of the defect images on which at least one marked pixel lies on the defect: the "
        "eye of whoever looks there is led to it. Says nothing of how much of it is covered."
    ),
    names.FALSE_ALARM_AREA: "How much of a good image is marked by mistake, on average.",
    names.POINTING_GAME: (
        "The pointing game: share of the defect images in which the highest point of the map lies "
        f"on the defect, or nearer to it than {100 * TOLERANCE:g}% of the image's height. The map "
        "of a classifier says what spoke for the true class, others what is suspicious, "
        "so all kinds of models can be compared."
    ),
    names.POINTING_CHANCE: (
        "What a point would reach that is put anywhere on the part: the larger the defects, the "
        "more. Only what is clearly above it says that the model looks at the defects."
    ),
}


def name_of(metric: str) -> str:
    """What people call a figure; `metric` has no stage."""
    return _NAMES.get(metric, metric.replace("_", " "))


def meaning_of(metric: str, *, false_alarm_rate: float | None = None) -> str:
    """What a figure says, in a sentence or two; "" where nothing is known of it."""
    rate = "the rate asked for" if false_alarm_rate is None else percent(false_alarm_rate)
    return _MEANINGS.get(metric, "").replace("{rate}", rate)


def value_text(metric: str, value: float) -> str:
    """A value as it is shown; one that is close to 0 wherever a model is of use, in percent."""
    return small_share(value) if metric == names.FALSE_ALARM_AREA else f"{value:.3f}"


def small_share(share: float) -> str:
    """A share in two digits: `0.031%`."""
    return f"{100 * share:.2g}%"


def percent(share: float) -> str:
    """`5%`, `2.5%`."""
    return f"{100 * share:.3g}%"
