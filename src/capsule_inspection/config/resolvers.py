"""Names that we make ourselves: run folders with a time stamp, jobs of a sweep.

Names hold `[A-Za-z0-9._-]` only. Resolvers are pure but for `run_folder`, which creates the folder
that it names, so that two runs started in the same second cannot take the same one.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

MAX_NAME = 80
_CHOICES_WITHOUT_KEY = ("model", "experiment")


def register_resolvers() -> None:
    """Make `run_folder`, `output_folder` and `job_name` known to OmegaConf; may be repeated."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("output_folder", output_folder, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("search_direction", search_direction, replace=True)


def run_folder(base: str) -> str:
    """`<base>/<time>`, created now; the same answer throughout the process and its workers."""
    variable = "CAPSULE_RUN_FOLDER_" + re.sub(r"\W", "_", base)
    if variable not in os.environ:
        os.environ[variable] = _claim(Path(base))
    return os.environ[variable]


def forget_run_folders() -> None:
    """Let the next `run_folder` be a new one; for several runs within one process."""
    for variable in [name for name in os.environ if name.startswith("CAPSULE_RUN_FOLDER_")]:
        del os.environ[variable]


def _claim(base: Path) -> str:
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        folder = base / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder.as_posix()
    raise FileExistsError(f"{base}: a thousand runs were started at {stamp}")


def output_folder(output: str | None, base: str) -> str:
    """Where results go: the folder that the user named, or a new one in `base`."""
    return output if output else run_folder(base)


def search_direction(mode: str) -> str:
    """What Optuna calls a monitored figure's mode, max or min."""
    return {"max": "maximize", "min": "minimize"}[mode]


def job_name(number: int) -> str:
    """Name of a sweep's job, like `03_resnet18_fold1_seed0`: its number and what was swept."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    swept = os.environ.get("CAPSULE_SWEPT_KEYS", "").split("\n")
    parts = [_describe(override) for override in overrides if override.get_key_element() in swept]
    return "_".join([f"{number:02d}", *parts])[:MAX_NAME].rstrip("._-")


def note_swept_keys(overrides: list[str]) -> None:
    """Remember which keys a sweep varies, for this process and those that it starts."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    keys = [override.get_key_element() for override in parsed if override.is_sweep_override()]
    os.environ["CAPSULE_SWEPT_KEYS"] = "\n".join(keys)


def _describe(override: Override) -> str:
    key = override.get_key_element().lstrip("+~")
    value = override.get_value_element_as_str()
    prefix = "" if key in _CHOICES_WITHOUT_KEY else key.rsplit(".", maxsplit=1)[-1]
    return safe_name(prefix + value)


def safe_name(text: str) -> str:
    """The text with all but `[A-Za-z0-9._-]` replaced by a hyphen, never empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
