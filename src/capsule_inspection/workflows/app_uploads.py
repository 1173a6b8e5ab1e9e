"""Files of the page, in a folder of this process alone.

Uploads are received here, since Gradio keeps the files of failed requests, takes a thousand in one
request, and names them by their content.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock
from omegaconf import DictConfig
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from capsule_inspection.files import is_locked
from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)
LIFETIME_S = 600
MAX_FILES = 16
"""Uploads that are predicted at once: their names fit into a request."""
_TIDY_INTERVAL_S = 5
_MAX_NAME = 60
_PREFIX = "capsule-inspection-app-"
_LOCK = "lock"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that other users cannot read, removed at the end.

    Folders of processes that were killed are removed, too.
    """
    user = getattr(os, "getuid", lambda: 0)()
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # another process removes it, too
            if lock.parent.lstat().st_uid == user and not is_locked(lock):
                shutil.rmtree(lock.parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        with FileLock(folder / _LOCK):
            (folder / "files").mkdir()
            try:
                yield folder / "files"
            finally:  # a prediction that still runs cannot write into it while it is removed
                (folder / "files").rename(folder / "removed")


class Uploads:
    """Uploads in a private folder, and what Gradio keeps there of predictions."""

    def __init__(self, folder: Path, config: DictConfig) -> None:
        slots = config.max_disk_mb // (4 * config.max_upload_mb)
        if slots == 0:
            raise ConfigurationError(
                f"max_disk_mb={config.max_disk_mb} has no room for four uploads of max_upload_mb="
                f"{config.max_upload_mb}. Raise it, or lower max_upload_mb."
            )
        self.folder = folder
        # One half for what is stored, one for what is received: each for a moment there twice.
        self._max_bytes = config.max_disk_mb * 2**19
        self._slots = asyncio.Semaphore(slots)
        threading.Thread(target=self._tidy_repeatedly, daemon=True).start()

    def has(self, path: str) -> bool:
        """Whether a file was uploaded, and is still there."""
        file = Path(path)
        return file == self.folder / file.parent.name / file.name and file.is_file()

    async def receive(self, request: Request) -> JSONResponse:
        """Take one file of a form; the page then names it by the path returned."""
        folder = self.folder / secrets.token_hex(16)
        try:
            async with self._slots, request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    raise HTTPException(400, 'Expected a form with one file, "files".')
                return JSONResponse([str(await run_in_threadpool(self._store, file, folder))])
        except OSError as error:
            log.warning("An upload could not be stored: %s", error)
            raise HTTPException(507, "The server has no space for the file.") from error

    def _store(self, file: UploadFile, folder: Path) -> Path:
        return self._write(file.file, file.filename or "", folder)

    def keep(self, content: bytes, name: str) -> Path:
        """Keep a file as long as an upload. Raises OSError where there is no space for it."""
        return self._write(io.BytesIO(content), name, self.folder / secrets.token_hex(16))

    def _write(self, file: IO[bytes], name: str, folder: Path) -> Path:
        self._tidy()
        name = re.sub(r"[^\w., -]", "", Path(name).name)[-_MAX_NAME:].strip(". ")
        folder.mkdir()
        path = folder / (name or "image")
        try:
            with path.open("wb") as stored:
                shutil.copyfileobj(file, stored)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return path

    def _tidy_repeatedly(self) -> None:
        while True:
            time.sleep(_TIDY_INTERVAL_S)
            self._tidy()

    def _tidy(self) -> None:
        """Remove old files, and the oldest ones where all take too much of the disk."""
        found = []
        for folder, folders, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in (*folders, *names)):
                with suppress(OSError):  # removed by another thread
                    found.append((path.lstat(), path))
        now, total = time.time(), 0
        for status, path in sorted(found, key=lambda of: -of[0].st_mtime):
            total += status.st_size
            if now - status.st_mtime > LIFETIME_S or total > self._max_bytes:
                remove = path.rmdir if path.is_dir() else path.unlink
                with suppress(OSError):  # a folder with files
                    remove()
