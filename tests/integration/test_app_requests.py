"""The page of app.py under hostile requests, over HTTP, with a stand-in for the model."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from small import REPOSITORY

pytest.importorskip("gradio")
PATIENCE_S = 300
MB = 2**20
LIMITS = ("max_upload_mb=1", "max_disk_mb=8", "max_requests=8", "max_requests_per_minute=100")
FORM = {"Content-Type": "multipart/form-data; boundary=B"}
JSON = {"Content-Type": "application/json"}
UPLOAD, EVENT = "/gradio_api/upload", "/gradio_api/queue/join"
SESSIONS = itertools.count()


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass  # with a cached property
class Page:
    """A page that another process serves."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    """Of temporary files."""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | None = None,
        *,
        client: str = "10.0.0.1",
    ) -> Answer:
        """Sends headers as they are; `client` is the address that a proxy would name."""
        named = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if "Host" not in dict(named):
            named.append(("Host", f"127.0.0.1:{self.port}"))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in [*named, ("X-Forwarded-For", client)]:
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        with contextlib.suppress(ConnectionError):  # refused before the end
            if isinstance(body, bytes):
                connection.send(body)
            elif body is not None:
                for chunk in body:
                    connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                connection.send(b"0\r\n\r\n")
        response = connection.getresponse()
        answer = Answer(response.status, response.read(), dict(response.getheaders()))
        connection.close()
        return answer

    def upload(self, content: bytes, name: str = "a.png", **options: Any) -> Answer:
        return self.request("POST", UPLOAD, FORM, form((name, content)), **options)

    def uploaded(self, content: bytes, name: str = "a.png") -> str:
        """The path of a new upload."""
        (path,) = json.loads(self.upload(content, name).body)
        return path

    def begin(self, name: str, event: object, session: str = "", **options: Any) -> Answer:
        """Trigger an event of the page; `data` are what the browser claims of its inputs."""
        data = options.pop("data", [None])
        called = {"data": data, "event_data": event, "fn_index": self.functions[name],
                  "session_hash": session or f"s{next(SESSIONS)}"}  # fmt: skip
        return self.request("POST", EVENT, JSON, json.dumps(called).encode(), **options)

    def event(self, name: str, event: object, session: str = "", **options: Any) -> str:
        """The messages that an event leads to; each of another client, since these are limited."""
        number = next(SESSIONS)
        session = session or f"s{number}"
        options = {"client": f"10.8.0.{number % 250}", **options}
        begun = self.begin(name, event, session, **options)
        assert begun.status == 200, begun
        stream = f"/gradio_api/queue/data?session_hash={session}"
        return self.request("GET", stream).body.decode()

    def predict(self, *paths: object, **options: Any) -> str:
        return self.event("upload", {"files": paths}, **options)

    @functools.cached_property
    def functions(self) -> dict[str, int]:
        """The numbers of the page's events, by the names of their functions."""
        config = json.loads(self.request("GET", "/config").body)
        return {of["api_name"]: of["id"] for of in config["dependencies"]}

    def stored(self) -> list[Path]:
        """Files in the private folder."""
        return list(self.folder.glob("capsule-inspection-app-*/files/**/*.*"))


def form(*files: tuple[str, bytes]) -> bytes:
    head = 'Content-Disposition: form-data; name="files"; filename="{}"'
    parts = [
        b"--B\r\n%s\r\n\r\n%s\r\n" % (head.format(name).encode(), content)
        for name, content in files
    ]
    return b"".join(parts) + b"--B--\r\n"


@contextlib.contextmanager
def serve(folder: Path, *settings: str) -> Iterator[Page]:
    command = [sys.executable, str(REPOSITORY / "tests" / "stub_app.py"), "port=0", *settings]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        assert process.stderr is not None
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "Upload images at" in line:
                    break
            else:
                pytest.fail(f"the page was not served: {lines}")
            port = int(lines[-1].rpartition(":")[2].split("/")[0])
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Page(process, port, folder)
        finally:
            patience.cancel()
            process.kill()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve(tmp_path_factory.mktemp("page"), *LIMITS, "allowed_hosts=[proxy.example]") as served:
        yield served


