"""Pooling, padding, and depthwise convolutions that compute in float32 in training."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from capsule_inspection.models.layers import (
    Float32DepthwiseConv2d,
    convert_depthwise_to_float32,
    make_pool,
    normalise_single_values,
    pad_to_multiple,
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 4, 1)
    )


def test_a_single_value_a_channel_is_normalised_by_the_running_statistics() -> None:
    norm = nn.BatchNorm2d(4)
    single = torch.randn(1, 4, 1, 1)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(single)
    normalise_single_values(norm)
    norm(10 + torch.randn(8, 4, 3, 3))  # as before: its own statistics, and a running average
    assert norm.running_mean.min() > 0.5
    before = norm.running_mean.clone()
    expected = copy.deepcopy(norm).eval()(single)
    assert torch.equal(norm(single), expected)
    assert torch.equal(norm.running_mean, before)
    assert norm.training
    assert norm(torch.randn(1, 4, 2, 1)).std() > 0.5


def test_only_depthwise_convolutions_compute_in_float32() -> None:
    plain = network()
    names = list(plain.state_dict())
    assert convert_depthwise_to_float32(plain) == 1
    assert [type(layer) for layer in plain] == [nn.Conv2d, Float32DepthwiseConv2d, nn.Conv2d]
    assert list(plain.state_dict()) == names
    # One in each block of an EfficientNet.
    assert convert_depthwise_to_float32(timm.create_model("efficientnet_b0")) == 16


def test_training_computes_in_float32_and_gives_bfloat16() -> None:
    layer = network()[1]
    ours = copy.deepcopy(layer)
    convert_depthwise_to_float32(nn.Sequential(ours))
    image = torch.randn(2, 8, 9, 9).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(image)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, layer(image.float()).to(torch.bfloat16))


def test_gradients_are_those_of_float32_within_what_bfloat16_keeps() -> None:
    exact, ours = network(), network()
    convert_depthwise_to_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    exact(image).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        ours(image).float().square().sum().backward()
    for found, expected in zip(ours.parameters(), exact.parameters(), strict=True):
        assert found.grad.dtype == torch.float32
        difference = torch.linalg.norm(found.grad - expected.grad)
        assert difference < 0.02 * torch.linalg.norm(expected.grad)


def test_outputs_are_those_of_a_plain_convolution() -> None:
    plain, ours = network().eval(), network().eval()
    convert_depthwise_to_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(image), plain(image))
    assert torch.equal(ours(image), plain(image))


@pytest.mark.parametrize("flatten", [True, False])
def test_pools_are_those_of_their_definitions(flatten: bool) -> None:
    features = torch.randn(2, 7, 4, 5)
    average, largest = features.mean((2, 3)), features.amax((2, 3))
    expected = {
        "avg": average,
        "max": largest,
        "avgmax": (average + largest) / 2,
        "catavgmax": torch.cat([average, largest], dim=1),
        "topk": features.flatten(2).sort(dim=2).values[:, :, -2:].mean(2),
    }
    for name, wanted in expected.items():
        found = make_pool(name, flatten=flatten)(features)
        torch.testing.assert_close(found, wanted if flatten else wanted[:, :, None, None])


def test_padding_repeats_the_last_rows_and_columns_and_whole_multiples_stay() -> None:
    image = torch.arange(15.0).reshape(1, 1, 3, 5)
    found = pad_to_multiple(image, 4)
    assert found.shape == (1, 1, 4, 8)
    assert torch.equal(found[:, :, :3, :5], image)
    assert found[0, 0, :, 7].tolist() == [4.0, 9.0, 14.0, 14.0]
    assert pad_to_multiple(found, 4) is found
