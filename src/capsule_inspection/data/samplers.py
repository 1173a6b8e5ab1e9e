"""Order of the images in an epoch of training, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from torch.utils.data import Sampler

from capsule_inspection.types import GOOD_LABEL

_STRETCH = 8
"""Samples of each process within which the order of a mixture is random."""
NO_DEFECT, SYNTHETIC, COPY_PASTE = 0, 1, 2
"""Defect that is added to a sample: none, a synthetic one, or a real one of another image."""


class SampleRef(NamedTuple):
    """Row of the data index, its number of earlier uses in the epoch, the defect added to it."""

    row: int
    repeat: int
    added_defect: int = NO_DEFECT


@dataclass(frozen=True)
class MixtureWeights:
    """Fractions of an epoch: good images with synthetic and with pasted defects, real defects.

    The rest is good images as they are.
    """

    synthetic: float
    copy_paste: float
    real: float


@dataclass(frozen=True)
class DistributedShard:
    """The samples of one process of a training.

    Lightning's own samplers repeat images until all processes have equally many, and so count
    them twice; and they hide `EpochSampler` from `set_epoch`.
    """

    rank: int = 0
    world_size: int = 1

    def of_training(self, refs: list[SampleRef]) -> list[SampleRef]:
        """This process's samples. A remainder is left out, another one in each epoch."""
        whole = len(refs) - len(refs) % self.world_size
        return refs[self.rank : whole : self.world_size]

    def of_evaluation(self, refs: list[SampleRef], *, batch_size: int) -> list[list[SampleRef]]:
        """This process's batches; those of all processes hold every sample once.

        All have equally many, since they wait for each other at each one; their sizes differ by
        at most one. There must be a sample for each process.
        """
        batches = -(-len(refs) // batch_size)
        count = min(batches, len(refs) // self.world_size)
        own = np.array_split(np.arange(self.rank, len(refs), self.world_size), count)
        return [[refs[number] for number in batch] for batch in own]


SINGLE_PROCESS = DistributedShard()


class EpochSampler(Sampler[SampleRef]):
    """Samples of one epoch, `repeats` times as many as there are images, sharded over processes.

    `num_left_out` further images count for the length only. With order `natural` each image is
    equally frequent. With `balanced` each class is, so images of rare classes are repeated.
    Lightning calls `set_epoch`.
    """

    def __init__(
        self,
        indices: Sequence[int],
        labels: Sequence[int],
        *,
        seed: int,
        order: str = "natural",
        shard: DistributedShard = SINGLE_PROCESS,
        repeats: int = 1,
        num_left_out: int = 0,
    ) -> None:
        self.indices = np.asarray(indices)
        self.labels = np.asarray(labels)
        self.seed = seed
        self.order = order
        self.shard = shard
        self.count = repeats * (len(self.indices) + num_left_out)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.shard.world_size

    def __iter__(self) -> Iterator[SampleRef]:
        refs = self._all_refs(np.random.default_rng([self.seed, self.epoch]))
        return iter(self.shard.of_training(refs))

    def _all_refs(self, rng: Generator) -> list[SampleRef]:
        rounds = -(-self.count // len(self.indices))
        rows = np.concatenate([self._round(rng) for _ in range(rounds)])[: self.count]
        return number_repeats(rows.tolist())

    def _round(self, rng: Generator) -> np.ndarray:
        if self.order == "natural":
            return rng.permutation(self.indices)
        return balanced_order(self.indices, self.labels, rng)


class MixtureSampler(EpochSampler):
    """Samples mixed by the weights, within each batch as within the epoch.

    An epoch uses the first `effective_batch_size(epoch)` samples of a batch of `batch_size`; these
    are mixed by the weights too.
    """

    def __init__(
        self,
        indices: Sequence[int],
        labels: Sequence[int],
        *,
        weights: MixtureWeights,
        batch_size: int,
        effective_batch_size: Callable[[int], int],
        seed: int,
        shard: DistributedShard = SINGLE_PROCESS,
        repeats: int = 1,
        num_left_out: int = 0,
    ) -> None:
        super().__init__(
            indices, labels, seed=seed, shard=shard, repeats=repeats, num_left_out=num_left_out
        )
        self.weights = weights
        self.batch_size = batch_size
        self.effective_batch_size = effective_batch_size

    def _all_refs(self, rng: Generator) -> list[SampleRef]:
        refs = number_repeats(
            *mixture_order(self.indices, self.labels, self.weights, self.count, rng)
        )
        if self.shard.world_size > 1:  # otherwise each process would get the same classes
            refs = _shuffle_stretches(refs, _STRETCH * self.shard.world_size, rng)
        return self._effective_first(refs)

    def _effective_first(self, refs: list[SampleRef]) -> list[SampleRef]:
        """The first samples at the used places of the batches, the others at the unused ones."""
        places = np.arange(len(refs))
        is_unused = places % self.batch_size >= self.effective_batch_size(self.epoch)
        order = np.empty(len(refs), np.int64)
        order[np.argsort(is_unused, kind="stable")] = places
        return [refs[place] for place in order]


def _shuffle_stretches(refs: list[SampleRef], stretch: int, rng: Generator) -> list[SampleRef]:
    """The samples, shuffled within stretches of this length."""
    order = [
        first + place
        for first in range(0, len(refs), stretch)
        for place in rng.permutation(min(stretch, len(refs) - first)).tolist()
    ]
    return [refs[place] for place in order]


def balanced_order(indices: np.ndarray, labels: np.ndarray, rng: Generator) -> np.ndarray:
    """As many samples as there are indices, equally many of each class within one, shuffled."""
    classes = rng.permutation(np.unique(labels))
    counts = [len(part) for part in np.array_split(np.arange(len(indices)), len(classes))]
    drawn = [
        _repeat(indices[labels == label], count, rng)
        for label, count in zip(classes, counts, strict=True)
    ]
    return rng.permutation(np.concatenate(drawn))


def _repeat(members: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count]


def mixture_order(
    indices: np.ndarray, labels: np.ndarray, weights: MixtureWeights, count: int, rng: Generator
) -> tuple[list[int], list[int]]:
    """Rows of `count` samples and the defect added to each, evenly mixed by the weights.

    The classes of real defects are equally frequent. Where there are no good images, or no real
    defects, the other components replace them.
    """
    is_good = labels == GOOD_LABEL
    good, defects = indices[is_good], indices[~is_good]
    wanted = [weights.synthetic, weights.copy_paste, weights.real]
    wanted.append(max(0.0, 1.0 - sum(wanted)))
    if not len(good):
        wanted = [0.0, 0.0, 1.0, 0.0]
    elif not len(defects):
        wanted[2] = 0.0
        if not any(wanted):
            wanted[3] = 1.0
    components = _interleave(wanted, count)
    rows = np.empty(count, np.int64)
    for component, is_real in enumerate((False, False, True, False)):
        places = np.flatnonzero(components == component)
        if len(places) and is_real:
            rows[places] = _classes_in_turn(defects, labels[~is_good], len(places), rng)
        elif len(places):
            rows[places] = _repeat(good, len(places), rng)
    added = np.array([SYNTHETIC, COPY_PASTE, NO_DEFECT, NO_DEFECT])[components]
    return rows.tolist(), added.tolist()


def _interleave(weights: Sequence[float], count: int) -> np.ndarray:
    """Component numbers, (count,), each as often as its weight, spread as evenly as can be."""
    wanted = np.asarray(weights) / sum(weights)
    given = np.zeros(len(wanted))
    components = np.empty(count, np.int64)
    for place in range(count):
        components[place] = int(np.argmax(wanted * (place + 1) - given))
        given[components[place]] += 1
    return components


def _classes_in_turn(
    indices: np.ndarray, labels: np.ndarray, count: int, rng: Generator
) -> np.ndarray:
    """`count` indices, the classes in turn, the images of each class in turn."""
    classes = rng.permutation(np.unique(labels))
    each = -(-count // len(classes))
    columns = [_repeat(indices[labels == label], each, rng) for label in classes]
    return np.stack(columns, axis=1).reshape(-1)[:count]


def number_repeats(rows: Sequence[int], added: Sequence[int] | None = None) -> list[SampleRef]:
    """A reference for each row, with the number of its earlier occurrences."""
    counts: dict[int, int] = {}
    refs = []
    for row, added_defect in zip(rows, added or [NO_DEFECT] * len(rows), strict=True):
        refs.append(SampleRef(row, counts.get(row, 0), added_defect))
        counts[row] = counts.get(row, 0) + 1
    return refs
