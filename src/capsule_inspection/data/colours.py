"""8-bit images to RGB: transparency is laid on white, colour profiles are converted to sRGB.

Little CMS (PIL.ImageCms) applies the profiles.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from capsule_inspection.data.image_notes import (
    ALPHA_OF_ZEROS,
    CMYK,
    CONVERTED_PROFILE,
    IGNORED_PROFILE,
    ON_WHITE,
)

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

_SAME_LEVELS = 2
"""A profile that changes no colour by more levels is sRGB, of which there are many variants."""
_COLOUR_MODES = ("RGB", "L", "CMYK")


def without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """An image of RGB, L or CMYK on white, and notes; an alpha of zeros everywhere is ignored."""
    if not image.has_transparency_data:
        if image.mode not in _COLOUR_MODES:
            image = image.convert("L" if image.mode == "1" else "RGB")
        return image, ()
    image = image.convert("RGBA")
    extrema = image.getchannel("A").getextrema()
    if extrema in ((0, 0), (255, 255)):
        return image.convert("RGB"), (() if extrema[0] else (ALPHA_OF_ZEROS,))
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB"), (ON_WHITE,)


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """An image of RGB, L or CMYK in RGB, and notes.

    A profile that is damaged or of other channels is ignored.
    """
    notes: tuple[str, ...] = ()
    if profile:
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
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    colours = Image.fromarray(cube).convert(mode)
    change = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return None if np.abs(change).max() <= _SAME_LEVELS else transform
