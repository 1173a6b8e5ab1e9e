"""Reading files of weights, without ever executing what is in them.

Known are .safetensors, .pth, .pt and .bin (state dicts, bare or wrapped) and .ckpt (our own runs).
Boundary: from a path to tensors; fitting them to a network is the matter of weight_fitting.py.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from capsule_inspection.types import WeightsError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
SEEN_KEY = "seen_sha256"
WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
# What torch.load raises for damaged files; OSError, because by then the file has been read once.
DAMAGE = (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError)
PREFIXES = ("network.", "module.", "_orig_mod.")


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds: tensors by name, its SHA-256, and the SHA-256 of the photographs seen."""

    path: Path
    state: dict[str, Tensor]
    sha256: str
    seen: frozenset[str]


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights into CPU memory.

    Raises WeightsError where the file is missing, cut short, of another kind, or carries code.
    """
    _check_path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if path.suffix == ".safetensors":
            state, seen = _read_safetensors(path)
        else:
            state, seen = _read_pickled(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return WeightsFile(path=path, state=_strip_prefixes(state), sha256=sha256, seen=seen)


def _check_path(path: Path) -> None:
    if path.is_dir():
        best = path / "checkpoints" / "best.ckpt"
        hint = f"For the weights of this run set it to {best}." if best.is_file() else ""
        raise WeightsError(f"{path}: model.weights expects a file, found a folder. {hint}".strip())
    if not path.is_file():
        raise WeightsError(
            f"{path}: model.weights names a file that does not exist "
            f"(looked for {path.absolute()}). Put it there, or set model.weights to "
            "auto, imagenet, none or another path."
        )
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"{path}: model.weights expects a file ending with {', '.join(SUFFIXES)}, "
            f"found '{path.suffix}'."
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], frozenset[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(_damaged(path, error)) from error
    try:
        seen = json.loads(metadata.get(SEEN_KEY, "[]"))
    except ValueError as error:
        raise WeightsError(f"{path}: its metadata '{SEEN_KEY}' is not JSON: {error}.") from error
    return state, _as_seen(path, seen)


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], frozenset[str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise WeightsError(_damaged(path, error)) from error
        raise WeightsError(_unsafe(path, error)) from error
    except DAMAGE as error:
        raise WeightsError(_damaged(path, error)) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: expected a state dict (names to tensors), found {type(content).__name__}."
        )
    return _find_state(path, content), _as_seen(path, content.get(SEEN_KEY, ()))


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"{path}: the file is cut short or damaged ({reason[0][:200]}; it has "
        f"{path.stat().st_size} bytes). Delete it and copy or download it again."
    )


def _unsafe(path: Path, error: Exception) -> str:
    named = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line]
    found = named[0][:160] if named else "not a plain pickle of tensors"
    return (
        f"{path}: refused, because it is not tensors and plain values only and opening it could "
        f"run code ({found}). Where you trust it, load it yourself and save "
        "`network.state_dict()` again, best with safetensors."
    )


def _find_state(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    inner: Any = content
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            inner = content[wrapper]
            break
    state = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    if path.suffix == ".ckpt" and any(key.startswith("network.") for key in state):
        # A run's checkpoint holds its metrics and loss beside the network.
        return {key: value for key, value in state.items() if key.startswith("network.")}
    if not state:
        raise WeightsError(f"{path}: expected a state dict, found no tensors in it.")
    return state


def _as_seen(path: Path, seen: Any) -> frozenset[str]:
    if not isinstance(seen, list | tuple) or not all(isinstance(item, str) for item in seen):
        raise WeightsError(f"{path}: '{SEEN_KEY}' must be a list of SHA-256 sums.")
    return frozenset(seen)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers (a run, DistributedDataParallel, torch.compile) put before names."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return _strip_prefixes({key.removeprefix(prefix): v for key, v in state.items()})
    return state
