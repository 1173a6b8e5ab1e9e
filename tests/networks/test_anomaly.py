"""Anomaly maps and scores: what counts, where, and how much."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from plain_map import PLAIN_MAP
from scipy import ndimage

from capsule_inspection.contracts import ConfigurationError, Normalisation
from capsule_inspection.networks.anomaly import (
    Anomaly,
    MapSettings,
    anomaly,
    blur,
    residuals,
    spread,
    top_mean,
    widen,
)
from capsule_inspection.networks.autoencoder import Reconstruction

SETTINGS = PLAIN_MAP
PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def judged(
    image: torch.Tensor,
    drawn: torch.Tensor,
    settings: MapSettings = SETTINGS,
    *,
    foreground: torch.Tensor | None = None,
    valid: torch.Tensor | None = None,
    of_good: torch.Tensor | None = None,
) -> Anomaly:
    """The anomaly of images against their reconstructions."""
    everywhere = torch.ones(len(image), *image.shape[2:], dtype=torch.bool)
    return anomaly(
        Reconstruction(drawn, None),
        residual=residuals(image, drawn, settings, PLAIN),
        residual_spread=of_good,
        foreground=everywhere if foreground is None else foreground,
        valid=everywhere if valid is None else valid,
        settings=settings,
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
    only = dataclasses.replace(SETTINGS, **{"l1": 0.0, name: 1.0})
    found = judged(image, drawn, only).map[0]
    row, column = divmod(int(found.argmax()), 60)
    assert 8 <= row <= 17
    assert 18 <= column <= 27
    assert float(found[30:, 45:].max()) < 0.05 * float(found.max())


def test_the_l1_residual_is_the_mean_distance_of_the_colours() -> None:
    image, drawn = spoilt()
    assert judged(image, drawn).map[0, 12, 22] == pytest.approx(0.4, abs=1e-6)


def test_a_perfect_reconstruction_has_no_anomaly() -> None:
    image, _ = spoilt()
    every = dataclasses.replace(SETTINGS, ms_ssim=1.0, gradient=1.0)
    found = judged(image, image, every)
    assert float(found.map.abs().max()) < 1e-5
    assert float(found.score[0]) < 1e-5


def test_what_varies_on_good_images_counts_less() -> None:
    image, drawn = spoilt()
    image[:, :, 10:16, 40:46] = 0.9
    of_good = torch.full((8, 1, 40, 60), 0.01)
    of_good[:, :, 6:20, 36:50] = 0.2
    known = spread(of_good.square().mean(0))
    settings = dataclasses.replace(SETTINGS, normalise=True)
    found = judged(image, drawn, settings, of_good=known).map[0]
    assert found[12, 22] > 2 * found[12, 42]
    assert float(known.min()) > 0


def test_nothing_outside_of_the_part_counts() -> None:
    image, drawn = spoilt()
    foreground = torch.zeros(1, 40, 60, dtype=torch.bool)
    foreground[:, :, 40:] = True
    settings = dataclasses.replace(SETTINGS, foreground=True)
    assert float(judged(image, drawn, settings, foreground=foreground).map.max()) == 0
    wide = dataclasses.replace(settings, margin=0.5)
    assert float(judged(image, drawn, wide, foreground=foreground).map.max()) > 0


def test_the_head_alone_counts_where_there_is_one() -> None:
    _, drawn = spoilt()
    logits = torch.full((1, 40, 60), -4.0)
    logits[:, 30:34, 50:54] = 4.0
    found = anomaly(
        Reconstruction(drawn, logits),
        residual=None,
        residual_spread=None,
        foreground=torch.ones(1, 40, 60, dtype=torch.bool),
        valid=torch.ones(1, 40, 60, dtype=torch.bool),
        settings=SETTINGS,
    )
    assert float(found.map[0, 31, 51]) == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-5)
    assert float(found.map[0, 12, 22]) < 0.02


def test_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"task\.map\.source=head"):
        dataclasses.replace(SETTINGS, source="head").uses(has_head=False)
    with pytest.raises(ConfigurationError, match="all 0"):
        dataclasses.replace(SETTINGS, l1=0.0).uses(has_head=False)
    assert SETTINGS.uses(has_head=True) == (False, True)
    assert SETTINGS.uses(has_head=False) == (True, False)
    assert dataclasses.replace(SETTINGS, source="both").uses(has_head=True) == (True, True)


def test_the_score_is_the_mean_of_the_highest_pixels() -> None:
    maps = torch.arange(200.0).reshape(2, 10, 10)
    assert top_mean(maps, 0.05).tolist() == [97.0, 197.0]
    assert top_mean(maps, 0.0).tolist() == [99.0, 199.0]


def test_blur_is_scipys() -> None:
    image = torch.rand(2, 30, 50, generator=torch.Generator().manual_seed(0))
    ours = blur(image, 2.0)[1].numpy()
    theirs = ndimage.gaussian_filter(image[1].numpy(), 2.0, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert blur(image, 0.0) is image


def test_a_part_is_widened_by_so_many_pixels() -> None:
    foreground = torch.zeros(1, 11, 11, dtype=torch.bool)
    foreground[:, 5, 5] = True
    assert int(widen(foreground, 2).sum()) == 25
    assert int(widen(foreground, 0).sum()) == 1


def test_padding_never_counts_and_an_image_without_a_part_counts_as_a_whole() -> None:
    image, drawn = spoilt()
    padded = torch.ones(1, 40, 60, dtype=torch.bool)
    padded[:, :20] = False
    assert float(judged(image, drawn, valid=padded).map.max()) == 0
    settings = dataclasses.replace(SETTINGS, foreground=True)
    none = torch.zeros(1, 40, 60, dtype=torch.bool)
    assert float(judged(image, drawn, settings, foreground=none).map.max()) > 0.3


def test_near_much_that_is_wrong_all_is_suspect() -> None:
    image, drawn = spoilt()
    alone = image.clone()
    alone[:, :, 10:16, 20:26] = 0.5
    alone[:, :, 12, 22] = 0.9
    both = torch.cat([image, alone]), torch.cat([drawn, drawn])
    near, far = (
        judged(*both, dataclasses.replace(SETTINGS, context=context)).map[:, 12, 30]
        for context in (0.2, 0.0)
    )
    assert near[0] > 5 * near[1] > 0
    assert far.tolist() == [0.0, 0.0]
