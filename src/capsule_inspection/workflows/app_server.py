"""The server of the page, and who may request what from it.

Gradio serves some seventy routes to whoever reaches them. Here a request passes if it names this
server (no DNS rebinding), comes from its own page (no request that another site has made), and is
for a route that the page needs. Bodies and requests of a client are limited.
"""

from __future__ import annotations

import logging
import re
import signal
import socket
import threading
import time
from collections import Counter
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from fastapi import FastAPI
from gradio import mount_gradio_app, themes
from omegaconf import DictConfig
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from capsule_inspection.reports.html import TEMPLATES
from capsule_inspection.types import ConfigurationError

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from capsule_inspection.workflows.app_uploads import Uploads

log = logging.getLogger(__name__)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_ALL_ADDRESSES = ("0.0.0.0", "::")
REQUEST_TIMEOUT_S = 60
"""For a whole request to come; the connection is closed after it, or after twice as long."""
_UPLOAD = "/gradio_api/upload"
_FILE = "/gradio_api/file="
_READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/[\w./@-]+"
    r"|/gradio_api/(info|theme\.css|queue/data|heartbeat/\w+)",
    re.ASCII,
)
_LIMITED = (_UPLOAD, "/gradio_api/queue/join")
_POSTED = (*_LIMITED, "/gradio_api/cancel", "/gradio_api/reset")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?")
_SIGNAL_INTERVAL_S, _SHUTDOWN_S = 0.2, 1.5
_MAX_QUEUE = 64
_MAX_REQUESTS = 256
_MAX_JSON_BYTES = 2**13
_NOT_PASSED_ON = (b"range", b"x-gradio-server", b"x-forwarded-host")
"""Gradio returns all headers of a request for a range, and its links follow the other two."""
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


def serve_page(page: gr.Blocks, uploads: Uploads, config: DictConfig, *, about: str) -> None:
    """Serve until Ctrl+C or SIGTERM; predictions may still run then.

    `about` says what predicts. Raises ConfigurationError where the port is in use.
    """
    page.queue(max_size=_MAX_QUEUE, default_concurrency_limit=config.concurrency_limit)
    application = FastAPI(openapi_url=None)
    application.add_route(_UPLOAD, uploads.receive, methods=["POST"])
    mount_gradio_app(
        application,
        page,
        path="/",
        max_file_size=config.max_upload_mb * 2**20,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=(TEMPLATES / "app.css").read_text(encoding="utf-8"),
    )
    settings = uvicorn.Config(
        Guard(application, uploads.folder, config),
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # the guard logs exceptions
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    listener = _listen(config.host, config.port)
    server = uvicorn.Server(settings)
    for number in (signal.SIGINT, signal.SIGTERM):  # also before uvicorn runs, and when it ends
        signal.signal(number, server.handle_exit)
    host, port = listener.getsockname()[:2]
    host = socket.gethostname() if host in _ALL_ADDRESSES else f"[{host}]" if ":" in host else host
    log.info("Upload images at http://%s:%d/ (%s). Stop with Ctrl+C.", host, port, about)
    if config.host not in LOCAL_HOSTS:
        log.warning("Everybody who can reach this machine can use the page, without a password.")
    # The main thread takes the signals, and does not wait for predictions.
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while thread.is_alive() and not server.should_exit:
        thread.join(_SIGNAL_INTERVAL_S)
    thread.join(_SHUTDOWN_S)
    log.info("Stopped.")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"host={host} port={port}: the page cannot be served there ({error.strerror}). "
            "Choose another port, or port=0 for a free one."
        ) from error


