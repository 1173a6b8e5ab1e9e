"""Where classifiers look: Grad-CAM against a case by hand, and on every kind of network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.contracts import Normalisation
from capsule_inspection.networks.classifier import (
    Backbone,
    Classifier,
    Pool,
    build_custom_resnet,
    build_timm,
    build_torchvision,
)
from capsule_inspection.networks.explanation import explain

HALVES = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SIZE = (64, 96)


class Halved(Backbone):
    """The image at half its size is the map: three channels that a test can choose."""

    vector_size, map_channels = 3, 3

    def forward(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 2)

    def to_vector(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        return features

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return []


def linear(weights: list[list[float]]) -> Classifier:
    head = nn.Linear(3, len(weights))
    head.weight.data = torch.tensor(weights)
    return Classifier(Halved(), head, normalisation=HALVES)


def drawn_image(count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(3))


def built(kind: str, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    common: dict[str, Any] = {"num_classes": settings.pop("num_classes", 4), "weights": "none"}
    if kind == "custom_resnet":
        small: dict[str, Any] = {"depths": [1, 1], "width": 8, **settings}
        network = build_custom_resnet(**common, **small).network
    else:
        library, _, name = kind.partition(" ")
        build = build_timm if library == "timm" else build_torchvision
        network = build(name=name, image_size=SIZE, **common, **settings).network
    assert isinstance(network, Classifier)
    return network


def test_of_a_linear_head_on_the_mean_it_is_the_class_activation_map() -> None:
    weights = [[1.0, 0.0, 0.0], [0.5, -2.0, 1.0]]
    image, label = drawn_image(3, (8, 12)), torch.tensor([1, 0, 1])

    found = explain(linear(weights), image, label)

    of_class = torch.tensor(weights)[label]
    coarse = (of_class[:, :, None, None] * F.avg_pool2d(image, 2)).sum(1, keepdim=True).relu()
    fine = F.interpolate(coarse, (8, 12), mode="bilinear")[:, 0]
    assert found is not None
    torch.testing.assert_close(found, fine / fine.amax((1, 2), keepdim=True))
    assert found.dtype == torch.float32


def test_the_map_depends_on_the_class_that_is_asked_for() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, :2, :2], image[0, 1, 6:, 6:] = 1, 1
    network = linear([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    first, second = (explain(network, image, torch.tensor([label])) for label in (0, 1))

    assert first is not None
    assert second is not None
    assert first[0, 0, 0] == 1
    assert first[0, 7, 7] == 0
    assert second[0, 7, 7] == 1
    assert second[0, 0, 0] == 0


def test_where_nothing_speaks_for_the_class_the_map_stays_zero() -> None:
    image = torch.ones(2, 3, 8, 8)
    image[1] = -1

    found = explain(linear([[-1.0, -1.0, -1.0]]), image, torch.tensor([0, 0]))

    assert found is not None
    assert found[0].eq(0).all()
    assert found[1].eq(1).all()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("custom_resnet", {}),
        ("custom_resnet", {"pool": "concat"}),
        ("custom_resnet", {"pool": "max", "block": "bottleneck"}),
        ("timm test_resnet", {}),
        ("timm test_resnet", {"pool": "average_max"}),
        ("timm test_efficientnet", {}),
        ("timm test_convnext", {}),
        ("timm test_nfnet", {}),
        ("timm test_vit", {"pool": "average"}),
        ("timm resnet18", {}),
        ("timm efficientnet_b0", {}),
        ("torchvision resnet18", {}),
        ("torchvision shufflenet_v2_x0_5", {}),
        ("torchvision mobilenet_v3_small", {"pool": "max"}),
        ("torchvision squeezenet1_1", {}),
    ],
)
def test_every_network_with_a_map_shows_where_it_looks(kind: str, settings: dict[str, Any]) -> None:
    found = explain(built(kind, **settings).eval(), drawn_image(), torch.tensor([1, 3]))

    assert found is not None
    assert found.shape == (2, *SIZE)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert set(found.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert found.any()


def test_a_pool_of_ones_own_is_explained_too() -> None:
    network = built("timm test_vit").eval()
    network.pool = Pool("average")
    found = explain(network, drawn_image(), torch.tensor([0, 1]))
    assert found is not None
    assert found.shape == (2, *SIZE)


def test_maps_in_another_layout_are_seen_as_what_they_are() -> None:
    # The same network twice, one of which keeps its channels last.
    class ChannelsLast(Halved):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).permute(0, 2, 3, 1)

        def to_vector(self, features: Tensor) -> Tensor:
            return features.mean(dim=(1, 2))

        def to_map(self, features: Tensor) -> Tensor:
            return features.permute(0, 3, 1, 2)

        def from_map(self, last_map: Tensor, features: Tensor) -> Tensor:
            return last_map.permute(0, 2, 3, 1)

    first = linear([[1.0, -1.0, 0.5]])
    other = Classifier(ChannelsLast(), first.head, normalisation=HALVES)
    image, label = drawn_image(), torch.tensor([0, 0])
    expected, found = explain(first, image, label), explain(other, image, label)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_timms_features_are_those_of_their_map(name: str) -> None:
    network = built(f"timm {name}").eval()
    with torch.no_grad():
        features = network.backbone(drawn_image())
        last_map = network.backbone.to_map(features)
        again = network.backbone.from_map(last_map, features)
    assert torch.equal(again, features)


def test_a_transformer_that_reads_a_class_token_has_nothing_to_look_at() -> None:
    assert explain(built("timm test_vit").eval(), drawn_image(), torch.tensor([0, 1])) is None


def test_a_transformer_without_a_map_has_nothing_to_look_at() -> None:
    from torchvision.models import VisionTransformer

    from capsule_inspection.networks.torchvision_network import TorchvisionBackbone

    torch.manual_seed(0)
    model = VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8)
    model.heads = nn.Identity()
    backbone = TorchvisionBackbone(model, classifier="", vector_size=8)
    network = Classifier(backbone, nn.Linear(8, 4), normalisation=HALVES).eval()
    assert explain(network, drawn_image(2, (32, 32)), torch.tensor([0, 1])) is None


@pytest.mark.parametrize("kind", ["custom_resnet", "torchvision mobilenet_v3_small"])
def test_the_network_is_left_as_it_was(kind: str) -> None:
    network = built(kind).train()
    first = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    first.eval()
    network.backbone.requires_grad_(False)
    network.head.bias.grad = torch.ones(4)
    image = drawn_image()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]

    explain(network, image, torch.tensor([1, 2]))

    assert [module.training for module in network.modules()] == modes
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    gradients = {name for name, p in network.named_parameters() if p.grad is not None}
    assert gradients == {"head.bias"}
    assert torch.equal(network.head.bias.grad, torch.ones(4))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not image.requires_grad
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("kind", ["custom_resnet", "timm test_vit", "torchvision resnet18"])
@pytest.mark.parametrize("surroundings", [torch.inference_mode, torch.no_grad])
def test_gradients_may_be_switched_off_around_it(kind: str, surroundings: Any) -> None:
    settings = {"pool": "average"} if "vit" in kind else {}
    network, label = built(kind, **settings).eval(), torch.tensor([1, 2])
    expected = explain(network, drawn_image(), label)
    with surroundings():
        image = drawn_image() + 0
        found = explain(network, image, label + 0)
        assert not torch.is_grad_enabled()
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected)


def test_nothing_is_computed_in_half_precision() -> None:
    network, label = built("custom_resnet").eval(), torch.tensor([1, 2])
    expected = explain(network, drawn_image(), label)
    with torch.autocast("cpu", torch.bfloat16):
        found = explain(network, drawn_image(), label)
        assert torch.is_autocast_enabled("cpu")
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected)


def test_channels_last_gives_the_same() -> None:
    network, label = built("custom_resnet", width=16).eval(), torch.tensor([1, 2])
    expected = explain(network, drawn_image(), label)
    network.to(memory_format=torch.channels_last)
    image = drawn_image().to(memory_format=torch.channels_last)
    found = explain(network, image, label)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def spotted(count: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, in every second image with a bright spot: images, labels, and where the spots are."""
    generator = torch.Generator().manual_seed(seed)
    image = 0.5 * torch.randn(count, 3, 32, 48, generator=generator)
    spot = torch.zeros(count, 32, 48, dtype=torch.bool)
    for number in range(1, count, 2):
        row, column = (int(torch.randint(0, most, (1,), generator=generator)) for most in (26, 42))
        spot[number, row : row + 6, column : column + 6] = True
    return image + 2 * spot[:, None], torch.arange(count) % 2, spot


def test_a_network_that_has_learnt_to_find_spots_is_seen_to_look_at_them() -> None:
    network = built("custom_resnet", num_classes=2, stem="small", pool="average")
    image, label, _ = spotted(32, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(network(image), label).backward()
        optimizer.step()

    image, label, spot = (of[1::2] for of in spotted(32, seed=1))
    found = explain(network, image, label)

    assert found is not None
    highest = found.flatten(1).argmax(1)
    assert spot.flatten(1).gather(1, highest[:, None]).float().mean() > 0.6
