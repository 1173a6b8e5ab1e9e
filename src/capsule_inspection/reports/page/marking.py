"""What the answer says of a run that marks pixels: where the defects are, and what was decided.

Sentences are plain text, computed from the figures and the record of a run; the template escapes
them. Nothing is said of other runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from capsule_inspection.metrics import names
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.reports.figure_words import small_share
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import Figure

IMAGE_SIZE = "data.image_size"
"""Setting of config.yaml with the height and width that the network sees."""

POOLED_OR_MEAN = (
    "Overlap is told in two ways. Pooled over pixels: the pixels of all images are counted as if "
    "they were one large image, so large defects weigh most, and marks on good parts count against "
    "it. Mean over images: each image with a defect counts equally, however small its defect is; "
    "marks on good parts play no role. Where the second is lower, it is mostly small defects that "
    "are marked badly; where the first is lower, large ones, or there are marks where no defect is."
)


def where_sentences(run: RunFolder, figures: Mapping[str, Figure]) -> list[str]:
    """How well the marks lie on the defects; `figures` have no stage in their keys."""
    if not run.marks_pixels:
        return []
    return [*_touched(figures), *_overlap(run, figures), *_on_good_parts(figures)]


def decision_sentences(run: RunFolder) -> list[str]:
    """What it takes to mark a region. Raises RunError where the record of it is not as expected."""
    decision = run.decision if run.marks_pixels else None
    if decision is None:
        return []
    return [
        f"What was decided: a pixel counts from a probability of {decision.probability:g} on, a "
        f"region from {_pixels(decision.area_px)} on{_share(run, decision)}; a part with no such "
        f"region is called good. {_extent(decision)}These numbers were chosen on "
        f"{_images(decision)} of the validation part."
    ]


def decision_warnings(run: RunFolder) -> list[str]:
    """Where one kind of images had no say in the decision."""
    decision = run.decision if run.marks_pixels else None
    if decision is None or (decision.good_images and decision.defect_images):
        return []
    absent = "defective" if decision.good_images else "good"
    return [
        f"No {absent} image had a say in what counts as a defect, so these numbers are little "
        "more than a guess: give the validation part some."
    ]


def _touched(figures: Mapping[str, Figure]) -> list[str]:
    touched = figures.get(names.DEFECTS_TOUCHED)
    if touched is None:
        return []
    found = round(touched.value * touched.n)
    return [f"On {found} of {touched.n} defect images a mark lies on the defect."]


def _overlap(run: RunFolder, figures: Mapping[str, Figure]) -> list[str]:
    """Mean IoU, which counts right names only, and Dice of any defect; 1 is a perfect match."""
    told = []
    mean, dice = (
        figures.get(key) for key in (names.MEAN_IOU_OF_PIXELS, names.FOREGROUND_DICE_OF_PIXELS)
    )
    if run.classes and mean is not None:
        told.append(
            "a mark counting only under the right name, the mean IoU of the defects is "
            f"{_measured(mean)}"
        )
    if dice is not None:
        name = "whatever the name, " if run.classes else ""
        told.append(f"{name}marks and true defects have a Dice of {_measured(dice)}")
    if not told:
        return []
    return [f"How well the marks cover the defects, 1 being a perfect match: {'; '.join(told)}."]


def _on_good_parts(figures: Mapping[str, Figure]) -> list[str]:
    area = figures.get(names.FALSE_ALARM_AREA)
    if area is None:
        return []
    if not area.value:
        return [f"On none of the {area.n} good images is anything marked."]
    return [f"On good images {small_share(area.value)} of the pixels are marked, on average."]


def _measured(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} (95% interval: {figure.low:.2f} to {figure.high:.2f})"


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count} pixels"


def _share(run: RunFolder, decision: Decision) -> str:
    """How much of an image the smallest region is, where its size is known."""
    size = run.settings.get(IMAGE_SIZE)
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        return ""
    height, width = size
    share = small_share(decision.area_px / (height * width))
    return f" ({share} of the {width} x {height} pixels that the network sees)"


def _extent(decision: Decision) -> str:
    """How far a region reaches, where that is another number."""
    if decision.extent in (None, decision.probability):
        return ""
    return f"A region reaches as far as the pixels around it have {decision.extent:g} or more. "


def _images(decision: Decision) -> str:
    counted = {"good": decision.good_images, "defective": decision.defect_images}
    total = sum(counted.values())
    return f"{total} images ({', '.join(f'{n} {kind}' for kind, n in counted.items())})"