def test_requests_for_another_server_are_refused(page: Page) -> None:
    local = ["127.0.0.1", "LocalHost:1", "[::1]:7860", "proxy.example", f"localhost:{page.port}"]
    foreign = [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "2130706433",
        "[::2]",
        "[::1",
        "localhost:80:80",
        "",
    ]
    assert {host: page.request("GET", "/config", {"Host": host}).status for host in local} == (
        dict.fromkeys(local, 200)
    )
    assert {host: page.request("GET", "/config", {"Host": host}).status for host in foreign} == (
        dict.fromkeys(foreign, 400)
    )
    two = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    assert page.request("GET", "/", two).status == 400
    links = page.request("GET", "/", {"X-Forwarded-Host": "evil.example"})
    assert b"evil.example" not in links.body
    assert page.request("GET", "http://evil.example/").status == 404
    with page.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_requests_of_other_sites_are_refused(page: Page) -> None:
    own = f"127.0.0.1:{page.port}"
    sent = {
        (own, f"http://{own}"): 400,  # no form
        ("Proxy.example", "https://proxy.example"): 400,
        ("proxy.example", f"http://{own}"): 403,
    }
    foreign = ["http://evil.example", "null", "file://", "http://localhost:1", "http://localhost"]
    foreign += [f"http://{own}@evil.example", "http://proxy.example.evil.example"]
    for (host, origin), status in {**sent, **{(own, of): 403 for of in foreign}}.items():
        headers = {**FORM, "Host": host, "Origin": origin}
        assert page.request("POST", UPLOAD, headers, b"").status == status, headers
    for headers in ({"Origin": foreign[0]}, {"Sec-Fetch-Site": "cross-site"}):
        websocket = {"Connection": "Upgrade", "Upgrade": "websocket"}
        stream = "/gradio_api/queue/data?session_hash=a"
        assert page.request("GET", stream, {**headers, **websocket}).status == 403
        assert page.request("OPTIONS", EVENT, headers).status == 403
    assert page.request("GET", "/", {"Sec-Fetch-Site": "cross-site"}).status == 200  # a link


def test_a_request_uploads_one_file_of_limited_size(page: Page) -> None:
    assert page.upload(b"x" * (MB - 500)).status == 200
    whole = form(("a", b"x" * MB))
    chunks = [whole[start : start + 50_000] for start in range(0, len(whole), 50_000)]
    for body in (whole, chunks):
        answer = page.request("POST", UPLOAD, FORM, body)
        assert answer.status == 413
        assert b"maximum size, 1,048,576 bytes" in answer.body
    for body in (
        form(*[("a", b"x" * 300_000)] * 4),
        form(("a", b""), ("b", b"")),
        b"--B\r\n" * 1000,
        b"",
        b"x",
    ):
        assert page.request("POST", UPLOAD, FORM, body).status == 400
    assert page.request("POST", EVENT, JSON, b"[" * 100 * MB).status == 413
    assert page.request("POST", EVENT, JSON, chunks).status == 413
    assert page.request("POST", EVENT, JSON, b"[" * 8_000).status == 400
    with page.connect() as connection, contextlib.suppress(ConnectionError):  # once it is refused
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"a" * MB)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../../evil.png", "evil.png"),
        ("/etc/passwd", "passwd"),
        ("..", "image"),
        ("", None),
        (".bashrc", "bashrc"),
        ("..\\..\\a.png", "a.png"),
        ("x" * 500 + ".png", None),
    ],
)
def test_names_of_uploads_stay_in_a_folder_that_nobody_guesses(
    page: Page, name: str, stored: str | None
) -> None:
    answers = [page.upload(b"", name, client="10.0.0.2") for _ in range(2)]
    paths = [Path(json.loads(answer.body)[0]) for answer in answers]
    for path in paths:
        assert path.is_file()
        assert len(path.parent.name) == 32
        assert path.parents[2].parent == page.folder
        assert path.parents[2].stat().st_mode & 0o777 == 0o700
        assert stored in (None, path.name)
    assert paths[0] != paths[1]


