"""Texts of the page of predictions that depend on the task: plain text, escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskTexts:
    """How to read a task's predictions.

    `shows_class_colours`: overlays show masks in class colours, not heat. `max_score` is the
    highest possible score, None where there is none.
    """

    predictions: str
    overlays: str
    score_order: str
    shows_class_colours: bool = False
    max_score: float | None = None

    def explain(self, *, has_overlays: bool) -> str:
        """How to read the cards and the colours of the overlays."""
        return f"{self.predictions} {self.overlays}" if has_overlays else self.predictions


TASKS = {
    "classification": TaskTexts(
        predictions="The model predicts a class; the percentage is its probability.",
        overlays=(
            "Bright regions of an overlay contributed most to the predicted class: they show where "
            "the model looked, and are no outline of a defect."
        ),
        score_order="any defect, most probable first",
    ),
    "anomaly_detection": TaskTexts(
        predictions=(
            "The model is trained on good parts only. The score says how anomalous an image is: "
            "above the threshold it is rejected as a defect, without its type."
        ),
        overlays="Bright regions of an overlay are anomalous.",
        score_order="score, most anomalous first",
    ),
    "segmentation": TaskTexts(
        predictions=(
            "The model predicts masks. The score is that of the most probable region: above the "
            "threshold the image is rejected as a defect. Areas and boxes are in pixels of the "
            "image."
        ),
        overlays="Each class has its colour.",
        score_order="score, highest first",
        shows_class_colours=True,
        max_score=1.0,
    ),
}
OTHER_TASK = TaskTexts(
    predictions="The model predicts whether an image shows a defect; the score is high for those.",
    overlays="Bright regions of an overlay contributed most to the prediction.",
    score_order="score, highest first",
)
"""The texts of a task that has none of its own."""


def summarize(counts: Mapping[str, int]) -> str:
    """All images in one sentence; `counts` has images, defects, unlike and errors."""
    images, defects = counts["images"], counts["defects"]
    errors, unlike = counts["errors"], counts["unlike"]
    if not images:
        return "There are no images here."
    if errors == images:
        return f"None of {_format_images(images)} could be read."
    verb = "show" if defects > 1 else "shows"
    parts = [f"{_format_number(defects)} of {_format_images(images)} {verb} a defect"]
    if errors:
        parts.append(f"{_format_number(errors)} could not be read")
    if unlike:
        looks = "looks" if unlike == 1 else "look"
        parts.append(f"{_format_number(unlike)} {looks} unlike the training images")
    return f"{', '.join(parts)}."


def warn(counts: Mapping[str, int]) -> list[str]:
    """Limits of the predictions."""
    warnings = []
    if counts["errors"]:
        warnings.append("Images that could not be read were not inspected.")
    if counts["unlike"]:
        warnings.append(
            "On images unlike the training images a model may be confident and wrong: check these "
            "yourself."
        )
    return warnings


def _format_number(count: int) -> str:
    return f"{count:,}" if count else "None"


def _format_images(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"
