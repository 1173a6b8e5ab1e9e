"""Splits of a data index into train, val and test, each as a new index with `split` filled in.

Groups stay whole, classes keep their proportions to one image where groups permit. The order
within a class comes from SHA-256 of seed and content, so a split depends on the images alone: not
on their names, not on the order in which they were found, not on NumPy's version.
Which images look alike is found in duplicates.py; split.csv is read by manifest.py.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capsule_inspection.types import (
    GOOD_LABEL,
    LEFT_OUT,
    SPLIT_COLUMNS,
    STAGES,
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
    ImageRecord,
)

log = logging.getLogger(__name__)

ORIGIN_TRAIN_SHARE = 0.8
_SHOWN = 20


@dataclass(frozen=True)
class _Group:
    """Images that stay together: their rows, and how many of each label they are."""

    rows: tuple[int, ...]
    labels: Counter[int]


def holdout(index: DataIndex, *, fractions: Mapping[str, float], seed: int) -> DataIndex:
    """Stratified parts of the given sizes, as {"train": 0.6, "val": 0.2, "test": 0.2}.

    A stage of size 0 is left out. Raises ConfigurationError unless the sizes add up to 1, and
    DataError where a class has fewer groups than there are stages.
    """
    _check_fractions(fractions)
    stages = [stage for stage in STAGES if fractions.get(stage, 0) > 0]
    groups = _shuffled(index, seed=seed, purpose="holdout")
    _require(index, groups, needed=len(stages), reason=f"one for each of {', '.join(stages)}")
    parts = _divide(index, groups, [fractions[stage] for stage in stages])
    return _with_stages(index, dict(zip(stages, parts, strict=True)))


def kfold(index: DataIndex, *, folds: int, fold: int, val_fraction: float, seed: int) -> DataIndex:
    """Cross-validation: part `fold` of `folds` is the test part, `val_fraction` of the rest val.

    The test parts of all folds are the same for each `fold`, and together all images. Raises
    ConfigurationError for a fold that does not exist, DataError where a class has too few groups.
    """
    _check_folds(folds=folds, fold=fold, val_fraction=val_fraction)
    groups = _shuffled(index, seed=seed, purpose="kfold")
    # With two folds of a class of three, the larger would leave one image for train and val.
    needed = 4 if folds == 2 and val_fraction > 0 else folds
    _require(index, groups, needed=needed, reason=f"for split.folds={folds}")
    parts = _divide(index, groups, [1 / folds] * folds)
    test = set(parts[fold])
    rest = [group for group in groups if test.isdisjoint(group.rows)]
    stages = {TEST: parts[fold]}
    if val_fraction > 0:
        train, val = _divide(index, rest, [1 - val_fraction, val_fraction])
        return _with_stages(index, {TRAIN: train, VAL: val, **stages})
    return _with_stages(index, {TRAIN: [row for group in rest for row in group.rows], **stages})


def origin(index: DataIndex, *, seed: int) -> DataIndex:
    """The origin's split: random, not stratified, 80% train and 20% val, no test images.

    The origin reported its best epoch on the very images that chose it. The 20% are called val
    here; the caller uses val for test too, and calls every figure optimistic. Of N images
    int(0.8 N) are for training, as torch's random_split gave them, unless groups forbid it.
    """
    if len(index) < 2:
        raise DataError(f"{index.root}: {len(index)} images; split=origin needs at least 2.")
    wanted = len(index) - int(ORIGIN_TRAIN_SHARE * len(index))
    val: list[int] = []
    for group in _shuffled(index, seed=seed, purpose="origin"):
        if len(val) + len(group.rows) <= wanted:
            val += group.rows
    if not val:
        raise DataError(
            f"{index.root}: every group of images that stay together is larger than the {wanted} "
            "images of split=origin's val part. Check the groups, or data.near_duplicates=off."
        )
    chosen = set(val)
    train = [row for row in range(len(index)) if row not in chosen]
    return _with_stages(index, {TRAIN: train, VAL: val})


def one_class(
    index: DataIndex, *, folds: int, fold: int, val_fraction: float, seed: int
) -> DataIndex:
    """Cross-validation over the good images: the test part is one of `folds`, and every defect.

    `val_fraction` of the other good images are val, the rest is for training. Good images that stay
    together with a defect are test images too. Raises ConfigurationError for a fold that does not
    exist, DataError where there are too few good images.
    """
    _check_folds(folds=folds, fold=fold, val_fraction=val_fraction)
    if val_fraction == 0:
        raise ConfigurationError(
            "split.val=0: split=one_class needs good images to choose the epoch on. Set it above 0."
        )
    groups = _shuffled(index, seed=seed, purpose="one_class")
    good = [group for group in groups if set(group.labels) == {GOOD_LABEL}]
    if len(good) < max(folds, 4):
        raise DataError(
            f"{index.root}: split=one_class with split.folds={folds} needs at least "
            f"{max(folds, 4)} good images (groups of them that stay together), found {len(good)}. "
            "Add good images, or use fewer folds."
        )
    parts = _divide(index, good, [1 / folds] * folds)
    test = set(parts[fold])
    rest = [group for group in good if test.isdisjoint(group.rows)]
    train, val = _divide(index, rest, [1 - val_fraction, val_fraction])
    chosen = {row for group in good for row in group.rows}
    defects = [row for row in range(len(index)) if row not in chosen]
    return _with_stages(index, {TRAIN: train, VAL: val, TEST: [*parts[fold], *defects]})


def set_aside(index: DataIndex, *, stage: str, share: float, seed: int) -> DataIndex:
    """The index with a share of the good training images moved to a stage of their own.

    An index that has images in this stage already comes back as it is. Raises DataError where there
    are too few good training images to share.
    """
    if any(record.split == stage for record in index.records):
        log.info("The split has %s images of its own; none are set aside.", stage)
        return index
    groups = [
        group
        for group in _shuffled(index, seed=seed, purpose=stage)
        if set(group.labels) == {GOOD_LABEL}
        and all(index.records[row].split == TRAIN for row in group.rows)
    ]
    if len(groups) < 2:
        raise DataError(
            f"{index.root}: {len(groups)} good training images; at least 2 are needed, one to "
            f"train on and one for {stage}. Add good images, or make val and test smaller."
        )
    _, moved = _divide(index, groups, [1 - share, share])
    chosen = set(moved)
    records = tuple(
        replace(record, split=stage) if row in chosen else record
        for row, record in enumerate(index.records)
    )
    return replace(index, records=records)


def keep_defects(index: DataIndex, share: float, *, seed: int) -> DataIndex:
    """The index with only a share of each defect's training images, at least one; none for 0.

    Those of a smaller share are among those of a larger one. Validation and test stay as they are.
    Those left out are known as such, so that an epoch has as many steps as it has with all.
    """
    if share == 1:
        return index
    left_out: set[int] = set()
    for label in range(1, len(index.classes)):
        members = [
            row
            for row, record in enumerate(index.records)
            if record.split == TRAIN and record.label == label
        ]
        members.sort(key=lambda row: _drawn(index.records[row].sha256, seed=seed, purpose="keep"))
        left_out |= set(members[math.ceil(share * len(members)) :])
    records = tuple(
        replace(record, split=LEFT_OUT) if row in left_out else record
        for row, record in enumerate(index.records)
    )
    return replace(index, records=records)


def _check_folds(*, folds: int, fold: int, val_fraction: float) -> None:
    if folds < 2 or not 0 <= fold < folds or not 0 <= val_fraction < 1:
        raise ConfigurationError(
            f"split.folds={folds} split.fold={fold} split.val={val_fraction}: expected two folds "
            "or more, a fold from 0 to folds - 1, and val from 0 to below 1."
        )


def all_test(index: DataIndex) -> DataIndex:
    """Every image is a test image: for evaluating on other data."""
    return _with_stages(index, {TEST: range(len(index))})


def from_manifest(index: DataIndex, path: Path) -> DataIndex:
    """The stages that a frozen `split.csv` (or a manifest with a column split) gives the images.

    Images are matched by content, and by path where their content is not in the file. Raises
    DataError that lists images without a row, and for an unknown stage.
    """
    rows = _manifest_rows(index, path)
    by_both = {(sha256, name): stage for sha256, name, stage in rows}
    by_content = {sha256: stage for sha256, _, stage in rows if sha256}
    by_path = {name: stage for _, name, stage in rows}
    missing, changed, records = [], 0, []
    for record in index.records:
        stage = by_both.get((record.sha256, record.path), by_content.get(record.sha256))
        if stage is None:
            stage = by_path.get(record.path)
            changed += stage is not None
        if stage is None:
            missing.append(record.path)
        records.append(replace(record, split=stage or ""))
    if missing:
        raise DataError(_name_missing(path, missing, len(index)))
    if by_content and changed:
        log.warning("%s: %d images have changed since; matched by path.", path, changed)
    if len(rows) > len(index):
        log.warning("%s: has %d rows, the data set %d images.", path, len(rows), len(index))
    _warn_of_torn_groups(records, path)
    return replace(index, records=tuple(records))


def _warn_of_torn_groups(records: Sequence[ImageRecord], path: Path) -> None:
    """Tell of photographs that are one and the same, or of one part, in train and elsewhere."""
    of_group: dict[str, dict[str, str]] = {}
    for record in records:
        if record.split in STAGES:
            of_group.setdefault(record.group, {}).setdefault(record.split, record.path)
    torn = [parts for parts in of_group.values() if len(parts) > 1 and TRAIN in parts]
    if torn:
        named = "; ".join(f"{stage} {name}" for stage, name in torn[0].items())
        log.warning(
            "%s: %d photographs, or groups of equal or nearly equal ones, are in train and in "
            "another part (%s): figures of that part are optimistic.",
            path,
            len(torn),
            named,
        )


def _manifest_rows(index: DataIndex, path: Path) -> list[tuple[str, str, str]]:
    """SHA-256 ("" where unknown), path and stage of each row."""
    from capsule_inspection.data.manifest import list_manifest, read_split_csv

    if _is_split_csv(path):
        return [(row.sha256, row.path, row.split) for row in read_split_csv(path)]
    listing = list_manifest(path, root=index.root, good_class=index.classes[GOOD_LABEL])
    rows = [("", entry.path, entry.split) for entry in listing.entries]
    if not any(stage for _, _, stage in rows):
        raise DataError(f"{path}: gives no image a stage. Fill the column split.")
    return rows


def _is_split_csv(path: Path) -> bool:
    """Whether the columns are those of `split.csv`; a file that cannot be read counts as one."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            return set(SPLIT_COLUMNS) <= {name.strip() for name in stream.readline().split(",")}
    except OSError:
        return True


