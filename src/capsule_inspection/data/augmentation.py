"""Augmentation of whole batches on the device, image and mask together.

Each image has random numbers of its own, derived from (seed, epoch, image, repeat): the order of
batches, the number of processes and a resumed run change nothing. Noise alone is drawn for the
batch. torchvision's v2 transforms draw one set of numbers for a batch; here they differ from image
to image (docs/decisions/0003-batched-augmentation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_COLUMNS = (
    "rotation",
    "shift_x",
    "shift_y",
    "scale",
    "vertical_flip",
    "horizontal_flip",
    "brightness",
    "contrast",
    "saturation",
    "hue",
)


@dataclass(frozen=True)
class AugmentationSettings:
    """How far each image may be changed; see `conf/base/data.yaml` for units."""

    rotation_deg: float
    shift: float
    scale: float
    vertical_flip: float
    horizontal_flip: float
    brightness: float
    contrast: float
    saturation: float
    hue_deg: float
    noise: float


class Augmented(NamedTuple):
    """Arrays that were changed alike; see `augment`."""

    image: Tensor
    mask: Tensor
    valid: Tensor
    target: Tensor | None


def sample_generators(
    *, seed: int, epoch: int, index: Tensor, repeat: Tensor, stream: int = 0
) -> list[np.random.Generator]:
    """A random generator for each image, a function of the arguments alone.

    Shapes: index and repeat (N,), the number of earlier uses in the epoch. Streams are
    independent of each other.
    """
    # uint64: a list with one number above 2**63 would become float64, and round.
    first = (seed << 32) + epoch
    keys = np.array(
        [(first, (i << 32) + r) for i, r in zip(index.tolist(), repeat.tolist(), strict=True)],
        np.uint64,
    )
    return [
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream])) for key in keys
    ]


def uniform_numbers(*, seed: int, epoch: int, index: Tensor, repeat: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) for each image, a function of the arguments alone.

    Shapes: as in `sample_generators`. Returns (N, 10), one column for each name in `_COLUMNS`.
    """
    rows = sample_generators(seed=seed, epoch=epoch, index=index, repeat=repeat)
    return torch.from_numpy(np.stack([row.random(len(_COLUMNS), np.float32) for row in rows]))


def augment(
    image: Tensor,
    mask: Tensor,
    valid: Tensor,
    uniform: Tensor,
    settings: AugmentationSettings,
    *,
    target: Tensor | None = None,
    crop_size: tuple[int, int] | None = None,
) -> Augmented:
    """A changed copy of image, mask and valid, and of the clean image where there is a `target`.

    Shapes: image and target (N, 3, H, W) in [0, 1]; mask (N, H, W) uint8; valid (N, H, W) bool;
    uniform (N, 10) on the same device. With a `crop_size` (h, w) the middle of the changed image is
    returned. Pixels from beyond the image repeat its border.
    """
    numbers = dict(zip(_COLUMNS, uniform.unbind(1), strict=True))
    matrix = _affine(numbers, settings, height=image.shape[2], width=image.shape[3])
    height, width = image.shape[2:]
    crop_height, crop_width = crop_size or (height, width)
    if crop_size is not None:
        zoom = matrix.new_tensor([crop_width / width, crop_height / height])
        matrix = torch.cat([matrix[:, :, :2] * zoom, matrix[:, :, 2:]], 2)
    shape = [*image.shape[:2], crop_height, crop_width]
    grid = F.affine_grid(matrix, shape, align_corners=False).to(image.dtype)
    warped = _warp(image, grid)
    colours = _colour_map(warped, numbers, settings)
    changed = _recolour(warped, colours)
    if settings.noise > 0:
        changed = changed + settings.noise * torch.randn_like(changed)
    channels_last = image.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if target is not None:
        target = _recolour(_warp(target, grid), colours).clamp_(0, 1)
        target = target.contiguous(memory_format=layout)
    return Augmented(
        changed.clamp_(0, 1).contiguous(memory_format=layout),
        _warp_labels(mask, grid),
        _warp_labels(valid, grid),
        target,
    )


def _warp(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid, "bilinear", "border", align_corners=False)


def _recolour(image: Tensor, colours: tuple[Tensor, Tensor]) -> Tensor:
    """Brightness, contrast, saturation and hue as one affine map of the colours of each image."""
    matrix, offset = colours
    return torch.einsum("nij,njhw->nihw", matrix, image).add_(offset[:, :, None, None])


def _warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    size = (len(labels), *grid.shape[1:3])
    if not labels.is_floating_point() and not bool(labels.any()):
        return labels.new_zeros(size)  # two thirds of the images have no defect: nothing to warp
    if labels.dtype == torch.bool and bool(labels.all()):
        return labels.new_ones(size)
    warped = F.grid_sample(
        labels[:, None].to(grid.dtype), grid, "nearest", "border", align_corners=False
    )
    return warped[:, 0].to(labels.dtype)


def _signed(uniform: Tensor) -> Tensor:
    return 2 * uniform - 1


def _affine(
    numbers: dict[str, Tensor], settings: AugmentationSettings, *, height: int, width: int
) -> Tensor:
    """Matrices (N, 2, 3) from output to input in affine_grid's coordinates, -1 to 1 on each axis.

    The rotation is one in pixels, so it is corrected for the aspect ratio.
    """
    angle = torch.deg2rad(_signed(numbers["rotation"]) * settings.rotation_deg)
    scale = 1 / (1 + _signed(numbers["scale"]) * settings.scale)
    flip_x = 1 - 2 * (numbers["horizontal_flip"] < settings.horizontal_flip).float()
    flip_y = 1 - 2 * (numbers["vertical_flip"] < settings.vertical_flip).float()
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    shift_x = 2 * settings.shift * _signed(numbers["shift_x"])
    shift_y = 2 * settings.shift * _signed(numbers["shift_y"])
    row_x = torch.stack([cosine * flip_x, -sine * height / width * flip_x, shift_x], dim=1)
    row_y = torch.stack([sine * width / height * flip_y, cosine * flip_y, shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _colour_map(
    image: Tensor, numbers: dict[str, Tensor], settings: AugmentationSettings
) -> tuple[Tensor, Tensor]:
    """Matrix (N, 3, 3) and offset (N, 3): x -> contrast * brightness * C x + (1 - contrast) * m.

    m is the mean.
    """
    luma = torch.tensor(_LUMA, device=image.device, dtype=image.dtype)
    grey = luma.expand(3, 3)
    saturation = 1 + settings.saturation * _signed(numbers["saturation"])
    angle = torch.deg2rad(settings.hue_deg * _signed(numbers["hue"]))
    matrix = grey + saturation[:, None, None] * (_hue_rotation(angle, image) - grey)
    brightness = 1 + settings.brightness * _signed(numbers["brightness"])
    contrast = 1 + settings.contrast * _signed(numbers["contrast"])
    mean = torch.einsum("nchw,c->n", image, luma) / (image.shape[2] * image.shape[3])
    offset = ((1 - contrast) * brightness * mean)[:, None].expand(-1, 3)
    return (contrast * brightness)[:, None, None] * matrix, offset


def _hue_rotation(angle: Tensor, image: Tensor) -> Tensor:
    """Rotation (N, 3, 3) of colours about the grey axis, by Rodrigues' formula."""
    third = 1 / 3**0.5
    cross = image.new_tensor([[0, -third, third], [third, 0, -third], [-third, third, 0]])
    identity = torch.eye(3, device=image.device, dtype=image.dtype)
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return cosine * identity + sine * cross + (1 - cosine) / 3 * torch.ones_like(identity)
