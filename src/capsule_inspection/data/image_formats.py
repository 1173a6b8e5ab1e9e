"""Formats of image files by their first bytes, those that are read and those that are not.

Standard library only; image_io.py has the decoders.
"""

from __future__ import annotations

_SUFFIXES = """
.png .jpg .jpeg .jpe .jfif .bmp .tif .tiff .webp .gif .jp2 .j2k .jpx .j2c .pgm .ppm .pnm .pbm
.avif
"""
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
SIGNATURE_BYTES = 64
"""First bytes of a file by which its format is known."""

PNG, JPEG, BMP, TIFF, WEBP = "PNG", "JPEG", "BMP", "TIFF", "WebP"
GIF, JPEG_2000, PNM, AVIF = "GIF", "JPEG 2000", "PNM", "AVIF"
FORMATS = (PNG, JPEG, BMP, TIFF, WEBP, GIF, JPEG_2000, PNM, AVIF)
"""Formats that are read; PNM stands for PBM, PGM and PPM with binary pixels."""

_READ = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the header that follows the file header; a text may begin with BM, too."""
_RAW = "a camera raw file"
_NOT_READ = {
    b"FUJIFILMCCD-RAW": _RAW,
    b"IIU\0": _RAW,
    b"IIRO": _RAW,
    b"MM\0+": "a BigTIFF in big-endian byte order",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF file",
    b"\x76\x2f\x31\x01": "an OpenEXR file",
    b"\x93NUMPY": "a NumPy array",
    b"PK\3\4": "a ZIP archive",
}
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Of ISO media files (HEIC, AVIF, videos); the brand follows `ftyp`."""


def image_format(start: bytes) -> str | None:
    """Format of a file that starts with these bytes; None for one that is not read."""
    for signature, name in _READ:
        if start.startswith(signature):
            return None if name == TIFF and start[8:10] == b"CR" else name  # CR2, of Canon
    if start.startswith(b"RIFF"):  # of video and sound, too
        return WEBP if start[8:12] == b"WEBP" else None
    if start.startswith(b"BM"):
        return BMP if int.from_bytes(start[14:18], "little") in _BMP_HEADERS else None
    if start[:2] in (b"P4", b"P5", b"P6"):
        return PNM if start[2:3].isspace() else None
    if start[4:8] == b"ftyp" and (start[8:12] == b"avif" or b"avif" in _other_brands(start)):
        return AVIF
    return None


def why_not_read(start: bytes) -> str:
    """The reason for which a file that starts with these bytes is not read, for a message."""
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: git lfs pull"
    known = next((_NOT_READ[each] for each in _NOT_READ if start.startswith(each)), "")
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        known = _RAW if brand == b"crx " else "a HEIC file" if brand in _HEIC_BRANDS else "a video"
    elif start[8:10] == b"CR" and start.startswith(b"II*\0"):
        known = _RAW
    elif start[:2] in (b"P1", b"P2", b"P3") and start[2:3].isspace():
        known = "a PNM file with pixels as text"
    if known:
        return f"is {known}, which is not read: convert it to PNG"
    return f"is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"


def _other_brands(start: bytes) -> list[bytes]:
    """Compatible brands of an ISO media file, of four bytes each."""
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[place : place + 4] for place in range(16, end - 3, 4)]
