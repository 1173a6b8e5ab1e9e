"""How many images of a batch are shown, and which of them each process shows."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor

from capsule_inspection.data.sampling import Share
from capsule_inspection.data.windows import Windows

WINDOWS = Windows((12, 20), whole_from=2)
BATCH = 20
"""Windows, which have the pixels of five images of 24 x 40."""


def rows_shown(share: Share, *, epoch: int, windows: Windows = WINDOWS) -> list[int]:
    """Of a batch of rows 0, 1, ..., which the processes take in turn."""
    rows = torch.arange(BATCH)[share.rank :: share.processes]
    raw: dict[str, Tensor] = {"mask": torch.zeros(len(rows), 24, 40), "index": rows}
    return windows.of_batch(raw, epoch, share)["index"].tolist()


@pytest.mark.parametrize("processes", [1, 2, 4, 5])
def test_whole_images_are_those_of_one_process_whatever_their_number(processes: int) -> None:
    parts = [rows_shown(Share(rank, processes), epoch=2) for rank in range(processes)]
    assert sorted(chain(*parts)) == [0, 1, 2, 3, 4]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_process_shows_an_image_where_there_are_too_few_for_all() -> None:
    parts = [rows_shown(Share(rank, 10), epoch=2) for rank in range(10)]
    assert parts == [[rank] for rank in range(10)]


@pytest.mark.parametrize("processes", [1, 4])
def test_all_windows_are_shown_and_all_images_where_there_are_no_windows(processes: int) -> None:
    for windows, epoch in ((WINDOWS, 1), (Windows(), 5)):
        parts = [
            rows_shown(Share(rank, processes), epoch=epoch, windows=windows)
            for rank in range(processes)
        ]
        assert sorted(chain(*parts)) == list(range(BATCH))
