"""The head that masks teach: which maps it reads, what it says of places, and of the image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import CLASSES, SIZE, check_gradients, check_groups, classifier
from torch import Tensor

from capsule_inspection.models.classifier import Classifier
from capsule_inspection.models.explanation import explain
from capsule_inspection.models.mask_head import EvidenceReader, MaskHead, levels
from capsule_inspection.models.weight_fitting import fit_weights
from capsule_inspection.types import ConfigurationError


def timm_network(name: str = "test_resnet", **settings: Any) -> Classifier:
    return classifier(f"timm {name}", **({"mask_loss": 1.0} | settings))


def drawn(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_networks_of_timm_give_the_same_features_with_their_maps(name: str) -> None:
    network = timm_network(name).eval()
    with torch.no_grad():
        features, maps = network.backbone.with_maps(drawn())
        torch.testing.assert_close(features, network.backbone(drawn()))
        logits, places = network.with_places(drawn())
    assert logits.shape == (2, CLASSES)
    assert places.shape[:2] == (2, CLASSES)
    assert places.shape[2:] == maps[network._levels[0]].shape[2:]
    # Our own has places of a quarter of the image.
    ours = classifier("custom_resnet", mask_loss=1.0)
    assert ours.with_places(drawn())[1].shape == (2, CLASSES, 16, 24)


def test_networks_without_maps_on_the_way_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.mask_loss=0"):
        classifier("torchvision squeezenet1_1", mask_loss=1.0)
    network = timm_network(mask_loss=0.0)
    model: Any = network.backbone.model
    monkeypatch.setattr(type(model), "forward_intermediates", None)
    with pytest.raises(ConfigurationError, match=r"model\.mask_loss=0"):
        network.add_mask_head(3, image_size=SIZE, reads_mask=True)


def test_of_each_size_the_last_map_is_read_from_a_quarter_on() -> None:
    sizes = [(32, 48), (16, 24), (16, 24), (8, 12), (4, 6), (4, 6)]
    maps = [torch.zeros(1, 2, *size) for size in sizes]
    assert levels(maps, image_size=SIZE) == [2, 3, 5]
    assert levels(maps[:1], image_size=SIZE) == [0]
    with torch.no_grad():  # maps of any size give places of the finest
        places = MaskHead([5, 7], CLASSES)([torch.randn(2, 5, 9, 13), torch.randn(2, 7, 5, 7)])
    assert places.shape == (2, CLASSES, 9, 13)


def test_the_reader_begins_as_the_mean_of_the_highest_odds() -> None:
    logits = torch.zeros(1, 3, 20, 100)
    logits[0, 1, 3, 4] = 8.0  # one place of the first defect
    logits[0, 2, 5, :8] = 4.0  # eight of the second
    odds = EvidenceReader(3)(logits)
    # Of 2,000 places one is .0005, and eight are .004.
    assert odds[0].tolist() == pytest.approx([0.0, (8 + 8 / 8) / 2, 4.0])
    with torch.no_grad():  # an image without any suspicion is good at the first step
        assert timm_network().eval()(drawn()).argmax(1).tolist() == [0, 0]


def test_every_parameter_gets_a_finite_gradient() -> None:
    network = timm_network()
    logits, places = network.with_places(drawn(4))
    wanted = torch.arange(places[:, 0].numel()).reshape_as(places[:, 0]) % CLASSES
    loss = F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(places, wanted)
    loss.backward()
    check_gradients(network)
    assert all(p.grad is not None and p.grad.any() for p in network.mask_head.parameters())


def test_an_answer_that_does_not_read_the_mask_is_that_of_the_head_alone() -> None:
    network = timm_network(reads_mask=False).eval()
    plain = timm_network(mask_loss=0.0).eval()
    plain.backbone.load_state_dict(network.backbone.state_dict())
    plain.head.load_state_dict(network.head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(drawn()), plain(drawn()))
        torch.testing.assert_close(network.with_places(drawn())[0], plain(drawn()))


def test_the_mask_head_learns_with_the_head_and_every_parameter_is_listed_once() -> None:
    network = timm_network()
    check_groups(network, [*network.mask_head.parameters(), *network.head.parameters()])


def test_explanations_are_the_probability_of_the_class_at_each_place() -> None:
    network, label = timm_network().eval(), torch.tensor([1, 3])
    found = explain(network, drawn(), label)
    with torch.no_grad():
        places = network.with_places(drawn())[1].softmax(1)
    fine = F.interpolate(places, SIZE, mode="bilinear")[torch.arange(2), label]
    torch.testing.assert_close(found, fine / fine.amax((1, 2), keepdim=True))
    # Nothing speaks for a good image, or for a class that no place is suspected of.
    with torch.no_grad():
        network.mask_head.classify.bias[1] = -20.0
    found = explain(network, drawn(3), torch.tensor([0, 1, 2]))
    assert not found[:2].any()
    assert found[2].max() == 1


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 2])
def test_weights_with_a_mask_head_fit_networks_with_other_classes(classes: int) -> None:
    network = timm_network(num_classes=classes)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = timm_network(seed=1).state_dict()
    assert fit_weights(network, state, where="file") is (classes == CLASSES)
    after = network.state_dict()
    for key in ("mask_head.lateral.0.weight", "backbone.model.layer1.0.conv1.weight"):
        assert torch.equal(after[key], state[key])
        assert not torch.equal(after[key], before[key])
    for key in ("mask_head.classify.weight", "mask_head.read.weigh.weight", "head.weight"):
        assert torch.equal(after[key], (state if classes == CLASSES else before)[key])


def test_a_mask_head_is_dropped_or_starts_anew_where_only_one_side_has_it() -> None:
    with_head, without = timm_network(seed=1), timm_network(seed=2, mask_loss=0.0)
    assert not torch.equal(without.head.weight, with_head.head.weight)
    fit_weights(without, with_head.state_dict(), where="file")
    assert torch.equal(without.head.weight, with_head.head.weight)
    fresh, key = timm_network(seed=3), "mask_head.classify.weight"
    expected = fresh.state_dict()[key].clone()
    assert not torch.equal(expected, with_head.state_dict()[key])
    fit_weights(fresh, without.state_dict(), where="file")
    assert torch.equal(fresh.state_dict()[key], expected)
    assert torch.equal(fresh.head.weight, with_head.head.weight)
