"""Depthwise convolutions compute in float32 in training, and as ever in use."""

from __future__ import annotations

import copy

import timm
import torch
from torch import nn

from capsule_inspection.models.depthwise import Float32Depthwise, train_depthwise_in_float32


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 4, 1)
    )


def test_only_depthwise_convolutions_compute_in_float32() -> None:
    plain = network()
    names = list(plain.state_dict())
    assert train_depthwise_in_float32(plain) == 1
    assert [type(layer) for layer in plain] == [nn.Conv2d, Float32Depthwise, nn.Conv2d]
    assert list(plain.state_dict()) == names
    # One in each block of an EfficientNet.
    assert train_depthwise_in_float32(timm.create_model("efficientnet_b0")) == 16


def test_training_computes_in_float32_and_gives_bfloat16() -> None:
    layer = network()[1]
    ours = copy.deepcopy(layer)
    train_depthwise_in_float32(nn.Sequential(ours))
    image = torch.randn(2, 8, 9, 9).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(image)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, layer(image.float()).to(torch.bfloat16))


def test_gradients_are_those_of_float32_within_what_bfloat16_keeps() -> None:
    exact, ours = network(), network()
    train_depthwise_in_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    exact(image).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        ours(image).float().square().sum().backward()
    for found, expected in zip(ours.parameters(), exact.parameters(), strict=True):
        assert found.grad.dtype == torch.float32
        difference = torch.linalg.norm(found.grad - expected.grad)
        assert difference < 0.02 * torch.linalg.norm(expected.grad)


def test_answers_are_those_of_a_plain_convolution() -> None:
    plain, ours = network().eval(), network().eval()
    train_depthwise_in_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(image), plain(image))
    assert torch.equal(ours(image), plain(image))
