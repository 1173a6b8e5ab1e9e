"""Environments of the peers, each made once with uv; `versions.toml` has what is installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.sizes import REPOSITORY

VERSIONS = Path(__file__).with_name("versions.toml")
_INSTALLED = "installed.json"


def read_versions() -> dict[str, list[str]]:
    """Packages of each environment, with those that it shares with this project."""
    import torch
    import torchvision

    shared = [f"{m.__name__}=={m.__version__.split('+')[0]}" for m in (torch, torchvision)]
    found = tomllib.loads(VERSIONS.read_text(encoding="utf-8"))
    return {name: [*shared, *table["packages"]] for name, table in found.items()}


def prepare_environment(name: str, folder: Path) -> Path:
    """The `bin` of an environment of `versions.toml`, made in `folder` where it is not there yet.

    Raises RuntimeError with the end of uv's output where it cannot be made.
    """
    packages = read_versions()[name]
    environment = folder / name
    installed = environment / _INSTALLED
    if not installed.is_file() or json.loads(installed.read_text(encoding="utf-8")) != packages:
        shutil.rmtree(environment, ignore_errors=True)
        _run_uv("venv", "--python", sys.executable, str(environment))
        python = str(environment / "bin" / "python")
        _run_uv("pip", "install", "--python", python, *_without_gpu(), *packages)
        installed.write_text(json.dumps(packages), encoding="utf-8")
    return environment / "bin"


def _without_gpu() -> list[str]:
    """Leaves out what set-up has left out of this environment."""
    if importlib.util.find_spec("triton"):
        return []
    return ["--override", str(REPOSITORY / ".ci" / "without-gpu.txt")]


def _run_uv(*arguments: str) -> None:
    uv = ["uv"] if shutil.which("uv") else [sys.executable, "-m", "uv"]  # as set-up finds it
    done = subprocess.run([*uv, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"uv {arguments[0]} failed; a package index has to be reachable:\n{done.stderr[-2000:]}"
        )
