"""Who may request what from the page: an ASGI application before Gradio's.

Gradio serves some seventy routes to whoever reaches them. Here a request passes if it names this
server (no DNS rebinding), comes from its own page (no request that another site has made), and is
for a route that the page needs. The bodies, requests and predictions of a client are limited.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from capsule_inspection.types import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
UPLOAD = "/gradio_api/upload"
_FILE = "/gradio_api/file="
_READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/[\w./@-]+"
    r"|/gradio_api/(info|theme\.css|queue/data|heartbeat/\w+|call/predict/\w+)",
    re.ASCII,
)
_PREDICTIONS = ("/gradio_api/queue/join", "/gradio_api/call/predict")
_POSTED = (UPLOAD, *_PREDICTIONS, "/gradio_api/cancel", "/gradio_api/reset")
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#]*)(?:[/?#].*)?")
MAX_QUEUE = 64
"""Predictions that wait; half of them of one client."""
_MAX_REQUESTS = 256
_MAX_HEADER_BYTES = 2**14
_MAX_JSON_BYTES = 2**13
_BODY_TIMEOUT_S = 120
_NOT_PASSED_ON = (b"range", b"x-gradio-server")
"""Gradio returns all headers of a request for a range, and its links follow the second."""
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'self'"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Hosts:
    """Names and ports by which the page may be requested."""

    def __init__(self, host: str, allowed: Iterable[str]) -> None:
        self._allowed = set()
        for name in allowed:
            parsed = _parse_authority(name)
            if parsed is None:
                raise ConfigurationError(
                    f"allowed_hosts: {name!r} is not the name of a host. Expected names such as "
                    "inspection.example.org, or addresses (IPv6 in brackets)."
                )
            self._allowed.add(parsed[0])
        self._names = {*LOCAL_HOSTS, host.lower().strip("[]"), *self._allowed}
        self._is_open = host in ("0.0.0.0", "::")
        if self._is_open:
            self._names.add(socket.gethostname().lower())

    def check_host(self, headers: Headers) -> str | None:
        """The port that was requested. Raises HTTPException for the name of another server."""
        hosts = headers.getlist("host")
        forwarded = ",".join(headers.getlist("x-forwarded-host"))
        authorities = [*hosts, *filter(None, (name.strip() for name in forwarded.split(",")))]
        parsed = [_parse_authority(authority) for authority in authorities]
        if len(hosts) != 1 or not all(of and self._has(of[0]) for of in parsed):
            raise HTTPException(
                421,
                f"Host {', '.join(authorities)[:200]!a} is not a name of this server. If it is, "
                "start app.py with allowed_hosts=[...].",
            )
        return parsed[-1][1] if parsed[-1] else None

    def check_origin(self, headers: Headers, port: str | None, *, is_link: bool) -> None:
        """Raises HTTPException for a request that the page of another site has made.

        Links of other sites to the page itself, `is_link`, may be followed.
        """
        sources = headers.getlist("origin")
        if not is_link:
            sources += headers.getlist("referer")
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                sources.append(headers["sec-fetch-site"])
        for source in sources:
            match = _ORIGIN.fullmatch(source.lower())
            parsed = _parse_authority(match[2]) if match else None
            if parsed is None or not (
                parsed[0] in self._allowed or (self._has(parsed[0]) and parsed[1] == port)
            ):
                raise HTTPException(403, f"Requests of other sites are refused: {source[:200]!a}.")

    def _has(self, name: str) -> bool:
        is_address = ":" in name or name.replace(".", "").isdigit()  # no name server resolves it
        return name in self._names or (self._is_open and is_address)


class Guard:
    """Passes on what the page needs; `queued` counts the waiting predictions of a client.

    A client is an address of the network.
    """

    def __init__(
        self, app: ASGIApp, config: DictConfig, folder: Path, queued: Callable[[str], int]
    ) -> None:
        self._app = app
        self._config = config
        self._hosts = Hosts(config.host, config.allowed_hosts)
        self._folder = folder
        self._queued = queued
        self._requests: Counter[str] = Counter()
        self._recent: Counter[str] = Counter()
        self._minute = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, is_file=scope["path"].startswith(_FILE))
        client = scope["client"][0] if scope["client"] else ""
        self._requests[client] += 1
        try:
            self._check(scope, client)
            scope["headers"] = [of for of in scope["headers"] if of[0] not in _NOT_PASSED_ON]
            is_upload = scope["path"] == UPLOAD
            limit = self._config.max_upload_mb * 2**20 if is_upload else _MAX_JSON_BYTES
            await self._app(scope, _bounded(scope, receive, limit), send)
        except HTTPException as refusal:
            refused = PlainTextResponse(refusal.detail, refusal.status_code, refusal.headers)
            await refused(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:  # Starlette has answered it
            log.warning("%s: %s: %s", scope["path"], type(error).__name__, error)
        finally:
            self._requests[client] -= 1
            self._requests = +self._requests  # without clients that have none

    def _check(self, scope: Scope, client: str) -> None:
        headers, path, is_post = Headers(scope=scope), scope["path"], scope["method"] == "POST"
        if sum(len(name) + len(value) for name, value in headers.raw) > _MAX_HEADER_BYTES:
            raise HTTPException(431, "The headers of the request are too large.")
        port = self._hosts.check_host(headers)
        self._hosts.check_origin(headers, port, is_link=path == "/" and not is_post)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise HTTPException(405, "Only GET, HEAD and POST are used here.")
        if not (path in _POSTED if is_post else self._is_readable(path)):
            raise HTTPException(404, "There is no such page.")
        if b"deep_link" in scope["query_string"]:
            raise HTTPException(404, "There are no stored pages.")
        if sum(self._requests.values()) > _MAX_REQUESTS:
            raise HTTPException(503, "The server is busy. Try again later.", {"retry-after": "10"})
        if self._requests[client] > self._config.max_requests:
            raise _too_many(f"requests at a time (max_requests={self._config.max_requests})")
        if path == UPLOAD or (path in _PREDICTIONS and is_post):
            self._count(client)
        if path in _PREDICTIONS and is_post and self._queued(client) >= MAX_QUEUE // 2:
            raise _too_many("waiting predictions")

    def _is_readable(self, path: str) -> bool:
        if path.startswith(_FILE):
            file = path.removeprefix(_FILE)
            return file == normpath(file) and Path(file).is_relative_to(self._folder)
        return ".." not in path and _READ.fullmatch(path) is not None

    def _count(self, client: str) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._recent.clear()
        self._recent[client] += 1
        limit = self._config.max_requests_per_minute
        if self._recent[client] > limit:
            raise _too_many(f"requests in this minute (max_requests_per_minute={limit})")


def _parse_authority(text: str) -> tuple[str, str | None] | None:
    """Name, and port unless it is a default one, of `name:port`; None where it is malformed."""
    match = _AUTHORITY.fullmatch(text.lower())
    if match is None:
        return None
    return match[1] or match[2], None if match[3] in ("80", "443") else match[3]


def _too_many(what: str) -> HTTPException:
    return HTTPException(429, f"Too many {what}. Try again later.", {"retry-after": "10"})


def _with_headers(send: Send, *, is_file: bool) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers["content-security-policy"] = _FILE_POLICY if is_file else _POLICY
        await send(message)

    return send_with_headers


def _bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Receives a body up to a number of bytes, within a time.

    Raises HTTPException, which FastAPI answers with its status.
    """
    too_large = HTTPException(413, f"The request is larger than the maximum size, {limit:,} bytes.")
    if int(Headers(scope=scope).get("content-length", 0)) > limit:
        raise too_large
    deadline = asyncio.get_running_loop().time() + _BODY_TIMEOUT_S
    remaining, is_complete = limit, False

    async def receive_bounded() -> Message:
        nonlocal remaining, is_complete
        if is_complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"No whole request in {_BODY_TIMEOUT_S} s.") from error
        remaining -= len(message.get("body", b""))
        if remaining < 0:
            raise too_large
        is_complete = not message.get("more_body", False)
        return message

    return receive_bounded
