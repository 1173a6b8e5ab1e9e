"""Weights from caches and hubs; the hub is a small server on the loopback address."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save
from torchvision import models

from capsule_inspection.models import hub as hub_module
from capsule_inspection.models.base import BuiltModel
from capsule_inspection.models.factory import build_timm
from capsule_inspection.models.hub import HubWeights, UnavailableError, UrlFile
from capsule_inspection.models.state_dicts import load_pretrained
from capsule_inspection.models.torchvision_model import create_torchvision_classifier
from capsule_inspection.models.weights import load_weights
from capsule_inspection.types import WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        body = server.content.get(self.path)
        self.send_response(404 if body is None else 200)
        body = body or b""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if not body:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # The probe hangs up after one byte.
        pass


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("CAPSULE_WEIGHTS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def set_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does before huggingface_hub is imported."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    set_endpoint(monkeypatch, server.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def bare() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return timm.create_model("test_resnet").state_dict()


def build(choice: str) -> BuiltModel:
    return build_timm(name="test_resnet", num_classes=3, weights=choice)


ADDRESS = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def test_weights_are_downloaded_once_and_cached(hub: Server) -> None:
    hub.content[ADDRESS] = save(bare())
    built = build("imagenet")
    assert built.weights.source == "imagenet"
    assert built.weights.sha256 == hashlib.sha256(hub.content[ADDRESS]).hexdigest()
    loaded = built.model.state_dict()["backbone.model.layer1.0.conv1.weight"]
    assert torch.equal(loaded, bare()["layer1.0.conv1.weight"])
    hub.asked.clear()
    for choice in ("auto", "imagenet"):
        assert build(choice).weights == built.weights
    assert hub.asked == []


def test_the_pytorch_file_is_downloaded_where_the_hub_has_no_safetensors(
    hub: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert build("auto").weights.source == "random"
    assert "404" in caplog.text
    with pytest.raises(WeightsError, match="404"):
        build("imagenet")
    torch.save(bare(), tmp_path / "bare.pth")
    older = ADDRESS.replace("model.safetensors", "pytorch_model.bin")
    hub.content[older] = (tmp_path / "bare.pth").read_bytes()
    assert str(build("auto").weights.path).endswith("pytorch_model.bin")


def test_an_unreachable_hub_means_random_for_auto_and_an_error_for_imagenet(
    hub: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.content[ADDRESS] = save(bare())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert build("auto").weights.source == "random"
    assert hub.asked == []  # offline, nobody is called
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "TIMEOUT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        set_endpoint(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        caplog.clear()
        assert build("auto").weights.source == "random"  # the port is closed
        assert [r for r in caplog.records if r.levelno == logging.WARNING]
        with pytest.raises(WeightsError, match="could not be downloaded"):
            build("imagenet")
        silent.listen()  # from here on it takes connections, and never answers
        with pytest.raises(WeightsError, match="timed out"):
            build("imagenet")


def url_file(hub: Server, content: bytes, *, name: str | None = None) -> UrlFile:
    name = name or f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    hub.content[f"/models/{name}"] = content
    return UrlFile(url=f"{hub.url}/models/{name}")


def test_a_file_at_an_address_is_kept_in_torchs_cache_unless_its_hash_is_wrong(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "torch_home" / "hub" / "checkpoints"
    with pytest.raises(UnavailableError, match="invalid hash value"):
        url_file(hub, b"weights", name="net-00000000.pth").download()
    assert not [*cache.iterdir()]
    file = url_file(hub, b"weights")
    assert file.find_cached() is None
    path = file.download()
    assert path == file.find_cached()
    assert path.read_bytes() == b"weights"
    assert [*cache.iterdir()] == [path]
    with pytest.raises(UnavailableError, match="404"):
        UrlFile(f"{hub.url}/models/missing.pth").download()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE"):
        file.download()


def test_torchvisions_weights_come_from_their_address(hub: Server, tmp_path: Path) -> None:
    name = "shufflenet_v2_x0_5"
    torch.save(models.get_model(name, weights=None).state_dict(), tmp_path / "w.pth")
    file = url_file(hub, (tmp_path / "w.pth").read_bytes())
    model, known = create_torchvision_classifier(
        name, num_classes=3, image_size=(64, 64), pool="default", options={}
    )
    assert known.files[0].url.startswith("https://download.pytorch.org/models/shufflenetv2_x0.5-")
    loopback = HubWeights(name=name, local_names=(name,), files=(file,))
    record = load_weights(model, choice="imagenet", hub=loopback, load_state=load_pretrained)
    assert (record.source, Path(str(record.path)).name) == ("imagenet", file.cache_path.name)
