"""The output folder of a command that begins anew when it was stopped, and overwrites nothing.

output.json is written first, into an empty folder, and says finished last, when all else is on the
disk. What decides the output stands in it, so that the same command knows a finished output.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.files import flush, flush_entry, partials
from capsule_inspection.integrity import (
    FILES,
    check_files,
    content_of,
    read_sealed,
    write_sealed,
)
from capsule_inspection.types import RunError, RunFiles

RECORD, LOCK = "output.json", "output.lock"
_RUNNING, _FINISHED = "running", "finished"
_OWN = (RunFiles.LOG, LOCK, RECORD)
_REMEDY = "Restore it from a copy, or name another folder."


class OutputFolder:
    """A folder for an output; `is_finished` says whether the same command has finished it."""

    def __init__(self, folder: Path, *, made_by: Mapping[str, Any], names: Iterable[str]) -> None:
        """`made_by` decides the output, `names` are the files and folders that may be in it.

        Changes nothing. Raises RunError where the folder has anything but this output.
        """
        self.folder = folder
        self.made_by: dict[str, Any] = json.loads(json.dumps(made_by, default=str))
        self.names = frozenset(names)
        self.is_finished = self._look()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock while the output is written; an exception leaves it unfinished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.folder / LOCK).acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"output={self.folder}: another process writes into this folder now. Wait for it, "
                "or name another folder."
            ) from error
        with lock:
            if self._look():
                raise self._refusal("the output that another process has finished just now")
            for path in self._entries():
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink()
            self._write(_RUNNING)
            yield
            flush(self.folder)
            flush_entry(self.folder.parent)
            content = content_of(self.folder)
            files = {name: content[name] for name in content.keys() - {*_OWN}}
            self._write(_FINISHED, **{FILES: files})
            with suppress(OSError):  # Windows removes no open file
                (self.folder / LOCK).unlink()

    def _look(self) -> bool:
        """Whether the output is finished. Raises RunError where it is none of this command."""
        if self.folder.exists() and not self.folder.is_dir():
            raise self._refusal("a file")
        record = self._read_record()
        if record is not None and record.get("status") == _FINISHED:
            if record.get("made_by") != self.made_by:
                raise self._refusal("the output of another run, other images or other settings")
            check_files(self.folder, record, record.get(FILES) or (), remedy=_REMEDY)
            return True
        own = [] if record is None else [self.folder / name for name in self.names]
        own += [part for path in (*own, self.folder / RECORD) for part in partials(path)]
        others = [path.name for path in self._entries() if path not in own]
        if others:
            raise self._refusal(f"{len(others)} other files, such as {others[0]}")
        return False

    def _read_record(self) -> dict[str, Any] | None:
        """The record, None where there is none yet."""
        try:
            return read_sealed(self.folder / RECORD)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._refusal(f"{RECORD}, which cannot be read ({error})") from error

    def _entries(self) -> list[Path]:
        """What is in the folder beside its log, lock and record, sorted."""
        return sorted(path for path in self.folder.glob("*") if path.name not in _OWN)

    def _refusal(self, found: str) -> RunError:
        return RunError(
            f"output={self.folder}: expected a new or empty folder, found {found}. Nothing is "
            "overwritten: name another folder."
        )

    def _write(self, status: str, **values: Any) -> None:
        content = {"status": status, "made_by": self.made_by, **values}
        write_sealed(self.folder / RECORD, content)


def settings_of(config: DictConfig) -> Any:
    """The settings of a command, without its output, for `made_by`."""
    settings = OmegaConf.to_container(config, resolve=False)
    assert isinstance(settings, dict)
    return {key: value for key, value in settings.items() if key != "output"}
