"""Which images an epoch shows, and in which order; a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from capsule_inspection.types import GOOD_LABEL

_STRETCH = 8
"""Draws of each process within which the order of a mixture is left to chance."""
PLAIN, PAINTED, PASTED = 0, 1, 2
"""What is done to a drawn image: nothing, a painted defect, or a real one of another image."""


class Draw(NamedTuple):
    """Row of the data index, how often it was drawn before in this epoch, what is done to it."""

    row: int
    number: int
    change: int = PLAIN


@dataclass(frozen=True)
class Shares:
    """Of what an epoch is made: good images with painted and with pasted defects, and defects.

    What is left to 1 is good images as they are.
    """

    painted: float
    pasted: float
    defects: float


@dataclass(frozen=True)
class Share:
    """Which of the processes of a training this is; each takes its part of every batch.

    Lightning's own samplers would repeat images until all processes have equally many, and so count
    them twice; and they would hide `EpochSampler` from `set_epoch`.
    """

    rank: int = 0
    processes: int = 1

    def of_training(self, draws: list[Draw]) -> list[Draw]:
        """This process's draws. What does not go round is left out: other draws each epoch."""
        whole = len(draws) - len(draws) % self.processes
        return draws[self.rank : whole : self.processes]

    def of_evaluation(self, draws: list[Draw], *, batch_size: int) -> list[list[Draw]]:
        """This process's batches; those of all processes hold every draw once.

        All have equally many, since they wait for each other at each one; in size these differ by
        one. There must be a draw for each process.
        """
        batches = -(-len(draws) // batch_size)
        count = min(batches, len(draws) // self.processes)
        own = np.array_split(np.arange(self.rank, len(draws), self.processes), count)
        return [[draws[number] for number in part] for part in own]


@dataclass(frozen=True)
class Shown:
    """How many images of each batch are shown in an epoch: the first `of_batch(epoch)`."""

    batch_size: int
    of_batch: Callable[[int], int]


class EpochSampler(Sampler[Draw]):
    """Draws of one epoch, `views` times as many as there are images, shared by all processes.

    It is as long as if there were `left_out` images more. Where only the first of each batch are
    shown (`Shown`), these have the shares of the mixture.

    `natural`: each image equally often. `balanced`: each class equally often, its images in turn,
    so that rare ones are seen several times and none is left out for another. With `shares` their
    mixture, of which every run of successive draws is made, so that each batch has some of all.
    Lightning calls `set_epoch`.
    """

    def __init__(
        self,
        indices: Sequence[int],
        labels: Sequence[int],
        *,
        kind: str,
        seed: int,
        share: Share = Share(),
        views: int = 1,
        shares: Shares | None = None,
        shown: Shown | None = None,
        left_out: int = 0,
    ) -> None:
        self.indices = np.asarray(indices)
        self.labels = np.asarray(labels)
        self.kind = kind
        self.seed = seed
        self.share = share
        self.shares = shares
        self.shown = shown
        self.count = views * (len(self.indices) + left_out)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.share.processes

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self.seed, self.epoch])
        if self.shares is not None:
            mixed = mixed_order(self.indices, self.labels, self.shares, self.count, generator)
            draws = number_draws(*mixed)
            if self.share.processes > 1:  # or each would see kinds of its own, turn by turn
                draws = _stirred(draws, _STRETCH * self.share.processes, generator)
            if self.shown is not None:
                draws = _shown_first(draws, self.shown.batch_size, self.shown.of_batch(self.epoch))
            return iter(self.share.of_training(draws))
        rounds = -(-self.count // len(self.indices))
        order = np.concatenate([self._order(generator) for _ in range(rounds)])[: self.count]
        return iter(self.share.of_training(number_draws(order.tolist())))

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        if self.kind == "natural":
            return generator.permutation(self.indices)
        return balanced_order(self.indices, self.labels, generator)


def _stirred(draws: list[Draw], stretch: int, generator: np.random.Generator) -> list[Draw]:
    """The draws, shuffled within stretches of so many."""
    order = [
        first + place
        for first in range(0, len(draws), stretch)
        for place in generator.permutation(min(stretch, len(draws) - first)).tolist()
    ]
    return [draws[place] for place in order]


def _shown_first(draws: list[Draw], batch_size: int, shown: int) -> list[Draw]:
    """The draws, the first of them where a batch is shown, the others where it is not."""
    places = np.arange(len(draws))
    in_order = np.argsort(places % batch_size >= shown, kind="stable")
    order = np.empty(len(draws), np.int64)
    order[in_order] = places
    return [draws[place] for place in order]


def balanced_order(
    indices: np.ndarray, labels: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """As many draws as there are indices, equally many of each class within one, shuffled."""
    classes = generator.permutation(np.unique(labels))
    shares = [len(part) for part in np.array_split(np.arange(len(indices)), len(classes))]
    drawn = [
        _repeated(indices[labels == label], share, generator)
        for label, share in zip(classes, shares, strict=True)
    ]
    return generator.permutation(np.concatenate(drawn))


def _repeated(members: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    rounds = -(-count // len(members))
    return np.concatenate([generator.permutation(members) for _ in range(rounds)])[:count]


def mixed_order(
    indices: np.ndarray,
    labels: np.ndarray,
    shares: Shares,
    count: int,
    generator: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """So many images and what is done to each, every stretch of them mixed by the shares.

    Of the defects each class comes equally often. Where there are no good images, or no defects,
    the others take their place.
    """
    good, defects = indices[labels == GOOD_LABEL], indices[labels != GOOD_LABEL]
    wanted = [shares.painted, shares.pasted, shares.defects]
    wanted.append(max(0.0, 1.0 - sum(wanted)))
    if not len(good):
        wanted = [0.0, 0.0, 1.0, 0.0]
    elif not len(defects):
        wanted[2] = 0.0
        if not any(wanted):
            wanted[3] = 1.0
    parts = _in_turn(wanted, count)
    changes = np.array([PAINTED, PASTED, PLAIN, PLAIN])[parts]
    order = np.empty(count, np.int64)
    for part, is_defect in enumerate((False, False, True, False)):
        places = np.flatnonzero(parts == part)
        if not len(places):
            continue
        members = (
            _classes_in_turn(defects, labels[labels != GOOD_LABEL], len(places), generator)
            if is_defect
            else _repeated(good, len(places), generator)
        )
        order[places] = members
    return order.tolist(), changes.tolist()


def _in_turn(shares: Sequence[float], count: int) -> np.ndarray:
    """Numbers of parts, (count,), each as often as its share, spread as evenly as can be."""
    wanted = np.asarray(shares) / sum(shares)
    given = np.zeros(len(wanted))
    turns = np.empty(count, np.int64)
    for turn in range(count):
        turns[turn] = int(np.argmax(wanted * (turn + 1) - given))
        given[turns[turn]] += 1
    return turns


def _classes_in_turn(
    indices: np.ndarray, labels: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """So many indices, the classes one after another, the images of each in turn."""
    classes = generator.permutation(np.unique(labels))
    each = -(-count // len(classes))
    columns = [_repeated(indices[labels == label], each, generator) for label in classes]
    return np.stack(columns, axis=1).reshape(-1)[:count]


def number_draws(order: Sequence[int], changes: Sequence[int] | None = None) -> list[Draw]:
    """Each index with the number of times it stood before, and what is done to it."""
    seen: dict[int, int] = {}
    draws = []
    for place, index in enumerate(order):
        change = PLAIN if changes is None else changes[place]
        draws.append(Draw(index, seen.get(index, 0), change))
        seen[index] = seen.get(index, 0) + 1
    return draws
