"""Shuffles groups of images and divides them into stratified parts; for splits.py and others.

Groups stay whole; classes keep their proportions to one image where groups permit. The order
within a class comes from SHA-256 of seed and content, so a split does not depend on file names,
their order, or NumPy's version.

scikit-learn has no stratified split of groups by fractions; its StratifiedGroupKFold left a class
out of a fold in 3 of 285 random data sets with mixed groups where this does not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from capsule_inspection.types import GOOD_LABEL, DataError, DataIndex


@dataclass(frozen=True)
class Group:
    """Images that stay together: their rows, and the number of images of each label."""

    rows: tuple[int, ...]
    labels: Counter[int]

    @property
    def is_good(self) -> bool:
        return set(self.labels) == {GOOD_LABEL}


def shuffle_groups(index: DataIndex, *, seed: int, purpose: str) -> list[Group]:
    """The groups in an order that depends on the seed and the images' content alone."""
    members: dict[str, list[int]] = {}
    for row, sample in enumerate(index.samples):
        members.setdefault(sample.group, []).append(row)

    def rank(rows: list[int]) -> tuple[str, str]:
        sha256 = min(index.samples[row].sha256 for row in rows)
        path = min(index.samples[row].path for row in rows)
        return sort_key(sha256, seed=seed, purpose=purpose), path

    return [
        Group(tuple(rows), Counter(index.samples[row].label for row in rows))
        for rows in sorted(members.values(), key=rank)
    ]


def require_groups(index: DataIndex, groups: Sequence[Group], *, minimum: int, reason: str) -> None:
    """Raise DataError that names all classes with fewer groups than the minimum."""
    images = Counter(label for group in groups for label in group.labels.elements())
    counts = Counter(label for group in groups for label in group.labels)
    short = [
        f"class {index.classes[label]} has {_describe_count(images[label], counts[label])}, "
        f"at least {minimum} are needed"
        for label in sorted(images)
        if counts[label] < minimum
    ]
    if short:
        raise DataError(
            f"{index.root}: too few images for this split ({reason}): {'; '.join(short)}. "
            "Add images, leave the class out, or choose another split."
        )


def _describe_count(images: int, groups: int) -> str:
    found = f"{images} image{'s' * (images != 1)}"
    return found if images == groups else f"{found} in {groups} groups that stay together"


def without_rows(groups: Sequence[Group], rows: Iterable[int]) -> list[Group]:
    """The groups that have none of these rows."""
    taken = set(rows)
    return [group for group in groups if taken.isdisjoint(group.rows)]


def restrict_groups(groups: Sequence[Group], rows: Iterable[int], index: DataIndex) -> list[Group]:
    """The groups with these rows alone, without those that then are empty."""
    wanted = set(rows)
    kept = (tuple(row for row in group.rows if row in wanted) for group in groups)
    return [Group(rows, Counter(index.samples[row].label for row in rows)) for rows in kept if rows]


def sort_key(sha256: str, *, seed: int, purpose: str) -> str:
    """Pseudorandom key of an image, by which a shuffled order is sorted."""
    return hashlib.sha256(f"{purpose}/{seed}/{sha256}".encode()).hexdigest()


def assign_rows(
    index: DataIndex, rows: Mapping[str, Iterable[int]], *, rest: str | None = None
) -> DataIndex:
    """The index with rows in new splits; the others in `rest`, or unchanged where it is None."""
    split_of = {row: split for split, members in rows.items() for row in members}
    samples = tuple(
        replace(sample, split=split_of.get(row, sample.split if rest is None else rest))
        for row, sample in enumerate(index.samples)
    )
    return replace(index, samples=samples)


def divide(
    index: DataIndex, groups: Sequence[Group], fractions: Sequence[float]
) -> list[list[int]]:
    """Rows of each part: sizes as `fractions`, each class in each part.

    Large groups are placed first, each where most of its images are still needed; small ones fill
    the gaps. Raises DataError where groups keep a class out of a part.
    """
    totals = Counter(label for group in groups for label in group.labels.elements())
    plan = _Plan(_quotas(totals, fractions), groups)
    parts: list[list[int]] = [[] for _ in fractions]
    # Sorting is stable: groups of one size stay in the shuffled order.
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
    """The number of images of each label for each part, at least one where there are enough.

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
    """The number of images of each label that each part still needs, while groups are placed."""

    def __init__(self, quotas: dict[int, list[int]], groups: Sequence[Group]) -> None:
        self.quotas = quotas
        self.wanted = {label: list(quota) for label, quota in quotas.items()}
        self.empty = {label: set(range(len(quota))) for label, quota in quotas.items()}
        self.groups_left = Counter(label for group in groups for label in group.labels)

    def place(self, group: Group) -> int:
        """Choose a part for a group, and count its images there."""
        parts = range(len(next(iter(self.quotas.values()))))
        best = max(parts, key=lambda part: self._merit(group, part))
        for label, count in group.labels.items():
            self.wanted[label][best] -= count
            self.empty[label].discard(best)
            self.groups_left[label] -= 1
        return best

    def lacking(self) -> list[int]:
        """Labels that are missing in some part."""
        return [label for label, parts in self.empty.items() if parts]

    def _merit(self, group: Group, part: int) -> tuple[int, int, float]:
        """Priority of a part for a group: first a part that would stay empty, then the best fit."""
        urgent, fitting, fraction = 0, 0, 0.0
        for label, count in group.labels.items():
            wanted = self.wanted[label][part]
            empty = self.empty[label]
            urgent += part in empty and self.groups_left[label] <= len(empty)
            fitting += min(count, max(wanted, 0))
            fraction += count * wanted / max(self.quotas[label][part], 1)
        return urgent, fitting, fraction
