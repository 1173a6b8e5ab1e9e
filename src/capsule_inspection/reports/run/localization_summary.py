"""Sentences of the summary on localization: predicted masks, their post-processing, pointing game.

Plain text, from the metrics and the record of a run; `metrics` have no stage in their keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from capsule_inspection.metrics import names
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.reports.formatting import format_percent
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import Estimate

IMAGE_SIZE = "data.image_size"
"""Key of config.yaml with height and width of the network's input."""

GLOBAL_AND_SAMPLEWISE = (
    "Overlap is aggregated in two ways. Pooled over pixels: the pixels of all images are counted "
    "as one large image, so large defects weigh most, and false positives on good parts count. "
    "Mean over images: each image with a defect counts equally, however small its defect is; good "
    "parts play no role. Where the second is lower, mostly small defects are segmented badly; "
    "where the first is lower, large ones, or there are false positives."
)


def mask_sentences(run: RunFolder, metrics: Mapping[str, Estimate]) -> list[str]:
    """How well the predicted masks match the defects; empty without masks."""
    if not run.has_masks:
        return []
    return [
        *_describe_hit_rate(metrics),
        *_describe_overlap(run, metrics),
        *_describe_false_positives(metrics),
    ]


def post_processing_sentences(run: RunFolder) -> list[str]:
    """The parameters of the masks. Raises RunError where they are not as expected."""
    processor = run.mask_postprocessor if run.has_masks else None
    if processor is None:
        return []
    area = f"{_format_pixels(processor.min_area_px)} on{_format_relative_area(run, processor)}"
    return [
        f"Post-processing: a pixel counts from a probability of {processor.high_threshold:g} on, a "
        f"region from {area}; a part with no such region is classified as good. "
        f"{_describe_low_threshold(processor)}These parameters were fitted on "
        f"{_count_images(processor)} of the validation split."
    ]


def post_processing_warnings(run: RunFolder) -> list[str]:
    """Warns where only good images or only defects were available for fitting."""
    processor = run.mask_postprocessor if run.has_masks else None
    if processor is None or (processor.good_images and processor.defect_images):
        return []
    missing = "defective" if processor.good_images else "good"
    return [
        f"The post-processing was fitted without any {missing} image, so its parameters are little "
        "more than a guess: give the validation split some."
    ]


def pointing_sentences(run: RunFolder, metrics: Mapping[str, Estimate]) -> list[str]:
    """The pointing game; empty without target masks."""
    game, chance = metrics.get(names.POINTING_GAME), metrics.get(names.POINTING_CHANCE)
    if game is None or chance is None:
        return []
    subject, consequence = _pointing_texts(run)
    hits = round(game.value * game.n)
    expected = chance.value * game.n
    by_chance = f"about {expected:.0f}" if expected >= 1 else "fewer than 1"
    return [
        f"{subject} in {hits} of {game.n} images; at random it would be "
        f"{by_chance} of {game.n}: {_rate_pointing(game, chance, consequence)}"
    ]


def _pointing_texts(run: RunFolder) -> tuple[str, str]:
    """What points at the defect, and the consequence of pointing elsewhere."""
    if run.has_masks:
        return (
            "The pixel with the highest probability lay on the defect",
            "predicted regions elsewhere explain nothing",
        )
    if run.classes:
        return (
            "The peak of the explanation map lay on the defect",
            "a classifier that relies on other regions should not be trusted, whatever its metrics",
        )
    return (
        "The peak of the anomaly map lay on the defect",
        "a score that comes from elsewhere should not be trusted, whatever the other metrics",
    )


def _rate_pointing(game: Estimate, chance: Estimate, consequence: str) -> str:
    assert game.ci_low is not None
    assert game.ci_high is not None
    if game.ci_low <= chance.value <= game.ci_high:
        return f"not distinguishable from chance, and {consequence}."
    if game.value < chance.value:
        return f"less often than by chance, and {consequence}."
    if 2 * game.value < 1:
        return f"more often than by chance, but mostly it was elsewhere, and {consequence}."
    return "more often than by chance."


def _describe_hit_rate(metrics: Mapping[str, Estimate]) -> list[str]:
    hit_rate = metrics.get(names.DEFECT_HIT_RATE)
    if hit_rate is None:
        return []
    hits = round(hit_rate.value * hit_rate.n)
    return [f"On {hits} of {hit_rate.n} defect images the predicted mask touches the defect."]


def _describe_overlap(run: RunFolder, metrics: Mapping[str, Estimate]) -> list[str]:
    """Mean IoU of the classes, and binary Dice."""
    parts = []
    iou, dice = (metrics.get(key) for key in (names.MEAN_IOU_GLOBAL, names.BINARY_DICE_GLOBAL))
    if run.classes and iou is not None:
        parts.append(f"the mean IoU of the defect classes is {_format_estimate(iou)}")
    if dice is not None:
        which = "of any defect, whatever its class, " if run.classes else ""
        parts.append(f"the Dice {which}is {_format_estimate(dice)}")
    if not parts:
        return []
    return [f"Overlap of predicted and target masks, 1 being a perfect match: {'; '.join(parts)}."]


def _describe_false_positives(metrics: Mapping[str, Estimate]) -> list[str]:
    pixel_fpr = metrics.get(names.PIXEL_FPR)
    if pixel_fpr is None:
        return []
    if not pixel_fpr.value:
        return [f"The predicted masks of all {pixel_fpr.n} good images are empty."]
    percent = format_percent(pixel_fpr.value)
    return [f"On good images {percent} of the pixels are predicted as a defect, on average."]


def _format_estimate(estimate: Estimate) -> str:
    if estimate.ci_low is None or estimate.ci_high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} (95% interval: {estimate.ci_low:.2f} to {estimate.ci_high:.2f})"


def _format_pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count} pixels"


def _format_relative_area(run: RunFolder, processor: MaskPostProcessor) -> str:
    """The smallest region relative to the image, where its size is known."""
    size = run.settings.get(IMAGE_SIZE)
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        return ""
    height, width = size
    percent = format_percent(processor.min_area_px / (height * width))
    return f" ({percent} of the {width} x {height} pixels of the network's input)"


def _describe_low_threshold(processor: MaskPostProcessor) -> str:
    """The extent of a region, where it has its own threshold."""
    if processor.low_threshold == processor.high_threshold:
        return ""
    return (
        f"A region extends over connected pixels with a probability of "
        f"{processor.low_threshold:g} or more. "
    )


def _count_images(processor: MaskPostProcessor) -> str:
    counts = {"good": processor.good_images, "defective": processor.defect_images}
    total = sum(counts.values())
    return f"{total} images ({', '.join(f'{n} {label}' for label, n in counts.items())})"
