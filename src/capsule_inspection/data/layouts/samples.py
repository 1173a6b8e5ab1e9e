"""Samples that were found by name and have not been read yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import DEFECT, DataError

MASK_SEPARATOR = "|"
"""Separates the files of a mask that is stored in several."""
DEFAULT_MASK_SUFFIXES = ("_mask", "_label", "_GT", "_gt", "_seg", "-mask", ".mask", "")
"""What follows the stem of the image in the name of its mask, in the order of precedence."""
NAME_GOOD_CLASS = " Where one of them holds the flawless parts, name it with data.good_class."
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class FoundSample:
    """One image file that has not been read yet.

    `path` and `mask` are POSIX paths relative to the root, absolute where they lie elsewhere.
    `class_name` is "" where the mask decides: without a defect in it the image is good, else its
    class is `types.DEFECT`. `mask` is where the mask is expected: a file, several of them joined by
    MASK_SEPARATOR, or a folder of them; None where the class has none. `split`, and `group`, which
    joins images that belong together, are "" where they are not given.
    """

    path: str
    class_name: str
    mask: str | None = None
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class FoundSamples:
    """All images of a data set, sorted by path; `classes[0]` is the good class.

    `root` is absolute. `layout` is its name for people, as in "MVTec AD 2". `other_files` are the
    files below the root that were read besides images and masks, such as tables and annotations.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[FoundSample, ...]
    layout: str = ""
    mask_rules: MaskRules = field(default_factory=MaskRules)
    other_files: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    inventory: Mapping[str, object] = field(default_factory=dict)
    """What `inventory.take_inventory` found, as it is recorded in run.json."""


@dataclass(frozen=True)
class LayoutSettings:
    """What the configuration says of a layout; see `conf/base/files.yaml`.

    `good_class` None: the one class with a usual name for flawless parts. `masks` is a folder that
    mirrors the class folders. `split_csv` is the name of VisA's split. `class_map` has the wanted
    name of a class, None to drop it. The fields from `annotations` on are of annotation formats:
    a file or folder, searched below the root if None; masks are drawn into `cache_folder`.
    """

    good_class: str | None = None
    masks: Path | None = None
    mask_suffixes: Sequence[str] = DEFAULT_MASK_SUFFIXES
    category: str | None = None
    known_classes: Sequence[str] = ()
    """Those of a trained model, the good one first: images of defects alone have no good class."""
    split_csv: str = "1cls"
    class_map: Mapping[str, str | None] = field(default_factory=dict)
    mask_rules: MaskRules = field(default_factory=MaskRules)
    annotations: Path | None = None
    boxes_as_masks: bool = False
    unannotated: str = "auto"
    cache_folder: Path | None = None
    exif_orientation: bool = True
    max_pixels: int = 100_000_000
    workers: int = 2


def sort_samples(root: Path, samples: Iterable[FoundSample], *, good_class: str) -> FoundSamples:
    """Sort the samples by path, and the classes by name after the good one.

    Classes that all are whole numbers are sorted by number. Where masks decide the class, there is
    one more, types.DEFECT.
    """
    ordered = sorted(samples, key=lambda sample: sample.path)
    names = {sample.class_name or DEFECT for sample in ordered} - {good_class}
    are_numbers = all(name.isdecimal() for name in names)
    others = sorted(names, key=int) if are_numbers else sorted(names)
    return FoundSamples(root, (good_class, *others), tuple(ordered))


def with_classes(
    found: FoundSamples, classes: Sequence[str], *, further: bool = False
) -> FoundSamples:
    """The same images with the classes, and their order, of a model.

    The good classes are the same, whatever their names. With `further` other classes come after
    those of the model: a one-class model accepts any. Raises DataError where the images have a
    class that is not among them, or the good class of one is a defect of the other.
    """
    found = _rename_good(found, classes)
    used = {sample.class_name or DEFECT for sample in found.samples}
    unknown = sorted(used - set(classes))
    if further:
        return replace(found, classes=(*classes, *unknown))
    if unknown:
        raise DataError(
            f"{found.root}: the classes {join_names(unknown)} are not among those of the model: "
            f"{join_names(classes)}. Give them the model's names with data.class_map, or leave "
            f"them out.{'' if classes[0] in used else NAME_GOOD_CLASS}"
        )
    return replace(found, classes=tuple(classes))


def _rename_good(found: FoundSamples, classes: Sequence[str]) -> FoundSamples:
    """The same images, whose good class has the name of the model's."""
    own, good = found.classes[0], classes[0]
    used = {sample.class_name for sample in found.samples}
    if own == good or own not in used:
        return replace(found, classes=(good, *found.classes[1:]))
    if good in used or own in classes:
        raise DataError(
            f"{found.root}: the good class is {own} here and {good} in the model, and "
            f"{good if good in used else own} is a defect of the other. Set data.good_class to "
            "the class that holds the flawless parts, or rename classes with data.class_map."
        )
    renamed = {own: good}
    rules = found.mask_rules
    named = {value: renamed.get(name or "", name) for value, name in rules.classes.items()}
    return replace(
        found,
        classes=(good, *found.classes[1:]),
        samples=tuple(
            replace(sample, class_name=renamed.get(sample.class_name, sample.class_name))
            for sample in found.samples
        ),
        mask_rules=replace(rules, classes=named),
    )


def relative_posix(path: Path, root: Path) -> str:
    """POSIX path relative to `root`; the absolute path where it lies elsewhere."""
    path = path.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def join_names(names: Iterable[str]) -> str:
    """Names for a message, of many the first ones; "(none)" for none."""
    return list_first(list(names), _SHOWN) or "(none)"
