"""Splits that are given: by the data set itself, by a table, or by the split.csv of a run.

Images that belong together are where they are given; where that separates them, a warning says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from capsule_inspection.data.long_lists import list_first, list_lines, numbered
from capsule_inspection.data.manifest import read_split
from capsule_inspection.data.split_choice import describe_splits
from capsule_inspection.data.stratification import (
    assign_rows,
    divide,
    require_groups,
    restrict_groups,
    shuffle_groups,
)
from capsule_inspection.types import SPLITS, TEST, TRAIN, VAL, DataError, DataIndex

log = logging.getLogger(__name__)
_SHOWN = 3


def from_dataset(
    index: DataIndex, *, val_fraction: float, test_fraction: float, seed: int
) -> DataIndex:
    """The split that the data set brings; a part that is missing is taken from its training images.

    Warns of images without a split, of classes that a part lacks, and of equal images in train and
    elsewhere. Raises DataError where the data set brings no split.
    """
    own = {sample.split for sample in index.samples} & {TRAIN, VAL, TEST}
    if TRAIN not in own or len(own) == 1:
        raise DataError(
            f"{index.root}: split=dataset needs training images and others that the data set "
            "itself names so: by folders (train, val, test) or by a column split; found "
            f"{describe_splits(index) or 'no split'}. Use split=holdout."
        )
    fractions = {
        split: fraction
        for split, fraction in ((VAL, val_fraction), (TEST, test_fraction))
        if split not in own and fraction > 0
    }
    if fractions:
        groups = restrict_groups(
            shuffle_groups(index, seed=seed, purpose="dataset"),
            [row for row, sample in enumerate(index.samples) if sample.split == TRAIN],
            index,
        )
        taken = " and ".join(fractions)
        require_groups(
            index, groups, minimum=1 + len(fractions), reason=f"{taken} are taken from train"
        )
        parts = divide(index, groups, [1 - sum(fractions.values()), *fractions.values()])
        index = assign_rows(index, dict(zip((TRAIN, *fractions), parts, strict=True)))
        log.info("The data set brings no %s images: they are taken from train.", taken)
    return _with_warnings(
        index, [*_gaps(index), *_leaks(index, "set split=holdout to assign all images anew")]
    )


def from_manifest(
    index: DataIndex,
    path: Path,
    *,
    remedy: str = "Point split.path to the split of these images, or choose another split.",
) -> DataIndex:
    """The splits that a frozen `split.csv` (or a manifest with a column split) gives the images.

    Images are matched by content, and by path where their content is not in the file. Raises
    DataError that lists images without a row, with the `remedy`, and for an unknown split.
    """
    rows = read_split(path, root=index.root)
    if not any(row.split for row in rows):
        raise DataError(f"{path}: gives no image a split. Fill the column split.")
    by_path = {row.path: row.split for row in rows}
    by_content = {row.sha256: row.split for row in rows if row.sha256}
    by_both = {(row.sha256, row.path): row.split for row in rows}
    missing, changed, samples = [], 0, []
    for sample in index.samples:
        split = by_both.get((sample.sha256, sample.path), by_content.get(sample.sha256))
        if split is None:
            split = by_path.get(sample.path)
            changed += split is not None
        if split is None:
            missing.append(sample.path)
        samples.append(replace(sample, split=split or ""))
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(index)} images have no row, by content or by path:"
            f"{list_lines(missing)}{remedy}"
        )
    if by_content and changed:
        log.warning("%s: %d images have changed since; matched by path.", path, changed)
    content = {sample.sha256 for sample in index.samples}
    gone = [row.path for row in rows if row.sha256 and row.sha256 not in content]
    if len(rows) > len(index):
        log.warning("%s: has %d rows, the data set %d images.", path, len(rows), len(index))
    elif len(gone) > changed:
        log.warning(
            "%s: the content of %d of its %d images is not in the data set any more (%s); images "
            "that took their places are in the split that their own content has.",
            path,
            len(gone) - changed,
            len(rows),
            list_first(gone, _SHOWN),
        )
    index = replace(index, samples=tuple(samples))
    return _with_warnings(index, _leaks(index, "use another split"))


def _with_warnings(index: DataIndex, warnings: Iterable[str]) -> DataIndex:
    """The index with further warnings, which are logged."""
    found = tuple(warnings)
    for warning in found:
        log.warning("%s", warning)
    return replace(index, warnings=(*index.warnings, *found))


def _gaps(index: DataIndex) -> Iterator[str]:
    """Images in no split, and classes that a split of the data set lacks."""
    outside = [sample.path for sample in index.samples if not sample.split]
    if outside:
        yield (
            f"The data set gives {numbered(len(outside), 'image')} no split "
            f"({list_first(outside, _SHOWN)}), which are left out."
        )
    tested = {sample.label for sample in index.samples if sample.split == TEST}
    untested = sorted({sample.label for sample in index.samples if sample.split} - tested)
    if untested:
        names = list_first([index.classes[label] for label in untested], _SHOWN)
        yield f"The test split has no image of {names}."


def _leaks(index: DataIndex, remedy: str) -> Iterator[str]:
    """Equal images, or images of one part, in train and in another split."""
    of_group: dict[str, dict[str, str]] = {}
    for sample in index.samples:
        if sample.split in SPLITS:
            of_group.setdefault(sample.group, {}).setdefault(sample.split, sample.path)
    leaks = [paths for paths in of_group.values() if len(paths) > 1 and TRAIN in paths]
    if leaks:
        shown = " and ".join(f"{name} in {split}" for split, name in leaks[0].items())
        yield (
            f"{numbered(len(leaks), 'group')} of equal or nearly equal images, or images of one "
            f"part, lie in train and in another split ({shown}): metrics of that split are "
            f"optimistic. Move them together, or {remedy}."
        )
