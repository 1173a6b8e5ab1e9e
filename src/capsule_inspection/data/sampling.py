"""Which images an epoch shows, and in which order; a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

Draw = tuple[int, int]
"""Index into the data index, and how often this epoch has drawn it before."""


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


class EpochSampler(Sampler[Draw]):
    """Draws of one epoch, `views` times as many as there are images, shared by all processes.

    `natural`: each image equally often. `balanced`: each class equally often, its images in turn,
    so that rare ones are seen several times and none is left out for another. Lightning calls
    `set_epoch`.
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
    ) -> None:
        self.indices = np.asarray(indices)
        self.labels = np.asarray(labels)
        self.kind = kind
        self.seed = seed
        self.share = share
        self.views = views
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.views * len(self.indices) // self.share.processes

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = np.concatenate([self._order(generator) for _ in range(self.views)])
        return iter(self.share.of_training(number_draws(order.tolist())))

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        if self.kind == "natural":
            return generator.permutation(self.indices)
        return balanced_order(self.indices, self.labels, generator)


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


def number_draws(order: Sequence[int]) -> list[Draw]:
    """Each index with the number of times it stood before."""
    seen: dict[int, int] = {}
    draws = []
    for index in order:
        draws.append((index, seen.get(index, 0)))
        seen[index] = seen.get(index, 0) + 1
    return draws
