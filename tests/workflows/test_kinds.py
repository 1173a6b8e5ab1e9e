"""What tasks take from the data and make of their answers, without any training."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capsule_inspection.tasks.classification.adapter import decision_offset, natural_counts
from capsule_inspection.tasks.segmentation.adapter import overlap_of_images, with_masks
from capsule_inspection.types import DataError, DataIndex, ImageRecord


@pytest.mark.parametrize(
    ("kept", "share", "shown", "expected"),
    [
        ([6, 2, 2], 1.0, None, [6, 2, 2]),
        # Defects that were left out change no prior.
        ([60, 5, 4], 0.25, None, [60, 20, 16]),
        ([60, 5, 0], 0.25, [20.0, 20.0, 20.0], [60, 20, 1]),
        # Where no defect was kept, the mixture is all that is known.
        ([60, 0, 0], 0.0, [30.0, 20.0, 10.0], [30, 20, 10]),
    ],
)
def test_images_are_as_frequent_as_they_are_in_use(
    kept: list[int], share: float, shown: list[float] | None, expected: list[int]
) -> None:
    assert natural_counts(kept, share=share, shown=shown) == expected


@pytest.mark.parametrize(
    ("sampling", "shown", "seen"),
    [
        ("natural", None, [0.5, 0.3, 0.2]),
        ("balanced", None, [1.0, 1.0, 1.0]),
        ("balanced", [1, 1, 2], [0.25, 0.25, 0.5]),
    ],
)
def test_the_offset_is_what_is_seen_against_what_is_aimed_at(
    sampling: str, shown: list[float] | None, seen: list[float]
) -> None:
    found = decision_offset([5, 3, 2], sampling=sampling, tau=0.25, shown=shown)
    aimed = [math.log(count / 10) for count in (5, 3, 2)]
    expected = [math.log(s) - 0.75 * a for s, a in zip(seen, aimed, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def index_of(masks: list[tuple[int, str | None]]) -> DataIndex:
    """An index of images with these labels and masks, all in train."""
    records = tuple(
        ImageRecord(f"{row}.png", label, mask, f"{row:064}", 8, 8, 1, 1, str(row), "train")
        for row, (label, mask) in enumerate(masks)
    )
    return DataIndex(Path("/images"), ("good", "crack", "poke"), records)


def test_defects_without_a_mask_lose_their_part_and_keep_their_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = index_of([(0, None), (1, "a"), (2, "b")])
    assert with_masks(whole, on_bad_file="error") is whole
    index = index_of([(0, None), (1, None), (2, "b")])
    with caplog.at_level(logging.WARNING):
        found = with_masks(index, on_bad_file="skip")
    assert [record.split for record in found.records] == ["train", "", "train"]
    assert "1 of 2 images" in caplog.text
    with pytest.raises(DataError, match=r"1\.png.*data\.on_bad_file=skip"):
        with_masks(index, on_bad_file="error")
    unused = replace(index.records[1], split="")  # needs none
    index = replace(index, records=(index.records[0], unused, index.records[2]))
    assert with_masks(index, on_bad_file="error") is index


def test_data_without_any_mask_are_refused_in_words_of_their_own() -> None:
    with pytest.raises(DataError, match=r"model=resnet18.*model=autoencoder"):
        with_masks(index_of([(0, None), (1, None)]), on_bad_file="skip")
    with pytest.raises(DataError, match=r"shows a defect.*learns model=autoencoder"):
        with_masks(index_of([(0, None), (0, None)]), on_bad_file="error")


def test_overlap_of_an_image_is_that_of_any_defect_and_unknown_without_a_mask() -> None:
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    marked = np.zeros((4, 4), np.uint8)
    marked[1:3] = 2  # half of it, by another name
    found = overlap_of_images([marked, marked], [truth, truth * 0])
    assert found[0].tolist() == pytest.approx([0.5, 1 / 3])
    assert np.isnan(found[1]).all()
