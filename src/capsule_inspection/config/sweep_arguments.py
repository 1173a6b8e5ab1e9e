"""Arguments that are read from a sweep folder, which may come from elsewhere.

Accepted are plain values of a training's own settings. They are judged as Hydra's parser reads
them: first as a sweep, then as the argument of each of its jobs, which Hydra parses again.
Source: https://hydra.cc/docs/advanced/override_grammar/basic
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from itertools import islice
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from capsule_inspection.config.paths import MAPPING_KEYS
from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.schema import GROUPS, Train, settings
from capsule_inspection.config.stored import HYDRA_KEYS, find_code
from capsule_inspection.config.training_checks import OPTION_KEYS
from capsule_inspection.types import RunError, SweepFiles

_MAX_JOBS, _MAX_LENGTH, _MAX_BRACKETS = 10_000, 8192, 64
"""Limits of a sweep, and of each argument: its characters, and opening brackets, which may nest."""
_CHOICE = re.compile(r"[\w-][\w.-]*")
_LAUNCHERS = ("basic", "joblib", "local_parallel")
"""Those that run on this machine."""
_SETTINGS = {item.name for item in fields(Train)} - {"resume", "inspect", "logger"}
"""Without those that use other runs, or write or send something elsewhere."""
_UNREADABLE = (
    HydraException,
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)
"""What Hydra's parser raises."""


def check_arguments(arguments: list[str], folder: Path) -> None:
    """Raise RunError for arguments that could run code, or write or send something elsewhere."""
    jobs = 1
    for argument in arguments:
        jobs *= _count_values(argument)
        if not 0 < jobs <= _MAX_JOBS:
            raise RunError(
                f"{folder / SweepFiles.SWEEP}: {argument:.200} is not taken from a sweep folder, "
                "which may come from elsewhere: expected plain values of settings of train.py, and "
                f"at most {_MAX_JOBS:,} jobs on this machine. If it is yours, give all its "
                "arguments again: "
                + format_command(["train.py", "-m", *arguments, f"resume={folder}"])
            )


def _count_values(argument: str) -> int:
    """The number of values that an argument gives its setting; 0 where one is not harmless."""
    if len(argument) > _MAX_LENGTH or sum(map(argument.count, "[{(")) > _MAX_BRACKETS:
        return 0
    try:
        override = _parser().parse_override(argument)
        texts = [argument]
        if override.is_sweep_override():
            values = islice(override.sweep_string_iterator(), _MAX_JOBS + 1)
            texts = [f"{override.get_key_element()}={value}" for value in values]
        if len(texts) > _MAX_JOBS:
            return len(texts)
        return len(texts) * all(_is_harmless(_parser().parse_override(text)) for text in texts)
    except _UNREADABLE:
        return 0


def _parser() -> OverridesParser:
    """Hydra's parser, with no functions but choices and ranges."""
    parser = OverridesParser.create()
    for name in parser.functions.definitions.keys() - {"choice", "range"}:
        del parser.functions.definitions[name]
    return parser


def _is_harmless(override: Override) -> bool:
    """Whether the argument of a job is a plain value of a setting of ours."""
    key, value = override.get_key_element().lstrip("+"), override.value()
    group, (parent, _, _) = key.partition(".")[0], key.rpartition(".")
    if any(special in key for special in HYDRA_KEYS) or any(find_code({key: value})):
        return False
    if key == "hydra/launcher":
        return value in _LAUNCHERS
    if key == "hydra.launcher.n_jobs":
        return type(value) is int and -1 <= value <= (os.cpu_count() or 1)
    if key == "experiment" or key in _SETTINGS & GROUPS.keys():
        return _CHOICE.fullmatch(str(value)) is not None
    return group in _SETTINGS and (parent in (*MAPPING_KEYS, *OPTION_KEYS) or key in settings())
