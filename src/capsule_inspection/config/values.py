"""Numbers on the command line, before Hydra reads them: whole ones written as 1e9 or 8.0.

OmegaConf takes neither for a whole number, but every number but 0 for true.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import get_args

from capsule_inspection.config.schema import settings
from capsule_inspection.types import ConfigurationError

_FRACTION = re.compile(r"(?<![\w.'\"])\d+(?:\.\d*)?(?:[eE]\+?\d{1,2})?(?![\w.'\"])")


def read_numbers(arguments: list[str]) -> list[str]:
    """The arguments with every whole number of a setting that takes one written as such.

    Raises ConfigurationError for a number where true or false is expected.
    """
    return [_read_numbers(argument) for argument in arguments]


def _read_numbers(argument: str) -> str:
    key, is_setting, value = argument.partition("=")
    setting = settings().get(key.lstrip("+"))
    if not is_setting or setting is None:
        return argument
    if setting.type is bool and value.isdecimal() and int(value) > 1:
        raise ConfigurationError(f"{argument}: expected true or false.")
    if int in (setting.type, *get_args(setting.type)):
        return f"{key}={_FRACTION.sub(_as_whole, value)}"
    return argument


def _as_whole(match: re.Match[str]) -> str:
    number = Decimal(match[0])
    return str(int(number)) if number == number.to_integral_value() else match[0]
