"""Hash, size and validity of the files of a data set, so that a warm start does not read them.

One gzipped JSON for each root, keyed by relative path; gzip's checksum detects damage. Where it is
damaged, of another form or of another version, all files are read again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.cache_folder import report_write_errors
from capsule_inspection.files import atomic_write

_log = logging.getLogger(__name__)
_VERSION = 6
_MOST_EXPANSION = 100
"""Facts take at least a hundredth of their size: most of it are hashes."""


class FileFacts(NamedTuple):
    """Facts about a file from the last time that it was read in full.

    `is_empty` is true for masks without a defect, and None for images. `classes` are the class
    indices of a mask that has a class for each pixel.

    Of images: `bit_depth` is that of the file (8, 12, 16), `max_value` the largest value in it,
    `notes` are short codes of what was unusual in decoding (see image_notes.py). Of masks:
    `values` are the values in the file above 0, of many the first ones; `area` and `border` are
    the fractions of all pixels, and of those on the border, that the mask marks; `notes` as above.
    """

    size_bytes: int
    modified_ns: int
    sha256: str
    width: int
    height: int
    is_empty: bool | None = None
    classes: tuple[int, ...] = ()
    changed_ns: int = 0
    """Time of the last change of the inode (st_ctime), which copying cannot set back."""
    bit_depth: int = 8
    max_value: int = 255
    notes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    area: float = 0.0
    border: float = 0.0
    settings: str = ""
    """Key of the settings for which the facts hold, such as the meaning of mask values."""


def facts_path(folder: Path, root: Path) -> Path:
    """The file that stores the facts of a root."""
    key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    return folder / f"index-{key}.json.gz"


def load_facts(path: Path) -> dict[str, FileFacts]:
    """Facts by relative path; empty where there are none or, with a warning, where damaged."""
    try:
        version, rows = json.loads(_expand(path))
        if version != _VERSION:
            raise ValueError("another version")
        facts = {name: FileFacts(*known) for name, *known in rows}
        return {
            name: known._replace(
                classes=tuple(known.classes),
                notes=tuple(known.notes),
                values=tuple(known.values),
            )
            for name, known in facts.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, zlib.error, ValueError, TypeError, RecursionError) as error:
        _log.warning("%s: not usable (%s); all files are read again.", path, error)
        return {}


def _expand(path: Path) -> bytes:
    limit = _MOST_EXPANSION * path.stat().st_size
    with gzip.open(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it expands more than {_MOST_EXPANSION} times")
    return content


def save_facts(path: Path, facts: Mapping[str, FileFacts]) -> None:
    """Write the facts atomically. Raises DataError where this fails."""
    rows = [(name, *known) for name, known in facts.items()]
    with (
        report_write_errors(path),
        atomic_write(path) as partial,
        gzip.open(partial, "wt", 1, encoding="utf-8") as stream,
    ):
        stream.write(json.dumps([_VERSION, rows]))
