"""What is remembered of files between runs, so that a warm start need not read them again.

One small table for each root, keyed by relative path and trusted only while a file's size and
time of change are the same. It is a convenience: if it is damaged, everything is read anew.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from capsule_inspection.types import DataError

_log = logging.getLogger(__name__)
_FORMAT = "capsule-inspection index 2"
_DIGEST_LENGTH = 64
_EMPTY_TEXT = {None: "", False: "0", True: "1"}
_EMPTY_VALUE = {text: value for value, text in _EMPTY_TEXT.items()}


class FileFacts(NamedTuple):
    """What is known of a file that was read in full, and its size and time of change then.

    `empty` says of masks whether they mark nothing; it is None for images. `classes` and
    `num_classes` are those of reading.MaskFacts.
    """

    size_bytes: int
    modified_ns: int
    sha256: str
    width: int
    height: int
    empty: bool | None = None
    classes: tuple[int, ...] = ()
    num_classes: int = 0


def store_path(folder: Path, root: Path) -> Path:
    """Where the facts of a root are kept."""
    key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    return folder / f"index-{key}.csv"


def load_facts(path: Path) -> dict[str, FileFacts]:
    """Facts by relative path; empty where there are none or, with a warning, where damaged."""
    try:
        with path.open("rb") as stream:
            if stream.readline() != _head(_digest(stream)):
                raise ValueError("damaged, or of another version")
            stream.seek(len(_head("")) + _DIGEST_LENGTH)
            return _parse(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, csv.Error) as error:
        _log.warning("%s: not usable (%s); all files are read again.", path, error)
        return {}


def save_facts(path: Path, facts: Mapping[str, FileFacts]) -> None:
    """Write the facts; the file appears whole or not at all. Raises DataError where it cannot."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w+b") as stream:
                _write(stream, facts)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: the index cannot be written ({error.strerror}). Free the disk, or set "
            "data.cache_folder to a place that can be written to."
        ) from error


def _write(stream: BinaryIO, facts: Mapping[str, FileFacts]) -> None:
    stream.write(_head("0" * _DIGEST_LENGTH))  # its place, until the digest is known
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="", write_through=True)
    csv.writer(text, lineterminator="\n").writerows(
        (name, *_cells(known)) for name, known in facts.items()
    )
    text.detach()
    digest = _digest(stream)
    stream.seek(0)
    stream.write(_head(digest))


def _parse(stream: BinaryIO) -> dict[str, FileFacts]:
    # Row by row: the table of 30,000 images, held as one text, would take 20 MB.
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
    try:
        return {name: _facts(cells) for name, *cells in csv.reader(text)}
    finally:
        text.detach()  # else it would close the stream under its owner


def _cells(facts: FileFacts) -> tuple[object, ...]:
    classes = " ".join(map(str, facts.classes))
    return (*facts[:5], _EMPTY_TEXT[facts.empty], classes, facts.num_classes)


def _facts(cells: list[str]) -> FileFacts:
    size, modified, sha256, width, height, empty, classes, num_classes = cells
    return FileFacts(
        int(size),
        int(modified),
        sha256,
        int(width),
        int(height),
        _EMPTY_VALUE[empty],
        tuple(map(int, classes.split())),
        int(num_classes),
    )


def _head(digest: str) -> bytes:
    return f"{_FORMAT},{digest}\n".encode()


def _digest(stream: BinaryIO) -> str:
    """SHA-256 of all that follows the first line; leaves the stream where it was."""
    position = stream.tell()
    stream.seek(len(_head("")) + _DIGEST_LENGTH)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    stream.seek(position)
    return digest
