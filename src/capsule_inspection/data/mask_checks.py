"""What is unusual about the masks of a data set as a whole; nothing is read.

Works on the facts that reading stored, so that a warm start says the same. Single masks are judged
in mask_values.py and sample_reader.py; where defects lie on the part, in crop_checks.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_notes import EXIF_SWAPPED, EXIF_TURNED, OTHER_PAGES
from capsule_inspection.data.mask_facts import HAS_IGNORED
from capsule_inspection.data.mask_rules import MaskCode
from capsule_inspection.types import GOOD_LABEL, DataError, Sample

_MOST = 0.5
"""Of the pixels, and of those on the border: a mask that marks more of both looks inverted."""
_NEARLY_ALL = 0.9
_ENOUGH = 4
"""Of fewer masks nothing is certain."""
_TINY_PX = 3
_MANY_EQUAL = 3
_BRIGHTNESS_FROM = 32
"""A value below this may be the number of a class; others are levels of brightness."""


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
    def marked_px(self) -> int:
        return round(self.facts.area * self.facts.width * self.facts.height)


def check_masks(
    root: Path, samples: Sequence[Sample], facts: Mapping[str, FileFacts], code: MaskCode
) -> tuple[str, ...]:
    """Sentences about unusual masks, each with a count and an example.

    Raises DataError where nearly all masks look inverted although no rule says what their values
    mean, where the numbers of classes contradict the classes of the images, and where masks are
    images themselves.
    """
    masks = [
        _Mask(sample.mask, sample.label, facts[sample.path], facts[sample.mask])
        for sample in samples
        if sample.label != GOOD_LABEL and sample.mask
    ]
    unused = _unused_rules(samples, facts, code)
    if not masks:
        return unused
    _check_images(root, samples, masks)
    numbers = _check_numbers(root, masks, code)
    _check_inverted(root, masks, code)
    warnings = [_count(masks, holds, sentence) for holds, sentence in _UNUSUAL]
    return tuple(filter(None, [*unused, numbers, *warnings, _equal_masks(masks)]))


def _unused_rules(
    samples: Sequence[Sample], facts: Mapping[str, FileFacts], code: MaskCode
) -> tuple[str, ...]:
    """Warn of settings without an effect; annotation formats set rules themselves, with a map."""
    masks = [sample.mask for sample in samples if sample.mask]
    if code.inverted and not masks:
        return ("data.mask_inverted=true has no effect: no image has a mask.",)
    is_used = any(HAS_IGNORED in facts[mask].notes for mask in masks)
    if code.ignore is None or code.labels or is_used:
        return ()
    return (f"data.mask_ignore={code.ignore} has no effect: no mask has this value.",)


def _check_images(root: Path, samples: Sequence[Sample], masks: Sequence[_Mask]) -> None:
    """Refuse masks that are images of the data set."""
    images = {sample.sha256: sample.path for sample in samples}
    found = [mask for mask in masks if mask.facts.sha256 in images]
    if found:
        raise DataError(
            f"{root}: {len(found)} of {len(masks)} masks are images of the data set; the first is "
            f"{found[0].name}, with the content of {images[found[0].facts.sha256]}. Name the "
            "masks themselves, in the column mask of the table or with data.masks."
        )


def _is_turned_alone(mask: _Mask) -> bool:
    """Whether the image is turned by EXIF, its mask is not, and their sizes do not tell."""
    if EXIF_TURNED not in mask.image.notes or EXIF_TURNED in mask.facts.notes:
        return False
    return EXIF_SWAPPED not in mask.image.notes or mask.image.width == mask.image.height


_UNUSUAL: tuple[tuple[Callable[[_Mask], bool], str], ...] = (
    (
        lambda mask: mask.looks_inverted and mask.facts.area < 1,
        "mark most of the image and of its border: are they inverted (see data.mask_inverted)?",
    ),
    (lambda mask: mask.facts.area == 1, "mark the whole image."),
    (
        lambda mask: mask.facts.border > _MOST and not mask.looks_inverted,
        "mark most of the image's border: do they have a frame?",
    ),
    (
        lambda mask: 1 <= mask.marked_px <= _TINY_PX,
        f"mark no more than {_TINY_PX} pixels.",
    ),
    (
        lambda mask: OTHER_PAGES in mask.facts.notes,
        "have further pages, which are not read. Save each page as a file; several files of a mask "
        "are joined.",
    ),
    (
        _is_turned_alone,
        "have no EXIF orientation, but their images are turned by theirs. If the masks were drawn "
        "on images that were not turned, set data.exif_orientation=false.",
    ),
)


def _count(masks: Sequence[_Mask], holds: Callable[[_Mask], bool], sentence: str) -> str:
    found = [mask for mask in masks if holds(mask)]
    if not found:
        return ""
    return f"{len(found)} of {len(masks)} masks (the first is {found[0].name}) {sentence}"


def _equal_masks(masks: Sequence[_Mask]) -> str:
    """Warn where many images have masks of equal content: was one file copied?"""
    (sha256, count), *_ = Counter(mask.facts.sha256 for mask in masks).most_common(1)
    if count < _MANY_EQUAL or count * 10 < len(masks):
        return ""
    names = [mask.name for mask in masks if mask.facts.sha256 == sha256]
    return (
        f"{count} of {len(masks)} masks have the same content, such as {names[0]} and {names[1]}: "
        "do they belong to these images?"
    )


def _check_inverted(root: Path, masks: Sequence[_Mask], code: MaskCode) -> None:
    """Refuse masks that nearly all look inverted, unless their meaning is set."""
    found = [mask for mask in masks if mask.looks_inverted]
    if len(masks) < _ENOUGH or len(found) < _NEARLY_ALL * len(masks) or code.binary or code.labels:
        return
    area = sum(mask.facts.area for mask in found) / len(found)
    first = found[0]
    if first.facts.classes:
        meaning = (
            "is one of their values the background? Set the class of each, as in "
            f"{code.example(first.facts.values)}, with background for that one"
        )
    elif all(mask.facts.area == 1 for mask in found):
        meaning = (
            "they say nothing about where the defects are. Use data without masks; or, if the "
            "defects do cover the images, set data.mask_values=binary"
        )
    else:
        other = str(not code.inverted).lower()
        meaning = (
            f"they look inverted. Set data.mask_inverted={other}; or, if the defects do cover the "
            "images, set data.mask_values=binary"
        )
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
    singles = [
        mask
        for mask in masks
        if not mask.facts.classes
        and len(mask.facts.values) == 1
        and mask.facts.values[0] < _BRIGHTNESS_FROM
    ]
    if not several:
        return ""
    first, used = several[0], sorted({value for mask in several for value in mask.facts.values})
    wrong = [mask for mask in singles if code.numbers.get(mask.facts.values[0]) != mask.label]
    if wrong:
        raise DataError(
            f"{root}: the numbers in the masks are ambiguous. {len(several)} masks have several, "
            f"such as {first.name} with {', '.join(map(str, first.facts.values))}; but "
            f"{len(wrong)} of {len(singles)} masks with one number have another than that of their "
            f"image's class, such as {wrong[0].name} with {wrong[0].facts.values[0]} for "
            f"{code.classes[wrong[0].label]}. Set {_derived_map(singles, used, code)}, or "
            "data.mask_values=binary if every value above 0 is the defect of the image's class."
        )
    if set(used) <= {mask.facts.values[0] for mask in singles}:
        return ""
    meaning = ", ".join(f"{value} {code.classes[code.numbers[value]]}" for value in used)
    return (
        f"{len(several)} of {len(masks)} masks (the first is {first.name}) have several values, "
        f"which are taken for the numbers of the classes: {meaning}. If they "
        "mean others, set data.mask_values."
    )


def _derived_map(singles: Sequence[_Mask], used: Sequence[int], code: MaskCode) -> str:
    """The map that the masks of one number imply, else an example to be changed."""
    labels: defaultdict[int, set[int]] = defaultdict(set)
    for mask in singles:
        labels[mask.facts.values[0]].add(mask.label)
    is_certain = all(len(found) == 1 for found in labels.values())
    if not is_certain or len({min(found) for found in labels.values()}) < len(labels):
        return f"which class each number is, as in {code.example(sorted({*used, *labels}))}"
    known = {value: code.classes[min(found)] for value, found in sorted(labels.items())}
    pairs = ", ".join(f"{value}: {name}" for value, name in known.items())
    missing = sorted(set(used) - set(known))
    note = f" with the class of {', '.join(map(str, missing))} added" if missing else ""
    return f"'data.mask_values={{{pairs}}}'{note}"
