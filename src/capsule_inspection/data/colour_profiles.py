"""Colours of embedded ICC profiles, converted to sRGB by Little CMS (PIL.ImageCms)."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from capsule_inspection.data.image_notes import CMYK, CONVERTED_PROFILE, IGNORED_PROFILE

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

_SAME_LEVELS = 2
"""A profile that changes no colour by more levels is sRGB, of which there are many variants."""
_LEVELS = 9
"""Of each channel, in the colours that are compared."""
_COLOUR_MODES = ("RGB", "L", "CMYK")


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """An 8-bit image in RGB, and notes; grey, RGB and CMYK have their profile applied.

    A profile that is damaged or of other channels is ignored.
    """
    notes: tuple[str, ...] = ()
    if profile and image.mode in _COLOUR_MODES:
        from PIL.ImageCms import PyCMSError

        try:
            transform = _transform(profile, image.mode)
        except (PyCMSError, OSError, ValueError, TypeError):
            notes = (IGNORED_PROFILE,)
        else:
            if transform is not None:
                return transform.apply(image), (CONVERTED_PROFILE,)
    if image.mode == "CMYK":
        notes += (CMYK,)
    return image if image.mode == "RGB" else image.convert("RGB"), notes


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """The conversion of a profile to sRGB; None for one that is sRGB. Raises PyCMSError."""
    from PIL import ImageCms

    # Without its cache a transform may be shared by threads.
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE
    if mode == "L":  # "optimized" grey is up to ten levels too dark
        flags |= ImageCms.Flags.NOOPTIMIZE
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=flags,
    )
    if mode == "CMYK":
        return transform
    if mode == "L":
        colours = Image.frombytes("L", (256, 1), bytes(range(256)))
    else:
        levels = np.linspace(0, 255, _LEVELS).astype(np.uint8)
        colours = Image.fromarray(
            np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        )
    change = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return None if np.abs(change).max() <= _SAME_LEVELS else transform
