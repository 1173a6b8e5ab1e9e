"""PatchCore: nearest patches, the coreset, features, the weight of the score, and its bank."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from torch import Tensor

from capsule_inspection.inference.checkpoints import restore_network
from capsule_inspection.models import patchcore
from capsule_inspection.models.factory import build_patchcore
from capsule_inspection.models.patchcore import (
    CoresetConfig,
    PatchCore,
    check_memory,
    nearest_squares,
    select_coreset,
)
from capsule_inspection.types import ConfigurationError, DataError, RunError

SETTINGS: dict[str, Any] = {
    "name": "patchcore",
    "weights": "none",
    "image_size": [32, 48],
    "encoder": "custom_resnet",
    "encoder_options": {"width": 8},
    "strides": [8, 16],
    "neighbourhood": 3,
    "num_neighbors": 1,
    "coreset": "greedy",
    "coreset_size": 64,
    "candidates": 1000,
}


def small(*, bank: int = 0, **settings: Any) -> PatchCore:
    """A network of random weights, with a bank of as many patches of images of noise."""
    torch.manual_seed(0)
    network = build_patchcore(**(SETTINGS | settings)).model
    assert isinstance(network, PatchCore)
    if bank:
        network.memory_bank = patches_of(network, noise(8))[:bank]
    return network


def noise(count: int, *, height: int = 32, width: int = 48, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def points(count: int, channels: int = 8, *, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def patches_of(network: PatchCore, image: Tensor) -> Tensor:
    return network.features(image).permute(0, 2, 3, 1).flatten(0, 2)


@pytest.mark.parametrize("block", [7, 50, 1024])
def test_squared_distances_are_those_of_all_distances_in_any_number_of_blocks(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(patchcore, "_BLOCK", block)
    bank, patches = points(50), points(60, seed=1).reshape(3, 20, 8)
    square = nearest_squares(patches, bank)
    distances = cdist(patches.reshape(60, 8), bank)
    assert square.shape == (3, 20)
    np.testing.assert_allclose(square.sqrt().flatten(), distances.min(1), rtol=1e-5)
    assert float(nearest_squares(bank[None], bank).max()) < 1e-4


def greedy(candidates: np.ndarray, size: int) -> list[int]:
    """Farthest points first, of all distances."""
    distances, chosen = cdist(candidates, candidates), [0]
    while len(chosen) < size:
        chosen.append(int(distances[:, chosen].min(1).argmax()))
    return chosen


def test_the_greedy_coreset_is_that_of_all_distances() -> None:
    candidates = points(200)
    found = select_coreset(candidates, 40, method="greedy", seed=0)
    assert torch.equal(found, candidates[greedy(candidates.numpy(), 40)])


@pytest.mark.parametrize("method", ["greedy", "random"])
def test_a_coreset_is_of_the_candidates_and_of_its_seed(method: str) -> None:
    candidates = points(300, 100)  # more dimensions than the projection
    first, again, other = (
        select_coreset(candidates, 30, method=method, seed=seed) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    rows = {tuple(row) for row in candidates.tolist()}
    assert len({tuple(row) for row in first.tolist()} & rows) == 30


def test_the_greedy_coreset_covers_better_than_a_random_one() -> None:
    rare = 6 + 0.1 * points(3, 128)
    candidates = torch.cat([points(400, 128), rare])  # a few patches of a rare, good texture
    farthest = {
        method: cdist(candidates, select_coreset(candidates, 30, method=method, seed=0))
        .min(1)
        .max()
        for method in ("greedy", "random")
    }
    assert farthest["greedy"] < 0.5 * farthest["random"]


def test_equal_patches_are_selected_once_and_nothing_but_these_is_refused() -> None:
    candidates = points(5).repeat(20, 1)
    assert len(select_coreset(candidates, 50, method="greedy", seed=0)) == 5
    for method in ("greedy", "random"):
        network = small(coreset=method)
        same = torch.ones(100, network.channels)
        with pytest.raises(DataError, match=r"100 patches .* are all alike: only 1 differ"):
            network.fit(same, seed=0)
        network.fit(torch.cat([same, 3 * same]), seed=0)
        assert len(network.memory_bank) == {"greedy": 2, "random": 64}[method]


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (16, 17)])
@pytest.mark.parametrize("strides", [[8, 16], [16, 4], [32], [2]])
def test_features_have_the_finest_stride_and_the_channels_of_all(
    size: tuple[int, int], strides: list[int]
) -> None:
    network = small(strides=strides)
    shape = network.features(noise(2, height=size[0], width=size[1])).shape
    coarsest = max(4, *strides)
    expected = [-(-side // coarsest) * (coarsest // min(strides)) for side in size]
    assert shape == (2, sum(max(8, 2 * stride) for stride in strides), *expected)


def test_features_are_averaged_over_their_neighbourhood_and_enlarged() -> None:
    image = noise(2)
    single = small(neighbourhood=1).features(image)
    averaged = small(neighbourhood=3).features(image)
    fine, coarse = single[:, :16], small(neighbourhood=1, strides=[16]).features(image)
    torch.testing.assert_close(averaged[:, :16], F.avg_pool2d(fine, 3, 1, 1))
    torch.testing.assert_close(averaged[0, :16, 1, 1], fine[0, :, :3, :3].mean((1, 2)))
    enlarged = F.interpolate(
        F.avg_pool2d(coarse, 3, 1, 1), (4, 6), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(averaged[:, 16:], enlarged)


@pytest.mark.parametrize("first_row_px", [0, 17])
def test_the_weight_of_the_score_is_equation_7_of_the_paper(first_row_px: int) -> None:
    network, image = small(bank=40, num_neighbors=5), noise(3, seed=2)
    region = torch.zeros(3, 32, 48)
    region[:, first_row_px:] = 1
    with torch.no_grad():
        found = network(image, region)
    bank = network.memory_bank.numpy()
    assert found.distance.shape == (3, 4, 6)
    for row, of_image in enumerate(image):
        patches = patches_of(network, of_image[None]).numpy()
        distances = cdist(patches, bank)
        np.testing.assert_allclose(found.distance[row].flatten(), distances.min(1), rtol=1e-3)
        outside = 6 * (first_row_px // 8)  # patches of 8 pixels, 6 in a row
        anomalous = outside + int(distances.min(1)[outside:].argmax())
        nearest = int(distances[anomalous].argmin())
        neighbours = np.argsort(cdist(bank[[nearest]], bank)[0])[:5]
        assert nearest in neighbours
        exponentials = np.exp(distances[anomalous, neighbours])
        expected = 1 - math.exp(distances[anomalous, nearest]) / exponentials.sum()
        assert float(found.weight[row]) == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        assert small(bank=40)(image).weight.tolist() == [1, 1, 1]


def test_an_image_of_the_bank_has_no_distance_and_batches_do_not_matter() -> None:
    network, image = small(bank=24, num_neighbors=3), noise(8)
    with torch.no_grad():
        together = network(image)
        apart = [network(one[None]) for one in image]
    assert float(together.distance[0].max()) < 0.05 * float(together.distance[1:].min())
    for name in ("distance", "weight"):
        torch.testing.assert_close(
            getattr(together, name)[1:], torch.cat([getattr(one, name) for one in apart[1:]])
        )


@pytest.mark.parametrize("num_neighbors", [1, 3])
def test_a_traced_network_takes_any_number_of_images(num_neighbors: int) -> None:
    network, image = small(bank=30, num_neighbors=num_neighbors), noise(30, height=16, width=16)
    shapes = {"image": {0: torch.export.Dim("batch", min=1, max=4096)}}
    traced = torch.export.export(network, (image[:2],), dynamic_shapes=shapes).module()
    with torch.no_grad():
        for count in (1, 30):
            torch.testing.assert_close(traced(image[:count]).weight, network(image[:count]).weight)


def test_nothing_learns_and_batch_norm_stays_as_it_is() -> None:
    network = small().train()
    assert not network.encoder.training
    assert network.layer_groups() == []
    assert not any(parameter.requires_grad for parameter in network.parameters())


def checkpoint(network: PatchCore) -> dict[str, Any]:
    state = network.state_dict()
    return {"state_dict": {f"network.{key}": value for key, value in state.items()}}


def test_a_bank_of_any_size_is_restored_and_one_of_other_features_refused() -> None:
    network, restored, image = small(bank=20), small(), noise(2, seed=2)
    restore_network(restored, checkpoint(network), path=Path("best.ckpt"))
    with torch.no_grad():
        assert torch.equal(restored(image).distance, network(image).distance)
    with pytest.raises(RunError, match=r"of another model, it differs in centre, memory_bank\."):
        restore_network(small(strides=[16]), checkpoint(network), path=Path("best.ckpt"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"encoder": "convnext_atto", "encoder_options": {}, "strides": [2, 8]},
            r"\[2, 8\]: convnext_atto has no map at stride 2\. It has 4, 8\.",
        ),
        (
            {"encoder": "vit_tiny_patch16_224", "encoder_options": {}},
            r"strides up to 16: .*\w\. Choose smaller model\.strides, ",
        ),
        ({"encoder": "resnet81", "encoder_options": {}}, "has such an encoder. Nearest: resnet18"),
        ({"encoder_options": {"foo": 1}}, r"model\.encoder_options\.foo"),
        (
            {"encoder_options": {"depth": 3}},
            r"encoder_options\.depth: this is set by model\.strides",
        ),
        (
            {"encoder": "swin_tiny_patch4_window7_224", "encoder_options": {}},
            r"image_size=\[32, 48\] does not fit model\.encoder=swin.*Choose another size",
        ),
    ],
)
def test_encoders_without_such_maps_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        small(**settings)


def test_candidates_that_do_not_fit_into_the_memory_are_refused_with_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patchcore, "_free_memory_bytes", lambda: 2 * 4 * (34 + 66) * 5000)
    check_memory(CoresetConfig("greedy", 4000, 5000), channels=34, patches=10_000)
    check_memory(CoresetConfig("greedy", 4000, 5001), channels=34, patches=5000)
    with pytest.raises(ConfigurationError, match=r"model\.candidates=5001.* has room for 5000\."):
        check_memory(CoresetConfig("greedy", 4000, 5001), channels=34, patches=10_000)
    with pytest.raises(ConfigurationError, match=r"model\.coreset_size=5001"):
        check_memory(CoresetConfig("greedy", 5001, 5001), channels=34, patches=10_000)
