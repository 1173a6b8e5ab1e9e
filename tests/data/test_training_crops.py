"""Position of crops, how many images of a batch are used, and what a configuration asks for."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.samplers import DistributedShard
from capsule_inspection.data.training_crops import (
    CropSchedule,
    crop_around,
    crop_schedule,
    input_sizes,
    num_epochs,
    resolve_full_image_from,
    sample_point,
)
from capsule_inspection.types import IGNORE_INDEX

CROPS = CropSchedule((12, 20), full_image_from=2)
BATCH = 20
"""CropSchedule, which have the pixels of five images of 24 x 40."""


def used(world_size: int, *, epoch: int, crops: CropSchedule = CROPS) -> list[list[int]]:
    """What each process uses of a batch of rows 0, 1, ..., which they take in turn."""
    parts = []
    for rank in range(world_size):
        rows = torch.arange(BATCH)[rank::world_size]
        raw = {"mask": torch.zeros(len(rows), 24, 40), "index": rows}
        found = crops.take_used(raw, epoch, DistributedShard(rank, world_size))
        parts.append(found["index"].tolist())
    return parts


@pytest.mark.parametrize("world_size", [1, 2, 4, 5])
def test_full_images_are_those_of_one_process_whatever_their_number(world_size: int) -> None:
    parts = used(world_size, epoch=2)
    assert sorted(chain(*parts)) == [0, 1, 2, 3, 4]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for crops, epoch in ((CROPS, 1), (CropSchedule(), 5)):
        assert sorted(chain(*used(world_size, epoch=epoch, crops=crops))) == list(range(BATCH))


def test_each_process_uses_an_image_where_there_are_too_few_for_all() -> None:
    assert used(10, epoch=2) == [[rank] for rank in range(10)]


def test_the_centre_lies_on_the_mask_else_on_the_part_else_anywhere() -> None:
    rng = np.random.default_rng(0)
    mask, foreground = np.zeros((20, 40), np.uint8), np.zeros((20, 40), bool)
    foreground[10:, 20:] = True
    for _ in range(20):
        assert foreground[sample_point(mask, foreground, rng)]
    row, column = sample_point(mask, foreground & False, rng)
    assert 0 <= row < 20
    assert 0 <= column < 40
    mask[5:10] = IGNORE_INDEX
    mask[2, 3] = 1
    assert sample_point(mask, foreground, rng) == (2, 3)


def test_a_crop_at_the_rim_is_moved_back_into_the_image() -> None:
    one = {"mask": torch.arange(24 * 40).reshape(1, 24, 40), "index": torch.zeros(1)}
    found = crop_around(one, np.array([[0.0, 39.0]]), size=(10, 10))
    assert torch.equal(found["mask"], one["mask"][:, :13, 27:])
    larger = crop_around(one, np.array([[5.0, 5.0]]), size=(100, 100))
    assert torch.equal(larger["mask"], one["mask"])


def config_of(*, fraction: Any, epochs: int = 10, **data: Any) -> DictConfig:
    return OmegaConf.create(
        {
            "task": {"epochs": epochs, "full_image_from": fraction, "crop_size": [96, 160]},
            "trainer": {"max_epochs": None},
            "data": {"image_size": [192, 512], **data},
        }
    )


def test_auto_crops_first_for_untrained_decoders_and_warns_of_few_epochs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for is_pretrained, epochs, fraction, warns in (
        (True, 10, 0.0, False),
        (False, 10, 0.5, True),
        (False, 90, 0.5, False),
    ):
        caplog.clear()
        config = config_of(fraction="auto", epochs=epochs)
        assert resolve_full_image_from(config, has_pretrained_decoder=is_pretrained)
        assert config.task.full_image_from == fraction
        assert crop_schedule(config) == CropSchedule((96, 160), round(epochs * fraction))
        assert [f"task.epochs={epochs}:" in text for text in caplog.messages] == [True] * warns
    config = config_of(fraction=0.3)
    assert not resolve_full_image_from(config, has_pretrained_decoder=True)
    assert crop_schedule(config).full_image_from == 3


def test_full_images_are_never_used_with_tiling_or_a_fraction_of_1() -> None:
    assert crop_schedule(config_of(fraction=1)) == CropSchedule((96, 160))
    tiled = config_of(fraction=0.5, tiling={"size": [64, 64]})
    assert crop_schedule(tiled) == CropSchedule((64, 64))


def test_epochs_are_those_of_the_task_where_the_trainer_has_no_limit() -> None:
    for limit, expected in ((None, 30), (-1, 30), (7, 7)):
        config = OmegaConf.create({"trainer": {"max_epochs": limit}, "task": {"epochs": 30}})
        assert num_epochs(config) == expected


def test_input_sizes_are_those_of_crops_or_tiles_and_full_images() -> None:
    for task, data, sizes in (
        ({"crop_size": [96, 160]}, {}, [[96, 160], [192, 512]]),
        ({"crop_size": [96, 160], "full_image_from": 1}, {}, [[96, 160]]),
        ({"crop_size": [96, 900]}, {}, [[96, 512], [192, 512]]),  # never larger than the image
        ({"crop_size": None}, {}, [[192, 512]]),
        ({"crop_size": [96, 160]}, {"tiling": {"size": [128, 128]}}, [[128, 128]]),
        ({}, {}, [[192, 512]]),
    ):
        config = OmegaConf.create({"task": task, "data": {"image_size": [192, 512], **data}})
        assert input_sizes(config) == sizes