def test_no_file_but_uploads_is_readable(page: Page, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (uploaded,) = json.loads(page.upload(b"<script>", "a.html").body)
    folder = str(Path(uploaded).parents[1])
    answer = page.request("GET", f"/gradio_api/file={uploaded}", {"Range": "bytes=0-1"})
    assert answer.body == b"<script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    Path(folder, "link.png").symlink_to(secret)
    paths = [
        str(secret),
        f"/{secret}",
        f"{folder}/../lock",
        f"{folder}/%2e%2e/lock",
        f"{folder}/%252e%252e/lock",
        folder,
        f"{folder}/",
        f"file://{secret}",
        quote(str(secret), safe=""),
        f"http://127.0.0.1:{page.port}/config",
        "data:text/plain,a",
        f"{uploaded}%00",
        f"{folder}/link.png",
    ]
    for path in paths:
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy="):
            assert page.request("GET", route + path).status in (403, 404), route + path


def test_only_uploads_are_predicted(page: Page, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    uploaded = page.uploaded(b"12345")
    assert "5 bytes" in page.predict(uploaded)
    forged = [{"files": [str(secret)], "row": 0, "threshold": None}]
    assert "5 bytes" in page.predict(uploaded, data=forged)
    assert "There is no such row." in page.event("select", {"row": 0}, data=forged)
    for path in (
        str(secret),
        f"{uploaded}/../../../lock",
        str(Path(uploaded).parent),
        "https://example.org/a.png",
        f"http://127.0.0.1:{page.port}/",
        f"file://{secret}",
        "data:image/png;base64,AAAA",
        "",
        "a\0b",
        None,
        7,
        {"path": uploaded},
        [uploaded],
    ):
        for paths in ((path,), (uploaded, path)):
            event = page.predict(*paths, client="10.0.0.3")
            assert "This is no uploaded file" in event, path
            assert str(secret) not in event
    assert "up to 16 uploaded files" in page.predict(*[uploaded] * 17)
    for event in (None, [], "a", {"files": uploaded}, {"files": []}, {"row": 0}):
        assert "up to 16 uploaded files" in page.event("upload", event, client="10.0.0.6")


def test_several_files_are_a_table_in_which_a_bad_one_is_a_row(page: Page) -> None:
    names = ("1.png", "2.png", "3.png")
    contents = (b"12345", b"bad", b"123456")
    paths = [page.uploaded(of, name) for name, of in zip(names, contents, strict=True)]
    shown = page.event("upload", {"files": paths}, "several")
    assert all(name in shown for name in names)
    assert "not inspected" in shown
    assert "is no image" in shown
    assert "1.png, 5x1 pixels" in shown
    assert "3.png, 6x1 pixels" in page.event("select", {"row": 2}, "several")
    assert "cannot be used" in page.event("select", {"row": 1}, "several")
    for event in ({"row": 3}, {"row": -1}, {"row": "0"}, {"row": 0.0}, {"row": True}, {}, None):
        assert "There is no such row." in page.event("select", event, "several")


def test_the_threshold_of_a_session_decides_its_images_and_no_others(page: Page) -> None:
    path = page.uploaded(b"12345")
    defect, good = 'headline near\\">Defect', 'headline near\\">Good'
    assert defect in page.event("upload", {"files": [path]}, "one")
    moved = page.event("slide", {"threshold": 0.7}, "one")
    assert good in moved
    assert "a defect above the threshold 70.0%" in moved
    assert good in page.event("upload", {"files": [path]}, "one")
    assert defect in page.event("upload", {"files": [path]}, "another")
    assert defect in page.event("slide", {"threshold": None}, "one")
    assert "Expected a threshold" not in page.event("slide", {"threshold": 0.2}, "without_images")
    for value in ("0.5", float("nan"), float("inf"), 10**400, True, [0.5]):
        assert "Expected a threshold" in page.event("slide", {"threshold": value}), value


def test_examples_that_are_not_those_of_the_test_any_more_are_refused(page: Page) -> None:
    for event in ({"row": 0}, {"row": 0, "files": ["/etc/passwd"]}):
        assert "This example is no longer where the run" in page.event("use_example", event)
    assert "There is no such row." in page.event("use_example", {"row": 1})


def test_pages_and_errors_hold_no_paths_of_the_server(page: Page) -> None:
    event = page.predict(page.uploaded(b"crash"))
    assert "The prediction failed." in event
    assert "secret" not in event
    for path in ("/", "/config", "/gradio_api/info"):
        answer = page.request("GET", path)
        assert answer.status == 200
        for prefix in (str(REPOSITORY), sys.prefix, str(Path.home()), str(page.folder)):
            assert prefix not in answer.body.decode()
    first = page.request("GET", "/").body
    assert b"hacked()" in first
    for text in (first.decode(), page.predict(page.uploaded(b"1"))):
        assert "<script>hacked()" not in text
        assert "<img src=x" not in text


def test_routes_that_the_page_does_not_need_are_closed(page: Page) -> None:
    read = [
        *("proxy=https://a.hf.space/x", "token", "dev/reload", "runs", "openapi.json"),
        *("custom_component/x/server/a/x.py", "deep_link?session_hash=a", "queue/status"),
        *(
            "startup-events",
            "vibe-code",
            "profiling/traces",
            "stream/a/b/1/playlist.m3u8",
            "mcp",
            "user",
        ),
    ]
    paths = [f"/gradio_api/{path}" for path in read]
    paths += ["/monitoring", "/monitoring/summary", "/docs", "/openapi.json", "/login", "/svelte/x"]
    paths += ["/static/../../routes.py", "/assets/%2e%2e/%2e%2e/routes.py"]
    posted = [
        "run/upload",
        "api/upload",
        "call/upload",
        "call/v2/upload",
        "component_server",
        "vibe-edit",
    ]
    requests = [("GET", path) for path in paths]
    requests += [("POST", f"/gradio_api/{path}") for path in (*posted, "process_recording")]
    for method, path in requests:
        assert page.request(method, path).status == 404, path
    for method in ("PUT", "DELETE", "TRACE", "OPTIONS"):
        assert page.request(method, "/").status == 404


def test_a_client_is_limited_and_others_are_not(page: Page) -> None:
    begun = (page.begin("upload", None, client="10.1.0.1").status for _ in range(201))
    accepted = len(list(itertools.takewhile(lambda status: status == 200, begun)))
    assert 100 <= accepted <= 200  # another minute may begin meanwhile
    assert page.begin("upload", None, client="10.1.0.2").status == 200
    streams = []
    for _ in range(10):
        streams.append(page.connect())
        streams[-1].sendall(
            b"GET /gradio_api/heartbeat/a HTTP/1.1\r\nHost: localhost\r\n"
            b"X-Forwarded-For: 10.1.0.3\r\n\r\n"
        )
    assert Counter(of.recv(12)[-3:] for of in streams) == {b"200": 8, b"429": 2}
    assert page.request("GET", "/config", client="10.1.0.4").status == 200
    for of in streams:
        of.close()


def test_connections_without_a_whole_request_are_closed(page: Page) -> None:
    head = b"POST /gradio_api/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    stalled = [page.connect() for _ in range(100)]
    for number, of in enumerate(stalled):
        of.sendall((head, head + b"[")[number] if number < 2 else head[: 30 * (number % 2)])
    assert page.request("GET", "/config", client="10.0.0.5").status == 200
    for of in stalled:
        with of, contextlib.suppress(ConnectionError):
            assert of.recv(1) == b""


def test_files_take_limited_space_and_those_of_failed_uploads_none(page: Page) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda n: page.upload(b"x" * 500_000, client=f"10.2.0.{n}"), range(20))
        )
    assert {answer.status for answer in answers} == {200}
    page.upload(b"last")
    assert sum(path.stat().st_size for path in page.stored()) <= 8 * MB
    assert any(path.read_bytes() == b"last" for path in page.stored())
    before = set(page.stored())
    with page.connect() as connection:
        head = "\r\n".join(f"{name}: {value}" for name, value in FORM.items())
        connection.sendall(
            f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\n{head}\r\nContent-Length: 900000\r\n\r\n"
            .encode() + form(("cut.png", b"x" * 500_000))[:-8]
        )  # fmt: skip
    (files,) = page.folder.glob("capsule-inspection-app-*/files")
    moved = files.rename(files.with_name("moved"))  # as where the disk is full
    full = page.upload(b"x")
    moved.rename(files)
    assert (full.status, full.body) == (507, b'{"detail":"The server has no space for the file."}')
    assert set(page.stored()) == before


