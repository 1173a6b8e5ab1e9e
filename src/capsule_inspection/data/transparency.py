"""Images without their alpha channel: laid on white, unless it is zero everywhere."""

from __future__ import annotations

import numpy as np
from PIL import Image

from capsule_inspection.data.deep_pixels import smallest_depth
from capsule_inspection.data.image_notes import ALPHA_OF_ZEROS, ON_WHITE


def without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """An image of RGB, L or CMYK on white, and notes."""
    if image.mode in ("RGB", "L", "CMYK") and not image.has_transparency_data:
        return image, ()
    if not image.has_transparency_data:
        return image.convert("L" if image.mode == "1" else "RGB"), ()
    image = image.convert("RGBA")
    low, high = image.getchannel("A").getextrema()
    if low == high:
        notes = () if high else (ALPHA_OF_ZEROS,)
        if high in (0, 255):
            return image.convert("RGB"), notes
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB"), (ON_WHITE,)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels (H, W, 3) on white by a 16-bit alpha (H, W, 1), which may have another depth.

    An alpha of one value is none.
    """
    if not alpha.size or alpha.min() == alpha.max():
        notes = (ALPHA_OF_ZEROS,) if alpha.size and not alpha.max() else ()
        return pixels, notes
    opaque = alpha / (2.0 ** smallest_depth(int(alpha.max())) - 1)
    return np.rint(pixels * opaque + 255 * (1 - opaque)).astype(np.uint8), (ON_WHITE,)
