"""Quotes on the command line: those of Hydra's grammar, and those of a shell in printed commands.

The grammar knows ASCII letters and few other characters outside of quotes, and has no quotes for
the keys of mappings: those are encoded here and decoded in the composed configuration.
Source: https://hydra.cc/docs/advanced/override_grammar/basic (quoted values).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib import parse

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

PROGRAM = "capsule-inspection"
"""The console command, which is also the name of the distribution."""
_PROGRAM_VARIABLE = "CAPSULE_PROGRAM"
_ENCODED = "%%"
"""Begins the keys that are encoded."""
_PLAIN = re.compile(r"[\w/\-\\+.%*@?| ]+", re.ASCII)
_WORDS = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w\- ]*", re.ASCII | re.IGNORECASE)
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ITEM = rf"\s*({_QUOTED}|[^\[\]{{}},]+?)\s*"
_PAIR = rf"\s*({_QUOTED}|[^\[\]{{}},:]+?)\s*:{_ITEM}"


def quote(value: str, *, interpolate: bool = False) -> str:
    """A value in Hydra's single quotes; without interpolation, unless `interpolate`."""
    if is_quoted(value):
        return value
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    escaped = re.sub(r"(\\+)$", lambda match: match[1] * 2, escaped)
    return "'" + (escaped if interpolate else escaped.replace("${", r"\${")) + "'"


def unquote(value: str) -> str:
    """The inverse of `quote`; values without quotes stay."""
    if not is_quoted(value):
        return value
    inner = value[1:-1].replace(r"\${", "${")
    inner = re.sub(rf"(\\+){value[0]}", lambda match: "\\" * (len(match[1]) // 2) + value[0], inner)
    return re.sub(r"(\\+)$", lambda match: "\\" * (len(match[1]) // 2), inner)


def is_quoted(value: str) -> bool:
    """Whether a value stands in quotes already."""
    return len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""


def is_container(value: str) -> bool:
    """Whether a value is a list or a mapping."""
    return (value[:1], value[-1:]) in (("[", "]"), ("{", "}"))


def quote_items(value: str, *, all_text: bool = False) -> str:
    """A list or mapping with those items in quotes that need them, and such keys encoded.

    With `all_text` all are text, also 1e3 and true, but not null. One of lists or mappings stays.
    """
    inner, is_list = value[1:-1], value[0] == "["
    pattern = _ITEM if is_list else _PAIR
    if not re.fullmatch(f"{pattern}(,{pattern})*", inner):
        return value
    found = re.findall(f"{pattern}(?:,|$)", inner)
    if is_list:
        return f"[{','.join(_quote_item(item, always=all_text) for item in found)}]"
    pairs = (
        f"{_encode(key, always=all_text)}: {_quote_item(item, always=all_text)}"
        for key, item in found
    )
    return f"{{{','.join(pairs)}}}"


def quote_unreadable(key: str, value: str, *, multirun: bool) -> str:
    """The value as it is where Hydra can read it, else in quotes."""
    if _PLAIN.fullmatch(value) or "${" in value or is_quoted(value):
        return value
    try:
        OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        if is_container(value):
            return quote_items(value)
        return ",".join(map(quote, value.split(","))) if multirun else quote(value)
    return value


def as_mapping(key: str, value: str) -> str:
    """A value of a mapping as {key: value}, whatever is in the key."""
    return f"{{{_encode(key, always=True)}: {_quote_item(value, always=True)}}}"


def decode_keys(config: DictConfig) -> None:
    """Replace the encoded keys in a composed configuration, in place."""
    for key in list(config):
        if OmegaConf.is_interpolation(config, key) or OmegaConf.is_missing(config, key):
            continue
        if OmegaConf.is_dict(config[key]):
            decode_keys(config[key])
        if isinstance(key, str) and key.startswith(_ENCODED):
            with open_dict(config):
                config[parse.unquote(key.removeprefix(_ENCODED))] = config.pop(key)


def _quote_item(token: str, *, always: bool) -> str:
    if token == "null" or is_quoted(token):
        return token
    return quote(token) if always or not _PLAIN.fullmatch(token) else token


def _encode(token: str, *, always: bool) -> str:
    if _WORDS.fullmatch(token) or (not always and _PLAIN.fullmatch(token)):
        return token
    return _ENCODED + parse.quote(unquote(token), safe="").replace("~", "%7E")


def use_console_command() -> None:
    """Print commands as those of the console command, also in the processes of a sweep's jobs."""
    os.environ[_PROGRAM_VARIABLE] = PROGRAM


def format_command(arguments: Sequence[object]) -> str:
    """A script and its arguments as a command for a shell; "" without arguments.

    It is the console command's form, `capsule-inspection train`, where that was used.
    """
    if not arguments:
        return ""
    script, *rest = map(str, arguments)
    program = os.environ.get(_PROGRAM_VARIABLE)
    words = (
        [program, Path(script).stem] if program and script.endswith(".py") else ["python", script]
    )
    return " ".join(map(_quote_for_shell, [*words, *rest]))


def _quote_for_shell(argument: str) -> str:
    """Quoted for a shell; Hydra's own quotes stay readable."""
    if "'" in argument and not set(argument) & set('"$`\\!'):
        return f'"{argument}"'
    return shlex.quote(argument)
