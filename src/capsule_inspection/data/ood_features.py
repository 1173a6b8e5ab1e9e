"""Features of a crop for out-of-distribution detection.

Some twenty numbers with names: colours in CIELAB, sharpness, shape and position of the part.
Without a network, so they serve every task and backend. NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_MIN_PIXELS = 16
_RIM = 0.01
_LAB = ("lightness", "red", "yellow")


class Feature(NamedTuple):
    """One feature.

    `low` and `high` describe an image with too small or too large a value, `quantity` names the
    value, `format` prints it. Prints, dust, defects and the position of the crop cause differences
    of the size of `tolerance`, which never count.
    """

    name: str
    quantity: str
    low: str
    high: str
    tolerance: float
    format: Callable[[float], str]


def _plain(value: float) -> str:
    return str(round(value))


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _of_log2(value: float) -> str:
    return f"{2**value:.1f}"


# fmt: off
def _colour_features(name: str) -> tuple[Feature, ...]:
    """CIELAB of the part or the background; spreads as their logarithm, so that ratios count."""
    it = f"the {name} is"
    return (
        Feature(f"{name}_lightness", "lightness", f"{it} darker", f"{it} lighter", 2.0, _plain),
        Feature(f"{name}_red", "red against green", f"{it} greener", f"{it} redder", 2.0, _plain),
        Feature(f"{name}_yellow", "yellow against blue", f"{it} bluer", f"{it} yellower", 2.0,
                _plain),
        Feature(f"{name}_lightness_spread", "spread of lightness", f"{it} more even",
                f"{it} less even", 0.15, _of_log2),
        Feature(f"{name}_colour_spread", "spread of colour", f"{it} less colourful",
                f"{it} more colourful", 0.15, _of_log2),
    )


FEATURES: tuple[Feature, ...] = (
    *_colour_features("part"),
    *_colour_features("background"),
    Feature("contrast", "distance of the colours", "the part stands out less from the background",
            "the part stands out more from the background", 2.0, _plain),
    # A crack may raise the part's by a third; the background's has little reason to change.
    Feature("part_sharpness", "sharpness of the part", "it is blurred",
            "it is sharper or has more grain", 0.5, _of_log2),
    Feature("background_sharpness", "sharpness of the background",
            "it is blurred or has less grain", "it is sharper or has more grain", 0.3, _of_log2),
    # Dented parts are good images: their shape may differ by this much.
    Feature("area_fraction", "the part's fraction of the crop", "the part is smaller in the crop",
            "the part is larger in the crop", 0.05, _percent),
    Feature("elongation", "length by breadth", "the part is less long", "the part is longer",
            0.15, _of_log2),
    Feature("extent", "the part's fraction of its bounding box", "the part fills its box less",
            "the part fills its box more", 0.05, _percent),
    Feature("centre_x", "position from left to right", "the part lies further left in the crop",
            "the part lies further right in the crop", 0.015, _percent),
    Feature("centre_y", "position from top to bottom", "the part lies higher in the crop",
            "the part lies lower in the crop", 0.015, _percent),
    Feature("left_to_right", "difference of lightness",
            "the part's right half is darker against its left",
            "the part's right half is lighter against its left", 2.0, _plain),
    Feature("top_to_bottom", "difference of lightness",
            "the part's lower half is darker against its upper",
            "the part's lower half is lighter against its upper", 2.0, _plain),
)
# fmt: on
NAMES = tuple(feature.name for feature in FEATURES)


def extract_features(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The `FEATURES` of a crop: (D,) float64, finite.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W) uint8, 1 on the part. Where there is no
    background or no part, the whole crop counts as it.
    """
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    reach = 2 * max(1, round(_RIM * max(foreground.shape))) + 1
    # With its rim: the outline is sharp in every image.
    with_rim = cv2.dilate(foreground, np.ones((reach, reach), np.uint8))
    part, background = _or_all(foreground), _or_all(1 - with_rim)
    laplacian = cv2.Laplacian(lab[..., 0], cv2.CV_16S)
    values = {
        **_colours("part", lab, part),
        **_colours("background", lab, background),
        "part_sharpness": _log_variance(laplacian, _or_all(with_rim)),
        "background_sharpness": _log_variance(laplacian, background),
        **_shape(part),
        **_halves(lab[..., 0], part),
    }
    part_lab, background_lab = (
        np.array([values[f"{of}_{key}"] for key in _LAB]) for of in ("part", "background")
    )
    values["contrast"] = float(np.linalg.norm(part_lab - background_lab))
    return np.array([values[name] for name in NAMES], np.float64)


def _or_all(mask: np.ndarray) -> np.ndarray:
    return mask if int(mask.sum()) >= _MIN_PIXELS else np.ones_like(mask)


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
    """Area, form and position of the part, (H, W) uint8."""
    import cv2

    moments = cv2.moments(part, binaryImage=True)
    area, (height, width) = moments["m00"], part.shape
    mixed = moments["mu11"]
    matrix = np.array([[moments["mu20"], mixed], [mixed, moments["mu02"]]]) / area
    shorter, longer = np.linalg.eigvalsh(matrix) + 1 / 12  # of a pixel, so that lines have a width
    box = cv2.boundingRect(part)
    return {
        "area_fraction": area / (height * width),
        "elongation": float(np.log2(longer / shorter)) / 2,
        "extent": area / (box[2] * box[3]),
        "centre_x": (moments["m10"] / area + 0.5) / width,
        "centre_y": (moments["m01"] / area + 0.5) / height,
    }


def _halves(lightness: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """Differences of lightness between the halves of the part's bounding box."""
    import cv2

    x, y, width, height = cv2.boundingRect(part)
    column, row = x + width // 2, y + height // 2

    def mean(rows: slice, columns: slice) -> float:
        mask = part[rows, columns]
        return cv2.mean(lightness[rows, columns], mask=mask)[0] / 2.55 if mask.any() else 0.0

    everything = slice(None)
    right, left = mean(everything, slice(column, None)), mean(everything, slice(0, column))
    lower, upper = mean(slice(row, None), everything), mean(slice(0, row), everything)
    return {"left_to_right": right - left, "top_to_bottom": lower - upper}
