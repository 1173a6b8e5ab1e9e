"""timm's and torchvision's classifiers behind the common face."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.contracts import ConfigurationError, Normalisation
from capsule_inspection.networks.classifier import (
    Classifier,
    build_custom_resnet,
    build_timm,
    build_torchvision,
)
from capsule_inspection.networks.weight_fitting import fit_weights

TIMM = ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_nfnet"]
TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5"]


def timm_network(name: str, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    given = {"num_classes": 4, "weights": "none", "image_size": (64, 96), **settings}
    return build_timm(name=name, **given).network


def torchvision_network(name: str, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    given = {"num_classes": 4, "weights": "none", "image_size": (64, 96), **settings}
    return build_torchvision(name=name, **given).network


def assert_groups_cover_every_parameter_once(network: Classifier) -> None:
    groups = network.layer_groups()
    listed = [id(p) for group in groups for p in group]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters() if p.requires_grad}
    assert {id(p) for p in groups[-1]} == {id(p) for p in network.head.parameters()}


@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_have_the_common_face(name: str) -> None:
    network = timm_network(name)
    image = torch.randn(2, 3, 64, 96)
    assert network(image).shape == (2, 4)
    features = network.feature_map(image)
    assert features.shape[:2] == (2, network.backbone.map_channels)
    assert features.shape[3] / features.shape[2] == 1.5
    assert isinstance(network.normalisation, Normalisation)
    assert len(network.layer_groups()) > 3
    assert_groups_cover_every_parameter_once(network)


@pytest.mark.parametrize("name", TIMM)
def test_a_bare_timm_state_dict_gives_timms_own_logits(name: str) -> None:
    import timm

    network = timm_network(name).eval()
    size: dict[str, Any] = {"img_size": (64, 96)} if name == "test_vit" else {}
    bare = timm.create_model(name, num_classes=4, **size).eval()
    assert fit_weights(network, bare.state_dict(), where="bare")
    image = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(network(image), bare(image))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_have_the_common_face(name: str) -> None:
    network = torchvision_network(name)
    assert network(torch.randn(2, 3, 64, 96)).shape == (2, 4)
    assert network.normalisation.mean == (0.485, 0.456, 0.406)
    assert_groups_cover_every_parameter_once(network)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5"])
def test_a_bare_torchvision_state_dict_gives_torchvisions_own_logits(name: str) -> None:
    from torchvision import models

    network = torchvision_network(name).eval()
    bare = models.get_model(name, weights=None, num_classes=4).eval()
    assert fit_weights(network, bare.state_dict(), where="bare")
    image = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(network(image), bare(image))


def test_gradients_reach_every_parameter_and_are_finite() -> None:
    network = timm_network("test_convnext")
    F.cross_entropy(network(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_timm_network_overfits_four_images() -> None:
    network = timm_network("test_resnet")
    images, labels = torch.randn(4, 3, 64, 64), torch.arange(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_a_copy_gives_equal_logits_and_keeps_its_own_weights() -> None:
    network = timm_network("test_efficientnet").eval()
    twin = copy.deepcopy(network)
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(network(image), twin(image))
    nn.init.zeros_(twin.get_parameter("backbone.model.conv_stem.weight"))
    assert not torch.equal(network(image), twin(image))


def test_groups_are_the_same_after_the_backbone_was_frozen() -> None:
    network = timm_network("test_resnet")
    before = [len(group) for group in network.layer_groups()]
    network.backbone.requires_grad_(False)
    assert [len(group) for group in network.layer_groups()] == before


class TopPatches(nn.Module):
    """Mean of the largest values of each channel: a pool that later work may bring."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).topk(3, dim=2).values.mean(2)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_any_module_from_maps_to_vectors_can_be_the_pool(name: str) -> None:
    network = timm_network(name)
    network.pool = TopPatches()
    assert network(torch.randn(2, 3, 64, 96)).shape == (2, 4)


@pytest.mark.parametrize("pool", ["average", "max", "average_max", "concat"])
def test_the_pool_can_be_chosen_by_name(pool: str) -> None:
    network = timm_network("test_resnet", pool=pool).eval()
    features = torch.randn(1, 96, 2, 3)
    average, largest = features.mean((2, 3)), features.amax((2, 3))
    expected = {
        "average": average,
        "max": largest,
        "average_max": (average + largest) / 2,
        "concat": torch.cat([average, largest], dim=1),
    }
    torch.testing.assert_close(network.vector(features), expected[pool])


def test_torchvisions_global_pool_can_be_exchanged_where_it_is_a_layer() -> None:
    own = torchvision_network("mobilenet_v3_small").eval()
    largest = torchvision_network("mobilenet_v3_small", pool="max").eval()
    image = torch.randn(1, 3, 64, 96)
    assert not torch.equal(own(image), largest(image))
    with pytest.raises(ConfigurationError, match=r"model\.pool=max"):
        torchvision_network("shufflenet_v2_x0_5", pool="max")


def test_options_reach_the_network() -> None:
    backbone: Any = timm_network("test_resnet", options={"drop_rate": 0.3}).backbone
    assert backbone.model.drop_rate == 0.3


@pytest.mark.parametrize(
    ("build", "name", "nearest"),
    [
        (build_timm, "resnet81", "resnet18"),
        (build_torchvision, "eficientnet_b0", "efficientnet_b0"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(build: Any, name: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"model\.name={name}.*{nearest}"):
        build(name=name, num_classes=4, weights="none")


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'a9_in1k'.*resnet18\.a1_in1k"):
        timm_network("resnet18.a9_in1k")


@pytest.mark.parametrize("build", [timm_network, torchvision_network])
@pytest.mark.parametrize("option", ["drop_rat", "num_classes"])
def test_an_option_that_the_network_does_not_take_is_refused(build: Any, option: str) -> None:
    name = "test_resnet" if build is timm_network else "shufflenet_v2_x0_5"
    with pytest.raises(ConfigurationError, match=rf"model\.options.*{option}"):
        build(name, options={option: 3})


def test_torchvisions_transformers_want_square_images() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.image_size"):
        torchvision_network("vit_b_16", image_size=(64, 96))


def test_the_custom_network_is_built_with_one_group_for_stem_stages_and_head() -> None:
    built = build_custom_resnet(num_classes=4, weights="none", depths=[1, 1], width=8)
    assert built.weights.source == "random"
    assert len(built.network.layer_groups()) == 4
    assert_groups_cover_every_parameter_once(built.network)


def test_saved_and_loaded_a_timm_network_gives_equal_logits(tmp_path: Path) -> None:
    network = timm_network("test_vit").eval()
    torch.save(network.state_dict(), tmp_path / "network.pth")
    path = tmp_path / "network.pth"
    built = build_timm(name="test_vit", num_classes=4, weights=str(path), image_size=(64, 96))
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(network(image), built.network.eval()(image))
