"""Cached images as the inputs of an inference model, read when they are indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from capsule_inspection.data.module import EvaluationBatch, InspectionDataModule

Inputs = dict[str, np.ndarray]


class ModelInputs(Sequence[Inputs]):
    """Inputs of single images, each a batch of one; `numbers` are rows of the data index."""

    def __init__(self, data: InspectionDataModule, numbers: Sequence[int]) -> None:
        self.data = data
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, row: int) -> Inputs: ...
    @overload
    def __getitem__(self, row: slice) -> list[Inputs]: ...
    def __getitem__(self, row: int | slice) -> Inputs | list[Inputs]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        return self.data.dataset.cache.model_inputs(np.array([self.numbers[row]], np.int64))

    def batches(self, size: int) -> Iterator[EvaluationBatch]:
        """All images, `size` at a time."""
        for first in range(0, len(self), size):
            index = np.array(self.numbers[first : first + size], np.int64)
            yield EvaluationBatch(index, self.data.dataset.cache.model_inputs(index))


def evenly_spaced(numbers: Sequence[int], count: int) -> list[int]:
    """At most `count` of the numbers, from the first to the last."""
    if not numbers:
        return []
    rows = np.unique(np.linspace(0, len(numbers) - 1, count).round().astype(int))
    return [numbers[row] for row in rows]
