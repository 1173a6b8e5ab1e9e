from __future__ import annotations

import copy

import timm
import torch
from torch import nn

from capsule_inspection.networks.depthwise import Float32Depthwise, train_depthwise_in_float32


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 4, 1)
    )


def gradients(of: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        of(image).float().square().sum().backward()
    return [p.grad for p in of.parameters() if p.grad is not None]


def test_only_depthwise_convolutions_compute_in_float32() -> None:
    plain = network()
    names = list(plain.state_dict())
    assert train_depthwise_in_float32(plain) == 1
    assert [type(layer) for layer in plain] == [nn.Conv2d, Float32Depthwise, nn.Conv2d]
    assert list(plain.state_dict()) == names


def test_efficientnet_has_one_in_each_of_its_blocks() -> None:
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
    plain, ours = network(), network()
    train_depthwise_in_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    exact = copy.deepcopy(plain)
    exact(image).square().sum().backward()
    wanted = [p.grad for p in exact.parameters() if p.grad is not None]
    for found, expected in zip(gradients(ours, image), wanted, strict=True):
        assert found.dtype == torch.float32
        assert torch.linalg.norm(found - expected) < 0.02 * torch.linalg.norm(expected)


def test_answers_are_those_of_a_plain_convolution() -> None:
    plain, ours = network().eval(), network().eval()
    train_depthwise_in_float32(ours)
    image = torch.randn(2, 3, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(image), plain(image))
    assert torch.equal(ours(image), plain(image))
