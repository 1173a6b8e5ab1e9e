"""Where classifiers look: Grad-CAM against a case by hand, and on every model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import SIZE, classifier
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from capsule_inspection.models.classifier import Backbone, Classifier
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.layers import make_pool
from capsule_inspection.models.torchvision_model import TorchvisionBackbone
from capsule_inspection.types import Normalisation

HALVES = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Halved(Backbone):
    """The image at half its size is the map: three channels that a test can choose."""

    vector_size = 3

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


def random_image(count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(3))


def explained(network: Classifier, image: Tensor, *labels: int) -> Tensor:
    found = explain(network, image, torch.tensor(labels))
    assert found is not None
    assert found.dtype == torch.float32
    return found


def test_of_a_linear_head_on_the_mean_it_is_the_class_activation_map() -> None:
    weights = [[1.0, 0.0, 0.0], [0.5, -2.0, 1.0]]
    image, labels = random_image(3, (8, 12)), [1, 0, 1]
    found = explained(linear(weights), image, *labels)
    of_class = torch.tensor(weights)[labels]
    coarse = (of_class[:, :, None, None] * F.avg_pool2d(image, 2)).sum(1, keepdim=True).relu()
    fine = F.interpolate(coarse, (8, 12), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, fine / fine.amax((1, 2), keepdim=True))


def test_the_map_depends_on_the_class_and_is_zero_without_positive_attribution() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, :2, :2], image[0, 1, 6:, 6:] = 1, 1
    network = linear([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for label, inside, outside in ((0, 0, 7), (1, 7, 0)):
        found = explained(network, image, label)
        assert (found[0, inside, inside], found[0, outside, outside]) == (1, 0)
    image = torch.ones(2, 3, 8, 8)
    image[1] = -1
    found = explained(linear([[-1.0, -1.0, -1.0]]), image, 0, 0)
    assert found[0].eq(0).all()
    assert found[1].eq(1).all()


@pytest.mark.parametrize(
    ("description", "settings"),
    [
        ("custom_resnet", {"pool": "catavgmax"}),
        ("custom_resnet", {"pool": "max", "block": "bottleneck"}),
        ("timm test_resnet", {"pool": "avgmax"}),
        ("timm test_efficientnet", {}),
        ("timm test_convnext", {}),
        ("timm test_nfnet", {}),
        ("timm test_vit", {"pool": "avg"}),
        ("torchvision resnet18", {}),
        ("torchvision shufflenet_v2_x0_5", {}),
        ("torchvision mobilenet_v3_small", {"pool": "max"}),
        ("torchvision squeezenet1_1", {}),
    ],
)
def test_every_model_with_a_map_has_an_attribution(
    description: str, settings: dict[str, Any]
) -> None:
    network = classifier(description, **settings).eval()
    found = explained(network, random_image(), 1, 3)
    assert found.shape == (2, *SIZE)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert set(found.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert found.any()
    if description.startswith("timm"):
        with torch.no_grad():
            features = network.backbone(random_image())
            last_map = network.backbone.to_map(features)
            assert torch.equal(network.backbone.from_map(last_map, features), features)


def test_a_transformer_has_a_map_only_if_its_patches_are_pooled() -> None:
    network = classifier("timm test_vit").eval()
    assert explain(network, random_image(), torch.tensor([0, 1])) is None  # it reads a class token
    network.pool = make_pool("avg")
    assert explained(network, random_image(), 0, 1).shape == (2, *SIZE)
    model = VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8)
    model.heads = nn.Identity()
    backbone = TorchvisionBackbone(model, classifier="", vector_size=8)
    network = Classifier(backbone, nn.Linear(8, 4), normalisation=HALVES).eval()
    assert explain(network, random_image(2, (32, 32)), torch.tensor([0, 1])) is None


@pytest.mark.parametrize("description", ["custom_resnet", "torchvision mobilenet_v3_small"])
def test_the_model_is_left_as_it_was(description: str) -> None:
    network = classifier(description).train()
    first = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    first.eval()
    network.backbone.requires_grad_(False)
    network.head.bias.grad = torch.ones(4)
    image = random_image()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    explained(network, image, 1, 2)
    assert [module.training for module in network.modules()] == modes
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    gradients = {name for name, p in network.named_parameters() if p.grad is not None}
    assert gradients == {"head.bias"}
    assert torch.equal(network.head.bias.grad, torch.ones(4))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not image.requires_grad
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("description", ["custom_resnet", "timm test_vit", "torchvision resnet18"])
def test_inference_mode_and_autocast_change_nothing(description: str) -> None:
    settings = {"pool": "avg"} if "vit" in description else {}
    network, label = classifier(description, **settings).eval(), torch.tensor([1, 2])
    expected = explained(network, random_image(), 1, 2)
    for surroundings in (torch.inference_mode, torch.no_grad):
        with surroundings():
            found = explain(network, random_image() + 0, label + 0)
            assert not torch.is_grad_enabled()
        assert torch.equal(found, expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = explained(network, random_image(), 1, 2)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found, expected)
    network.to(memory_format=torch.channels_last)
    found = explained(network, random_image().to(memory_format=torch.channels_last), 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
