"""Anomaly maps and scores: residuals, regions and context."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from plain_map import PLAIN_MAP
from scipy import ndimage
from torchmetrics.functional.image import structural_similarity_index_measure

from capsule_inspection.models.anomaly_map import (
    AnomalyOutput,
    blur,
    compute_anomaly_map,
    compute_residual_std,
    compute_residuals,
    dilate,
    ssim_map,
    topk_mean,
)
from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.types import ConfigurationError, Normalisation

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ALL = torch.ones(1, 40, 60, dtype=torch.bool)


def anomaly_of(
    image: torch.Tensor,
    reconstruction: torch.Tensor,
    *,
    part: torch.Tensor = ALL,
    valid: torch.Tensor = ALL,
    std: torch.Tensor | None = None,
    **settings: object,
) -> AnomalyOutput:
    """The anomaly of images against their reconstructions; settings beside `PLAIN_MAP`."""
    chosen = dataclasses.replace(PLAIN_MAP, **settings)
    return compute_anomaly_map(
        Reconstruction(reconstruction, None),
        residuals=compute_residuals(image, reconstruction, chosen, PLAIN),
        std=std,
        foreground=part,
        valid=valid,
        config=chosen,
    )


def corrupted_image() -> tuple[torch.Tensor, torch.Tensor]:
    """A grey image with a bright square, and its reconstruction without."""
    reconstruction = torch.full((1, 3, 40, 60), 0.5)
    image = reconstruction.clone()
    image[:, :, 10:16, 20:26] = 0.9
    return image, reconstruction


@pytest.mark.parametrize("name", ["l1", "ms_ssim", "gradient"])
def test_each_residual_is_highest_where_the_image_was_not_reconstructed(name: str) -> None:
    image, reconstruction = corrupted_image()
    found = anomaly_of(image, reconstruction, **{"l1": 0.0, name: 1.0}).anomaly_map[0]
    row, column = divmod(int(found.argmax()), 60)
    assert 8 <= row <= 17
    assert 18 <= column <= 27
    assert float(found[30:, 45:].max()) < 0.05 * float(found.max())
    if name == "l1":  # the mean distance of the colours
        assert found[12, 22] == pytest.approx(0.4, abs=1e-6)


def test_a_perfect_reconstruction_has_no_anomaly() -> None:
    image, _ = corrupted_image()
    found = anomaly_of(image, image, ms_ssim=1.0, gradient=1.0)
    assert float(found.anomaly_map.abs().max()) < 1e-5
    assert float(found.score[0]) < 1e-5


def test_pixels_that_vary_on_good_images_count_less() -> None:
    image, reconstruction = corrupted_image()
    image[:, :, 10:16, 40:46] = 0.9
    residuals_of_good = torch.full((8, 1, 40, 60), 0.01)
    residuals_of_good[:, :, 6:20, 36:50] = 0.2
    std_of_good = compute_residual_std(residuals_of_good.square().mean(0))
    found = anomaly_of(image, reconstruction, normalise=True, std=std_of_good).anomaly_map[0]
    assert found[12, 22] > 2 * found[12, 42]
    assert float(std_of_good.min()) > 0


def test_only_the_foreground_counts_and_never_padding() -> None:
    image, reconstruction = corrupted_image()
    part, nothing, valid = torch.zeros_like(ALL), torch.zeros_like(ALL), ALL.clone()
    part[:, :, 40:], valid[:, :20] = True, False

    def highest(on: torch.Tensor, **settings: float) -> float:
        return float(
            anomaly_of(
                image, reconstruction, part=on, foreground=True, **settings
            ).anomaly_map.max()
        )

    assert highest(part) == 0
    assert highest(part, roi_dilation=0.5) > 0
    assert highest(nothing) > 0.3  # an image without a part counts as a whole
    assert float(anomaly_of(image, reconstruction, valid=valid).anomaly_map.max()) == 0


def test_the_head_alone_counts_where_there_is_one() -> None:
    _, reconstruction = corrupted_image()
    logits = torch.full((1, 40, 60), -4.0)
    logits[:, 30:34, 50:54] = 4.0
    found = compute_anomaly_map(
        Reconstruction(reconstruction, logits),
        residuals=None,
        std=None,
        foreground=ALL,
        valid=ALL,
        config=PLAIN_MAP,
    )
    assert float(found.anomaly_map[0, 31, 51]) == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-5)
    assert float(found.anomaly_map[0, 12, 22]) < 0.02


def test_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"task\.map\.source=head"):
        dataclasses.replace(PLAIN_MAP, source="head").uses(has_head=False)
    with pytest.raises(ConfigurationError, match="all 0"):
        dataclasses.replace(PLAIN_MAP, l1=0.0).uses(has_head=False)
    assert PLAIN_MAP.uses(has_head=True) == (False, True)
    assert PLAIN_MAP.uses(has_head=False) == (True, False)
    assert dataclasses.replace(PLAIN_MAP, source="both").uses(has_head=True) == (True, True)


def test_the_score_is_the_mean_of_the_highest_pixels() -> None:
    maps = torch.arange(200.0).reshape(2, 10, 10)
    assert topk_mean(maps, 0.05).tolist() == [97.0, 197.0]
    assert topk_mean(maps, 0.0).tolist() == [99.0, 199.0]


def test_blur_equals_scipys_and_dilation_grows_by_its_radius() -> None:
    image = torch.rand(2, 30, 50, generator=torch.Generator().manual_seed(0))
    theirs = ndimage.gaussian_filter(image[1].numpy(), 2.0, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(blur(image, 2.0)[1].numpy(), theirs, atol=1e-5)
    assert blur(image, 0.0) is image
    foreground = torch.zeros(1, 11, 11, dtype=torch.bool)
    foreground[:, 5, 5] = True
    assert [int(dilate(foreground, reach).sum()) for reach in (0, 2)] == [1, 25]
    assert dilate(foreground, 2)[0, 3:8, 3:8].all()


def test_context_raises_pixels_near_many_anomalous_ones() -> None:
    image, reconstruction = corrupted_image()
    alone = reconstruction.clone()
    alone[:, :, 12, 22] = 0.9
    everywhere = ALL.expand(2, -1, -1)
    near, far = (
        anomaly_of(
            torch.cat([image, alone]), torch.cat([reconstruction, reconstruction]),
            part=everywhere, valid=everywhere, context_sigma=context,
        ).anomaly_map[:, 12, 30]
        for context in (0.2, 0.0)
    )  # fmt: skip
    assert near[0] > 5 * near[1] > 0
    assert far.tolist() == [0.0, 0.0]


def test_structural_similarity_is_the_map_of_torchmetrics_to_the_last_bit() -> None:
    torch.manual_seed(0)
    for count, height, width in ((1, 12, 13), (3, 40, 60)):
        image = torch.rand(count, 3, height, width)
        reconstruction = (image + 0.1 * torch.rand_like(image)).clamp(0, 1)
        expected = structural_similarity_index_measure(
            reconstruction, image, data_range=1.0, reduction="none", return_full_image=True
        )
        assert torch.equal(ssim_map(image, reconstruction), expected[1])
        assert torch.allclose(ssim_map(image, image), torch.ones_like(image), atol=1e-5)
