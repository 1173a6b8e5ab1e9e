"""The files of a mask: one, several joined by a separator, or all images in a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from capsule_inspection.data.layouts.samples import MASK_SEPARATOR
from capsule_inspection.data.layouts.tree import is_image


def mask_files(root: Path, mask: str) -> list[str]:
    """Names of the files of a `Sample.mask`, relative to the root as it is itself.

    What exists under the whole name comes first: a file, or the images directly in a folder, in
    the order of their names. Else the name is split at MASK_SEPARATOR. Names of files that do not
    exist are kept, so that reading them reports the error.
    """
    try:
        is_folder = stat.S_ISDIR((root / mask).stat().st_mode)
    except (OSError, ValueError):
        parts = [part.strip() for part in mask.split(MASK_SEPARATOR)]
        return [part for part in parts if part]
    if not is_folder:
        return [mask]
    with os.scandir(root / mask) as entries:
        names = [f"{mask}/{entry.name}" for entry in entries if entry.is_file()]
    return sorted(name for name in names if "/." not in name[len(mask) :] and is_image(root, name))
