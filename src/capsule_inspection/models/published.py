"""Where published weights lie, and getting them with little patience for a missing network.

A single byte is asked for first (at most PROBE_TIMEOUT_S, name resolution included), so that a
machine without a network, or with a hub that hangs, is not kept waiting by a client's retries.
Boundary: files only; what is in them is the matter of weight_files.py.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


class UnavailableError(Exception):
    """A published file is not to be had; the message says why."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face hub; `repository` may end with @revision."""

    repository: str
    filename: str

    @property
    def url(self) -> str:
        name, _, revision = self.repository.partition("@")
        return f"{hub_endpoint()}/{name}/resolve/{revision or 'main'}/{self.filename}"

    def cached(self) -> Path | None:
        """The file in the hub's cache, None where it is not there."""
        from huggingface_hub import try_to_load_from_cache

        name, _, revision = self.repository.partition("@")
        found = try_to_load_from_cache(name, self.filename, revision=revision or None)
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path:
        """Download into the hub's cache. Raises UnavailableError."""
        if hub_is_offline():
            raise UnavailableError("HF_HUB_OFFLINE is set")
        probe(self.url)
        from huggingface_hub import hf_hub_download

        logger.info("Downloading %s", self.url)
        name, _, revision = self.repository.partition("@")
        try:
            path = hf_hub_download(
                name,
                self.filename,
                revision=revision or None,
                endpoint=hub_endpoint(),
                etag_timeout=PROBE_TIMEOUT_S,
                token=False,
            )
        except Exception as error:
            # Its errors have no common base across the client's versions.
            raise UnavailableError(f"{self.url}: {error}") from error
        return Path(path)


@dataclass(frozen=True)
class UrlFile:
    """A file at an address, kept in torch's cache; its name may carry its hash (as torch's do)."""

    url: str

    @property
    def filename(self) -> str:
        return Path(urllib.parse.urlsplit(self.url).path).name

    def _place(self) -> Path:
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / self.filename

    def cached(self) -> Path | None:
        """The file in torch's cache, None where it is not there or damaged."""
        path = self._place()
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if self._is_right(hashlib.file_digest(file, "sha256").hexdigest()):
                return path
        logger.warning("%s is damaged (its hash is not that of its name) and is left out.", path)
        return None

    def fetch(self) -> Path:
        """Download into torch's cache. Raises UnavailableError."""
        if hub_is_offline():
            raise UnavailableError("HF_HUB_OFFLINE is set")
        probe(self.url)
        logger.info("Downloading %s", self.url)
        try:
            return self._download(self._place())
        except OSError as error:
            raise UnavailableError(f"{self.url}: {error}") from error

    def _download(self, place: Path) -> Path:
        """Write under another name and rename when whole and right."""
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        descriptor, partial = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with (
                os.fdopen(descriptor, "wb") as file,
                urllib.request.urlopen(self.url, timeout=READ_TIMEOUT_S) as answer,
            ):
                while chunk := answer.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
            if not self._is_right(digest.hexdigest()):
                raise UnavailableError(f"{self.url}: came damaged (its hash is not its name's)")
            Path(partial).replace(place)
        finally:
            Path(partial).unlink(missing_ok=True)
        return place

    def _is_right(self, sha256: str) -> bool:
        found = HASH_IN_NAME.search(self.filename)
        return found is None or sha256.startswith(found.group(1))


@dataclass(frozen=True)
class PublishedWeights:
    """What is known of a network's published weights.

    `name` is the name of weights that the project brings; `local_names` are the stems of files
    in a `weights/` folder; `files` lie on the hub, the best first. Networks without published
    weights have neither.
    """

    name: str
    local_names: tuple[str, ...] = ()
    files: tuple[HubFile | UrlFile, ...] = ()


def hub_endpoint() -> str:
    """Address of the hub, HF_ENDPOINT respected."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def hub_is_offline() -> bool:
    """Whether the user forbids downloads (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def find_cached(published: PublishedWeights) -> Path | None:
    """The first published file that a cache holds."""
    for file in published.files:
        path = file.cached()
        if path is not None:
            return path
    return None


def fetch_first(published: PublishedWeights) -> Path:
    """Download the first published file that can be had. Raises UnavailableError."""
    reason = "none are published"
    for file in published.files:
        try:
            return file.fetch()
        except MissingError as error:
            reason = str(error)
    raise UnavailableError(reason)


class MissingError(UnavailableError):
    """The server answers, but has no such file."""


def probe(url: str) -> None:
    """Ask for one byte of a file. Raises UnavailableError within about PROBE_TIMEOUT_S."""
    outcome: list[Exception | None] = []

    def ask() -> None:
        request = urllib.request.Request(url, headers={"Range": "bytes=0-0"})
        try:
            with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:
                answer.read(1)
            outcome.append(None)
        except (OSError, ValueError) as error:
            outcome.append(error)

    # In a thread, because resolving a name obeys no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S + 0.5)
    if not outcome:
        raise UnavailableError(f"{url}: no answer within {PROBE_TIMEOUT_S:g} s")
    error = outcome[0]
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        kind = MissingError if error.code in {401, 403, 404, 410} else UnavailableError
        raise kind(f"{url}: answered {error.code} {error.reason}")
    if error is not None:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(f"{url}: {reason}")
