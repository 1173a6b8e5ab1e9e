"""Checkpoints of runs: tensors and plain types only, checked, read without executing anything.

Written by Lightning with what tasks/base.py adds below the key "inspection".
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from capsule_inspection.archives import DAMAGE, describe
from capsule_inspection.models.base import Model
from capsule_inspection.models.torch_files import load_tensors
from capsule_inspection.types import RunError

PREFIX = "network."
_TYPES = {
    "state_dict": dict,
    "inspection": dict,
    "epoch": int,
    "training_hashes": list,
    "selection_hashes": list,
}
_REMEDY = "Restore it from a copy, or train again."


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content on the CPU. Raises RunError where it is missing, damaged or another file."""
    if not path.is_file():
        raise RunError(
            f"{path}: there is no such checkpoint. Was the run stopped in its first epoch?"
        )
    try:
        if not zipfile.is_zipfile(path):  # older pickles have no checksums
            raise ValueError("no archive, or one that is cut short")
        checkpoint = load_tensors(path)
    except (pickle.UnpicklingError, *DAMAGE) as error:
        raise RunError(
            f"{path}: not a readable checkpoint, it is damaged, cut short or holds more than "
            f"tensors and plain values ({path.stat().st_size} bytes; {describe(error)}). {_REMEDY}"
        ) from error
    if not isinstance(checkpoint, dict) or not _is_checkpoint(checkpoint):
        raise RunError(f"{path}: expected a checkpoint of a run, found something else. {_REMEDY}")
    return checkpoint


def _is_checkpoint(content: dict[str, Any]) -> bool:
    return (
        all(isinstance(content.get(key), expected) for key, expected in _TYPES.items())
        and content["epoch"] >= 0
        and all(isinstance(value, Tensor) for value in content["state_dict"].values())
        and all(isinstance(key, str) for key in content["state_dict"])
        and isinstance(content["inspection"].get("fitted", {}), dict)
        and all(
            isinstance(value, str)
            for key in ("training_hashes", "selection_hashes")
            for value in content[key]
        )
    )


def restore_network(network: Model, checkpoint: dict[str, Any], *, path: Path) -> None:
    """Load a run's weights into its network. Raises RunError where the layers differ."""
    weights = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    network.allocate(weights)
    expected = network.state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | weights.keys()
        if _layout(expected.get(key)) != _layout(weights.get(key))
    )
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise RunError(
            f"{path}: the checkpoint is of another model, it differs in {shown}. "
            "Use the checkpoint and the config.yaml of one and the same run."
        )
    network.load_state_dict(weights)


def _layout(tensor: Tensor | None) -> Any:
    """What may not differ; the precision may."""
    return tensor is not None and (tensor.shape, tensor.is_floating_point(), tensor.is_complex())
