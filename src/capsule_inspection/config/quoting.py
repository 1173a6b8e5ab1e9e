"""Values of the command line that Hydra's grammar does not read as they are, put into quotes.

The grammar knows ASCII letters and few other characters outside of quotes, and has no quotes for
the keys of mappings: those are encoded here and decoded in the composed configuration.
Source: https://hydra.cc/docs/advanced/override_grammar/basic (quoted values).
"""

from __future__ import annotations

import re
from urllib import parse

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

_ENCODED = "%%"
"""Begins the keys that are encoded."""
_PLAIN = re.compile(r"[\w/\-\\+.%*@?| ]+", re.ASCII)
_WORDS = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w\- ]*", re.ASCII | re.IGNORECASE)
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_IN_LIST = re.compile(rf"\s*({_QUOTED}|[\[\]{{}},]|[^\[\]{{}},]+)\s*")
_IN_MAPPING = re.compile(rf"\s*({_QUOTED}|[\[\]{{}},:]|[^\[\]{{}},:]+)\s*")


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

    With `all_text` all are text, also 1e3 and true, but not null.
    """
    inside: list[str] = []
    pieces: list[str] = []
    position = 0
    while position < len(value):
        pattern = _IN_MAPPING if inside[-1:] == ["{"] else _IN_LIST
        found = pattern.match(value, position)
        if found is None:
            return value
        token, position = found[1].strip(), found.end()
        if token in ("[", "{"):
            inside.append(token)
        elif token in ("]", "}"):
            inside = inside[:-1]
        elif token not in (",", ":"):
            is_key = inside[-1:] == ["{"] and value[position : position + 1] == ":"
            token = (_encode if is_key else _quote_item)(token, always=all_text)
        pieces.append(token)
    return "".join(pieces)


def quote_unreadable(key: str, value: str, *, multirun: bool) -> str:
    """The value as it is where Hydra can read it, else in quotes."""
    if _PLAIN.fullmatch(value) or "${" in value or is_quoted(value) or is_readable(key, value):
        return value
    if is_container(value):
        return quote_items(value)
    return ",".join(map(quote, value.split(","))) if multirun else quote(value)


def is_readable(key: str, value: str) -> bool:
    """Whether a setting follows Hydra's grammar."""
    try:
        OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return False
    return True


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
