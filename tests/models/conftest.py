"""What tests of weights share: no network, empty caches, and no bundled weights."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder; whoever opens a connection fails, and the hub is set offline."""
    from huggingface_hub import constants

    from capsule_inspection.models import weights

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"connected to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "BUNDLED", tmp_path / "bundled")
