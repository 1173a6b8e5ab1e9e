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
from typing import NoReturn

from capsule_inspection.data.layouts.inventory import FEW, FEW_FRACTION
from capsule_inspection.data.layouts.names import (
    fold,
    is_good_name,
    is_no_class,
    readable,
    split_of,
)
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.long_lists import list_first, numbered
from capsule_inspection.types import SPLITS, TRAIN, DataError

Parts = tuple[str, ...]
_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "pictures", "photos"})


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

    `have_masks` says whether masks may decide the class, as all images have one. Raises DataError
    where images are in no class folder, or the level of the classes is not clear.
    """
    named = _namer(settings.class_map)
    is_good = _good_test(settings, named)
    logical = {folder: logical_parts(folder) for folder in counts}
    base = _common_base(list(logical.values()), is_good)
    below = {folder: parts[len(base) :] for folder, parts in logical.items()}
    where = root.joinpath(*base)
    _refuse_no_classes(where, below, counts, settings.class_map)
    splits = _splits_at_top(where, {parts[0] for parts in below.values() if parts})
    split = {folder: splits.get(parts[0], "") if parts else "" for folder, parts in below.items()}
    inner = {folder: parts[bool(splits) :] for folder, parts in below.items()}
    level = _class_level(where, set(inner.values()), is_good, named)
    are_parts = _are_parts(inner.values())
    if level is None and (are_parts or len(set(inner.values())) == 1) and have_masks():
        kind = "images whose masks decide the class"
        kind += f", {len(inner)} folders of one part each" if are_parts else ""
        places = {folder: Place("", split[folder], folder if are_parts else "") for folder in inner}
    else:
        _refuse_images_without_class(where, inner, counts, level=level or 0, split=split)
        if level is None:
            _refuse_without_good(where, set(inner.values()), settings.good_class)
        below_classes = {} if splits else _splits_below_classes(where, inner, level)
        split |= below_classes
        places = {
            folder: Place(readable(parts[level]) if len(parts) > level else None, split[folder])
            for folder, parts in inner.items()
        }
        kind = _class_description(set(inner.values()), level)
        if below_classes:
            kind = f"class folders with {join_names(sorted(set(below_classes.values())))} in them"
    in_order = sorted(splits, key=lambda name: SPLITS.index(splits[name]))
    kind += f" in {join_names(in_order)}" if splits else ""
    kind += f" (all in {'/'.join(base)})" if base else ""
    return Structure("/".join(base), places, kind)


def logical_parts(folder: str) -> Parts:
    """The names of a path, without those of folders for images, such as `images`."""
    return tuple(part for part in folder.split("/") if part and fold(part) not in _IMAGE_FOLDERS)


def _namer(class_map: Mapping[str, str | None]) -> Callable[[str], str]:
    """Gives the class that a folder stands for, "" for one that `data.class_map` drops."""
    wanted = {readable(old): new or "" for old, new in class_map.items()}
    return lambda folder: wanted.get(readable(folder), readable(folder))


def _good_test(settings: LayoutSettings, named: Callable[[str], str]) -> Callable[[str], bool]:
    """Whether a folder is that of the good class, or of a class that is known anyway."""
    if settings.good_class is None:
        known = set(map(fold, settings.known_classes))
        return lambda folder: is_good_name(named(folder)) or fold(named(folder)) in known
    wanted = fold(settings.good_class)
    return lambda folder: fold(named(folder)) == wanted


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


def _refuse_no_classes(
    where: Path,
    folders: Mapping[str, Parts],
    counts: Mapping[str, int],
    class_map: Mapping[str, str | None],
) -> None:
    """Raise DataError for folders whose names say that they are no classes, beside others."""
    said, found = set(map(fold, class_map)), Counter[str]()
    for folder, parts in folders.items():
        names = (name for name in parts if is_no_class(name) and fold(name) not in said)
        if name := next(names, ""):
            above = f"/{folder}/".partition(f"/{name}/")[0]
            found[f"{above}/{name}".lstrip("/")] += counts[folder]
    if found and len(folders) > 1:
        name = readable(next(iter(found)).rpartition("/")[2])
        shown = join_names(f"{each} ({numbered(n, 'image')})" for each, n in sorted(found.items()))
        raise DataError(
            f"{where}: by their names these folders have no labels or no data for training: "
            f"{shown}. Leave them out with data.exclude=[{','.join(sorted(found))}]; what is a "
            f'class all the same is named in "data.class_map={{{name}:{name}}}".'
        )


def _splits_at_top(where: Path, names: Set[str]) -> dict[str, str]:
    """The split of each folder at the top, where these are split folders."""
    splits = {name: split_of(name) for name in sorted(names) if split_of(name)}
    others = sorted(names - splits.keys())
    if splits and others:
        alone = list(splits) if len(splits) == 1 else others
        raise DataError(
            f"{where}: named like splits: {join_names(splits)}; beside them, not named so: "
            f"{join_names(others)}. Move the classes into folders of the splits, rename what is "
            f"no split, or leave folders out with data.exclude=[{','.join(alone)}]."
        )
    return splits


def _class_level(
    where: Path,
    folders: Set[Parts],
    is_good: Callable[[str], bool],
    named: Callable[[str], str],
) -> int | None:
    """The depth of the class folders: where the good one is; None where none has its name."""
    found = []  # down to the first folder with a name of the good class
    for parts in sorted(folders):
        depths = [depth for depth, name in enumerate(parts) if is_good(name)]
        found += [parts[: depth + 1] for depth in depths[:1]]
    if not found:
        return None
    shortest, longest = min(found, key=len), max(found, key=len)
    if len(shortest) < len(longest):
        raise DataError(
            f"{where}: folders with the name of the good class are at several depths, as "
            f"{'/'.join(shortest)} and {'/'.join(longest)}, so it is not clear which folders are "
            "the classes. Set data.root to one of the folders above them, rename the others, or "
            "leave folders out with data.exclude."
        )
    level = len(shortest) - 1
    _check_above(where, [parts for parts in folders if len(parts) > level], level, named)
    return level


def _check_above(
    where: Path, folders: Sequence[Parts], level: int, named: Callable[[str], str]
) -> None:
    """Raise DataError where the folders above the classes do not have the same classes in them."""
    above: dict[Parts, set[str]] = {}
    for parts in folders:
        above.setdefault(parts[:level], set()).add(named(parts[level]))
    if any(split_of(name) for parts in above for name in parts):
        raise DataError(
            f"{where}: {join_names(sorted({parts[0] for parts in above}))} look like data sets of "
            "their own, with split folders in each. Set data.root to one of them."
        )
    times = Counter(fold(name) for names in above.values() for name in names)
    odd = [parts for parts, names in above.items() if all(times[fold(each)] == 1 for each in names)]
    if len(above) > 1 and odd:
        shown = (f"{'/'.join(parts)} ({', '.join(sorted(above[parts]))})" for parts in sorted(odd))
        raise DataError(
            f"{where}: the folders in {join_names(shown)} are in no folder beside, so it is not "
            "clear which folders are the classes. Set data.root to the folder of the classes, give "
            "classes the same names with data.class_map, or use a table with data=manifest."
        )


def _refuse_without_good(where: Path, folders: Set[Parts], good_class: str | None) -> NoReturn:
    """Raise DataError where no folder is known as that of the good class."""
    tops = sorted({parts[0] for parts in folders})
    below = sorted({parts[1] for parts in folders if len(parts) > 1})
    in_them = f", nor of the folders in them ({join_names(below)})," if below else ""
    if any(map(split_of, below)):
        remedy = "They look like data sets of their own: set data.root to one of them."
    elif all(fold(name).startswith(("train", "val", "test")) for name in tops):
        remedy = (
            "They look like splits: name them train, val and test, with folders of the classes, or "
            "with images and masks, in each."
        )
    else:
        remedy = "Set data.good_class to the one that holds the flawless parts."
    start, name = "which folder is the class of flawless parts is not clear", "a usual name"
    if good_class is None:
        name += " (good, ok, normal, ...)"
    else:
        start, name = f"there is no folder of data.good_class={good_class}", "this name"
    raise DataError(f"{where}: {start}: none of {join_names(tops)}{in_them} has {name}. {remedy}")


def _are_parts(folders: Iterable[Parts]) -> bool:
    """Whether folders are numbered like parts, as in `kos01` and `kos02`."""
    names = {"/".join(parts) for parts in folders}
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
    few = number <= max(FEW, FEW_FRACTION * sum(counts.values()))
    if few and with_class and all(split[folder] in {"", *with_class} for folder in outside):
        return
    shown = join_names(f"{name or 'the root itself'} ({n})" for name, n in sorted(outside.items()))
    alone = [n for n in sorted(outside) if n and not any(f.startswith(f"{n}/") for f in folders)]
    remedy = f"leave out what has no labels with data.exclude=[{','.join(alone)}], "
    raise DataError(
        f"{where}: expected a folder for each class; {number} images are in none: {shown}. Sort "
        f"them into folders of the classes, {remedy if alone else ''}or list the images with "
        "their labels in a table for data=manifest."
    )


def _splits_below_classes(where: Path, folders: Mapping[str, Parts], level: int) -> dict[str, str]:
    """The split of each folder where all class folders are divided into splits."""
    deeper = {folder: parts[level + 1 :] for folder, parts in folders.items()}
    found = {folder: split_of(names[0]) for folder, names in deeper.items() if names}
    odd = sorted(folder for folder in folders if not found.get(folder))
    if TRAIN not in found.values() or len(set(found.values()) - {""}) == 1:
        return {}
    if odd:
        raise DataError(
            f"{where}: some classes have folders of splits (train, test, ...), but not the images "
            f"of {join_names(odd)}. Sort all classes into splits, or leave folders out with "
            "data.exclude."
        )
    return found


def _class_description(folders: Set[Parts], level: int) -> str:
    if level:
        above = {"/".join(parts[:level]) for parts in folders if len(parts) > level}
        return f"class folders below {join_names(sorted(above))}"
    inside = sorted({parts[1] for parts in folders if len(parts) > 1})
    return "class folders" + (f" with the subfolders {list_first(inside, 4)}" if inside else "")
