"""The synthetic data set: rendered when it is first used, then found by its parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from capsule_inspection.data.cache_folder import hold_lock, report_write_errors
from capsule_inspection.data.progress import Progress
from capsule_inspection.files import remove_partial
from capsule_inspection.synthetic import CAPSULE_VERSION


def load_or_render_dataset(
    folder: Path,
    *,
    seed: int,
    size_px: int,
    counts: Mapping[str, int],
    workers: int,
    progress: Progress | None = None,
) -> Path:
    """Folder below `folder` of the data set with these parameters; rendered if missing.

    Its layout is that of MVTec AD. `counts` are the numbers of images by class. Where several runs
    need the same data set, one renders it and the others wait. Raises DataError where `folder`
    cannot be written, and for unknown classes.
    """
    target = folder.absolute() / _name(seed=seed, size_px=size_px, counts=counts)
    if _is_rendered(target):
        return target
    # Here, so that a warm start does not import OpenCV.
    from capsule_inspection.synthetic.dataset import render_dataset

    setting = "data.root"
    with hold_lock(target, setting=setting), report_write_errors(target, setting=setting):
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
    return target


def _name(*, seed: int, size_px: int, counts: Mapping[str, int]) -> str:
    """Folder name: size and seed to read, and a key of all parameters."""
    used = {name: count for name, count in sorted(counts.items()) if count}
    parameters = json.dumps([seed, size_px, used, CAPSULE_VERSION])
    key = hashlib.sha256(parameters.encode()).hexdigest()[:12]
    return f"capsule-{sum(used.values())}x{size_px}px-seed{seed}-{key}"


def _is_rendered(target: Path) -> bool:
    return target.is_dir() and any(target.iterdir())
