"""What the gallery of predictions says in sentences: plain text, escaped by its template."""

from __future__ import annotations

from collections.abc import Mapping

_ANSWERS = {
    "classification": "The model names what it sees; the percentage is how sure it is of the name.",
    "reconstruction": (
        "The model knows good parts only. The score says how unlike them a photograph is: above "
        "the threshold it counts as a defect; of what kind, the model cannot say."
    ),
    "segmentation": (
        "The model marks regions. The score is that of the surest one: above the threshold the "
        "part counts as defective. Areas and boxes are in pixels of the photograph."
    ),
}
_COLOURS = {
    "classification": (
        "Bright places in a picture are those that spoke most for the name: they show where the "
        "model looked, and are no outline of a defect."
    ),
    "reconstruction": "Bright places in a picture are those that are unlike good parts.",
    "segmentation": "Each class has its colour.",
}


def answer(counts: Mapping[str, int]) -> str:
    """All photographs in one sentence; `counts` has images, defects, unlike and errors."""
    images, defects = counts["images"], counts["defects"]
    errors, unlike = counts["errors"], counts["unlike"]
    if not images:
        return "There are no images here."
    if errors == images:
        return f"None of {_counted(images)} could be read."
    shows = "show" if defects > 1 else "shows"
    told = [f"{_number(defects)} of {_counted(images)} {shows} a defect"]
    if errors:
        told.append(f"{_number(errors)} could not be read")
    if unlike:
        looks = "looks" if unlike == 1 else "look"
        told.append(f"{_number(unlike)} {looks} unlike the training photographs")
    return f"{', '.join(told)}."


def cautions(counts: Mapping[str, int]) -> list[str]:
    """What the answer must not be taken for."""
    told = []
    if counts["errors"]:
        told.append("What could not be read was not inspected.")
    if counts["unlike"]:
        told.append(
            "On photographs unlike those that it has learned from a model may be sure of itself "
            "and wrong: look at these yourself."
        )
    return told


def explanation(task: str, *, colours: bool) -> str:
    """How to read the cards of a task, and the colours in its pictures."""
    return f"{_ANSWERS[task]} {_COLOURS[task]}" if colours else _ANSWERS[task]


def _number(count: int) -> str:
    return f"{count:,}" if count else "None"


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"
