"""From the output of an anomaly detector to an anomaly map and one score for the image.

Sources: residuals, Bergmann et al. 2019 (arXiv:1807.02011); gradient and multi-scale SSIM
residuals, Zavrtanik et al. 2021 ("RIAD"); the score as a mean of the highest pixels, Tsai et al.
2022; SSIM, Wang et al. 2004, section III-B. Differs: each residual is divided, at each pixel, by
its standard deviation on good images that were not trained on. A print or a highlight that is
reconstructed badly on every good part thus counts less.
Pure torch, and exportable; thresholds are chosen in metrics/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.models.base import denormalize
from capsule_inspection.types import ConfigurationError, Normalisation

RESIDUALS = ("l1", "ms_ssim", "gradient")
_SSIM_SCALES = 3
_SSIM_SMALLEST_PX = 12
"""Smallest side of a scale, which is left out below; the window of SSIM has 11."""
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
"""The constants of the paper, for images in [0, 1]."""
_HEAD_WEIGHT = 10.0
"""Weight of the head beside residuals, which are about 1 on good parts and 10 on defects."""
_STD_BLUR = 1 / 40
"""Fraction of the height over which the deviation is shared with neighbours, since parts never lie
in exactly the same position."""
_STD_FLOOR = 0.3
"""Fraction of the mean deviation: a small deviation on a few good images may be chance."""


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Settings of the anomaly maps of all models, see `conf/task/anomaly_detection.yaml`.

    `smoothing` and `context_sigma` are standard deviations of blurs and `roi_dilation` widens the
    part, all as fractions of the image's height. The score is the mean of the `topk_fraction` of
    the highest pixels, before the context is added, which would blur a small defect away.
    """

    smoothing: float
    context_sigma: float
    foreground: bool
    roi_dilation: float
    topk_fraction: float


@dataclass(frozen=True, kw_only=True)
class AnomalyMapConfig(MapConfig):
    """Settings of the anomaly maps of an autoencoder.

    `source` is auto, residual, head or both; `l1`, `ms_ssim` and `gradient` are the weights of the
    residuals.
    """

    source: str
    l1: float
    ms_ssim: float
    gradient: float
    normalise: bool

    def weights(self) -> dict[str, float]:
        """The weights of the residuals that are used."""
        return {name: getattr(self, name) for name in RESIDUALS if getattr(self, name) > 0}

    def uses(self, *, has_head: bool) -> tuple[bool, bool]:
        """Whether residual and head are used.

        Raises ConfigurationError for a missing head, or no residual with a weight.
        """
        if self.source in ("head", "both") and not has_head:
            raise ConfigurationError(
                f"task.map.source={self.source}: this autoencoder has no head. Set model.head=true "
                "with model.corruption=synthetic_defects, or task.map.source=residual."
            )
        residual = self.source in ("residual", "both") or not has_head
        if residual and not self.weights():
            raise ConfigurationError(
                "task.map.l1, ms_ssim and gradient are all 0: at least one must be above 0."
            )
        return residual, self.source != "residual" and has_head


class AnomalyOutput(NamedTuple):
    """Shapes: anomaly_map (N, H, W) float32, high on defects; score (N,) float64."""

    anomaly_map: Tensor
    score: Tensor


def compute_residuals(
    image: Tensor, reconstruction: Tensor, config: AnomalyMapConfig, normalisation: Normalisation
) -> Tensor:
    """Distances of image and reconstruction at each pixel, one map for each of `config.weights()`.

    Shapes: image and reconstruction (N, 3, H, W), normalised; returns (N, R, H, W) float32, >= 0.
    """
    image = denormalize(image, normalisation)
    reconstruction = denormalize(reconstruction, normalisation).clamp(0, 1)
    measures = {"l1": _l1, "ms_ssim": _multi_scale_ssim, "gradient": _gradient}
    return torch.stack([measures[name](image, reconstruction) for name in config.weights()], 1)


def compute_residual_std(mean_square: Tensor) -> Tensor:
    """Standard deviation of residuals on good images, from their mean squares; never zero.

    Shapes: both (R, H, W).
    """
    local = blur(mean_square, round(_STD_BLUR * mean_square.shape[1]))
    floor = _STD_FLOOR**2 * mean_square.mean((1, 2), keepdim=True)
    return (local + floor + 1e-12).sqrt()


def compute_anomaly_map(
    output: Reconstruction,
    *,
    residuals: Tensor | None,
    std: Tensor | None,
    foreground: Tensor,
    valid: Tensor,
    config: AnomalyMapConfig,
) -> AnomalyOutput:
    """The anomaly map and score of each image.

    Shapes: residuals (N, R, H, W) of `compute_residuals`, None where only the head is used; std
    (R, H, W) divides them, None for no division; foreground and valid (N, H, W) bool, true on the
    part and outside of padding: elsewhere the map is 0. The head is used where `output` has logits.
    Where an image has no foreground the whole image counts.
    """
    terms = []
    if residuals is not None:
        weights = residuals.new_tensor(list(config.weights().values()))[:, None, None]
        relative = residuals if std is None else residuals / std
        terms.append((weights * relative).sum(1) / weights.sum())
    if output.logits is not None:
        probability = torch.sigmoid(output.logits.float())
        terms.append(_HEAD_WEIGHT * probability if terms else probability)
    return finish_anomaly_map(
        torch.stack(terms).sum(0), foreground=foreground, valid=valid, config=config
    )