def _name_missing(path: Path, missing: Sequence[str], total: int) -> str:
    more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return (
        f"{path}: {len(missing)} of {total} images have no row, by content or by path:\n  "
        + "\n  ".join(missing[:_SHOWN])
        + more
        + "\nPoint split.path to the split of these images, or choose another split."
    )


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = sorted(set(fractions) - set(STAGES))
    values = list(fractions.values())
    if unknown or any(value < 0 for value in values) or not math.isclose(sum(values), 1):
        found = ", ".join(f"{stage} {value:g}" for stage, value in fractions.items())
        raise ConfigurationError(
            f"split.val and split.test: the parts are {found}; expected parts named "
            f"{', '.join(STAGES)} that are not negative and add up to 1."
        )
    if fractions.get(TRAIN, 0) == 0:
        raise ConfigurationError("split.val and split.test leave nothing to train on.")


def _shuffled(index: DataIndex, *, seed: int, purpose: str) -> list[_Group]:
    """The groups in an order that depends on the seed and the images' content alone."""
    members: dict[str, list[int]] = {}
    for row, record in enumerate(index.records):
        members.setdefault(record.group, []).append(row)

    def rank(rows: list[int]) -> tuple[str, str]:
        sha256 = min(index.records[row].sha256 for row in rows)
        drawn = _drawn(sha256, seed=seed, purpose=purpose)
        return drawn, min(index.records[row].path for row in rows)

    return [
        _Group(tuple(rows), Counter(index.records[row].label for row in rows))
        for rows in sorted(members.values(), key=rank)
    ]


