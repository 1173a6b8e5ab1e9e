"""The segmentation head of classifiers: its maps, spatial logits and pooled logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import CLASSES, SIZE, check_gradients, check_groups, classifier
from torch import Tensor

from capsule_inspection.models.classifier import Classifier
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.segmentation_head import (
    SegmentationHead,
    TopKPoolingHead,
    select_levels,
)
from capsule_inspection.models.state_dicts import load_pretrained
from capsule_inspection.types import ConfigurationError


def timm_network(name: str = "test_resnet", **settings: Any) -> Classifier:
    return classifier(f"timm {name}", **({"mask_loss_weight": 1.0} | settings))


def random_images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_timm_models_give_the_same_features_with_intermediates(name: str) -> None:
    network = timm_network(name).eval()
    with torch.no_grad():
        features, maps = network.backbone.forward_intermediates(random_images())
        torch.testing.assert_close(features, network.backbone(random_images()))
        logits, spatial_logits = network.forward_with_spatial_logits(random_images())
    assert logits.shape == (2, CLASSES)
    assert spatial_logits.shape[:2] == (2, CLASSES)
    assert spatial_logits.shape[2:] == maps[network._levels[0]].shape[2:]
    # Our own has spatial_logits of a quarter of the image.
    ours = classifier("custom_resnet", mask_loss_weight=1.0)
    assert ours.forward_with_spatial_logits(random_images())[1].shape == (2, CLASSES, 16, 24)


def test_models_without_intermediate_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.mask_loss_weight=0"):
        classifier("torchvision squeezenet1_1", mask_loss_weight=1.0)
    network = timm_network(mask_loss_weight=0.0)
    model: Any = network.backbone.model
    monkeypatch.setattr(type(model), "forward_intermediates", None)
    with pytest.raises(ConfigurationError, match=r"model\.mask_loss_weight=0"):
        network.add_segmentation_head(3, image_size=SIZE, use_mask_logits=True)


def test_the_last_map_of_each_size_is_used_from_stride_four_on() -> None:
    sizes = [(32, 48), (16, 24), (16, 24), (8, 12), (4, 6), (4, 6)]
    maps = [torch.zeros(1, 2, *size) for size in sizes]
    assert select_levels(maps, image_size=SIZE) == [2, 3, 5]
    assert select_levels(maps[:1], image_size=SIZE) == [0]
    with torch.no_grad():  # maps of any size give spatial_logits of the finest
        spatial_logits = SegmentationHead([5, 7], CLASSES)(
            [torch.randn(2, 5, 9, 13), torch.randn(2, 7, 5, 7)]
        )
    assert spatial_logits.shape == (2, CLASSES, 9, 13)


def test_topk_pooling_starts_as_the_mean_of_the_highest_odds() -> None:
    logits = torch.zeros(1, 3, 20, 100)
    logits[0, 1, 3, 4] = 8.0  # one place of the first defect
    logits[0, 2, 5, :8] = 4.0  # eight of the second
    odds = TopKPoolingHead(3)(logits)
    # Of 2,000 spatial_logits one is .0005, and eight are .004.
    assert odds[0].tolist() == pytest.approx([0.0, (8 + 8 / 8) / 2, 4.0])
    with torch.no_grad():  # an image without any suspicion is good at the first step
        assert timm_network().eval()(random_images()).argmax(1).tolist() == [0, 0]


def test_every_parameter_gets_a_finite_gradient() -> None:
    network = timm_network()
    logits, spatial_logits = network.forward_with_spatial_logits(random_images(4))
    wanted = torch.arange(spatial_logits[:, 0].numel()).reshape_as(spatial_logits[:, 0]) % CLASSES
    loss = F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(spatial_logits, wanted)
    loss.backward()
    check_gradients(network)
    assert all(p.grad is not None and p.grad.any() for p in network.mask_head.parameters())


def test_without_mask_logits_the_logits_are_those_of_the_head_alone() -> None:
    network = timm_network(use_mask_logits=False).eval()
    plain = timm_network(mask_loss_weight=0.0).eval()
    plain.backbone.load_state_dict(network.backbone.state_dict())
    plain.head.load_state_dict(network.head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(random_images()), plain(random_images()))
        torch.testing.assert_close(
            network.forward_with_spatial_logits(random_images())[0], plain(random_images())
        )


def test_the_segmentation_head_is_in_the_last_layer_group() -> None:
    network = timm_network()
    check_groups(network, [*network.mask_head.parameters(), *network.head.parameters()])


def test_explanations_are_the_class_probability_of_each_position() -> None:
    network, label = timm_network().eval(), torch.tensor([1, 3])
    found = explain(network, random_images(), label)
    with torch.no_grad():
        spatial_logits = network.forward_with_spatial_logits(random_images())[1].softmax(1)
    fine = F.interpolate(spatial_logits, SIZE, mode="bilinear")[torch.arange(2), label]
    torch.testing.assert_close(found, fine / fine.amax((1, 2), keepdim=True))
    # Nothing speaks for a good image, or for a class that no place is suspected of.
    with torch.no_grad():
        network.mask_head.classify.bias[1] = -20.0
    found = explain(network, random_images(3), torch.tensor([0, 1, 2]))
    assert not found[:2].any()
    assert found[2].max() == 1


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 2])
def test_weights_with_a_segmentation_head_fit_models_with_other_classes(classes: int) -> None:
    network = timm_network(num_classes=classes)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = timm_network(seed=1).state_dict()
    assert load_pretrained(network, state, where="file") is (classes == CLASSES)
    after = network.state_dict()
    for key in ("mask_head.lateral.0.weight", "backbone.model.layer1.0.conv1.weight"):
        assert torch.equal(after[key], state[key])
        assert not torch.equal(after[key], before[key])
    for key in ("mask_head.classify.weight", "mask_head.read.weigh.weight", "head.weight"):
        assert torch.equal(after[key], (state if classes == CLASSES else before)[key])


def test_a_segmentation_head_is_dropped_or_initialised_where_only_one_side_has_it() -> None:
    with_head, without = timm_network(seed=1), timm_network(seed=2, mask_loss_weight=0.0)
    assert not torch.equal(without.head.weight, with_head.head.weight)
    load_pretrained(without, with_head.state_dict(), where="file")
    assert torch.equal(without.head.weight, with_head.head.weight)
    fresh, key = timm_network(seed=3), "mask_head.classify.weight"
    expected = fresh.state_dict()[key].clone()
    assert not torch.equal(expected, with_head.state_dict()[key])
    load_pretrained(fresh, without.state_dict(), where="file")
    assert torch.equal(fresh.state_dict()[key], expected)
    assert torch.equal(fresh.head.weight, with_head.head.weight)
