"""Tells images from other files: by suffix, or by the first bytes where that is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from capsule_inspection.data.image_formats import IMAGE_SUFFIXES, SIGNATURE_BYTES, image_format
from capsule_inspection.data.long_lists import numbered

SYSTEM_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin"})
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})
_CAMERA_RAW = ".dng .nef .cr2 .cr3 .crw .arw .orf .rw2 .raf .pef .srw .raw .3fr"
_RAW_SUFFIXES = frozenset(_CAMERA_RAW.split())  # some start like a TIFF, with a preview
_NOT_READ = """
.heic .heif .jxl .jxr .psd .exr .hdr .fits .fit .npy .npz .mat .h5 .hdf5 .dcm .nii .svg .ico
.mp4 .avi .mov .mkv
"""
UNREAD_SUFFIXES = _RAW_SUFFIXES | frozenset(_NOT_READ.split())
"""Of files that may hold images, in formats that are not read."""
# No images, whatever their first bytes are: copies that editors and downloads leave. And what need
# not be opened, since there may be one for each image.
_OTHER = ".thm .bak .orig .tmp .part .crdownload .txt .json .xml .csv .npy"
_OTHER_SUFFIXES = _RAW_SUFFIXES | frozenset(_OTHER.split())


def is_image(root: Path, name: str) -> bool:
    """Whether a file can be read as an image: by its suffix, else by its first bytes."""
    suffix = suffix_of(name)
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _OTHER_SUFFIXES or name.endswith("~"):
        return False
    try:
        with (root / name).open("rb") as stream:
            return image_format(stream.read(SIGNATURE_BYTES)) is not None
    except OSError:
        return False


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; "" where there is none."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{suffix}".lower() if stem else ""


def count_suffixes(names: Sequence[str]) -> str:
    """Number of files, and of each suffix, for a message."""
    counts = Counter(suffix_of(name) or "no suffix" for name in names)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items()))
    return f"{numbered(len(names), 'file')}" + (f": {listed}" if listed else "")
