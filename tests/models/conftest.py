"""What tests of weights share: no network, empty caches, and nothing that the project brings."""

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
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "brought")
