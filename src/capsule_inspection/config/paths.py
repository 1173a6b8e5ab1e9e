"""Arguments of the command line as Hydra reads them: quoted paths, and `threshold=`.

Paths are quoted so that Hydra's grammar keeps them unchanged.
Characters such as `=`, `,`, `(` and spaces have a meaning in Hydra's grammar.
Source: https://hydra.cc/docs/advanced/override_grammar/basic (quoted values).
"""

from __future__ import annotations

import re
from pathlib import Path

PATH_KEYS = (
    "run",
    "runs",
    "input",
    "output",
    "resume",
    "data.root",
    "data.path",
    "data.masks",
    "data.annotations",
    "data.cache_folder",
    "split.path",
    "model.weights",
)
_ARGUMENT = re.compile(rf"(\+{{0,2}}(?:{'|'.join(map(re.escape, PATH_KEYS))}))=(.*)", re.DOTALL)


def quote_path_arguments(arguments: list[str]) -> list[str]:
    """The arguments with the values of path settings quoted for Hydra."""
    multirun = bool({"-m", "--multirun"} & set(arguments))
    return [_quote_argument(argument, multirun=multirun) for argument in arguments]


def _quote_argument(argument: str, *, multirun: bool) -> str:
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        return argument
    key, value = match.groups()
    if value in ("", "null", "???") or _is_quoted(value):
        return argument
    if key == "runs" and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(map(quote, split_paths(value[1:-1])))}]"
    if multirun and "," in value and not Path(value).exists():
        return f"{key}={','.join(map(quote, split_paths(value)))}"
    return f"{key}={quote(value)}"


def name_given_threshold(arguments: list[str]) -> list[str]:
    """`threshold=0.3` as `threshold.value=0.3`, for commands without the group `threshold`.

    Hydra takes `threshold` for the group of that name, which train.py has.
    """
    return [re.sub(r"^threshold=", "threshold.value=", argument) for argument in arguments]


def split_paths(text: str) -> list[str]:
    """Split at commas, except within the name of an existing path."""
    pieces = text.split(",")
    paths: list[str] = []
    start = 0
    while start < len(pieces):
        ends = range(len(pieces), start, -1)
        end = next((e for e in ends if Path(",".join(pieces[start:e])).exists()), start + 1)
        paths.append(",".join(pieces[start:end]))
        start = end
    return paths


def quote(value: str) -> str:
    """A value in Hydra's single quotes, without interpolation."""
    if _is_quoted(value):
        return value
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    escaped = re.sub(r"(\\+)$", lambda match: match[1] * 2, escaped)
    return "'" + escaped.replace("${", r"\${") + "'"


def path_argument(arguments: list[str], key: str) -> Path | None:
    """The path that the arguments give a key, quoted or not; the last one counts."""
    values = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith(f"{key}=")]
    if not values or values[-1] in ("null", "''", "", "???"):
        return None
    return Path(_unquote(values[-1]) if _is_quoted(values[-1]) else values[-1])


def _unquote(value: str) -> str:
    """The inverse of `quote`."""
    inner = value[1:-1].replace(r"\${", "${")
    inner = re.sub(rf"(\\+){value[0]}", lambda match: "\\" * (len(match[1]) // 2) + value[0], inner)
    return re.sub(r"(\\+)$", lambda match: "\\" * (len(match[1]) // 2), inner)


def _is_quoted(value: str) -> bool:
    return len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
