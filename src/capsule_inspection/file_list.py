"""The list of the files of a folder that this program has made, by which damage to it is found.

It is written last. A file of known size and times is not read again, as those of a data set are
not; the checksum of others decides.
"""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from capsule_inspection.integrity import FILES, leads_out, read_sealed, write_sealed
from capsule_inspection.types import FILE_LIST

_THREADS = 4  # zlib and reading release the interpreter's lock


def write_file_list(folder: Path) -> None:
    """Write the list of all files below a folder."""
    paths = [Path(path, name) for path, _, names in os.walk(folder) for name in names]
    names = (path.relative_to(folder).as_posix() for path in paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        facts = pool.map(lambda path: (*_status(path), _crc32(path)), paths)
    files = dict(zip(names, facts, strict=True))
    write_sealed(folder / FILE_LIST, {FILES: files})


def find_damage(folder: Path, *, full: bool = False) -> str | None:
    """What is wrong with the files that are listed; None where they are as they were written.

    Files that are not listed do not matter. With `full` the content of all files is compared.
    """
    try:
        files = read_sealed(folder / FILE_LIST)[FILES]
        for name in filter(leads_out, files):
            raise ValueError(f"it names {name:.80}")
        with ThreadPoolExecutor(_THREADS) as pool:
            same = pool.map(lambda name: _is_same(folder / name, *files[name], full=full), files)
        changed = [name for name, is_same in zip(files, same, strict=True) if not is_same]
    except FileNotFoundError:
        return "incomplete, without the list of its files"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"the list of its files is damaged ({error})"
    if changed:
        return f"{len(changed)} of {len(files)} files are missing or damaged, such as {changed[0]}"
    return None


def _is_same(
    path: Path, size_bytes: int, modified_ns: int, changed_ns: int, crc32: int, *, full: bool
) -> bool:
    try:
        status = _status(path)
        if status[0] != size_bytes:
            return False
        is_known = status == (size_bytes, modified_ns, changed_ns)
        return (is_known and not full) or _crc32(path) == crc32
    except OSError:
        return False


def _status(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)  # noqa: PTH116 - quicker for many files
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _crc32(path: Path) -> int:
    return zlib.crc32(path.read_bytes())
