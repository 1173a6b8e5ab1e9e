"""What the crops do to a data set, in sentences: parts not found, defects cut off or shrunk.

Everything is measured when the image cache is written (`crop.DefectCrop`), so that a warm start
judges the same numbers and needs no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import DataError, DataIndex

_MIN_DEFECT_PX = 3.0
"""Thinner defects are lost among the pixels of a network's input."""
_MIN_ENLARGED = 1.02
"""A larger input must bring at least this factor."""
_MIN_SIDE_PX = 16
_LARGE_PART = 0.5
"""A defect of which the crop has less than this fraction is cut off."""
_MIN_CONTENT = 1 / 3
"""Fraction of the network's input that images should fill."""
_STEP_PX = 32
_SHOWN = 6


@dataclass(frozen=True)
class _Crops:
    """A data set, its crops, and how `data.roi` reads in messages."""

    index: DataIndex
    cache: ImageCache
    roi: str

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([sample.label for sample in self.index.samples], np.int64)

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.cache.images.shape[1:3]
        return height, width

    @cached_property
    def scale(self) -> np.ndarray:
        """Pixels of the network's input by pixel of the image, along one side: (N,)."""
        x0, y0, x1, y1 = self.cache.boxes.T
        return np.sqrt(np.prod(self.image_size) / ((x1 - x0) * (y1 - y0)))

    @cached_property
    def content(self) -> np.ndarray:
        """Height and width of what is not padding, (N, 2)."""
        x0, y0, x1, y1 = self.cache.content_boxes.T
        return np.stack([y1 - y0, x1 - x0], axis=1)

    def first(self, rows: np.ndarray) -> str:
        """The path of the first of some images (N,) bool."""
        return self.index.samples[int(np.flatnonzero(rows)[0])].path


def check_crops(
    index: DataIndex, cache: ImageCache, *, roi: str | Sequence[float]
) -> tuple[str, ...]:
    """Warnings about the crops of a data set, a sentence or two each; `roi` is `data.roi`.

    Raises DataError where the crop leaves out most of the defects that masks mark.
    """
    crops = _Crops(index, cache, roi if isinstance(roi, str) else str([*roi]).replace(" ", ""))
    _require_defects(crops)
    found = (_missing_parts, _cut_defects, _defects_off_part, _thin_defects, _tiny, _padded)
    return tuple(sentence for check in found if (sentence := check(crops)))


def _require_defects(crops: _Crops) -> None:
    """Raise DataError where a class loses more than half of its masks entirely."""
    lost, known = crops.cache.defect_inside == 0, np.isfinite(crops.cache.defect_inside)
    counts = {
        name: (
            int((lost & (crops.labels == label)).sum()),
            int((known & (crops.labels == label)).sum()),
        )
        for label, name in enumerate(crops.index.classes)
    }
    losing = [name for name, (of_lost, of_known) in counts.items() if 2 * of_lost > of_known]
    if not losing:
        return
    listed = [f"{counts[name][0]} of {counts[name][1]} images of {name}" for name in losing]
    is_losing = lost & np.isin(crops.labels, [crops.index.classes.index(name) for name in losing])
    raise DataError(
        f"{crops.index.root}: data.roi={crops.roi}: the crop leaves out all that the masks mark in "
        f"{list_first(listed, _SHOWN)} (such as {crops.first(is_losing)}), so a model would be "
        f"shown a flawless part. {_wider(crops)} If the defects are on the part, these masks "
        "belong to other images."
    )


def _missing_parts(crops: _Crops) -> str:
    missing = ~crops.cache.roi_found
    if not missing.any():
        return ""
    return (
        f"data.roi=auto: no single part on a plain background in {missing.sum()} of "
        f"{len(missing)} images (the first is {crops.first(missing)}); the whole image is used for "
        "these."
    )


def _cut_defects(crops: _Crops) -> str:
    inside = crops.cache.defect_inside
    cut = inside < _LARGE_PART
    if not cut.any():
        return ""
    return (
        f"data.roi={crops.roi}: of {np.isfinite(inside).sum()} images with a mask, the crop leaves "
        f"out the whole defect in {(inside == 0).sum()} and more than half of it in "
        f"{(cut & (inside > 0)).sum()} (the first is {crops.first(cut)}). {_wider(crops)}"
    )


def _wider(crops: _Crops) -> str:
    """The remedy where a crop is too narrow."""
    if crops.roi != "auto":
        return "Choose a larger box with data.roi, or take whole images with data.roi=none."
    return (
        "Take whole images with data.roi=none, or a wider crop around the part with "
        "data.roi_margin."
    )


