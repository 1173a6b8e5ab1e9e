"""Which images an epoch shows, and in which order; a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Draw = tuple[int, int]
"""Index into the data index, and how often this epoch has drawn it before."""


class EpochSampler(Sampler[Draw]):
    """Draws of one epoch, as many as there are images.

    `natural`: each image once. `balanced`: each class equally often, its images in turn, so that
    rare ones are seen several times and none is left out for another. Lightning calls `set_epoch`.
    """

    def __init__(
        self, indices: Sequence[int], labels: Sequence[int], *, kind: str, seed: int
    ) -> None:
        self.indices = np.asarray(indices)
        self.labels = np.asarray(labels)
        self.kind = kind
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self.seed, self.epoch])
        if self.kind == "natural":
            order = generator.permutation(self.indices)
        else:
            order = balanced_order(self.indices, self.labels, generator)
        return iter(number_draws(order.tolist()))


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
