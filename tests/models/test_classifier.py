"""timm's and torchvision's classifiers as Classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from small_models import check_gradients, check_groups, classifier
from torchvision import models

from capsule_inspection.models.custom_resnet import CustomResNet
from capsule_inspection.models.state_dicts import load_pretrained
from capsule_inspection.types import ConfigurationError

TIMM = ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_nfnet"]
TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5"]


@pytest.mark.parametrize("name", TIMM)
def test_timm_classifiers_give_timms_own_logits(name: str) -> None:
    network, image = classifier(f"timm {name}").eval(), torch.randn(2, 3, 64, 96)
    assert network(image).shape == (2, 4)
    features = network.backbone.to_map(network.backbone(image))
    assert features.shape[:2] == (2, network.backbone.model.num_features)
    assert features.shape[3] / features.shape[2] == 1.5
    assert len(check_groups(network, network.head.parameters())) > 3
    size: dict[str, Any] = {"img_size": (64, 96)} if name == "test_vit" else {}
    bare = timm.create_model(name, num_classes=4, **size).eval()
    assert load_pretrained(network, bare.state_dict(), where="bare")
    torch.testing.assert_close(network(image), bare(image))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_classifiers_give_torchvisions_own_logits(name: str) -> None:
    network, image = classifier(f"torchvision {name}").eval(), torch.randn(2, 3, 64, 96)
    assert network(image).shape == (2, 4)
    assert network.normalisation.mean == (0.485, 0.456, 0.406)
    check_groups(network, network.head.parameters())
    if name != "squeezenet1_1":  # whose classifier is no linear layer
        bare = models.get_model(name, weights=None, num_classes=4).eval()
        assert load_pretrained(network, bare.state_dict(), where="bare")
        torch.testing.assert_close(network(image), bare(image))


def test_gradients_reach_every_parameter_and_are_finite() -> None:
    network = classifier("timm test_convnext")
    F.cross_entropy(network(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    check_gradients(network)


def test_groups_are_the_same_after_the_backbone_was_frozen() -> None:
    network = classifier("timm test_resnet")
    before = [len(group) for group in network.layer_groups()]
    network.backbone.requires_grad_(False)
    assert [len(group) for group in network.layer_groups()] == before


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax", "topk"])
def test_the_pool_can_be_chosen_by_name(pool: str) -> None:
    for network, channels in (
        (classifier("timm test_resnet", pool=pool), 96),
        (CustomResNet(4, depths=(1, 1), width=8, pool=pool), 16),
    ):
        features = torch.randn(2, channels, 4, 5)
        average, largest = features.mean((2, 3)), features.amax((2, 3))
        expected = {
            "avg": average,
            "max": largest,
            "avgmax": (average + largest) / 2,
            "catavgmax": torch.cat([average, largest], dim=1),
            "topk": features.flatten(2).sort(dim=2).values[:, :, -2:].mean(2),
        }
        torch.testing.assert_close(network.eval().vector(features), expected[pool])


def test_torchvisions_global_pool_can_be_exchanged_where_it_is_a_layer() -> None:
    own = classifier("torchvision mobilenet_v3_small").eval()
    largest = classifier("torchvision mobilenet_v3_small", pool="max").eval()
    image = torch.randn(1, 3, 64, 96)
    assert not torch.equal(own(image), largest(image))


def test_options_reach_the_model() -> None:
    backbone: Any = classifier("timm test_resnet", options={"drop_rate": 0.3}).backbone
    assert backbone.model.drop_rate == 0.3


@pytest.mark.parametrize(
    ("description", "settings", "expected"),
    [
        ("timm resnet81", {}, r"model\.name=resnet81.*resnet18"),
        ("timm resnet18.a9_in1k", {}, r"'a9_in1k'.*resnet18\.a1_in1k"),
        ("timm test_resnet", {"options": {"drop_rat": 3}}, r"model\.options.*drop_rat"),
        ("timm test_resnet", {"options": {"in_chans": 1}}, r"model\.options.*in_chans"),
        ("torchvision eficientnet_b0", {}, r"model\.name=eficientnet_b0.*efficientnet_b0"),
        ("torchvision resnet18", {"options": {"drop_rat": 3}}, r"model\.options.*drop_rat"),
        ("torchvision resnet18", {"options": {"num_classes": 3}}, r"model\.options.*num_classes"),
        ("torchvision shufflenet_v2_x0_5", {"pool": "max"}, r"model\.pool=max"),
        ("torchvision vit_b_16", {}, r"data\.image_size"),  # it takes square ones only
    ],
)
def test_names_and_options_that_a_library_does_not_have_are_refused(
    description: str, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        classifier(description, **settings)


def test_the_custom_resnet_has_one_layer_group_for_stem_stages_and_head() -> None:
    network = classifier("custom_resnet")
    assert len(check_groups(network, network.head.parameters())) == 4


def test_a_saved_and_loaded_timm_model_gives_equal_logits(tmp_path: Path) -> None:
    network, path = classifier("timm test_vit").eval(), tmp_path / "network.pth"
    torch.save(network.state_dict(), path)
    again = classifier("timm test_vit", seed=1, weights=str(path)).eval()
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(network(image), again(image))
