"""The map of structural similarity is that of torchmetrics, and can be exported."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from capsule_inspection.networks.ssim import ssim_map


@pytest.mark.parametrize("size", [(1, 12, 13), (3, 40, 60)])
def test_it_is_the_map_of_torchmetrics_to_the_last_bit(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    count, height, width = size
    seen = torch.rand(count, 3, height, width)
    drawn = (seen + 0.1 * torch.rand_like(seen)).clamp(0, 1)
    expected = structural_similarity_index_measure(
        drawn, seen, data_range=1.0, reduction="none", return_full_image=True
    )
    assert torch.equal(ssim_map(seen, drawn), expected[1])


def test_an_image_is_like_itself() -> None:
    image = torch.rand(2, 3, 20, 20)
    assert torch.allclose(ssim_map(image, image), torch.ones(2, 3, 20, 20), atol=1e-5)
