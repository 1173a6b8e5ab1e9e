"""Writes small uncompressed TIFF files with any tags, which Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS = 256, 257, 258, 259, 262, 273
_SAMPLES, _ROWS, _COUNTS, _PLANAR, _SAMPLE_FORMAT = 277, 278, 279, 284, 339
MIN_IS_WHITE, MIN_IS_BLACK, RGB, YCBCR = 0, 1, 2, 6
DEFLATE = 8
_SHORT, _LONG = 3, 4


def tiff_page(
    pixels: np.ndarray, *, bits: int | None = None, planes: bool = False, **tags: int
) -> tuple[dict[int, tuple[int, ...]], bytes]:
    """Tags and pixels of a page; pixels (H, W) or (H, W, 3), in the byte order that is written.

    `tags` are further ones, such as `tag_254=1`, or others than the usual ones.
    """
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = np.moveaxis(pixels, -1, 0) if planes else pixels
    size = 8 * pixels.itemsize if bits is None else bits
    content = pack_bits(pixels, bits) if bits not in (None, 8, 16, 32) else data.tobytes()
    if tags.get("tag_259") == DEFLATE:
        content = zlib.compress(content)
    count = samples if planes else 1
    found: dict[int, tuple[int, ...]] = {
        _WIDTH: (width,),
        _HEIGHT: (height,),
        _BITS: (size,) * samples,
        _COMPRESSION: (1,),
        _PHOTOMETRIC: (MIN_IS_BLACK if samples == 1 else RGB,),
        _SAMPLES: (samples,),
        _ROWS: (height,),
        _OFFSETS: tuple(len(content) // count * plane for plane in range(count)),
        _COUNTS: (len(content) // count,) * count,
        _PLANAR: (2 if planes else 1,),
    }
    if pixels.dtype.kind in "if":
        found[_SAMPLE_FORMAT] = ({"i": 2, "f": 3}[pixels.dtype.kind],) * samples
    found |= {int(name.removeprefix("tag_")): (value,) for name, value in tags.items()}
    return found, content


def pack_bits(values: np.ndarray, bits: int) -> bytes:
    """Rows of values of some bits each, the highest first."""
    shifts = np.arange(bits)[::-1]
    rows = (values[:, :, None] >> shifts & 1).reshape(len(values), -1).astype(np.uint8)
    return np.packbits(rows, axis=1).tobytes()


def write_tiff(
    path: Path, *pages: tuple[dict[int, tuple[int, ...]], bytes], order: str = "<"
) -> Path:
    """Write pages of `tiff_page`; `order` is "<" or ">"."""
    content = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    link = 4
    for tags, pixels in pages:
        start = len(content)
        content += pixels + b"\0" * (len(pixels) % 2)
        entries, extra = b"", b""
        place = len(content) + 2 + 12 * len(tags) + 4
        for tag, values in sorted(tags.items()):
            moved = [value + start * (tag == _OFFSETS) for value in values]
            kind = _LONG if tag == _OFFSETS or max(moved) > 65535 else _SHORT
            packed = struct.pack(f"{order}{len(moved)}{'HI'[kind == _LONG]}", *moved)
            if len(packed) > 4:
                packed, extra = struct.pack(f"{order}I", place + len(extra)), extra + packed
            entries += struct.pack(f"{order}HHI", tag, kind, len(moved)) + packed.ljust(4, b"\0")
        content[link : link + 4] = struct.pack(f"{order}I", len(content))
        content += struct.pack(f"{order}H", len(tags)) + entries
        link = len(content)
        content += struct.pack(f"{order}I", 0) + extra
    path.write_bytes(content)
    return path
