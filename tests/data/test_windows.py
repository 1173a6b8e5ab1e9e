"""Where windows lie, how many images of a batch are shown, and which of them by each process."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from capsule_inspection.data.sampling import Share
from capsule_inspection.data.windows import Windows, cut_around, point_of_interest

WINDOWS = Windows((12, 20), whole_from=2)
BATCH = 20
"""Windows, which have the pixels of five images of 24 x 40."""


def shown(processes: int, *, epoch: int, windows: Windows = WINDOWS) -> list[list[int]]:
    """What each process shows of a batch of rows 0, 1, ..., which they take in turn."""
    parts = []
    for rank in range(processes):
        rows = torch.arange(BATCH)[rank::processes]
        raw = {"mask": torch.zeros(len(rows), 24, 40), "index": rows}
        found = windows.of_batch(raw, epoch, Share(rank, processes))
        parts.append(found["index"].tolist())
    return parts


@pytest.mark.parametrize("processes", [1, 2, 4, 5])
def test_whole_images_are_those_of_one_process_whatever_their_number(processes: int) -> None:
    parts = shown(processes, epoch=2)
    assert sorted(chain(*parts)) == [0, 1, 2, 3, 4]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for windows, epoch in ((WINDOWS, 1), (Windows(), 5)):
        assert sorted(chain(*shown(processes, epoch=epoch, windows=windows))) == list(range(BATCH))


def test_each_process_shows_an_image_where_there_are_too_few_for_all() -> None:
    assert shown(10, epoch=2) == [[rank] for rank in range(10)]


def test_the_centre_lies_on_what_was_spoilt_else_on_the_part_else_anywhere() -> None:
    rng = np.random.default_rng(0)
    mask, foreground = np.zeros((20, 40), np.uint8), np.zeros((20, 40), bool)
    foreground[10:, 20:] = True
    for _ in range(20):
        assert foreground[point_of_interest(mask, foreground, rng)]
    row, column = point_of_interest(mask, foreground & False, rng)
    assert 0 <= row < 20
    assert 0 <= column < 40
    mask[2, 3] = 1
    assert point_of_interest(mask, foreground, rng) == (2, 3)


def test_a_window_at_the_rim_is_moved_back_into_the_image() -> None:
    one = {"mask": torch.arange(24 * 40).reshape(1, 24, 40), "index": torch.zeros(1)}
    found = cut_around(one, np.array([[0.0, 39.0]]), window=(10, 10))
    assert torch.equal(found["mask"], one["mask"][:, :13, 27:])
    larger = cut_around(one, np.array([[5.0, 5.0]]), window=(100, 100))
    assert torch.equal(larger["mask"], one["mask"])
