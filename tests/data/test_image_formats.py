from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data.image_formats import (
    FORMATS,
    IMAGE_SUFFIXES,
    SIGNATURE_BYTES,
    image_format,
    why_not_read,
)


def test_each_suffix_has_a_format_that_its_first_bytes_tell(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(16 * 24, dtype=np.uint8).reshape(16, 24))
    found = set()
    for suffix in IMAGE_SUFFIXES:
        image.convert("1" if suffix == ".pbm" else "L").save(tmp_path / f"a{suffix}")
        found.add(image_format((tmp_path / f"a{suffix}").read_bytes()[:SIGNATURE_BYTES]))
    assert found == set(FORMATS)


AVIF_BY_COMPATIBLE_BRAND = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"
NOT_READ = {
    b"": "is not a PNG",
    b"BM is a text": "is not a PNG",
    b"P5-numbers": "is not a PNG",
    b"RIFF\0\0\0\0AVI LIST": "is not a PNG",
    b"\0\0\0\x18ftypheic": "is a HEIC file",
    b"\0\0\0\x18ftypmif1\0\0\0\0heic": "is a HEIC file",
    b"\0\0\0\x18ftypmp42": "is a video",
    b"\0\0\0\x18ftypcrx ": "is a camera raw file",
    b"II*\0\x10\0\0\0CR\2\0": "is a camera raw file",
    b"MM\0+\0\x08\0\0": "is a BigTIFF in big-endian byte order",
    b"version https://git-lfs.github.com": "is a pointer of Git LFS",
    b"\x93NUMPY\1\0": "is a NumPy array, which is not read",
    b"P2\n24 16\n255\n1 2": "is a PNM file with pixels as text",
    b"%PDF-1.7": "is a PDF file",
}


@pytest.mark.parametrize("start", NOT_READ)
def test_what_is_not_read_is_named(start: bytes) -> None:
    assert image_format(start) is None
    assert why_not_read(start).startswith(NOT_READ[start])


def test_avif_is_known_by_any_of_its_brands() -> None:
    assert image_format(AVIF_BY_COMPATIBLE_BRAND) == "AVIF"
