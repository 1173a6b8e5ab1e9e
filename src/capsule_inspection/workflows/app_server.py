"""The server of the page: its port, its connections, and its end.

uvicorn serves Gradio's page behind `app_guard.py`; `app_uploads.py` receives the files.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from fastapi import FastAPI
from gradio import mount_gradio_app, themes
from omegaconf import DictConfig
from uvicorn.protocols.http.h11_impl import H11Protocol

from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows.app_guard import MAX_QUEUE, UPLOAD, Guard
from capsule_inspection.workflows.app_page import CSS
from capsule_inspection.workflows.app_uploads import Uploads

if TYPE_CHECKING:
    import gradio as gr

log = logging.getLogger(__name__)
_TIDY_INTERVAL_S = 5
_IDLE_TIMEOUT_S = 10
_MAX_IDLE = 64


class Connection(H11Protocol):
    """A connection of uvicorn that is closed where no request comes, or where too many wait."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = self.loop.time()
        everyone: set[Any] = self.connections
        idle = [one for one in everyone if one.is_idle()]
        if len(idle) > _MAX_IDLE:
            min(idle, key=lambda one: one.since).transport.abort()
        self.loop.call_later(_IDLE_TIMEOUT_S, self._close_idle, self.cycle)

    def is_idle(self) -> bool:
        """Whether no whole head of a request has come."""
        return self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def _close_idle(self, last: Any) -> None:
        if self.is_idle() and self.cycle is last:
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(_IDLE_TIMEOUT_S, self._close_idle, self.cycle)


def serve_page(page: gr.Blocks, uploads: Uploads, config: DictConfig) -> None:
    """Serve until Ctrl+C or SIGTERM."""
    server, listener = build_server(page, uploads, config)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    log.info("Upload images at http://%s:%d/, stop with Ctrl+C.", host, port)
    stopped = threading.Event()

    def tidy() -> None:
        while not stopped.wait(_TIDY_INTERVAL_S):
            uploads.tidy()

    threading.Thread(target=tidy, daemon=True).start()
    server.run(sockets=[listener])
    stopped.set()


def build_server(
    page: gr.Blocks, uploads: Uploads, config: DictConfig
) -> tuple[uvicorn.Server, socket.socket]:
    """The server and the socket that it listens on. Raises ConfigurationError for a used port."""
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=config.concurrency_limit)
    application = FastAPI(openapi_url=None)
    application.add_route(UPLOAD, uploads.receive, methods=["POST"])
    mount_gradio_app(
        application,
        page,
        path="/",
        max_file_size=config.max_upload_mb * 2**20,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        theme=themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=CSS,
    )

    def queued(client: str) -> int:
        queue = page._queue
        messages = queue.pending_messages_per_session  # Gradio forgets the oldest
        for session in queue.pending_event_ids_session.keys() - messages.keys():
            del queue.pending_event_ids_session[session]
        queues = queue.event_queue_per_concurrency_id.values()
        clients = [event.request.client for queue in queues for event in queue.queue]
        return sum(of is not None and of.host == client for of in clients)

    settings = uvicorn.Config(
        Guard(application, config, uploads.folder, queued),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # the guard logs exceptions
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings), _listen(config.host, config.port)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"host={host} port={port}: the page cannot be served there ({error}). Choose another "
            "port, or port=0 for a free one."
        ) from error
