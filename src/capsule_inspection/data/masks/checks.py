"""What is unusual about the masks of a data set as a whole; nothing is read.

Works on the facts that reading stored, so that a warm start says the same. Single masks are judged
in values.py and facts.py; where defects lie on the part, in crop_checks.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_notes import EXIF_SWAPPED, EXIF_TURNED, OTHER_PAGES
from capsule_inspection.data.masks.facts import HAS_IGNORED
from capsule_inspection.data.masks.refusals import BRIGHTNESS_FROM
from capsule_inspection.data.masks.rules import MaskCode
from capsule_inspection.types import GOOD_LABEL, DataError, Sample

_MOST = 0.5
"""Of the pixels, and of those on the border: a mask that marks more of both looks inverted."""
_NEARLY_ALL = 0.9
_ENOUGH = 4
"""Of fewer masks nothing is certain."""


class _Mask(NamedTuple):
    """The mask of an image with a defect."""

    name: str
    label: int
    image: FileFacts
    facts: FileFacts

    @property
    def looks_inverted(self) -> bool:
        return self.facts.area > _MOST and self.facts.border > _MOST

    @property
    def is_turned_alone(self) -> bool:
        """Whether the image is turned by EXIF, its mask is not, and their sizes do not tell."""
        is_square = self.image.width == self.image.height
        return (
            EXIF_TURNED in self.image.notes
            and EXIF_TURNED not in self.facts.notes
            and (is_square or EXIF_SWAPPED not in self.image.notes)
        )


_UNUSUAL: tuple[tuple[Callable[[_Mask], bool], str], ...] = (
    (
        lambda mask: mask.looks_inverted,
        "mark most of the image and of its border: are they inverted (see data.mask_inverted)?",
    ),
    (
        lambda mask: mask.facts.border > _MOST and not mask.looks_inverted,
        "mark most of the image's border: do they have a frame?",
    ),
    (
        lambda mask: OTHER_PAGES in mask.facts.notes,
        "have further pages, which are not read. Save each page as a file; several files of a mask "
        "are joined.",
    ),
)
_TURNED_ALONE = (
    "have no EXIF orientation, but their images are turned by theirs. If the masks were drawn on "
    "images that were not turned, set data.exif_orientation=false."
)


def check_masks(
    root: Path, samples: Sequence[Sample], facts: Mapping[str, FileFacts], code: MaskCode
) -> tuple[str, ...]:
    """Sentences about unusual masks, each with a count and an example.

    Raises DataError where nearly all masks look inverted although no rule says what their values
    mean, and where the numbers of classes contradict the classes of the images.
    """
    masks = [
        _Mask(sample.mask, sample.label, facts[sample.path], facts[sample.mask])
        for sample in samples
        if sample.label != GOOD_LABEL and sample.mask
    ]
    numbers = _check_numbers(root, masks, code)
    _check_inverted(root, masks, code)
    warnings = [_count(masks, holds, sentence) for holds, sentence in _UNUSUAL]
    if not code.rules.from_annotations:  # by the images as they are turned, with rules of its own
        warnings.append(_count(masks, lambda mask: mask.is_turned_alone, _TURNED_ALONE))
        warnings += _unused_rules(samples, facts, code)
    return tuple(filter(None, [numbers, *warnings]))


def _unused_rules(
    samples: Sequence[Sample], facts: Mapping[str, FileFacts], code: MaskCode
) -> list[str]:
    """Warn of settings without an effect."""
    notes = [facts[sample.mask].notes for sample in samples if sample.mask]
    rules = code.rules
    if rules.inverted and not notes:
        return ["data.mask_inverted=true has no effect: no image has a mask."]
    if rules.ignore is not None and not any(HAS_IGNORED in of_mask for of_mask in notes):
        return [f"data.mask_ignore={rules.ignore} has no effect: no mask has this value."]
    return []


def _count(masks: Sequence[_Mask], holds: Callable[[_Mask], bool], sentence: str) -> str:
    found = [mask for mask in masks if holds(mask)]
    if not found:
        return ""
    return f"{len(found)} of {len(masks)} masks (the first is {found[0].name}) {sentence}"


def _check_inverted(root: Path, masks: Sequence[_Mask], code: MaskCode) -> None:
    """Refuse masks that nearly all look inverted, unless their meaning is set."""
    found = [mask for mask in masks if mask.looks_inverted]
    is_stated = code.rules.binary or code.labels
    if len(masks) < _ENOUGH or len(found) < _NEARLY_ALL * len(masks) or is_stated:
        return
    first, other = found[0], str(not code.rules.inverted).lower()
    meaning = (
        f"they look inverted. Set data.mask_inverted={other}; or, if the defects do cover the "
        "images, set data.mask_values=binary"
    )
    if first.facts.classes:
        meaning = (
            "is one of their values the background? Set the class of each, as in "
            f"{code.example(first.facts.values)}, with background for that one"
        )
    area = sum(mask.facts.area for mask in found) / len(found)
    raise DataError(
        f"{root}: {len(found)} of {len(masks)} masks mark most of the image ({area:.1%} on "
        f"average) and of its border, the first is {first.name}: {meaning}."
    )


def _check_numbers(root: Path, masks: Sequence[_Mask], code: MaskCode) -> str:
    """Refuse numbers of classes that contradict masks of one number and their images' classes.

    In a mask of several numbers these are classes. In a mask of one number that is the class of
    its image, unless it is a level of brightness: the two must agree. Returns a sentence where
    there are none of one number that would confirm the classes.
    """
    several = [mask for mask in masks if mask.facts.classes and not code.labels]
    if not several:
        return ""
    labels: defaultdict[int, set[int]] = defaultdict(set)
    wrong = ""
    for mask in masks:
        value, *others = mask.facts.values or (BRIGHTNESS_FROM,)
        if others or value >= BRIGHTNESS_FROM:
            continue
        labels[value].add(mask.label)
        if code.numbers.get(value) != mask.label:
            wrong = wrong or f"{mask.name} with {value} for {code.classes[mask.label]}"
    first, used = several[0], sorted({value for mask in several for value in mask.facts.values})
    start = f"{len(several)} of {len(masks)} masks (the first is {first.name}) have several values"
    if wrong:
        implied = {
            value: code.classes[min(labels[value])] if len(labels[value]) == 1 else "?"
            for value in sorted({*used, *labels})
        }
        pairs = ", ".join(f"{value}: {name}" for value, name in implied.items())
        raise DataError(
            f"{root}: the numbers in the masks are ambiguous. {start}, as numbers of classes; but "
            f"masks of one value contradict the classes of their images, such as {wrong}. Set the "
            f"class of each number, as in 'data.mask_values={{{pairs}}}', or "
            "data.mask_values=binary if every value above 0 is the defect of the image's class."
        )
    if set(used) <= set(labels):
        return ""
    meaning = ", ".join(f"{value} {code.classes[code.numbers[value]]}" for value in used)
    return (
        f"{start}, which are taken for the numbers of the classes: {meaning}. If they mean others, "
        "set data.mask_values."
    )
