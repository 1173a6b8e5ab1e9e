"""Anomaly maps and scores: what counts, where, and how much."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from plain_map import PLAIN_MAP
from scipy import ndimage
from torchmetrics.functional.image import structural_similarity_index_measure

from capsule_inspection.models.anomaly import (
    Anomaly,
    anomaly,
    blur,
    residuals,
    spread,
    top_mean,
    widen,
)
from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.models.ssim import ssim_map
from capsule_inspection.types import ConfigurationError, Normalisation

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ALL = torch.ones(1, 40, 60, dtype=torch.bool)


def judged(
    image: torch.Tensor,
    drawn: torch.Tensor,
    *,
    part: torch.Tensor = ALL,
    valid: torch.Tensor = ALL,
    of_good: torch.Tensor | None = None,
    **settings: object,
) -> Anomaly:
    """The anomaly of images against their reconstructions; settings beside `PLAIN_MAP`."""
    chosen = dataclasses.replace(PLAIN_MAP, **settings)
    return anomaly(
        Reconstruction(drawn, None),
        residual=residuals(image, drawn, chosen, PLAIN),
        residual_spread=of_good,
        foreground=part,
        valid=valid,
        settings=chosen,
    )


def spoilt() -> tuple[torch.Tensor, torch.Tensor]:
    """A grey image with a bright square, and its reconstruction without."""
    drawn = torch.full((1, 3, 40, 60), 0.5)
    image = drawn.clone()
    image[:, :, 10:16, 20:26] = 0.9
    return image, drawn


@pytest.mark.parametrize("name", ["l1", "ms_ssim", "gradient"])
def test_each_residual_is_highest_where_the_image_was_not_reconstructed(name: str) -> None:
    image, drawn = spoilt()
    found = judged(image, drawn, **{"l1": 0.0, name: 1.0}).map[0]
    row, column = divmod(int(found.argmax()), 60)
    assert 8 <= row <= 17
    assert 18 <= column <= 27
    assert float(found[30:, 45:].max()) < 0.05 * float(found.max())
    if name == "l1":  # the mean distance of the colours
        assert found[12, 22] == pytest.approx(0.4, abs=1e-6)


def test_a_perfect_reconstruction_has_no_anomaly() -> None:
    image, _ = spoilt()
    found = judged(image, image, ms_ssim=1.0, gradient=1.0)
    assert float(found.map.abs().max()) < 1e-5
    assert float(found.score[0]) < 1e-5


def test_what_varies_on_good_images_counts_less() -> None:
    image, drawn = spoilt()
    image[:, :, 10:16, 40:46] = 0.9
    of_good = torch.full((8, 1, 40, 60), 0.01)
    of_good[:, :, 6:20, 36:50] = 0.2
    known = spread(of_good.square().mean(0))
    found = judged(image, drawn, normalise=True, of_good=known).map[0]
    assert found[12, 22] > 2 * found[12, 42]
    assert float(known.min()) > 0


def test_only_the_part_counts_and_never_padding() -> None:
    image, drawn = spoilt()
    part, nothing, valid = torch.zeros_like(ALL), torch.zeros_like(ALL), ALL.clone()
    part[:, :, 40:], valid[:, :20] = True, False

    def highest(on: torch.Tensor, **settings: float) -> float:
        return float(judged(image, drawn, part=on, foreground=True, **settings).map.max())

    assert highest(part) == 0
    assert highest(part, margin=0.5) > 0
    assert highest(nothing) > 0.3  # an image without a part counts as a whole
    assert float(judged(image, drawn, valid=valid).map.max()) == 0


def test_the_head_alone_counts_where_there_is_one() -> None:
    _, drawn = spoilt()
    logits = torch.full((1, 40, 60), -4.0)
    logits[:, 30:34, 50:54] = 4.0
    found = anomaly(
        Reconstruction(drawn, logits),
        residual=None,
        residual_spread=None,
        foreground=ALL,
        valid=ALL,
        settings=PLAIN_MAP,
    )
    assert float(found.map[0, 31, 51]) == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-5)
    assert float(found.map[0, 12, 22]) < 0.02


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
    assert top_mean(maps, 0.05).tolist() == [97.0, 197.0]
    assert top_mean(maps, 0.0).tolist() == [99.0, 199.0]


def test_blur_is_scipys_and_a_part_is_widened_by_so_many_pixels() -> None:
    image = torch.rand(2, 30, 50, generator=torch.Generator().manual_seed(0))
    theirs = ndimage.gaussian_filter(image[1].numpy(), 2.0, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(blur(image, 2.0)[1].numpy(), theirs, atol=1e-5)
    assert blur(image, 0.0) is image
    foreground = torch.zeros(1, 11, 11, dtype=torch.bool)
    foreground[:, 5, 5] = True
    assert [int(widen(foreground, reach).sum()) for reach in (0, 2)] == [1, 25]
    assert widen(foreground, 2)[0, 3:8, 3:8].all()


def test_near_much_that_is_wrong_all_is_suspect() -> None:
    image, drawn = spoilt()
    alone = drawn.clone()
    alone[:, :, 12, 22] = 0.9
    everywhere = ALL.expand(2, -1, -1)
    near, far = (
        judged(
            torch.cat([image, alone]), torch.cat([drawn, drawn]),
            part=everywhere, valid=everywhere, context=context,
        ).map[:, 12, 30]
        for context in (0.2, 0.0)
    )  # fmt: skip
    assert near[0] > 5 * near[1] > 0
    assert far.tolist() == [0.0, 0.0]


def test_structural_similarity_is_the_map_of_torchmetrics_to_the_last_bit() -> None:
    torch.manual_seed(0)
    for count, height, width in ((1, 12, 13), (3, 40, 60)):
        seen = torch.rand(count, 3, height, width)
        drawn = (seen + 0.1 * torch.rand_like(seen)).clamp(0, 1)
        expected = structural_similarity_index_measure(
            drawn, seen, data_range=1.0, reduction="none", return_full_image=True
        )
        assert torch.equal(ssim_map(seen, drawn), expected[1])
        assert torch.allclose(ssim_map(seen, seen), torch.ones_like(seen), atol=1e-5)
