"""From an autoencoder's output to an anomaly map and one score for the image.

Sources: residuals, Bergmann et al. 2019 (arXiv:1807.02011); gradient and multi-scale SSIM
residuals, Zavrtanik et al. 2021 ("RIAD"); the score as a mean of the highest pixels, Tsai et al.
2022. Differs: each residual is divided by its own spread on good images that were not trained on,
at each pixel, so that a print or a highlight that is drawn badly on every good part counts less.
Pure torch; thresholds are chosen in metrics, the maps are used in tasks/anomaly_detection/lightning_module.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.models.base import to_colours
from capsule_inspection.models.ssim import ssim_map
from capsule_inspection.types import ConfigurationError, Normalisation

RESIDUALS = ("l1", "ms_ssim", "gradient")
_SSIM_SCALES = 3
_SMALLEST_FOR_SSIM = 12
"""Pixels a side: below, a scale is left out; the window of SSIM has 11."""
_HEAD_AGAINST_RESIDUAL = 10.0
"""Where both count: a residual against its spread is about 1 on good parts, and 10 on defects."""
_SPREAD_BLUR = 1 / 40
"""Of the height: how far the spread of a pixel is that of its neighbours too, since parts never lie
in exactly the same place."""
_SPREAD_FLOOR = 0.3
"""Of the mean spread: a pixel that happened to be drawn well on a few good images is not trusted
to be drawn well always."""


@dataclass(frozen=True)
class MapSettings:
    """How a map is made; see `conf/task/reconstruction.yaml`.

    `source` is auto, residual, head or both; `l1`, `ms_ssim` and `gradient` are the weights of the
    residuals; `smoothing` and `context` are standard deviations of blurs, and `margin` is how far
    the part is widened, all as a share of the image's height; `top_share` of the pixels make the
    score, from the map before the `context` is added, which would blur a small defect away.
    """

    source: str
    l1: float
    ms_ssim: float
    gradient: float
    normalise: bool
    smoothing: float
    context: float
    foreground: bool
    margin: float
    top_share: float

    def weights(self) -> dict[str, float]:
        """The residuals that count, with their weights."""
        return {name: getattr(self, name) for name in RESIDUALS if getattr(self, name) > 0}

    def uses(self, *, has_head: bool) -> tuple[bool, bool]:
        """Whether residual and head count.

        Raises ConfigurationError for a head that is not there, or no residual with a weight.
        """
        if self.source in ("head", "both") and not has_head:
            raise ConfigurationError(
                f"task.map.source={self.source}: this autoencoder has no head. Set model.head=true "
                "with model.corruption=painted, or task.map.source=residual."
            )
        residual = self.source in ("residual", "both") or not has_head
        if residual and not self.weights():
            raise ConfigurationError(
                "task.map.l1, ms_ssim and gradient are all 0: at least one residual must count."
            )
        return residual, self.source != "residual" and has_head


class Anomaly(NamedTuple):
    """Shapes: map (N, H, W) float32, high where something is wrong; score (N,) float64."""

    map: Tensor
    score: Tensor


def residuals(
    image: Tensor, reconstruction: Tensor, settings: MapSettings, normalisation: Normalisation
) -> Tensor:
    """What was not reconstructed, one map for each residual of `settings.weights()`.

    Shapes: image and reconstruction (N, 3, H, W), normalised; returns (N, R, H, W) float32, >= 0.
    """
    seen = to_colours(image, normalisation)
    drawn = to_colours(reconstruction, normalisation).clamp(0, 1)
    measures = {"l1": _l1, "ms_ssim": _multi_scale_ssim, "gradient": _gradient}
    return torch.stack([measures[name](seen, drawn) for name in settings.weights()], 1)


def spread(square: Tensor) -> Tensor:
    """How much residuals vary on good images, from the mean of their squares; never zero.

    Shapes: both (R, H, W).
    """
    local = blur(square, round(_SPREAD_BLUR * square.shape[1]))
    floor = _SPREAD_FLOOR**2 * square.mean((1, 2), keepdim=True)
    return (local + floor + 1e-12).sqrt()


def anomaly(
    output: Reconstruction,
    *,
    residual: Tensor | None,
    residual_spread: Tensor | None,
    foreground: Tensor,
    valid: Tensor,
    settings: MapSettings,
) -> Anomaly:
    """The map of each image and its score.

    `residual` (N, R, H, W) is what `residuals` found, None where the head alone counts, which it
    does where `output` has logits;
    `residual_spread` (R, H, W) or None for no division; foreground and valid (N, H, W) bool, the
    part and what is not padding: elsewhere the map has its lowest value, 0. An image in which no
    part is seen counts as a whole.
    """
    parts = []
    if residual is not None:
        weights = residual.new_tensor(list(settings.weights().values()))[:, None, None]
        relative = residual if residual_spread is None else residual / residual_spread
        parts.append((weights * relative).sum(1) / weights.sum())
    if output.logits is not None:
        certainty = torch.sigmoid(output.logits.float())
        parts.append(certainty if not parts else _HEAD_AGAINST_RESIDUAL * certainty)
    found = torch.stack(parts).sum(0)
    height = int(found.shape[1])  # a number also where a graph is traced
    counted = valid.float()
    if settings.foreground:
        counted = counted * _part(foreground, round(settings.margin * height))
    found = blur(found, settings.smoothing * height) * counted
    score = top_mean(found, settings.top_share)
    if settings.context > 0:  # what lies near much that is wrong is more suspicious than elsewhere
        found = (found + blur(found, settings.context * height)) * counted
    return Anomaly(found, score)


def top_mean(maps: Tensor, share: float) -> Tensor:
    """Mean of the highest share of each map's pixels, at least one.

    Shapes: (N, H, W) to (N,) float64, on the CPU: not every device has float64.
    """
    flat = maps.flatten(1)
    count = max(1, round(share * int(flat.shape[1])))
    return flat.topk(count, dim=1).values.cpu().double().mean(1)


def _part(foreground: Tensor, reach_px: int) -> Tensor:
    """The foreground, somewhat widened, or everything where there is none: (N, H, W) of 0 and 1."""
    nothing = ~foreground.flatten(1).any(1)
    return widen(foreground | nothing[:, None, None], reach_px)


def widen(foreground: Tensor, reach_px: int) -> Tensor:
    """The foreground grown by some pixels in each direction, (N, H, W) float32 of 0 and 1."""
    grown = foreground[:, None].float()
    if reach_px > 0:
        grown = F.max_pool2d(grown, (2 * reach_px + 1, 1), 1, (reach_px, 0))
        grown = F.max_pool2d(grown, (1, 2 * reach_px + 1), 1, (0, reach_px))
    return grown[:, 0]


def blur(maps: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (N, H, W), each map by itself, its border repeated."""
    if sigma_px <= 0:
        return maps
    reach = max(1, min(round(3 * sigma_px), *(int(side) - 1 for side in maps.shape[1:])))
    place = torch.arange(-reach, reach + 1, device=maps.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (place / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None].float(), (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel[None, None, :, None])
    return F.conv2d(rows, kernel[None, None, None, :])[:, 0]


def _l1(seen: Tensor, drawn: Tensor) -> Tensor:
    return (seen - drawn).abs().mean(1)


def _gradient(seen: Tensor, drawn: Tensor) -> Tensor:
    difference = seen - drawn
    across = F.pad((difference[..., 1:] - difference[..., :-1]).abs(), (0, 1))
    down = F.pad((difference[..., 1:, :] - difference[..., :-1, :]).abs(), (0, 0, 0, 1))
    return (across + down).mean(1)


def _multi_scale_ssim(seen: Tensor, drawn: Tensor) -> Tensor:
    """Mean over scales of 1 - SSIM, each half the size of the one before."""
    size = seen.shape[2:]
    found = []
    for scale in range(_SSIM_SCALES):
        if scale:
            seen, drawn = F.avg_pool2d(seen, 2), F.avg_pool2d(drawn, 2)
        if min(seen.shape[2:]) < _SMALLEST_FOR_SSIM:
            break
        unlike = 1 - ssim_map(seen, drawn).mean(1, keepdim=True)
        found.append(F.interpolate(unlike, size, mode="bilinear", align_corners=False)[:, 0])
    return torch.stack(found).mean(0).clamp_min(0)