def _drawn(sha256: str, *, seed: int, purpose: str) -> str:
    return hashlib.sha256(f"{purpose}/{seed}/{sha256}".encode()).hexdigest()


def _require(index: DataIndex, groups: Sequence[_Group], *, needed: int, reason: str) -> None:
    """Raise DataError that names all classes with fewer groups than needed."""
    images = Counter(record.label for record in index.records)
    units = Counter(label for group in groups for label in group.labels)
    short = [
        f"class {index.classes[label]} has {_count(images[label], units[label])}, "
        f"at least {needed} are needed"
        for label in sorted(images)
        if units[label] < needed
    ]
    if short:
        raise DataError(
            f"{index.root}: too few images for this split ({reason}): {'; '.join(short)}. "
            "Add images, leave the class out, or choose another split."
        )


def _count(images: int, units: int) -> str:
    found = f"{images} image{'s' * (images != 1)}"
    return found if images == units else f"{found} in {units} groups that stay together"


def _divide(
    index: DataIndex, groups: Sequence[_Group], fractions: Sequence[float]
) -> list[list[int]]:
    """Rows of each part: sizes as `fractions`, each class in each part.

    Large groups are placed first, each where most of its images are still wanted; what is left
    fills the gaps. Raises DataError where groups keep a class out of a part.
    """
    totals = Counter(label for group in groups for label in group.labels.elements())
    plan = _Plan(_quotas(totals, fractions), groups)
    parts: list[list[int]] = [[] for _ in fractions]
    # Sorting keeps the drawn order among groups of one size.
    for group in sorted(groups, key=lambda group: -len(group.rows)):
        parts[plan.place(group)] += group.rows
    if lacking := plan.lacking():
        names = ", ".join(index.classes[label] for label in lacking)
        raise DataError(
            f"{index.root}: images that stay together (column group, equal files, "
            f"near-duplicates) keep the classes {names} out of a part of the split. "
            "Use fewer parts, or smaller groups."
        )
    return parts


