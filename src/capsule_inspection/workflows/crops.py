"""Images of a run as engines take them, from the decoded cache, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.preparation import Prepared
from capsule_inspection.data.roi import Box
from capsule_inspection.inference.predictor import Predictor, Read

Inputs = dict[str, np.ndarray]


class Crops(Sequence[Read]):
    """Images of a data index, by their numbers in it."""

    def __init__(self, data: InspectionDataModule, numbers: Sequence[int]) -> None:
        self.data = data
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, row: int) -> Read: ...
    @overload
    def __getitem__(self, row: slice) -> list[Read]: ...
    def __getitem__(self, row: int | slice) -> Read | list[Read]:
        if isinstance(row, slice):
            return [self._read(number) for number in self.numbers[row]]
        return self._read(self.numbers[row])

    def _read(self, number: int) -> Read:
        """One image, cut out as the run has seen it."""
        cache, record = self.data.dataset.cache, self.data.index.records[number]
        x0, y0, x1, y1 = cache.inside[number].tolist()
        prepared = Prepared(
            image=np.asarray(cache.images[number]),
            foreground=np.asarray(cache.foregrounds[number]),
            box=Box(*cache.boxes[number].tolist()),
            inside=(x0, y0, x1, y1),
            found=bool(cache.found[number]),
            size=(record.height, record.width),
        )
        return Read(record.path, prepared, (), None)

    def batches(self, size: int) -> Iterator[list[Read]]:
        """All of them, so many at a time."""
        return (self[first : first + size] for first in range(0, len(self), size))


class SingleInputs(Sequence[Inputs]):
    """What an engine takes, one image a batch."""

    def __init__(self, predictor: Predictor, crops: Crops) -> None:
        self.predictor = predictor
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    @overload
    def __getitem__(self, row: int) -> Inputs: ...
    @overload
    def __getitem__(self, row: slice) -> list[Inputs]: ...
    def __getitem__(self, row: int | slice) -> Inputs | list[Inputs]:
        if isinstance(row, slice):
            return [self.predictor.stacked([read]) for read in self.crops[row]]
        return self.predictor.stacked([self.crops[row]])


def evenly(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of them, from the first to the last."""
    if not numbers:
        return []
    rows = np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))
    return [numbers[row] for row in rows]
