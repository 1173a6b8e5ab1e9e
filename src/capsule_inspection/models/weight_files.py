"""Reads files of weights, without executing code that is in them.

Reads .safetensors, .pth, .pt and .bin (state dicts, bare or wrapped) and .ckpt (runs of this
project). From a path to tensors; state_dicts.py loads them into models.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from capsule_inspection.archives import DAMAGE, describe
from capsule_inspection.models.torch_files import load_tensors
from capsule_inspection.types import WEIGHTS_SUFFIXES, WeightsError

TRAINING_HASHES, SELECTION_HASHES = "training_hashes", "selection_hashes"
"""Keys of the SHA-256 of the images that weights were trained on, and were selected by."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_DTYPES = (*_FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
PREFIXES = ("network.", "module.", "_orig_mod.")
"""Prefixes that wrappers (a run, DistributedDataParallel, torch.compile) add to names."""


@dataclass(frozen=True)
class WeightsFile:
    """The content of a file: tensors by name, its SHA-256, and those of images, see the keys."""

    path: Path
    state: dict[str, Tensor]
    sha256: str
    training_hashes: frozenset[str]
    selection_hashes: frozenset[str]


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights into CPU memory.

    Raises WeightsError where the file is missing, damaged, of another type, or contains code.
    """
    _check_path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        read = _read_safetensors if path.suffix == ".safetensors" else _read_pickled
        state, metadata = read(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    training, selection = (
        _check_hashes(path, key, metadata.get(key, ()))
        for key in (TRAINING_HASHES, SELECTION_HASHES)
    )
    _check_tensors(path, state)
    return WeightsFile(path, _strip_prefixes(state), sha256, training, selection)


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise WeightsError(f"{path}: model.weights expects a file or a run, found a folder.")
    if not path.is_file():
        raise WeightsError(
            f"{path}: model.weights names a file that does not exist "
            f"(looked for {path.absolute()}). Put it there, or set model.weights to "
            "auto, imagenet, none or another path."
        )
    if path.suffix not in WEIGHTS_SUFFIXES:
        raise WeightsError(
            f"{path}: model.weights expects a file ending with {', '.join(WEIGHTS_SUFFIXES)}, "
            f"found '{path.suffix}'."
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, *DAMAGE) as error:
        raise WeightsError(_describe_damage(path, error)) from error
    hashes: dict[str, Any] = {}
    for key in metadata.keys() & {TRAINING_HASHES, SELECTION_HASHES}:
        try:
            hashes[key] = json.loads(metadata[key])
        except (ValueError, RecursionError) as error:
            raise WeightsError(
                f"{path}: its metadata '{key}' is not JSON: {describe(error)}."
            ) from error
    return state, hashes


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    try:
        content = load_tensors(path)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise WeightsError(_describe_damage(path, error)) from error
        raise WeightsError(_describe_code(path, error)) from error
    except DAMAGE as error:
        raise WeightsError(_describe_damage(path, error)) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: expected a state dict (names to tensors), found {type(content).__name__}."
        )
    return _find_state(path, content), content


def _describe_damage(path: Path, error: Exception) -> str:
    return (
        f"{path}: the file is cut short or damaged ({describe(error)}; it has "
        f"{path.stat().st_size} bytes). Delete it and copy or download it again."
    )


def _describe_code(path: Path, error: Exception) -> str:
    named = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line]
    found = named[0][:160] if named else "not a plain pickle of tensors"
    return (
        f"{path}: refused, because it is not tensors and plain values only and opening it could "
        f"run code ({found}). Where you trust it, load it yourself and save the model's "
        "`state_dict()` again, best with safetensors."
    )


def _find_state(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    inner: Any = content
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            inner = content[wrapper]
            break
    state = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if path.suffix == ".ckpt" and any(key.startswith("network.") for key in state):
        # A run's checkpoint also has the state of its metrics and loss.
        return {key: value for key, value in state.items() if key.startswith("network.")}
    if not state:
        raise WeightsError(f"{path}: expected a state dict, found no tensors in it.")
    return state


def _check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise WeightsError for values that no layer has."""
    for key, value in state.items():
        if value.dtype not in _DTYPES or not value.isfinite().all():
            raise WeightsError(
                f"{path}: expected finite numbers, found others in {key[:80]!r} ({value.dtype}). "
                "The training that wrote this file diverged, or it is damaged: use other weights."
            )


def _check_hashes(path: Path, key: str, hashes: Any) -> frozenset[str]:
    if not isinstance(hashes, list | tuple) or not all(isinstance(item, str) for item in hashes):
        raise WeightsError(f"{path}: '{key}' must be a list of SHA-256 sums.")
    return frozenset(hashes)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return _strip_prefixes({key.removeprefix(prefix): v for key, v in state.items()})
    return state
