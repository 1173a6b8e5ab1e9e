"""What a command has made that failed: removed where nothing in it is of worth.

Of worth is everything but logs, records, settings and the split: a finished epoch, predictions,
files of others. What was there before the command stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.files import is_locked, missing_folders
from capsule_inspection.types import PREDICTIONS_RECORD, RunFiles, SweepFiles

_WORTHLESS = (
    *("*.log", "*.lock", "events.out.tfevents.*", "hparams.yaml", "output.json", "multirun.yaml"),
    *(RunFiles.RECORD, RunFiles.CONFIG, RunFiles.SPLIT, PREDICTIONS_RECORD, SweepFiles.SWEEP),
    RunFiles.EPOCHS,  # of epochs whose checkpoints could not be written
)


class _Watched(NamedTuple):
    """A folder before it was used: the names in it, itself and its parents that were missing."""

    folder: Path
    names: frozenset[str]
    missing: Sequence[Path]


_watched: list[_Watched] = []


class FolderCallback(Callback):
    """Hydra callback that looks at the run folder before Hydra makes it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with suppress(OmegaConfBaseException, OSError):  # Hydra raises it again, and is heard
            watch(Path(str(config.hydra.run.dir)))


def reset() -> None:
    """Forget the folders of an earlier command of this process."""
    _watched.clear()


def watch(folder: Path, *, made: Sequence[Path] = ()) -> None:
    """Note what is in a folder before it is used; `made` are folders made for it just before."""
    folder = folder.absolute()
    if not is_first_process() or any(each.folder == folder for each in _watched):
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else ()
    missing = [*missing_folders(folder), *(each.absolute() for each in made)]
    _watched.append(_Watched(folder, frozenset(names), missing))


def remove() -> None:
    """Remove what this command has made, where none of it is of worth, and empty parents."""
    for handler in [each for each in logging.root.handlers if hasattr(each, "baseFilename")]:
        logging.root.removeHandler(handler)  # it would open its file again
        with suppress(OSError):  # the disk may be full
            handler.close()
    for watched in _watched:
        with suppress(OSError):
            added = [path for path in watched.folder.iterdir() if path.name not in watched.names]
            is_used = any(map(is_locked, watched.folder.glob("*.lock")))  # by another command
            if not is_used and all(map(_is_worthless, added)):
                for path in added:
                    (path.rmdir if _is_folder(path) else path.unlink)()
        for folder in watched.missing:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_worthless(path: Path) -> bool:
    if _is_folder(path):
        return not any(path.iterdir())
    return path.stat().st_size == 0 or any(fnmatchcase(path.name, each) for each in _WORTHLESS)
