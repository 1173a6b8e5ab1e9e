"""OmegaConf resolvers: run folders with a time stamp, names of a sweep's jobs.

Names consist of `[A-Za-z0-9._-]`. `run_folder` creates the folder, so that two runs that start in
the same second have different ones.
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

from capsule_inspection.config import left_overs
from capsule_inspection.files import missing_folders

_MAX_LENGTH = 80
_GROUPS_WITHOUT_PREFIX = ("model", "experiment")
_FOLDER_VARIABLE = "CAPSULE_RUN_FOLDER_"
_SWEPT_VARIABLE = "CAPSULE_SWEPT_KEYS"


def register_resolvers() -> None:
    """Register all resolvers with OmegaConf."""
    for resolver in (run_folder, base_folder, output_folder, job_name, search_direction):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def run_folder(base: str) -> str:
    """A new folder `<base>/<time>`; the same one in this process and its subprocesses."""
    variable = _FOLDER_VARIABLE + re.sub(r"\W", "_", base)
    if variable not in os.environ:
        os.environ[variable] = _create_folder(Path(base))
    return os.environ[variable]


def reset_run_folders() -> None:
    """Make the next `run_folder` create a new folder; for several runs in one process."""
    for variable in [name for name in os.environ if name.startswith(_FOLDER_VARIABLE)]:
        del os.environ[variable]


def _create_folder(base: Path) -> str:
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    missing = missing_folders(base)
    base.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        folder = base / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        left_overs.watch(folder, made=[folder, *missing])
        return folder.as_posix()
    raise FileExistsError(f"{base}: a thousand runs were started at {stamp}")


def output_folder(output: str | None, base: str) -> str:
    """The folder for results: `output`, or a new one in `base`."""
    return output or run_folder(base)


def base_folder(inspect: bool, base: str) -> str:
    """Where the folders of trainings are; those of `inspect=true` are apart."""
    return "outputs/inspect" if inspect else base


def search_direction(mode: str) -> str:
    """Optuna's name for the mode of the monitored metric, max or min."""
    return {"max": "maximize", "min": "minimize"}[mode]


def job_name(number: int) -> str:
    """Name of a sweep's job, like `03_resnet18_fold1_seed0`: its number and its swept values."""
    swept = os.environ.get(_SWEPT_VARIABLE, "").split("\n")
    overrides = _parse(list(HydraConfig.get().overrides.task))
    values = [_describe(override) for override in overrides if override.get_key_element() in swept]
    return "_".join([f"{number:02d}", *values])[:_MAX_LENGTH].rstrip("._-")


def record_swept_keys(overrides: list[str]) -> None:
    """Store the swept keys in the environment, for this process and its subprocesses."""
    keys = [o.get_key_element() for o in _parse(overrides) if o.is_sweep_override()]
    os.environ[_SWEPT_VARIABLE] = "\n".join(keys)


def _parse(overrides: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(overrides)


def _describe(override: Override) -> str:
    key = override.get_key_element().lstrip("+~")
    prefix = "" if key in _GROUPS_WITHOUT_PREFIX else key.rsplit(".", maxsplit=1)[-1]
    return safe_name(prefix + override.get_value_element_as_str())


def safe_name(text: str) -> str:
    """The text with everything but `[A-Za-z0-9._-]` replaced by a hyphen; never empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