def _quotas(totals: Mapping[int, int], fractions: Sequence[float]) -> dict[int, list[int]]:
    """How many images of each label belong to each part, at least one where there are enough.

    Rounded by largest remainder; where remainders are equal the classes take turns, so that the
    parts' totals are equal too.
    """
    quotas, turn = {}, 0
    for label in sorted(totals):
        total = totals[label]
        exact = [total * fraction for fraction in fractions]
        # 1e-9: 0.2 of 15 must not become 2 because of binary fractions.
        quota = [int(value + 1e-9) for value in exact]
        order = sorted(
            range(len(exact)),
            key=lambda part: (round(quota[part] - exact[part], 9), (part - turn) % len(exact)),
        )
        spare = total - sum(quota)
        for part in order[:spare]:
            quota[part] += 1
        turn += spare
        quotas[label] = _at_least_one(quota)
    return quotas


def _at_least_one(quota: list[int]) -> list[int]:
    while 0 in quota and max(quota) > 1:
        quota[quota.index(max(quota))] -= 1
        quota[quota.index(0)] += 1
    return quota


class _Plan:
    """How many images each part still wants of each label, while groups are being placed."""

    def __init__(self, quotas: dict[int, list[int]], groups: Sequence[_Group]) -> None:
        self.quotas = quotas
        self.wanted = {label: list(quota) for label, quota in quotas.items()}
        self.empty = {label: set(range(len(quota))) for label, quota in quotas.items()}
        self.groups_left = Counter(label for group in groups for label in group.labels)

    def place(self, group: _Group) -> int:
        """Choose a part for a group, and count its images there."""
        parts = range(len(next(iter(self.quotas.values()))))
        best = max(parts, key=lambda part: self._merit(group, part))
        for label, count in group.labels.items():
            self.wanted[label][best] -= count
            self.empty[label].discard(best)
            self.groups_left[label] -= 1
        return best

    def lacking(self) -> list[int]:
        """Labels that some part has none of."""
        return [label for label, parts in self.empty.items() if parts]

    def _merit(self, group: _Group, part: int) -> tuple[int, int, float]:
        """Fills a part that would stay empty; how many images fit; how much is wanted there."""
        urgent, fitting, share = 0, 0, 0.0
        for label, count in group.labels.items():
            wanted = self.wanted[label][part]
            empty = self.empty[label]
            urgent += part in empty and self.groups_left[label] <= len(empty)
            fitting += min(count, max(wanted, 0))
            share += count * wanted / max(self.quotas[label][part], 1)
        return urgent, fitting, share


def _with_stages(index: DataIndex, stages: Mapping[str, Sequence[int]]) -> DataIndex:
    stage_of = {row: stage for stage, rows in stages.items() for row in rows}
    records = tuple(
        replace(record, split=stage_of[row]) for row, record in enumerate(index.records)
    )
    return replace(index, records=records)
