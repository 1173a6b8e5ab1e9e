"""The autoencoder and its head: shapes, gradients, learning, saving, and its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from capsule_inspection.contracts import ConfigurationError, WeightsError
from capsule_inspection.networks.autoencoder import Autoencoder, Reconstruction, build_autoencoder
from capsule_inspection.networks.base import BuiltNetwork
from capsule_inspection.networks.reconstruction_losses import HeadLoss

SETTINGS = {
    "name": "autoencoder",
    "weights": "none",
    "image_size": [32, 96],
    "window": None,
    "corruption": "painted",
    "width": 4,
    "depth": 3,
    "bottleneck": 8,
    "skips": "auto",
    "head": "auto",
    "head_width": 4,
}


def build(**settings: object) -> BuiltNetwork:
    torch.manual_seed(0)
    return build_autoencoder(**(SETTINGS | settings))  # type: ignore[arg-type]


def small(**settings: object) -> Autoencoder:
    network = build(**settings).network
    assert isinstance(network, Autoencoder)
    return network


@pytest.mark.parametrize("size", [(32, 96), (33, 97), (8, 8), (9, 40)])
@pytest.mark.parametrize("corruption", ["none", "painted"])
def test_what_comes_back_has_the_size_of_the_image(size: tuple[int, int], corruption: str) -> None:
    network = small(corruption=corruption, image_size=list(size)).eval()
    found = network(torch.randn(2, 3, *size))
    assert found.image.shape == (2, 3, *size)
    if corruption == "painted":
        assert found.logits.shape == (2, *size)
    else:
        assert found.logits is None


@pytest.mark.parametrize("corruption", ["none", "cutout"])
def test_every_parameter_gets_a_finite_gradient(corruption: str) -> None:
    network = small(corruption=corruption)
    found: Reconstruction = network(torch.randn(4, 3, 32, 48))
    loss = found.image.square().mean()
    if found.logits is not None:
        loss = loss + found.logits.square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_layer_groups_hold_each_parameter_once_and_the_head_last() -> None:
    network = small()
    groups = network.layer_groups()
    listed = [id(parameter) for group in groups for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters())
    assert network.head is not None
    assert {id(p) for p in groups[-1]} == {id(p) for p in network.head.parameters()}
    plain = small(corruption="none")
    listed = [id(parameter) for group in plain.layer_groups() for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in plain.parameters())


def test_it_learns_to_draw_four_images() -> None:
    network = small(corruption="none", width=8, bottleneck=32)
    images = torch.nn.functional.interpolate(torch.randn(4, 3, 4, 6), (32, 48), mode="bilinear")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (network(images).image - images).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.35 * losses[0]


def test_the_head_learns_to_mark_what_was_spoilt() -> None:
    network, loss_of = small(), HeadLoss()
    images, mask = torch.randn(4, 3, 32, 48) * 0.1, torch.zeros(4, 32, 48)
    for n in range(4):
        images[n, :, 4 + 4 * n : 12 + 4 * n, 8:20] = 2.0
        mask[n, 4 + 4 * n : 12 + 4 * n, 8:20] = 1.0
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = loss_of(network(images).logits, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_skips_pass_the_image_on_and_a_plain_autoencoder_has_none() -> None:
    assert small().skips
    assert not small(corruption="none").skips
    assert not small(skips=False).skips
    assert small(corruption="noise").head is None


def test_a_head_without_masks_to_learn_from_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.head=true with model\.corruption=noise"):
        build(corruption="noise", head=True)


def test_skips_without_anything_to_repair_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.skips=true with model\.corruption=none"):
        build(corruption="none", skips=True)


def test_an_image_that_cannot_be_halved_so_often_is_refused_with_the_nearest_that_fits() -> None:
    with pytest.raises(ConfigurationError, match=r"needs 32 pixels.*\[32, 96\].*model\.depth=4"):
        build(image_size=[20, 96], depth=5)
    with pytest.raises(ConfigurationError, match=r"task\.window=\[16, 96\].*\[32, 96\]"):
        build(image_size=[64, 96], window=[16, 200], depth=5)


@pytest.mark.parametrize("settings", [{"width": 0}, {"depth": 0}, {"bottleneck": 0}])
def test_settings_that_make_no_network_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"model.{next(iter(settings))}"):
        build(**settings)


def test_weights_of_a_file_come_back_equal(tmp_path: Path) -> None:
    network = small()
    torch.save(network.state_dict(), tmp_path / "own.pt")
    torch.manual_seed(1)
    again = build_autoencoder(**(SETTINGS | {"weights": str(tmp_path / "own.pt")}))  # type: ignore[arg-type]
    assert again.weights.source == "file"
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value)


def test_weights_of_another_shape_are_refused_with_the_layers_named(tmp_path: Path) -> None:
    torch.save(small(width=8).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"encoder\.blocks\.0"):
        build(weights=str(tmp_path / "wide.pt"))
    with pytest.raises(ConfigurationError, match=r"model\.weights=imagnet"):
        build(weights="imagnet")
