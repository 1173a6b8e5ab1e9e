"""Structural similarity at each pixel, for networks that are exported.

Source: Wang et al. 2004, section III-B, with a Gaussian window of 11 pixels. It is the map of
torchmetrics to the last bit. That library measures the losses; it parts its batch in a way that
would tie an exported graph to one number of images. Pure torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_PX = 11
_SIGMA_PX = 1.5
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2
"""The constants of the paper, of images in [0, 1]."""


def ssim_map(seen: Tensor, drawn: Tensor) -> Tensor:
    """How alike two images are at each pixel, 1 where they are the same.

    Shapes: all (N, C, H, W), images float32 in [0, 1], H and W of more than half a window.
    """
    channels, reach = seen.shape[1], (WINDOW_PX - 1) // 2
    first, second = (F.pad(image, (reach,) * 4, mode="reflect") for image in (drawn, seen))
    kernel = _kernel(seen).expand(channels, 1, WINDOW_PX, WINDOW_PX)
    together = torch.cat((first, second, first * first, second * second, first * second))
    means = F.conv2d(together, kernel, groups=channels).unflatten(0, (5, seen.shape[0]))
    mean_first, mean_second, square_first, square_second, product = means.unbind(0)
    of_first, of_second, of_both = mean_first.pow(2), mean_second.pow(2), mean_first * mean_second
    variance_first = torch.clamp(square_first - of_first, min=0.0)
    variance_second = torch.clamp(square_second - of_second, min=0.0)
    upper = 2 * (product - of_both) + _CONTRAST
    lower = (variance_first + variance_second) + _CONTRAST
    return ((2 * of_both + _LUMINANCE) * upper) / ((of_first + of_second + _LUMINANCE) * lower)


def _kernel(like: Tensor) -> Tensor:
    half = WINDOW_PX / 2
    place = torch.arange(0.5 - half, half + 0.5, 1, dtype=like.dtype, device=like.device)
    row = torch.exp(-torch.pow(place / _SIGMA_PX, 2) / 2)
    row = (row / row.sum())[None]
    return torch.matmul(row.t(), row)
