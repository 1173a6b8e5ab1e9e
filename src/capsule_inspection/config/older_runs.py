"""Settings that runs of before do not have, with the values that they were made with."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

_ALL: dict[str, Any] = {"save_weights": False, "data.real_defects": 1.0}
_CLASSIFICATION: dict[str, Any] = {
    "model.mask_loss": 0.0,
    "model.reads_mask": True,
    "task.temperature_scaling": False,
    "task.views": 1,
    "task.defects": 0.0,
    "data.painted": 0.0,
    "data.pasted": 0.0,
}


def fill_in(config: DictConfig) -> None:
    """Give a stored configuration, in place, the settings that came after it was written."""
    task = OmegaConf.select(config, "task.name")
    added = {**_ALL, **(_CLASSIFICATION if task == "classification" else {})}
    for key, value in added.items():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if OmegaConf.is_dict(node) and node.get(name) is None:
            node[name] = value
