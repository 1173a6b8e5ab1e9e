"""Renders a good capsule as the camera sees it: two halves, prints, highlights, paper, grain.

Lengths are in units of 1/800 of the image's side and levels are 0 to 255, both
measured on real images. Defects are rendered afterwards, by `defects`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic import shell
from capsule_inspection.synthetic.background import add_dust, draw_background
from capsule_inspection.synthetic.pose import sample_pose
from capsule_inspection.synthetic.texture import LUMINANCE, grain, grain_strength


@dataclass(frozen=True)
class Scene:
    """A rendered capsule: image uint8 (S, S, 3) RGB; foreground uint8 (S, S), 1 on the capsule."""

    image: np.ndarray
    foreground: np.ndarray


def render_capsule(rng: Generator, *, size_px: int = 800) -> Scene:
    """Render one flawless capsule in a square image.

    Raises ValueError where `size_px` is below 32.
    """
    if size_px < 32:
        raise ValueError(f"size_px is {size_px}; a capsule needs at least 32 pixels.")
    pose = sample_pose(rng)
    image = draw_background(size_px, pose, rng)
    foreground = shell.add_capsule(image, pose, rng)
    add_dust(image, rng)
    return Scene(_expose(image, size_px, rng), foreground)


def _expose(image: np.ndarray, size_px: int, rng: Generator) -> np.ndarray:
    """Lens blur, grain that grows with light, and rounding to levels."""
    scale = size_px / 800
    if scale > 0.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.55 * scale)
    strength = grain_strength(image @ LUMINANCE) * min(1.0, 0.4 + 0.6 * scale)
    noise = grain((size_px, size_px), rng, sigma_px=0.78 * min(scale, 1.3))
    image = image + noise * strength[..., None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