def finish_anomaly_map(
    anomaly_map: Tensor, *, foreground: Tensor, valid: Tensor, config: MapConfig
) -> AnomalyOutput:
    """The smoothed map of the part, and its score.

    Shapes: anomaly_map (N, H, W) float32; foreground and valid as in `compute_anomaly_map`.
    """
    height = int(anomaly_map.shape[1])  # a number also where a graph is traced
    region = score_region(foreground, valid, config)
    anomaly_map = blur(anomaly_map, config.smoothing * height) * region
    score = topk_mean(anomaly_map, config.topk_fraction)
    if config.context_sigma > 0:  # pixels near many anomalous ones are more suspicious
        context = blur(anomaly_map, config.context_sigma * height)
        anomaly_map = (anomaly_map + context) * region
    return AnomalyOutput(anomaly_map, score)


def score_region(foreground: Tensor, valid: Tensor, config: MapConfig) -> Tensor:
    """1 at the pixels that count for the score, else 0: (N, H, W) float32 of bool (N, H, W)."""
    region = valid.float()
    if config.foreground:
        radius_px = round(config.roi_dilation * int(foreground.shape[1]))
        region = region * _dilated_part(foreground, radius_px)
    return region


def topk_mean(maps: Tensor, fraction: float) -> Tensor:
    """Mean of the highest fraction of each map's pixels, at least one.

    Shapes: (N, H, W) to (N,) float64, on the CPU: not every device has float64.
    """
    flat = maps.flatten(1)
    count = max(1, round(fraction * int(flat.shape[1])))
    return flat.topk(count, dim=1).values.cpu().double().mean(1)


def _dilated_part(foreground: Tensor, radius_px: int) -> Tensor:
    """The dilated foreground, or everything where there is none: (N, H, W) of 0 and 1."""
    is_empty = ~foreground.flatten(1).any(1)
    return dilate(foreground | is_empty[:, None, None], radius_px)


def dilate(foreground: Tensor, radius_px: int) -> Tensor:
    """The foreground grown by some pixels in each direction, (N, H, W) float32 of 0 and 1."""
    grown = foreground[:, None].float()
    if radius_px > 0:
        grown = F.max_pool2d(grown, (2 * radius_px + 1, 1), 1, (radius_px, 0))
        grown = F.max_pool2d(grown, (1, 2 * radius_px + 1), 1, (0, radius_px))
    return grown[:, 0]


def blur(maps: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (N, H, W), each map by itself, with replicated borders."""
    if sigma_px <= 0:
        return maps
    radius = max(1, min(round(3 * sigma_px), *(int(side) - 1 for side in maps.shape[1:])))
    offset = torch.arange(-radius, radius + 1, device=maps.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offset / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None].float(), (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel[None, None, :, None])
    return F.conv2d(rows, kernel[None, None, None, :])[:, 0]


def _l1(image: Tensor, reconstruction: Tensor) -> Tensor:
    return (image - reconstruction).abs().mean(1)


def _gradient(image: Tensor, reconstruction: Tensor) -> Tensor:
    difference = image - reconstruction
    across = F.pad((difference[..., 1:] - difference[..., :-1]).abs(), (0, 1))
    down = F.pad((difference[..., 1:, :] - difference[..., :-1, :]).abs(), (0, 0, 0, 1))
    return (across + down).mean(1)


def _multi_scale_ssim(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean over scales of 1 - SSIM, each half the size of the one before."""
    size = image.shape[2:]
    maps = []
    for scale in range(_SSIM_SCALES):
        if scale:
            image, reconstruction = F.avg_pool2d(image, 2), F.avg_pool2d(reconstruction, 2)
        if min(image.shape[2:]) < _SSIM_SMALLEST_PX:
            break
        distance = 1 - ssim_map(image, reconstruction).mean(1, keepdim=True)
        maps.append(F.interpolate(distance, size, mode="bilinear", align_corners=False)[:, 0])
    return torch.stack(maps).mean(0).clamp_min(0)


def ssim_map(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Structural similarity at each pixel, 1 where both are equal, with a Gaussian window.

    It equals torchmetrics' map to the last bit. torchmetrics splits its batch in a way that would
    tie an exported graph to one batch size, so it measures the losses only.
    Shapes: all (N, C, H, W), images float32 in [0, 1], H and W of more than half a window.
    """
    channels, reach = image.shape[1], (_SSIM_WINDOW_PX - 1) // 2
    first, second = (F.pad(one, (reach,) * 4, mode="reflect") for one in (reconstruction, image))
    kernel = _ssim_kernel(image).expand(channels, 1, _SSIM_WINDOW_PX, _SSIM_WINDOW_PX)
    stacked = torch.cat((first, second, first * first, second * second, first * second))
    means = F.conv2d(stacked, kernel, groups=channels).unflatten(0, (5, image.shape[0]))
    mean_first, mean_second, square_first, square_second, product = means.unbind(0)
    of_first, of_second, of_both = mean_first.pow(2), mean_second.pow(2), mean_first * mean_second
    variance_first = torch.clamp(square_first - of_first, min=0.0)
    variance_second = torch.clamp(square_second - of_second, min=0.0)
    upper = 2 * (product - of_both) + _SSIM_C2
    lower = (variance_first + variance_second) + _SSIM_C2
    return ((2 * of_both + _SSIM_C1) * upper) / ((of_first + of_second + _SSIM_C1) * lower)


def _ssim_kernel(like: Tensor) -> Tensor:
    half = _SSIM_WINDOW_PX / 2
    offset = torch.arange(0.5 - half, half + 0.5, 1, dtype=like.dtype, device=like.device)
    row = torch.exp(-torch.pow(offset / _SSIM_SIGMA_PX, 2) / 2)
    row = (row / row.sum())[None]
    return torch.matmul(row.t(), row)