def test_the_first_signal_ends_the_server_and_removes_its_files(tmp_path: Path) -> None:
    names = ("stale", "used", "new")
    for name in names:
        folder = tmp_path / f"capsule-inspection-app-{name}"
        (folder / "files").mkdir(parents=True)
        if name != "new":
            (folder / "lock").touch()
    with FileLock(tmp_path / "capsule-inspection-app-used" / "lock"), serve(tmp_path) as page:
        kept = {tmp_path / f"capsule-inspection-app-{name}" for name in ("used", "new")}
        assert len(set(tmp_path.iterdir()) - kept) == 1  # its own; the stale one is gone
        page.begin("upload", {"files": [page.uploaded(b"stuck")]})
        connections = [page.connect() for _ in range(3)]
        heads = [
            "GET /gradio_api/heartbeat/a HTTP/1.1",
            "GET / HTTP/1.1",
            f"POST {UPLOAD} HTTP/1.1",
        ]
        ends = ["\r\n\r\n", "", "\r\nContent-Length: 1000\r\n\r\n--B"]
        for connection, head, end in zip(connections, heads, ends, strict=True):
            connection.sendall(f"{head}\r\nHost: localhost{end}".encode())
        assert connections[0].recv(12) == b"HTTP/1.1 200"
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait(PATIENCE_S) == 0
        assert set(tmp_path.iterdir()) == kept
        for connection in connections:
            connection.close()


