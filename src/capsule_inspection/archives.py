"""Zip archives from outside: checked before anything in them is expanded.

Archives of arrays, checkpoints, weights and exported models are opened here. NumPy and PyTorch
check neither sizes nor, in PyTorch's case, the CRC-32 of the members.
Standard library only; every package may import this module.
"""

from __future__ import annotations

import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What libraries raise for a damaged archive, pickle or array; RuntimeError takes in recursion."""
_MAX_MEMBERS = 100_000
_FOLDER = 0x10
"""Attribute of MS-DOS."""
_NAME = re.compile("[ -~]+")
_OTHER_NAME = b"up"
"""Marks a second name of a member, field 0x7075, which zipfile and PyTorch may read otherwise."""
_MAX_EXTRA = 32
"""Bytes beside a member's name in the directory: of its sizes, where the file has gigabytes."""


def describe(error: BaseException) -> str:
    """An error's message on one line, for a message of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def open_archive(
    path: Path, *, max_bytes: int, compressed: bool = True
) -> Iterator[zipfile.ZipFile]:
    """An archive of at most `max_bytes` when it is expanded, for reading.

    Raises ValueError, or another of `DAMAGE`, where it is larger, has two members of a name, or
    encrypted ones, or compressed ones although these are not allowed.
    """
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"it has {size} bytes, expected at most {max_bytes}")
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[: 1 + compressed]
        if len({member.filename.casefold() for member in members}) != len(members):
            raise ValueError("two members have one name")  # PyTorch ignores case
        if any(member.flag_bits & 1 or member.compress_type not in methods for member in members):
            raise ValueError("a member is encrypted, or compressed in an unexpected way")
        if any(member.comment or len(member.extra) > _MAX_EXTRA for member in members):
            raise ValueError("a member has a comment")  # a damaged length hides members in it
        size = sum(member.file_size for member in members)
        if size > max_bytes or len(members) > _MAX_MEMBERS:
            raise ValueError(f"it expands to {size} bytes, expected at most {max_bytes}")
        yield archive


@contextmanager
def open_stored(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive as PyTorch writes it, for reading; the CRC-32 of all members are right.

    Raises ValueError, or another of `DAMAGE`, where it is damaged.
    """
    with open_archive(path, max_bytes=path.stat().st_size, compressed=False) as archive:
        members = archive.infolist()
        if any(member.external_attr & _FOLDER for member in members):
            raise ValueError("a member is marked as a folder")  # PyTorch reads no bytes of these
        if any(
            not _NAME.fullmatch(member.orig_filename) or _OTHER_NAME in member.extra
            for member in members
        ):
            raise ValueError("a member has a name that PyTorch does not write")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the CRC-32 of {damaged} does not fit")
        yield archive
