"""Arguments of the command line as Hydra reads them: paths and names, and `threshold=`.

Paths and names are quoted so that Hydra's grammar keeps them unchanged, and `~` is the home folder:
shells do not expand it behind `data.root=`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.quoting import (
    as_mapping,
    is_container,
    is_quoted,
    quote,
    quote_items,
    quote_unreadable,
    unquote,
)
from capsule_inspection.files import exists
from capsule_inspection.types import ConfigurationError

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
FOLDER_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Paths that may hold interpolations."""
_NAME_KEYS = ("data.good_class", "data.category")
_DRAWN_KEYS = ("data.seed", "data.size_px", "data.counts")
"""Settings of data=synthetic alone."""
_DATA_OVERRIDE = re.compile(r"^\s*- override /?data:", re.MULTILINE)
_LIST_KEYS = ("data.exclude", "data.mask_suffixes")
MAPPING_KEYS = ("data.class_map", "data.columns", "data.mask_values")
"""Mappings of any keys, which Hydra adds with `++` only."""
_SWEEP = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\(.*\)", re.DOTALL)


def quote_arguments(arguments: list[str]) -> list[str]:
    """The arguments with paths, names, and values that Hydra cannot read quoted for it.

    Raises ConfigurationError for one that is not UTF-8.
    """
    for argument in arguments:
        if not argument.startswith("input="):  # is not stored
            check_utf8(argument)
    multirun = bool({"-m", "--multirun"} & set(arguments))
    return [_quote_argument(argument, multirun=multirun) for argument in arguments]


def _quote_argument(argument: str, *, multirun: bool) -> str:
    given, is_setting, value = argument.partition("=")
    key = given.lstrip("+")
    mapping = next((each for each in MAPPING_KEYS if key.startswith(f"{each}.")), None)
    if is_setting and mapping:
        return f"++{mapping}={as_mapping(key.removeprefix(f'{mapping}.'), value)}"
    if not is_setting or argument.startswith(("-", "~")) or value in ("", "null", "???"):
        return argument
    is_sweep = multirun and "," in value
    if key in (*PATH_KEYS, *FOLDER_KEYS):
        return f"{given}={_quote_path(key, value, is_sweep=is_sweep)}"
    if key in MAPPING_KEYS and is_container(value):
        return f"++{key}={quote_items(value, all_text=key != 'data.mask_values')}"
    if key in _LIST_KEYS and not is_sweep:
        items = value if is_container(value) else f"[{quote(value)}]"
        return f"{given}={quote_items(items, all_text=True)}"
    if key in _NAME_KEYS and not _SWEEP.fullmatch(value):
        names = value.split(",") if is_sweep and not is_quoted(value) else [value]
        return f"{given}={','.join(map(quote, names))}"
    return f"{given}={quote_unreadable(given, value, multirun=is_sweep)}"


def _quote_path(key: str, value: str, *, is_sweep: bool) -> str:
    def quoted(path: str) -> str:
        return quote(expand_home(path), interpolate=key in FOLDER_KEYS)

    if is_quoted(value):
        return quoted(unquote(value)) if value[1] == "~" else value
    if key == "runs":
        items = value[1:-1] if is_container(value) else value
        return f"[{','.join(map(quoted, split_paths(items)))}]"
    if is_sweep and not exists(value):
        return value if _SWEEP.fullmatch(value) else ",".join(map(quoted, split_paths(value)))
    return quoted(value)


def name_given_threshold(arguments: list[str]) -> list[str]:
    """`threshold=0.3` as `threshold.value=0.3`, for commands without the group `threshold`.

    Hydra takes `threshold` for the group of that name, which train.py has.
    """
    return [re.sub(r"^threshold=", "threshold.value=", argument) for argument in arguments]


def choose_data(arguments: list[str], config_folder: Path) -> str | None:
    """The data set of `data.path` or `data.root` where nothing chooses one, which then is drawn.

    An experiment may choose one, and so do settings that only synthetic capsules have.
    """
    keys = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    if not keys & {"data.root", "data.path"} or keys & {"data", "resume", *_DRAWN_KEYS}:
        return None
    for argument in arguments:
        if argument.lstrip("+").startswith("experiment="):
            for name in unquote(argument.partition("=")[2]).split(","):
                path = config_folder / "experiment" / f"{name.strip()}.yaml"
                if path.is_file() and _DATA_OVERRIDE.search(path.read_text(encoding="utf-8")):
                    return None
    return "manifest" if "data.path" in keys else "auto"


def split_paths(text: str) -> list[str]:
    """Split at commas, except within the name of an existing path."""
    pieces = text.split(",")
    paths: list[str] = []
    start = 0
    while start < len(pieces):
        ends = range(len(pieces), start, -1)
        joined = ((end, expand_home(",".join(pieces[start:end]))) for end in ends)
        end = next((end for end, path in joined if exists(unquote(path))), start + 1)
        paths.append(",".join(pieces[start:end]))
        start = end
    return paths


def path_argument(arguments: list[str], key: str) -> Path | None:
    """The path that the arguments give a key, quoted or not; the last one counts."""
    values = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith(f"{key}=")]
    if not values or values[-1] in ("null", "''", "", "???"):
        return None
    return Path(unquote(values[-1]))


def check_utf8(text: str) -> None:
    """Raise ConfigurationError for a path that is not UTF-8, which config.yaml cannot hold."""
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ConfigurationError(
            f"{text!a}: this path is not UTF-8. Rename the folder or file, or make a link to it "
            "(ln -s) that has another name."
        )


def expand_home(path: str) -> str:
    """A path with `~` or `~user` as the home folder, unless there is a file of that name."""
    is_home = path.startswith("~") and not os.path.lexists(path)
    return os.path.expanduser(path) if is_home else path  # noqa: PTH111 - unknown users stay


def expand_homes(config: DictConfig) -> None:
    """Expand `~` in all path settings of a composed configuration, in place."""
    for key in PATH_KEYS:
        value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        paths = [value] if isinstance(value, str) else value or []
        if any(str(path).startswith("~") for path in paths):
            expanded = [expand_home(str(path)) for path in paths]
            OmegaConf.update(config, key, expanded[0] if isinstance(value, str) else expanded)