@pytest.mark.slow
def test_a_signal_before_the_first_request_ends_the_server(tmp_path: Path) -> None:
    with serve(tmp_path) as page:
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(PATIENCE_S) == 0


def test_a_page_open_to_the_network_has_any_address_and_known_names(tmp_path: Path) -> None:
    from starlette.responses import PlainTextResponse
    from starlette.testclient import TestClient

    from capsule_inspection.types import ConfigurationError
    from capsule_inspection.workflows.app_server import Guard

    config = OmegaConf.load(REPOSITORY / "conf" / "app.yaml")
    assert isinstance(config, DictConfig)
    config.update({"host": "0.0.0.0", "allowed_hosts": ["Line3.example:443"]})
    client = TestClient(Guard(PlainTextResponse("passed"), tmp_path, config))
    for name in ("192.168.0.7:7860", "[fe80::1]:80", socket.gethostname(), "line3.example"):
        assert client.get("/", headers={"Host": name}).text == "passed"
    refused = client.get("/", headers={"Host": "evil.example"})
    assert "not a name of this server. If it is, start app.py with allowed_hosts" in refused.text
    config.allowed_hosts = ["*"]
    with pytest.raises(ConfigurationError, match=r"allowed_hosts=\['\*'\]: expected names"):
        Guard(PlainTextResponse(""), tmp_path, config)
