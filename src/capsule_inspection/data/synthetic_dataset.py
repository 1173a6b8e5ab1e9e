"""The synthetic data set: rendered when it is first used, then found by its parameters."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from capsule_inspection.files import remove_partial
from capsule_inspection.synthetic import CAPSULE_VERSION
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)


def load_or_render_dataset(
    folder: Path,
    *,
    seed: int,
    size_px: int,
    counts: Mapping[str, int],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Folder below `folder` of the data set with these parameters; rendered if missing.

    Its layout is that of MVTec AD. `counts` has the images of each class; `progress` is called
    with (done, total). Of several runs that need the same data set one renders, and the others
    wait. Raises DataError where `folder` cannot be written to, or for unknown classes.
    """
    target = folder.absolute() / _name(seed=seed, size_px=size_px, counts=counts)
    if _is_rendered(target):
        return target
    # A warm start does without: OpenCV takes its time to be imported.
    from capsule_inspection.synthetic.dataset import render_dataset

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target):
            if not _is_rendered(target):
                remove_partial(target)
                render_dataset(
                    target,
                    seed=seed,
                    size_px=size_px,
                    counts=counts,
                    workers=workers,
                    progress=progress,
                )
    except OSError as error:
        raise DataError(
            f"{target}: the rendered images cannot be written ({error.strerror or error}). Free "
            "the disk, or set data.root to a folder that can be written to."
        ) from error
    return target


def _lock(target: Path) -> AbstractContextManager[object]:
    """A lock that one run holds at a time, from the moment of the call."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.info("Another run is rendering %s: waiting for it.", target)
        return lock.acquire()


def _name(*, seed: int, size_px: int, counts: Mapping[str, int]) -> str:
    """Folder name: size and seed to read, and a key of all parameters."""
    used = {name: count for name, count in sorted(counts.items()) if count}
    parameters = json.dumps([seed, size_px, used, CAPSULE_VERSION])
    key = hashlib.sha256(parameters.encode()).hexdigest()[:12]
    return f"capsule-{sum(used.values())}x{size_px}px-seed{seed}-{key}"


def _is_rendered(target: Path) -> bool:
    return target.is_dir() and any(target.iterdir())
