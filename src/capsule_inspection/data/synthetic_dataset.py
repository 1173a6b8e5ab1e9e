"""The synthetic data set: rendered when it is first used, then found by its parameters.

An incomplete or damaged one is moved aside, with a warning, and rendered again. Nothing is drawn
into a folder that holds anything else: it may be somebody's images.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Literal

from capsule_inspection.data.cache_folder import hold_lock, report_write_errors
from capsule_inspection.data.layouts.file_kinds import SYSTEM_FILES
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.progress import Progress
from capsule_inspection.file_list import find_damage, write_file_list
from capsule_inspection.files import remove_partial
from capsule_inspection.synthetic import CAPSULE_VERSION
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)
_SHOWN = 3
_OWN_NAME = re.compile(r"\.?capsule-\d+x\d+px-seed-?\d+-[0-9a-f]{12}(\..+)?")
"""Of drawn sets, their locks, partial and damaged ones."""
_IGNORED = SYSTEM_FILES | {".ds_store", ".gitkeep", ".gitignore", "lost+found"}


def load_or_render_dataset(
    folder: Path,
    *,
    seed: int,
    size_px: int,
    counts: Mapping[str, int],
    workers: int,
    verify: Literal["fast", "full"] = "fast",
    cache_folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Folder below `folder` of the data set with these parameters; rendered if missing.

    Its layout is that of MVTec AD. `counts` are the numbers of images by class. Where several runs
    need the same data set, one renders it and the others wait. With `verify` full the content of
    all files is checked. Raises DataError where `folder` cannot be written, or has anything beside
    drawn sets and the `cache_folder`, or a class is unknown.
    """
    target = folder.absolute() / _name(seed=seed, size_px=size_px, counts=counts)
    if _find_fault(target, verify) is None:
        return target
    _require_own_folder(folder.absolute(), cache_folder)
    # Here, so that a warm start does not import OpenCV.
    from capsule_inspection.synthetic.dataset import render_dataset

    setting = "data.root"
    with hold_lock(target, setting=setting), report_write_errors(target, setting=setting):
        if (fault := _find_fault(target, verify)) is not None:
            remove_partial(target)
            render_dataset(
                target,
                seed=seed,
                size_px=size_px,
                counts=counts,
                workers=workers,
                aside=_place_of_damaged(target, fault) if fault else None,
                progress=progress,
            )
            write_file_list(target)
    return target


def _require_own_folder(folder: Path, cache_folder: Path | None) -> None:
    """Raise DataError, before anything is written, where a folder is not for drawn sets alone."""
    if not folder.is_dir():
        return
    cache = None if cache_folder is None else cache_folder.absolute()
    others = sorted(
        path.name + "/" * path.is_dir()
        for path in folder.iterdir()
        if not _OWN_NAME.fullmatch(path.name)
        and path != cache
        and path.name.lower() not in _IGNORED
    )
    if others:
        raise DataError(
            f"{folder}: data=synthetic draws capsules into data.root, and this folder holds "
            f"something else ({list_first(others, _SHOWN)}), so nothing is drawn. To train on the "
            "images in it, set data=auto, which recognises their layout. To draw capsules, set "
            "data.root to a new or empty folder, or leave it out."
        )


def _name(*, seed: int, size_px: int, counts: Mapping[str, int]) -> str:
    """Folder name: size and seed to read, and a key of all parameters."""
    used = {name: count for name, count in sorted(counts.items()) if count}
    parameters = json.dumps([seed, size_px, used, CAPSULE_VERSION])
    key = hashlib.sha256(parameters.encode()).hexdigest()[:12]
    return f"capsule-{sum(used.values())}x{size_px}px-seed{seed}-{key}"


def _find_fault(target: Path, verify: str) -> str | None:
    """What is wrong with the rendered folder, "" where there is none; None where all is well."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return ""
    return find_damage(target, full=verify == "full")


def _place_of_damaged(target: Path, fault: str) -> Path:
    """Nothing is deleted: somebody may have put files of their own into the folder."""
    names = (target.with_name(f"{target.name}.damaged-{number}") for number in count(1))
    aside = next(path for path in names if not path.exists())
    log.warning(
        "%s: %s. The data set is drawn again; the damaged one is then %s, and can be deleted.",
        target,
        fault,
        aside.name,
    )
    return aside
