"""The embedded data set: drawn when it is first wanted, then found by its parameters.

How a capsule is drawn is the concern of `synthetic/`, whose folder is in the MVTec AD layout.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from capsule_inspection.files import remove_unfinished
from capsule_inspection.synthetic.version import DRAWING_VERSION
from capsule_inspection.types import DataError

_log = logging.getLogger(__name__)


def ensure_synthetic(
    folder: Path,
    *,
    seed: int,
    size_px: int,
    counts: Mapping[str, int],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Folder of the drawn data set with these parameters, below `folder`; drawn if missing.

    `counts` says how many images of each class; `progress` is called with (done, total). Of
    several runs that want the same data set, one draws and the others wait. Raises DataError
    where `folder` cannot be written to, or where the parameters cannot be drawn.
    """
    target = folder.absolute() / _name(seed=seed, size_px=size_px, counts=counts)
    if _is_drawn(target):
        return target
    # Not needed by a warm start, and OpenCV takes its time to be imported.
    from capsule_inspection.synthetic.dataset import draw_dataset

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not _is_drawn(target):
                remove_unfinished(target)
                draw_dataset(
                    target,
                    seed=seed,
                    size_px=size_px,
                    counts=counts,
                    workers=workers,
                    progress=progress,
                )
    except OSError as error:
        raise DataError(
            f"{target}: the drawn images cannot be written ({error.strerror or error}). Free the "
            "disk, or set data.root to a folder that can be written to."
        ) from error
    return target


def _alone(target: Path) -> AbstractContextManager[object]:
    """A lock that is held by one run at a time, from the moment of the call."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.info("Another run is drawing %s: waiting for it.", target)
        return lock.acquire()


def _name(*, seed: int, size_px: int, counts: Mapping[str, int]) -> str:
    """Folder name of a data set: what one wants to read, and a key of everything that matters."""
    drawn = {name: count for name, count in sorted(counts.items()) if count}
    parameters = json.dumps([seed, size_px, drawn, DRAWING_VERSION])
    key = hashlib.sha256(parameters.encode()).hexdigest()[:12]
    return f"capsule-{sum(drawn.values())}x{size_px}px-seed{seed}-{key}"


def _is_drawn(target: Path) -> bool:
    return target.is_dir() and any(target.iterdir())
