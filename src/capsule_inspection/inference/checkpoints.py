"""Checkpoints of runs: tensors and plain types only, read without executing anything.

Written by Lightning with what tasks/base.py adds below the key "inspection".
"""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from capsule_inspection.types import RunError

PREFIX = "network."
KEYS = {"state_dict", "inspection", "epoch", "training_hashes", "selection_hashes"}
# What torch.load raises for damaged or foreign files; a broken archive is a RuntimeError.
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content on the CPU. Raises RunError where it is missing, cut short or another file."""
    if not path.is_file():
        raise RunError(
            f"{path}: there is no such checkpoint. Was the run stopped in its first epoch?"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path}: not a readable checkpoint, it is cut short or holds more than tensors and "
            f"plain values ({path.stat().st_size} bytes; {reason[:200]}). Restore it from a copy, "
            "or train again."
        ) from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= KEYS:
        raise RunError(
            f"{path}: expected a checkpoint of a run, found something else. Restore it from a "
            "copy, or train again."
        )
    return checkpoint


def restore_network(network: nn.Module, checkpoint: dict[str, Any], *, path: Path) -> None:
    """Load a run's weights into its network. Raises RunError where the layers differ."""
    weights = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    expected = network.state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | weights.keys()
        if key not in expected or key not in weights or expected[key].shape != weights[key].shape
    )
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise RunError(
            f"{path}: the checkpoint is of another model, it differs in {shown}. "
            "Use the checkpoint and the config.yaml of one and the same run."
        )
    network.load_state_dict(weights)
