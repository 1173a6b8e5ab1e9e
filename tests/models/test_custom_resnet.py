"""The residual network: shapes, gradients, and its settings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_models import check_gradients

from capsule_inspection.models.custom_resnet import CustomResNet, ResidualBlock
from capsule_inspection.types import ConfigurationError


def small(**settings: object) -> CustomResNet:
    torch.manual_seed(0)
    given = {"depths": (1, 1), "width": 8, **settings}
    return CustomResNet(4, **given)


def test_stage_maps_halve_and_widen_from_stage_to_stage() -> None:
    network = small(depths=(1, 1, 1), block="bottleneck")
    features, maps = network.backbone.forward_intermediates(torch.zeros(1, 3, 64, 128))
    assert [tuple(m.shape) for m in maps] == [(1, 32, 16, 32), (1, 64, 8, 16), (1, 128, 4, 8)]
    assert network.backbone.stage_channels == [32, 64, 128]
    assert features is maps[-1]


@pytest.mark.parametrize(
    ("block", "depths", "parameters"),
    [("basic", (2, 2, 2, 2), 11_689_512), ("bottleneck", (3, 4, 6, 3), 25_557_032)],
)
def test_it_has_as_many_parameters_as_resnet18_and_resnet50(
    block: str, depths: tuple[int, ...], parameters: int
) -> None:
    # He et al. 2015, table 1; with the head of 1000 classes, as in torchvision.
    with torch.device("meta"):
        network = CustomResNet(1000, block=block, depths=depths, width=64)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_parameter_gets_a_finite_gradient(block: str) -> None:
    network = small(block=block, dropout=0.2)
    logits = network(torch.randn(4, 3, 48, 32))
    assert logits.shape == (4, 4)
    F.cross_entropy(logits, torch.arange(4)).backward()
    check_gradients(network)


def test_with_zero_initialisation_a_block_begins_as_its_shortcut() -> None:
    block = small().eval().get_submodule("backbone.stages.0.0")
    assert isinstance(block, ResidualBlock)
    features = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(block(features), features)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"block": "wide"}, "model.block"),
        ({"depths": ()}, "model.depths"),
        ({"depths": (2, 0)}, "model.depths"),
        ({"width": 0}, "model.width"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        small(**settings)
