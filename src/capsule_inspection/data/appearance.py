"""Whether a photograph is of the kind that a model was trained on: size, part, colours, sharpness.

A photograph is described by some twenty numbers that have names (appearance_entries.py), and held
against those of the training photographs by Mahalanobis distance. Knows no network, so it serves
every task and engine. Numpy and OpenCV; it is fitted in appearance_fit.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from capsule_inspection.data.appearance_entries import ENTRIES
from capsule_inspection.types import RunError

FORMAT_VERSION = 1
_RARE = 0.01
"""What at most this share of the training photographs would show is remarkable."""
_FEWEST_PIXELS = 16
_RIM = 0.01
_NAMES = tuple(entry.name for entry in ENTRIES)
_LAB = ("lightness", "red", "yellow")


def describe(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """What a crop looks like, in the numbers of `ENTRIES`: (D,) float64, finite.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W) uint8, 1 on the part. Where there is no
    background or no part, the whole crop counts as it.
    """
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    reach = 2 * max(1, round(_RIM * max(foreground.shape))) + 1
    # With its rim: the outline is what is sharp in every photograph.
    with_rim = cv2.dilate(foreground, np.ones((reach, reach), np.uint8))
    part, background = _or_all(foreground), _or_all(1 - with_rim)
    laplacian = cv2.Laplacian(lab[..., 0], cv2.CV_16S)
    found = {
        **_colours("part", lab, part),
        **_colours("background", lab, background),
        "part_sharpness": _log_variance(laplacian, _or_all(with_rim)),
        "background_sharpness": _log_variance(laplacian, background),
        **_shape(part),
        **_halves(lab[..., 0], part),
    }
    part_lab, background_lab = (
        np.array([found[f"{of}_{key}"] for key in _LAB]) for of in ("part", "background")
    )
    found["contrast"] = float(np.linalg.norm(part_lab - background_lab))
    return np.array([found[name] for name in _NAMES], np.float64)


@dataclass(frozen=True)
class Appearance:
    """How training photographs look, in plain values.

    `sizes` counts them by "widthxheight" in pixels; in `found` of `count` a part was found on a
    plain background. Descriptors are centred by `mean` (D,) and divided by `scale` (D,);
    `precision` (D, D) is the inverse of their shrunken covariance then. Distances above `limit` are
    far.
    """

    sizes: Mapping[str, int]
    found: int
    count: int
    mean: Sequence[float]
    scale: Sequence[float]
    precision: Sequence[Sequence[float]]
    limit: float

    def distance(self, descriptor: np.ndarray) -> float:
        """Mahalanobis distance of a descriptor (D,) to the training photographs."""
        return float(np.sqrt(max(self._contributions(descriptor).sum(), 0.0)))

    def remarks(self, descriptor: np.ndarray, *, size: tuple[int, int], found: bool) -> list[str]:
        """How a photograph is unlike those of the training, a sentence each; none where it is not.

        `size` is (width, height) of the photograph in pixels, `found` whether a part was found.
        """
        said = [self._of_size(size), self._of_finding(found)]
        # Where no part is found the crop is the whole photograph: nothing in it can be compared.
        if found == self._usually_found:
            said.append(self._of_distance(descriptor))
        return [sentence for sentence in said if sentence is not None]

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name; `from_dict` makes the same of them."""
        return {
            "format_version": FORMAT_VERSION,
            "entries": list(_NAMES),
            **dataclasses.asdict(self),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Appearance:
        """The appearance of `as_dict`. Raises RunError for one of another version or not whole."""
        if stored.get("format_version") != FORMAT_VERSION or stored.get("entries") != list(_NAMES):
            raise RunError(
                "appearance.json: written by another version (format "
                f"{stored.get('format_version')}; this one reads {FORMAT_VERSION}). Install that "
                "version, or train again."
            )
        try:
            return cls(
                sizes={str(size): int(count) for size, count in stored["sizes"].items()},
                found=int(stored["found"]),
                count=int(stored["count"]),
                mean=_numbers(stored["mean"]),
                scale=_numbers(stored["scale"]),
                precision=tuple(_numbers(row) for row in _all(stored["precision"])),
                limit=float(stored["limit"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"appearance.json: is not whole ({type(error).__name__}: {error}). Restore it from "
                "a copy, or remove it."
            ) from error

    @property
    def _usually_found(self) -> bool:
        return 2 * self.found >= self.count

    def _contributions(self, descriptor: np.ndarray) -> np.ndarray:
        """What each entry adds to the squared distance, (D,)."""
        offset = (descriptor - np.array(self.mean)) / np.array(self.scale)
        return offset * (np.array(self.precision) @ offset)

    def _of_size(self, size: tuple[int, int]) -> str | None:
        name = size_name(size)
        # Good and Turing: sizes that were seen once tell how often a new one is to be expected.
        once = sum(count == 1 for count in self.sizes.values())
        if name in self.sizes or once > _RARE * self.count:
            return None
        if len(self.sizes) == 1:
            return (
                f"{name} pixels; all {self.count} training photographs had {next(iter(self.sizes))}"
            )
        most = Counter(self.sizes).most_common(3)
        listed = ", ".join(f"{other} ({count})" for other, count in most)
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        return f"{name} pixels; the {self.count} training photographs had {listed}{more}"

    def _of_finding(self, found: bool) -> str | None:
        alike = self.found if found else self.count - self.found
        if alike > _RARE * self.count:
            return None
        return (
            f"{'a' if found else 'no'} part was found on a plain background; in training one was "
            f"found in {self.found} of {self.count}"
        )

    def _of_distance(self, descriptor: np.ndarray) -> str | None:
        """Named after the entry that adds most to the distance."""
        if self.distance(descriptor) <= self.limit:
            return None
        most = int(self._contributions(descriptor).argmax())
        entry, value = ENTRIES[most], float(descriptor[most])
        low, high = (self.mean[most] + side * self.scale[most] for side in (-2, 2))
        what = entry.low if value < low else entry.high
        if low <= value <= high:
            what = "many small differences at once"
        return (
            f"far outside what was trained on: {what} ({entry.quantity} {entry.shown(value)}, "
            f"usually {entry.shown(low)} to {entry.shown(high)})"
        )


def _or_all(mask: np.ndarray) -> np.ndarray:
    return mask if int(mask.sum()) >= _FEWEST_PIXELS else np.ones_like(mask)


def _colours(name: str, lab: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Mean and spread where the mask is set, (H, W, 3) uint8 as OpenCV codes CIELAB."""
    import cv2

    mean, spread = (values.ravel() for values in cv2.meanStdDev(lab, mask=mask))
    return {
        f"{name}_lightness": mean[0] / 2.55,
        f"{name}_red": mean[1] - 128,
        f"{name}_yellow": mean[2] - 128,
        f"{name}_lightness_spread": np.log2(spread[0] / 2.55 + 1),
        f"{name}_colour_spread": np.log2(np.hypot(spread[1], spread[2]) + 1),
    }


def _log_variance(laplacian: np.ndarray, mask: np.ndarray) -> float:
    import cv2

    _, spread = cv2.meanStdDev(laplacian, mask=mask)
    return float(np.log2(spread[0, 0] ** 2 + 0.25))  # rounding to levels leaves about as much


def _shape(part: np.ndarray) -> dict[str, float]:
    """Share, form and place of the part, (H, W) uint8."""
    import cv2

    moments = cv2.moments(part, binaryImage=True)
    area, (height, width) = moments["m00"], part.shape
    mixed = moments["mu11"]
    matrix = np.array([[moments["mu20"], mixed], [mixed, moments["mu02"]]]) / area
    shorter, longer = np.linalg.eigvalsh(matrix) + 1 / 12  # of a pixel, so that lines have a width
    box = cv2.boundingRect(part)
    return {
        "share": area / (height * width),
        "elongation": float(np.log2(longer / shorter)) / 2,
        "extent": area / (box[2] * box[3]),
        "centre_x": (moments["m10"] / area + 0.5) / width,
        "centre_y": (moments["m01"] / area + 0.5) / height,
    }


def _halves(lightness: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """Differences of lightness between the halves of the box around the part."""
    import cv2

    x, y, width, height = cv2.boundingRect(part)
    column, row = x + width // 2, y + height // 2

    def mean(rows: slice, columns: slice) -> float:
        here = part[rows, columns]
        return cv2.mean(lightness[rows, columns], mask=here)[0] / 2.55 if here.any() else 0.0

    everything = slice(None)
    right, left = mean(everything, slice(column, None)), mean(everything, slice(0, column))
    lower, upper = mean(slice(row, None), everything), mean(slice(0, row), everything)
    return {"left_to_right": right - left, "top_to_bottom": lower - upper}


def size_name(size: tuple[int, int]) -> str:
    """A size in pixels as people write it, of (width, height)."""
    return f"{size[0]}x{size[1]}"


def _numbers(values: Any) -> tuple[float, ...]:
    """D finite numbers."""
    found = tuple(float(value) for value in values)
    if len(found) != len(ENTRIES) or not np.isfinite(found).all():
        raise ValueError(f"expected {len(ENTRIES)} finite numbers, found {len(found)} values")
    return found


def _all(rows: Sequence[Any]) -> Sequence[Any]:
    if len(rows) != len(ENTRIES):
        raise ValueError(f"expected {len(ENTRIES)} rows, found {len(rows)}")
    return rows
