"""Finds which level of folders names the class of an image, which the split, and which neither.

Folders that hold all others, and those named `images`, have no meaning. What remains is
`<split>/<group of folders>/<class>/<anything>`, or `<class>/<split>`; the class is at the level
that has the name of the good class. Where that is ambiguous, the data set is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from capsule_inspection.data.layouts.names import fold, is_good_name, readable, split_of
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.types import SPLITS, TRAIN, DataError

Parts = tuple[str, ...]
_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "pictures", "photos"})
# Images in no class folder are passed over where they are few, as an overview of the data set.
_FEW, _FEW_FRACTION = 2, 0.02


@dataclass(frozen=True)
class Place:
    """What a folder says of its images.

    `class_name` is "" where masks decide the class, None above the class folders. `group` is that
    of images of one part, "" where folders do not say it.
    """

    class_name: str | None
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Structure:
    """The place of each folder, by its path; `base` is the folder that holds the splits or classes.

    `description` says what was found, as in "class folders below train, test".
    """

    base: str
    places: dict[str, Place]
    description: str


def find_structure(
    root: Path,
    counts: Mapping[str, int],
    settings: LayoutSettings,
    *,
    have_masks: Callable[[], bool],
) -> Structure:
    """The meaning of the folders that hold `counts` images each, by their paths below the root.

    `have_masks` says whether all images have masks, which then may decide the class. Raises
    DataError where images are in no class folder, or the level of the classes is not clear.
    """
    is_good = _good_test(settings)
    logical = {folder: logical_parts(folder) for folder in counts}
    base = _common_base(list(logical.values()), is_good)
    below = {folder: parts[len(base) :] for folder, parts in logical.items()}
    where = root.joinpath(*base)
    splits = _splits_at_top(where, {parts[0] for parts in below.values() if parts})
    split = {folder: splits.get(parts[0], "") if parts else "" for folder, parts in below.items()}
    inner = {folder: parts[bool(splits) :] for folder, parts in below.items()}
    level = _class_level(where, set(inner.values()), is_good)
    are_parts = _are_parts(inner.values())
    if level is None and (are_parts or not any(inner.values())) and have_masks():
        places = {
            folder: Place("", split[folder], folder if parts else "")
            for folder, parts in inner.items()
        }
        kind = "images whose masks decide the class"
        if are_parts:
            kind += f", {len(places)} folders of one part each"
        return Structure("/".join(base), places, _described(kind, base, splits))
    level = level or 0
    _refuse_images_without_class(where, inner, counts, level=level, split=split)
    below_classes = {} if splits else _splits_below_classes(where, inner, level)
    split |= below_classes
    places = {
        folder: Place(readable(parts[level]) if len(parts) > level else None, split[folder])
        for folder, parts in inner.items()
    }
    kind = _class_description(inner, level)
    if below_classes:
        kind = f"class folders with {join_names(sorted(set(below_classes.values())))} in them"
    return Structure("/".join(base), places, _described(kind, base, splits))


def logical_parts(folder: str) -> Parts:
    """The names of a path, without those of folders for images, such as `images`."""
    return tuple(part for part in folder.split("/") if part and fold(part) not in _IMAGE_FOLDERS)


def _good_test(settings: LayoutSettings) -> Callable[[str], bool]:
    """Whether the name of a folder is that of the good class, after `data.class_map`."""
    wanted = None if settings.good_class is None else fold(settings.good_class)
    renamed = {readable(old): new for old, new in settings.class_map.items()}

    def is_good(folder: str) -> bool:
        name = renamed.get(readable(folder), readable(folder))
        if name is None:
            return False
        return is_good_name(name) if wanted is None else fold(name) == wanted

    return is_good


def _common_base(folders: Sequence[Parts], is_good: Callable[[str], bool]) -> Parts:
    """The folders that hold all others, as in `casting_data/casting_data/train`.

    None where no folder below them has a usual name: they may be a single class with subfolders.
    """
    base: Parts = ()
    for name in min(folders, key=len):
        if split_of(name) or is_good(name) or any(parts[len(base)] != name for parts in folders):
            break
        base = (*base, name)
    below = [name for parts in folders for name in parts[len(base) :]]
    known = any(split_of(name) or is_good(name) for name in below)
    return base if known or _are_parts(parts[len(base) :] for parts in folders) else ()


def _splits_at_top(where: Path, names: Set[str]) -> dict[str, str]:
    """The split of each folder at the top, where these are split folders."""
    splits = {name: split_of(name) for name in sorted(names) if split_of(name)}
    others = sorted(names - splits.keys())
    if splits and others:
        alone = list(splits) if len(splits) == 1 else others
        raise DataError(
            f"{where}: {join_names(splits)} {'are' if len(splits) > 1 else 'is'} named like a "
            f"split, and {join_names(others)} beside it {'are' if len(others) > 1 else 'is'} not. "
            "Move the classes into folders of the splits, "
            "rename what is no split, or leave folders out with "
            f"data.exclude=[{','.join(alone)}]."
        )
    return splits


def _class_level(where: Path, folders: Set[Parts], is_good: Callable[[str], bool]) -> int | None:
    """The depth of the class folders: where the good one is; None where none has its name."""
    found: dict[int, Parts] = {}
    for parts in sorted(folders):
        depth = next((depth for depth, name in enumerate(parts) if is_good(name)), None)
        if depth is not None:
            found.setdefault(depth, parts[: depth + 1])
    if not found:
        _refuse_repeated_names(where, folders)
        return None
    level = min(found)
    if len(found) > 1:
        raise DataError(
            f"{where}: folders with the name of the good class are at several depths, as "
            f"{join_names('/'.join(parts) for parts in found.values())}, so it is not clear which "
            "folders are the classes. Set data.root to one of the folders above them, or leave "
            "folders out with data.exclude."
        )
    above: dict[Parts, set[str]] = {}
    for parts in folders:
        if len(parts) > level:
            above.setdefault(parts[:level], set()).add(parts[level])
    if any(split_of(name) for parts in above for name in parts):
        raise DataError(
            f"{where}: {join_names(sorted({parts[0] for parts in above}))} look like data sets of "
            "their own, with split folders in each. Set data.root to one of them."
        )
    times = Counter(name for names in above.values() for name in names)
    odd = sorted(parts for parts, names in above.items() if all(times[n] == 1 for n in names))
    if level and len(above) > 1 and odd:
        shown = join_names(
            f"{'/'.join(parts)} ({', '.join(sorted(above[parts]))})" for parts in odd
        )
        raise DataError(
            f"{where}: the folders in {shown} are in no folder beside, so it is not clear which "
            "folders are the classes. Set data.root to the folder of the classes, or list the "
            "images in a table for data=manifest."
        )
    return level


def _refuse_repeated_names(where: Path, folders: Set[Parts]) -> None:
    """Raise DataError where the classes may be the folders at the top or those below them."""
    below: dict[str, set[str]] = {}
    for parts in folders:
        below.setdefault(parts[0] if parts else "", set()).update(parts[1:2])
    times = Counter(name for names in below.values() for name in names)
    if len(below) > 1 and times and all(any(times[n] > 1 for n in ns) for ns in below.values()):
        raise DataError(
            f"{where}: it is not clear whether the classes are {join_names(sorted(below))} or the "
            f"folders in them, {join_names(sorted(times))}; none has a usual name of the good "
            "class (good, ok, normal, ...). Set data.good_class to it."
        )


def _are_parts(folders: Iterable[Parts]) -> bool:
    """Whether folders are numbered like parts, as in `kos01` and `kos02`."""
    names = {parts[0] if parts else "" for parts in folders}
    stems = {re.sub(r"\d+$", "", name) for name in names}
    return len(names) > 1 and len(stems) == 1 and not stems & (names | {""})


def _refuse_images_without_class(
    where: Path,
    folders: Mapping[str, Parts],
    counts: Mapping[str, int],
    *,
    level: int,
    split: Mapping[str, str],
) -> None:
    """Raise DataError where images lie above the class folders, unless they are few."""
    outside = {folder: counts[folder] for folder, parts in folders.items() if len(parts) <= level}
    number = sum(outside.values())
    with_class = {split[folder] for folder in folders.keys() - outside.keys()}
    few = number <= max(_FEW, _FEW_FRACTION * sum(counts.values()))
    if few and all(split[folder] in with_class for folder in outside):
        return
    shown = join_names(
        f"{folder or 'the root itself'} ({count})" for folder, count in sorted(outside.items())
    )
    names = sorted({split[folder] for folder in outside} - with_class - {""})
    leave_out = f", or leave out what has no labels with data.exclude=[{','.join(sorted(outside))}]"
    raise DataError(
        f"{where}: expected a folder for each class; {number} images are in none: {shown}. Sort "
        f"them into folders of the classes{leave_out if names else ''}; images with labels in a "
        "table are read with data=manifest."
    )


def _splits_below_classes(where: Path, folders: Mapping[str, Parts], level: int) -> dict[str, str]:
    """The split of each folder where all class folders are divided into splits."""
    found = {folder: split_of(part) for folder, (*_, part) in _next_parts(folders, level).items()}
    splits = set(found.values()) - {""}
    whole = len(found) == len(folders) and all(found.values())
    if whole and len(splits) > 1:
        return found
    if TRAIN in splits and len(splits) > 1:
        odd = sorted(folder for folder in folders if not found.get(folder))
        raise DataError(
            f"{where}: some classes have folders of splits (train, test, ...), but not the images "
            f"of {join_names(odd)}. Sort all classes into splits, or leave folders out with "
            "data.exclude."
        )
    return {}


def _next_parts(folders: Mapping[str, Parts], level: int) -> dict[str, Parts]:
    """Folders below the class folders, with their names down to the first one in them."""
    return {f: parts[: level + 2] for f, parts in folders.items() if len(parts) > level + 1}


def _class_description(folders: Mapping[str, Parts], level: int) -> str:
    above = sorted({"/".join(parts[:level]) for parts in folders.values() if len(parts) > level})
    if level:
        return f"class folders below {join_names(above)}"
    inside: dict[str, set[str]] = {}
    for parts in folders.values():
        inside.setdefault(parts[0] if parts else "", set()).update(parts[1:2])
    nested = [f"{name} with {join_names(sorted(of))}" for name, of in inside.items() if of]
    return "class folders" + (f" ({'; '.join(sorted(nested))} in it)" if nested else "")


def _described(kind: str, base: Parts, splits: Mapping[str, str]) -> str:
    in_order = sorted(splits, key=lambda name: SPLITS.index(splits[name]))
    below = f" in {join_names(in_order)}" if splits else ""
    return f"{kind}{below}" + (f" (all in {'/'.join(base)})" if base else "")
