"""Codes of what was unusual in decoding an image, and the sentences that say so of a data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from capsule_inspection.data.bit_depth import smallest_depth

if TYPE_CHECKING:
    from capsule_inspection.data.file_facts import FileFacts

EXIF_TURNED = "exif_turned"
"""Turned by its EXIF orientation: ordinary, unless its mask is not; see masks/checks.py."""
EXIF_SWAPPED = "exif_swapped"
"""Beside EXIF_TURNED: by a quarter turn, which swaps width and height."""
EXIF_KEPT = "exif_kept"
"""Not turned, by data.exif_orientation=false, although its EXIF data say so."""
ALPHA_OF_ZEROS, ON_WHITE = "alpha_of_zeros", "on_white"
PREVIEW_PAGE, OTHER_PAGES = "preview_page", "other_pages"
CONVERTED_PROFILE, IGNORED_PROFILE, CMYK = "converted_profile", "ignored_profile", "cmyk"
ONE_COLOUR = "one_colour"

_SENTENCES = {
    EXIF_KEPT: "have an EXIF orientation, which data.exif_orientation=false ignores",
    ALPHA_OF_ZEROS: "have an alpha channel of zeros everywhere, which is ignored",
    ON_WHITE: "are partly transparent and are laid on white",
    PREVIEW_PAGE: "begin with a page that is a preview; the largest page is used",
    OTHER_PAGES: "have further pages, which are not used; save pages as files where they count",
    CONVERTED_PROFILE: "have a colour profile other than sRGB and are converted to sRGB",
    IGNORED_PROFILE: "have a colour profile that is damaged or does not fit, which is ignored",
    CMYK: "are CMYK without a colour profile; their colours in RGB are approximate",
    ONE_COLOUR: "have one colour everywhere: is there nothing on them?",
}


_OUTLIER_BITS = 4
_USUAL = 0.9
"""Files of so many bits above the depth of so many others are named: they make these dark."""


class NotedImage(NamedTuple):
    """An image of a data set: its path, its class, and what was found in decoding."""

    path: str
    class_name: str
    facts: FileFacts


def image_warnings(
    images: Sequence[NotedImage], *, found_depth: int | None = None
) -> tuple[str, ...]:
    """A sentence for each unusual thing in the images of a data set, with count and example.

    `found_depth` is that of the values in 16-bit files, where no setting names it.
    """
    notes = note_sentences(((each.path, each.facts.notes) for each in images), total=len(images))
    return (*_found_depth(images, found_depth), *_mixed_depths(images), *notes)


def note_sentences(noted: Iterable[tuple[str, Sequence[str]]], *, total: int) -> list[str]:
    """As `image_warnings`, for the paths and notes of some of `total` images; briefer of one."""
    paths = defaultdict(list)
    for path, notes in noted:
        for note in notes:
            paths[note].append(path)
    if total == 1:
        return [f"Images like this {text}." for note, text in _SENTENCES.items() if note in paths]
    return [
        f"{len(paths[note])} of {total} images {sentence} (the first is {paths[note][0]})."
        for note, sentence in _SENTENCES.items()
        if note in paths
    ]


def _found_depth(images: Sequence[NotedImage], depth: int | None) -> list[str]:
    deep = [image for image in images if image.facts.bit_depth == 16]
    if not deep or depth is None:
        return []
    count, values = len(deep), sorted(image.facts.max_value for image in deep)
    usual = smallest_depth(values[int(_USUAL * (count - 1))])
    if usual <= depth - _OUTLIER_BITS:
        above = [image for image in deep if image.facts.max_value >= 2**usual]
        return [
            f"{len(above)} of {count} 16-bit files have values above {2**usual - 1} (the first is "
            f"{above[0].path}), and so all are read as images of {depth} bits "
            f"(data.bit_depth=auto). If the others are of {usual} bits, mend or remove these files."
        ]
    if depth == 16:
        return []
    return [
        f"No value in {count} 16-bit files is above {2**depth - 1}: they are read as images of "
        f"{depth} bits (data.bit_depth=auto). Set data.bit_depth where they have another depth."
    ]


def _mixed_depths(images: Sequence[NotedImage]) -> list[str]:
    """Warn of files of 8 bits beside deeper ones: a network may learn to tell the formats."""
    deep = [image for image in images if image.facts.bit_depth > 8]
    if not deep or len(deep) == len(images):
        return []
    count = Counter(image.class_name for image in images)
    deep_of = Counter(image.class_name for image in deep)
    by_class = ", ".join(f"{name}: {deep_of[name]} of {count[name]}" for name in sorted(count))
    hint = ""
    if len(count) > 1 and all(deep_of[name] in (0, count[name]) for name in count):
        hint = (
            " The depth goes with the class: a model may learn the format of the files, not the "
            "defect."
        )
    return [
        f"{len(deep)} of {len(images)} images have more than 8 bits per channel and the others 8 "
        f"({by_class}); each is scaled by its own depth.{hint}"
    ]
