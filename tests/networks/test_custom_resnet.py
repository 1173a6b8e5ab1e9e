"""The residual network: shapes, gradients, learning, saving, and its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.networks.custom_resnet import CustomResNet, ResidualBlock


def small(**settings: object) -> CustomResNet:
    torch.manual_seed(0)
    given = {"depths": (1, 1), "width": 8, **settings}
    return CustomResNet(4, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("stem", ["imagenet", "deep", "small"])
def test_logits_have_one_row_an_image(block: str, stem: str) -> None:
    assert small(block=block, stem=stem)(torch.zeros(2, 3, 48, 32)).shape == (2, 4)


def test_stage_maps_halve_and_widen_from_stage_to_stage() -> None:
    network = small(depths=(1, 1, 1), block="bottleneck")
    maps = network.backbone.stage_maps(torch.zeros(1, 3, 64, 128))
    assert [tuple(m.shape) for m in maps] == [(1, 32, 16, 32), (1, 64, 8, 16), (1, 128, 4, 8)]
    assert network.backbone.stage_channels == [32, 64, 128]
    assert network.feature_map(torch.zeros(1, 3, 64, 128)).shape == (1, 128, 4, 8)


def test_basic_blocks_two_a_stage_have_as_many_parameters_as_resnet18() -> None:
    # He et al. 2015, table 1; 11,689,512 with the head of 1000 classes, as in torchvision.
    network = CustomResNet(1000, depths=(2, 2, 2, 2), width=64)
    assert sum(p.numel() for p in network.parameters()) == 11_689_512


def test_bottlenecks_3_4_6_3_have_as_many_parameters_as_resnet50() -> None:
    network = CustomResNet(1000, block="bottleneck", depths=(3, 4, 6, 3), width=64)
    assert sum(p.numel() for p in network.parameters()) == 25_557_032


def test_every_parameter_gets_a_finite_gradient() -> None:
    network = small(dropout=0.2, zero_init_residual=False)
    F.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_with_zero_initialisation_a_block_begins_as_its_shortcut() -> None:
    network = small(zero_init_residual=True).eval()
    block = network.get_submodule("backbone.stages.0.0")
    assert isinstance(block, ResidualBlock)
    features = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(block(features), features)


def test_it_overfits_four_images() -> None:
    network = small(stem="small")
    images, labels = torch.randn(4, 3, 12, 12), torch.arange(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert network.eval()(images).argmax(1).tolist() == labels.tolist()


def test_saved_and_loaded_it_gives_equal_logits(tmp_path: Path) -> None:
    network, other = small().eval(), small().eval()
    torch.nn.init.normal_(network.get_parameter("head.weight"))
    torch.save(network.state_dict(), tmp_path / "network.pth")
    other.load_state_dict(torch.load(tmp_path / "network.pth", weights_only=True))
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(image), other(image))


@pytest.mark.parametrize("pool", ["average", "max", "average_max", "concat"])
def test_pooling_is_that_of_the_map(pool: str) -> None:
    network = small(pool=pool).eval()
    features = torch.randn(2, 16, 3, 5)
    average, largest = features.flatten(2).mean(2), features.flatten(2).max(2).values
    expected = {
        "average": average,
        "max": largest,
        "average_max": (average + largest) / 2,
        "concat": torch.cat([average, largest], dim=1),
    }
    torch.testing.assert_close(network.vector(features), expected[pool])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"block": "wide"}, "model.block"),
        ({"depths": ()}, "model.depths"),
        ({"depths": (2, 0)}, "model.depths"),
        ({"width": 0}, "model.width"),
        ({"stem": "tiny"}, "model.stem"),
        ({"pool": "median"}, "model.pool"),
        ({"dropout": 1.0}, "model.dropout"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        small(**settings)
