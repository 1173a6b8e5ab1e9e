"""The autoencoder and its head: shapes, gradients, saving, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import check_gradients, check_groups

from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.factory import build_autoencoder
from capsule_inspection.types import ConfigurationError, WeightsError

SETTINGS: dict[str, Any] = {
    "name": "autoencoder",
    "weights": "none",
    "image_size": [32, 96],
    "crop_size": None,
    "corruption": "synthetic_defects",
    "width": 4,
    "depth": 3,
    "bottleneck": 8,
    "skips": "auto",
    "head": "auto",
    "head_width": 4,
}


def small(**settings: Any) -> Autoencoder:
    torch.manual_seed(0)
    return build_autoencoder(**(SETTINGS | settings)).model


@pytest.mark.parametrize("corruption", ["none", "synthetic_defects"])
def test_the_reconstruction_has_the_size_of_the_image(corruption: str) -> None:
    for size in ((32, 96), (33, 97), (8, 8), (9, 40)):
        network = small(corruption=corruption, image_size=list(size)).eval()
        found = network(torch.randn(2, 3, *size))
        assert found.image.shape == (2, 3, *size)
        has_head = corruption == "synthetic_defects"
        assert (found.logits.shape == (2, *size)) if has_head else found.logits is None


@pytest.mark.parametrize("corruption", ["none", "cutout"])
def test_every_parameter_learns_and_is_listed_once_with_the_head_last(corruption: str) -> None:
    network = small(corruption=corruption)
    found = network(torch.randn(4, 3, 32, 48))
    loss = found.image.square().mean()
    if found.logits is not None:
        loss = loss + found.logits.square().mean()
    loss.backward()
    check_gradients(network)
    groups = network.layer_groups()
    check_groups(network, groups[-1] if network.head is None else network.head.parameters())


def test_skips_pass_the_image_on_and_a_plain_autoencoder_has_none() -> None:
    assert small().skips
    assert not small(corruption="none").skips
    assert not small(skips=False).skips
    assert small(corruption="noise").head is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"corruption": "noise", "head": True}, r"model\.head=true with model\.corruption=noise"),
        ({"corruption": "none", "skips": True}, r"model\.skips=true with model\.corruption=none"),
        ({"image_size": [20, 96], "depth": 5}, r"needs 32 pixels.*\[32, 96\].*model\.depth=4"),
        (
            {"image_size": [64, 96], "crop_size": [16, 200], "depth": 5},
            r"task\.crop_size=\[16, 96\].*\[32, 96\]",
        ),
        ({"weights": "imagnet"}, r"model\.weights=imagnet"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        small(**settings)


def test_weights_of_a_file_come_back_equal_and_those_of_another_shape_are_refused(
    tmp_path: Path,
) -> None:
    network, path = small(), tmp_path / "own.pt"
    torch.save(network.state_dict(), path)
    torch.manual_seed(1)
    again = build_autoencoder(**(SETTINGS | {"weights": str(path)}))
    assert again.weights.source == "file"
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value)
    torch.save(small(width=8).state_dict(), path)
    with pytest.raises(WeightsError, match=r"encoder\.blocks\.0"):
        small(weights=str(path))
