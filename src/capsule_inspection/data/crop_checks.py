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
_MIN_CONTENT = 1 / 2
"""Fraction of the network's input that images should fill."""
_STEP_PX = 32
_SHOWN = 6


@dataclass(frozen=True)
class _Crops:
    """A data set and its crops; `roi` as in messages, `is_fixed` where a finished run has it."""

    index: DataIndex
    cache: ImageCache
    roi: str
    is_fixed: bool

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([sample.label for sample in self.index.samples], np.int64)

    @cached_property
    def inside(self) -> np.ndarray:
        """A copy: the cache's rows lie far apart in their file."""
        return self.cache.defect_inside.copy()

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.cache.images.shape[1:3]
        return height, width

    @cached_property
    def scale(self) -> np.ndarray:
        """Pixels of the network's input by pixel of the image, along one side: (N,)."""
        x0, y0, x1, y1 = self.cache.boxes.copy().T
        return np.sqrt(np.prod(self.image_size) / ((x1 - x0) * (y1 - y0)))

    @property
    def remedy(self) -> str:
        """What to do where the crop is too narrow."""
        if self.is_fixed:
            return (
                "The crop is that of the run: leave these images out, or train with data.roi=none."
            )
        if self.roi != "auto":
            return "Choose a larger box with data.roi, or take whole images with data.roi=none."
        return (
            "Take whole images with data.roi=none, or a wider crop around the part with "
            "data.roi_margin."
        )

    def first(self, rows: np.ndarray) -> str:
        """The path of the first of some images (N,) bool."""
        return self.index.samples[int(np.flatnonzero(rows)[0])].path


def check_crops(
    index: DataIndex, cache: ImageCache, *, roi: str | Sequence[float], is_fixed: bool = False
) -> tuple[str, ...]:
    """Warnings about the crops of a data set, a sentence or two each; `roi` is `data.roi`.

    With `is_fixed`, crop and size are those of a finished run. Raises DataError where the crop
    leaves out most of the defects that masks mark.
    """
    name = roi if isinstance(roi, str) else str([*roi]).replace(" ", "")
    crops = _Crops(index, cache, name, is_fixed)
    _require_defects(crops)
    checks = [_missing_parts, _cut_defects, _defects_off_part]
    if not is_fixed:
        checks += [_thin_defects, _small_images]
    return tuple(sentence for check in checks if (sentence := check(crops)))


def _require_defects(crops: _Crops) -> None:
    """Raise DataError where a class loses more than half of its masks entirely."""
    losing, listed = np.zeros(len(crops.labels), bool), []
    for label, name in enumerate(crops.index.classes):
        known = np.isfinite(crops.inside) & (crops.labels == label)
        lost = known & (crops.inside == 0)
        if 2 * lost.sum() > known.sum():
            losing |= lost
            listed.append(f"{lost.sum()} of {known.sum()} images of {name}")
    if listed:
        raise DataError(
            f"{crops.index.root}: data.roi={crops.roi}: the crop leaves out all that the masks "
            f"mark in {list_first(listed, _SHOWN)} (such as {crops.first(losing)}), so a model "
            f"would be shown a flawless part. {crops.remedy} If the defects are on the part, these "
            "masks belong to other images."
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
    inside = crops.inside
    cut = inside < _LARGE_PART
    if not cut.any():
        return ""
    return (
        f"data.roi={crops.roi}: of {np.isfinite(inside).sum()} images with a mask, the crop leaves "
        f"out the whole defect in {(inside == 0).sum()} and more than half of it in "
        f"{(cut & (inside > 0)).sum()} (the first is {crops.first(cut)}). {crops.remedy}"
    )


def _defects_off_part(crops: _Crops) -> str:
    """Masks that mark nothing of the part, where the crop follows the part and has the defect."""
    on_part = crops.cache.defect_on_part.copy()
    off = (on_part == 0) & (crops.inside > 0)
    if crops.roi != "auto" or not off.any():
        return ""
    return (
        f"In {off.sum()} of {np.isfinite(on_part).sum()} images the mask marks nothing of the part "
        f"that was found (the first is {crops.first(off)}). Check that these masks belong to their "
        "images and have their orientation; the pictures of inspect=true show both."
    )


def _thin_defects(crops: _Crops) -> str:
    thickness = crops.cache.defect_thickness.copy()
    thin: dict[str, float] = {}
    largest = 1.0
    for label, name in enumerate(crops.index.classes):
        rows = (crops.labels == label) & (crops.inside > 0)
        if not rows.any():
            continue
        typical, shrink = np.median(thickness[rows]), np.median(crops.scale[rows])
        # Defects as thin as that in the images themselves are not the crop's fault.
        enlarge = min(_MIN_DEFECT_PX / typical, 1 / shrink)
        if typical < _MIN_DEFECT_PX and enlarge > _MIN_ENLARGED:
            thin[name], largest = float(typical), max(largest, float(enlarge))
    if not thin:
        return ""
    listed = [f"{name} ({px:.1f})" for name, px in sorted(thin.items(), key=lambda of: of[1])]
    height, width = crops.image_size
    return (
        f"data.image_size=[{height},{width}]: images are shrunk so far that the median defect is "
        f"thinner than {_MIN_DEFECT_PX:g} pixels at the network's input: "
        f"{list_first(listed, _SHOWN)}. Such defects may be missed. Set "
        f"data.image_size=[{_up(height * largest)},{_up(width * largest)}], or, for segmentation "
        f"at the images' own resolution, data.tiling.size=[{height},{width}]."
    )


def _small_images(crops: _Crops) -> str:
    """Images that are shrunk to a few rows, or most of them that fill little of the input."""
    x0, y0, x1, y1 = crops.cache.content_boxes.copy().T
    widths, heights = x1 - x0, y1 - y0
    small = (np.minimum(widths, heights) < _MIN_SIDE_PX) & (crops.scale < 1)
    if not small.any():
        small = widths * heights < _MIN_CONTENT * np.prod(crops.image_size)
        if 2 * small.sum() <= len(small):
            return ""
    row = int(np.flatnonzero(small)[0])
    sample = crops.index.samples[row]
    return (
        f"data.image_size={str([*crops.image_size]).replace(' ', '')}: {small.sum()} of "
        f"{len(small)} images fill little of it, the rest is padding, such as {sample.path}: "
        f"{sample.width}x{sample.height} pixels (width x height) become "
        f"{widths[row]}x{heights[row]}. Set data.image_size={_fitting_size(crops, small)} or "
        "another size of the images' own proportions, or, for segmentation at their own "
        "resolution, data.tiling.size."
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
