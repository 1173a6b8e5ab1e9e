"""Published weights: found in the caches of huggingface_hub and torch, or downloaded into them.

A short request precedes each download: without a network the clients retry for a minute, or wait
without a limit. weight_files.py reads the files.
"""

from __future__ import annotations

import logging
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    is_offline_mode,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError

from capsule_inspection.files import atomic_write
from capsule_inspection.models.weight_packages import WeightPackage

logger = logging.getLogger(__name__)

TIMEOUT_S = 3.0
"""Limit of the request that precedes a download."""
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


class UnavailableError(Exception):
    """A published file cannot be downloaded; the message says why."""


class MissingError(UnavailableError):
    """The hub responds, but has no such file."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face hub; `repository` may end with @revision."""

    repository: str
    filename: str

    @property
    def url(self) -> str:
        return hf_hub_url(**self._arguments)

    def find_cached(self) -> Path | None:
        """The file in the hub's cache, None where it is not there."""
        found = try_to_load_from_cache(**self._arguments)
        return Path(found) if isinstance(found, str) else None

    def download(self) -> Path:
        """Download into the hub's cache. Raises UnavailableError."""
        try:
            get_hf_file_metadata(self.url, timeout=TIMEOUT_S, token=False)
            logger.info("Downloading %s", self.url)
            path = hf_hub_download(**self._arguments, token=False)
        except EntryNotFoundError as error:
            raise MissingError(f"{self.url}: not found (404)") from error
        except Exception as error:  # the client's errors have no common base
            raise UnavailableError(f"{self.url}: {error}") from error
        return Path(path)

    @property
    def _arguments(self) -> dict[str, Any]:
        name, _, revision = self.repository.partition("@")
        return {"repo_id": name, "filename": self.filename, "revision": revision or None}


@dataclass(frozen=True)
class UrlFile:
    """A file at an address, kept in torch's cache; its name may contain its hash."""

    url: str

    @property
    def cache_path(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def find_cached(self) -> Path | None:
        """The file in torch's cache, None where it is not there."""
        return self.cache_path if self.cache_path.is_file() else None

    def download(self) -> Path:
        """Download into torch's cache. Raises UnavailableError."""
        if is_offline_mode():
            raise UnavailableError("HF_HUB_OFFLINE is set")
        path = self.cache_path
        expected_hash = _HASH_IN_NAME.search(path.name)
        try:
            urllib.request.urlopen(self.url, timeout=TIMEOUT_S).close()
            logger.info("Downloading %s", self.url)
            with atomic_write(path) as part:
                torch.hub.download_url_to_file(
                    self.url, str(part), expected_hash and expected_hash[1], progress=False
                )
        except (OSError, RuntimeError) as error:
            raise UnavailableError(f"{self.url}: {error}") from error
        return path


@dataclass(frozen=True)
class HubWeights:
    """The location of a model's published weights.

    `local_names` are the stems of files in a `weights/` folder; `files` are on a hub, the best
    first; `package` has the same weights. Models without published weights have none of them.
    """

    name: str
    local_names: tuple[str, ...] = ()
    files: tuple[HubFile | UrlFile, ...] = ()
    package: WeightPackage | None = None

    def find_cached(self) -> Path | None:
        """The first of the files that is in a cache."""
        for file in self.files:
            if (path := file.find_cached()) is not None:
                return path
        return None

    def download(self) -> Path:
        """Download the first file that the hub has. Raises UnavailableError."""
        reason = "none are published"
        for file in self.files:
            try:
                return file.download()
            except MissingError as error:
                reason = str(error)
        raise UnavailableError(reason)