class _Connection(H11Protocol):
    """A connection of uvicorn that is closed where no whole request comes in time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_TIMEOUT_S, self._check_progress, None)

    def _check_progress(self, last: Any) -> None:
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and self.cycle is last:
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(REQUEST_TIMEOUT_S, self._check_progress, self.cycle)


class Guard:
    """Passes on to Gradio what the page needs. A client is an address of the network."""

    def __init__(self, app: ASGIApp, folder: Path, config: DictConfig) -> None:
        own = f"[{config.host}]" if ":" in config.host else config.host
        self._is_open = config.host in _ALL_ADDRESSES
        names = (*config.allowed_hosts, own, "127.0.0.1", "localhost", "[::1]")
        self._names = {_parse_host(name) for name in names}
        if "" in self._names:
            raise ConfigurationError(
                f"allowed_hosts={list(config.allowed_hosts)}: expected names such as "
                "inspection.example.org, or addresses (IPv6 in brackets)."
            )
        if self._is_open:
            self._names.add(socket.gethostname().lower())
        self._app = app
        self._folder = folder
        self._config = config
        self._running: Counter[str] = Counter()
        self._recent: Counter[str] = Counter()
        self._minute = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, is_file=scope["path"].startswith(_FILE))
        client = scope["client"][0]
        self._running[client] += 1
        try:
            self._check(scope, client)
            scope["headers"] = [of for of in scope["headers"] if of[0] not in _NOT_PASSED_ON]
            is_upload = scope["path"] == _UPLOAD
            limit = self._config.max_upload_mb * 2**20 if is_upload else _MAX_JSON_BYTES
            await self._app(scope, _bounded(receive, limit), send)
        except HTTPException as refusal:
            await PlainTextResponse(refusal.detail, refusal.status_code)(scope, receive, send)
        except Exception as error:  # Starlette has answered it, or the client has gone
            log.warning("%s: %s: %s", scope["path"], type(error).__name__, error)
        finally:
            self._running -= Counter([client])  # without clients that have none

    def _check(self, scope: Scope, client: str) -> None:
        path, method = scope["path"], scope["method"]
        self._check_site(Headers(scope=scope), is_link=path == "/" and method == "GET")
        is_readable = method in ("GET", "HEAD") and self._is_readable(path)
        if not is_readable and not (method == "POST" and path in _POSTED):
            raise HTTPException(404, "There is no such page.")
        if self._running.total() > _MAX_REQUESTS:
            raise HTTPException(503, "The server is busy. Try again later.")
        if self._running[client] > self._config.max_requests:
            raise HTTPException(429, f"max_requests={self._config.max_requests} at a time.")
        if method == "POST" and path in _LIMITED:
            self._count(client)

    def _check_site(self, headers: Headers, *, is_link: bool) -> None:
        """Raises HTTPException for the name of another server, and for requests of other sites.

        Links of other sites to the page itself, `is_link`, may be followed.
        """
        host = headers.get("host", "").lower()
        name = _parse_host(host)
        is_address = name.startswith("[") or name.replace(".", "").isdigit()  # in no name server
        if name not in self._names and not (self._is_open and is_address):
            raise HTTPException(
                400,
                f"Host {host[:200]!a} is not a name of this server. If it is, start app.py with "
                "allowed_hosts=[...].",
            )
        origin = headers.get("origin", f"http://{host}").lower()
        is_foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if origin.partition("://")[2] != host or (is_foreign and not is_link):
            raise HTTPException(
                403, "Requests of other sites are refused. A proxy has to pass on the header Host."
            )

    def _is_readable(self, path: str) -> bool:
        if path.startswith(_FILE):
            file = path.removeprefix(_FILE)
            return file == normpath(file) and Path(file).is_relative_to(self._folder)
        return ".." not in path and _READ.fullmatch(path) is not None

    def _count(self, client: str) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._recent = minute, Counter()
        self._recent[client] += 1
        limit = self._config.max_requests_per_minute
        if self._recent[client] > limit:
            raise HTTPException(429, f"max_requests_per_minute={limit}: try again later.")


def _parse_host(authority: str) -> str:
    """The name in `name:port`; empty where it is malformed."""
    match = _HOST.fullmatch(authority.lower())
    return match[1] if match else ""


def _with_headers(send: Send, *, is_file: bool) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers["content-security-policy"] = _FILE_POLICY if is_file else _POLICY
        await send(message)

    return send_with_headers


def _bounded(receive: Receive, limit: int) -> Receive:
    """Receives a body; one that is too large raises HTTPException, which FastAPI answers."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            text = f"The request is larger than the maximum size, {limit:,} bytes."
            raise HTTPException(413, text)
        return message

    return receive_bounded
