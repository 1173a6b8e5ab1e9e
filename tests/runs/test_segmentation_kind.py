"""What segmentation takes from the data and makes of its maps, without any training."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from capsule_inspection.contracts import DataError, DataIndex, ImageRecord
from capsule_inspection.runs.kinds.segmentation import (
    overlap_of_images,
    with_masks,
)
from capsule_inspection.runs.windows import epochs_of, window_of


def index_of(masks: list[tuple[int, str | None]]) -> DataIndex:
    """An index of images with these labels and masks, all in train."""
    records = tuple(
        ImageRecord(f"{row}.png", label, mask, f"{row:064}", 8, 8, 1, 1, str(row), "train")
        for row, (label, mask) in enumerate(masks)
    )
    return DataIndex(Path("/images"), ("good", "crack", "poke"), records)


def test_an_index_whose_defects_all_have_masks_is_kept_as_it_is() -> None:
    index = index_of([(0, None), (1, "a"), (2, "b")])
    assert with_masks(index, on_bad_file="error") is index


def test_defects_without_a_mask_lose_their_part_and_keep_their_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    index = index_of([(0, None), (1, None), (2, "b")])
    with caplog.at_level(logging.WARNING):
        found = with_masks(index, on_bad_file="skip")
    assert [record.split for record in found.records] == ["train", "", "train"]
    assert "1 of 2 images" in caplog.text
    with pytest.raises(DataError, match=r"1\.png.*data\.on_bad_file=skip"):
        with_masks(index, on_bad_file="error")


def test_no_mask_at_all_is_refused_even_where_bad_files_are_skipped() -> None:
    with pytest.raises(DataError, match=r"model=resnet18.*model=autoencoder"):
        with_masks(index_of([(0, None), (1, None)]), on_bad_file="skip")


def test_images_without_a_stage_need_no_mask() -> None:
    index = index_of([(0, None), (1, None), (2, "b")])
    unused = replace(index.records[1], split="")
    index = replace(index, records=(index.records[0], unused, index.records[2]))
    assert with_masks(index, on_bad_file="error") is index


def test_good_images_alone_are_refused_in_words_of_their_own() -> None:
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


def test_a_window_is_never_larger_than_its_image() -> None:
    assert window_of([96, 160], [64, 512]) == (64, 160)
    assert window_of(None, [64, 512]) is None


@pytest.mark.parametrize("most", [None, -1])
def test_epochs_are_those_of_the_task_where_the_trainer_has_no_limit(most: int | None) -> None:
    config = OmegaConf.create({"trainer": {"max_epochs": most}, "task": {"epochs": 30}})
    assert epochs_of(config) == 30
