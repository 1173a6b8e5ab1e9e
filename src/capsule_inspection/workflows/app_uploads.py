"""Uploads of the page, in a folder of this process alone.

They are received here, since Gradio keeps the files of failed requests, takes a thousand in one
request, and names them by their content.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from gradio import Error
from gradio_client.utils import strip_invalid_filename_characters
from omegaconf import DictConfig
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)
LIFETIME_S = 600
_SLOTS = 16
"""Uploads that are received at the same time; half of them of one client."""


class Uploads:
    """Files of the page in a private folder, uploads and what Gradio keeps there of predictions."""

    def __init__(self, folder: Path, config: DictConfig) -> None:
        if config.max_disk_mb < 2 * config.max_upload_mb:
            raise ConfigurationError(
                f"max_disk_mb={config.max_disk_mb} has no room for two uploads of max_upload_mb="
                f"{config.max_upload_mb}. Raise it, or lower max_upload_mb."
            )
        self.folder = folder
        slots = min(_SLOTS, config.max_disk_mb // (2 * config.max_upload_mb))
        self._max_bytes = (config.max_disk_mb - slots * config.max_upload_mb) * 2**20
        self._slots = asyncio.Semaphore(slots)
        self._slots_of_client = max(1, slots // 2)
        self._clients: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def check(self, path: str) -> str:
        """The path of a file that was uploaded. Raises gradio.Error for any other."""
        file = Path(path)
        if file != self.folder / file.parent.name / file.name or not file.is_file():
            raise Error(
                "This is no uploaded file, or it was deleted. URLs are not fetched: upload the "
                "image itself.",
                print_exception=False,
            )
        return str(file)

    async def receive(self, request: Request) -> JSONResponse:
        """Take one file of a form; the page then names it by the path returned."""
        client = request.client.host if request.client else ""
        of_client = self._clients.setdefault(client, asyncio.Semaphore(self._slots_of_client))
        try:
            async with of_client, self._slots, request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    raise HTTPException(400, 'Expected a form with one file, "files".')
                return JSONResponse([str(await run_in_threadpool(self._store, file))])
        except OSError as error:
            log.warning("An upload could not be stored: %s", error)
            raise HTTPException(507, "The server has no space for the file.") from error

    def _store(self, file: UploadFile) -> Path:
        self.tidy()
        name = strip_invalid_filename_characters(Path(file.filename or "").name).lstrip(".")
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir()
        path = folder / (name or "image")
        try:
            with path.open("wb") as stored:
                shutil.copyfileobj(file.file, stored)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return path

    def tidy(self) -> None:
        """Remove old files, and the oldest ones where all take too much of the disk."""
        found = []
        for folder, folders, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in (*folders, *names)):
                with suppress(OSError):  # removed by another thread
                    found.append((path.lstat(), path))
        now, total = time.time(), 0
        for status, path in sorted(found, key=lambda of: -of[0].st_mtime):
            is_old = now - status.st_mtime > LIFETIME_S
            with suppress(OSError):
                if not path.is_dir():
                    total += status.st_size
                    if is_old or total > self._max_bytes:
                        path.unlink()
                elif is_old:
                    path.rmdir()  # an error where it has files