def _defects_off_part(crops: _Crops) -> str:
    """Masks that mark nothing of the part, where the crop follows the part and has the defect."""
    off = (crops.cache.defect_on_part == 0) & (crops.cache.defect_inside > 0)
    if crops.roi != "auto" or not off.any():
        return ""
    known = np.isfinite(crops.cache.defect_on_part).sum()
    return (
        f"In {off.sum()} of {known} images the mask marks nothing of the part that was found (the "
        f"first is {crops.first(off)}). Check that these masks belong to their images and have "
        "their orientation; the pictures of inspect=true show both."
    )


def _thin_defects(crops: _Crops) -> str:
    thickness, scale = crops.cache.defect_thickness, crops.scale
    thin: dict[str, float] = {}
    largest = 1.0
    for label, name in enumerate(crops.index.classes):
        rows = (crops.labels == label) & (crops.cache.defect_inside > 0)
        if not rows.any():
            continue
        typical, shrink = np.median(thickness[rows]), np.median(scale[rows])
        # Defects as thin as that in the images themselves are not the crop's fault.
        enlarge = min(_MIN_DEFECT_PX / typical, 1 / shrink)
        if typical < _MIN_DEFECT_PX and enlarge > _MIN_ENLARGED:
            thin[name], largest = float(typical), max(largest, float(enlarge))
    if not thin:
        return ""
    listed = [f"{name} ({px:.1f})" for name, px in sorted(thin.items(), key=lambda of: of[1])]
    height, width = crops.image_size
    larger = [_up(side * largest) for side in (height, width)]
    return (
        f"data.image_size=[{height},{width}]: images are shrunk so far that the median defect is "
        f"thinner than {_MIN_DEFECT_PX:g} pixels at the network's input: "
        f"{list_first(listed, _SHOWN)}. Such defects may be missed. Set "
        f"data.image_size=[{larger[0]},{larger[1]}], or, for segmentation at the images' own "
        f"resolution, data.tiling.size=[{height},{width}]."
    )


def _tiny(crops: _Crops) -> str:
    tiny = (crops.content.min(axis=1) < _MIN_SIDE_PX) & (crops.scale < 1)
    if not tiny.any():
        return ""
    row = int(np.flatnonzero(tiny)[0])
    sample, (height, width) = crops.index.samples[row], crops.content[row]
    fitting = _fitting_size(crops, tiny)
    return (
        f"{tiny.sum()} of {len(tiny)} images are shrunk to less than {_MIN_SIDE_PX} pixels on a "
        f"side, such as {sample.path}: {sample.width}x{sample.height} pixels (width x height) to "
        f"{width}x{height}. Set data.image_size={fitting} or another size of the images' own "
        "proportions, or, for segmentation at their own resolution, data.tiling.size."
    )


def _padded(crops: _Crops) -> str:
    height, width = crops.image_size
    filled = crops.content.prod(axis=1) / (height * width)
    padded = filled < _MIN_CONTENT
    if 2 * padded.sum() <= len(padded) or _tiny(crops):
        return ""
    return (
        f"data.image_size=[{height},{width}]: {padded.sum()} of {len(padded)} images fill "
        f"{100 * np.median(filled[padded]):.0f}% of it, the rest is padding (the first is "
        f"{crops.first(padded)}). data.image_size={_fitting_size(crops, padded)} has about as many "
        "pixels and the images' own proportions."
    )


def _fitting_size(crops: _Crops, rows: np.ndarray) -> str:
    """A size with about as many pixels as now, in the proportions of the images (N,) bool."""
    samples = [crops.index.samples[row] for row in np.flatnonzero(rows)]
    sizes = np.array([(sample.height, sample.width) for sample in samples])
    boxes = crops.cache.boxes[rows][:, [1, 0, 3, 2]]
    visible = np.minimum(boxes[:, 2:], sizes) - np.maximum(boxes[:, :2], 0)
    height, width = np.median(visible, axis=0)
    wanted = min(np.sqrt(np.prod(crops.image_size) * height / width), height)
    found = _up(wanted - _STEP_PX / 2)
    return f"[{found},{_up(found * width / height)}]"


def _up(side: float) -> int:
    """The next multiple of 32, by which networks halve sides."""
    return max(1, int(np.ceil(side / _STEP_PX))) * _STEP_PX
