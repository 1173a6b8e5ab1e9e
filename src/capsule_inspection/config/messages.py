"""Errors of Hydra and OmegaConf as one message: the key, what was found, and what is valid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config.paths import PATH_KEYS
from capsule_inspection.config.schema import settings
from capsule_inspection.files import exception_chain

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "hparams",
}
"""The extra of this package that installs each plugin of Hydra."""
_SENTENCES = (
    (
        r"Missing mandatory value: (\S+)",
        "{0} is required: add {0}=<value> to the command line.",
    ),
    (
        r"Interpolation key '([^']+)' not found",
        "${{{0}}}: there is no such setting whose value could be used.",
    ),
    (
        r"Error merging override (~\S+)",
        "{0}: a setting cannot be removed. Give it another value.",
    ),
    (
        r"Could not override '([^']+)'. *\n?No match in the defaults list",
        "{0}=...: the chosen model's task has no such group of settings. python train.py --help "
        "lists the groups.",
    ),
)
"""What Hydra and OmegaConf write, and the message for it."""
_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
CONFIGURATION_EXCEPTIONS = (HydraException, OmegaConfBaseException)


def nearest(name: str, valid: Iterable[str]) -> list[str]:
    """Up to three valid names that are similar to `name`, in whole or in their last part."""
    names = list(dict.fromkeys(valid))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    last_parts = {key: key.rpartition(".")[2] for key in names}
    similar = difflib.get_close_matches(name.rpartition(".")[2], last_parts.values())
    close += [key for key in names if last_parts[key] in similar]
    return list(dict.fromkeys(close))[:3]


def suggestion(name: str, valid: Iterable[str]) -> str:
    """A sentence with the most similar names, or with all valid ones if there are up to 20."""
    names = sorted(set(valid))
    near = nearest(name, names)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Valid are: {', '.join(names)}." if len(names) <= 20 else ""


def explain(error: BaseException, *, composed: DictConfig | None) -> str:
    """One message for an exception of Hydra or OmegaConf.

    `composed` is the configuration without the user's values, which has the valid keys.
    """
    chain = [str(link) for link in exception_chain(error)]
    text = "\n".join(chain)
    plugin = re.search(r"Could not (?:find|load) '/?([^']+)'", text)
    if plugin and plugin[1] in EXTRAS:
        group, _, choice = plugin[1].rpartition("/")
        install = f"pip install -e '.[{EXTRAS[plugin[1]]}]'"
        return f"{group}={choice} needs packages that are not installed: {install}"
    if isinstance(error, MissingConfigException) or "Could not find '" in text:
        return _explain_choice(text)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected <key>=<value>, with quotes around special characters."
    for pattern, sentence in _SENTENCES:
        if found := re.search(pattern, text):
            return sentence.format(found[1])
    key = _key_in(text)
    if key and composed is not None and ("not in" in text or "No match" in text):
        valid = _keys(OmegaConf.to_container(composed, resolve=False))
        return f"{key}: there is no such setting. {suggestion(key, valid)}".strip()
    return _explain_value(key, chain)


def _explain_value(key: str | None, chain: list[str]) -> str:
    """The message for a value of the wrong type, on the command line or in a file."""
    text = "\n".join(chain)
    given = re.search(r"Error merging override \+*([^=]+)=(.*)", text)
    if given and expected_value(given[1]):
        return f"{given[1]}={given[2]}: expected {expected_value(given[1])}."
    if key and expected_value(key):
        found = re.search(r"[Vv]alue:? '([^']*)'", text)
        value = found[1] if found else "null" if "is not Optional" in text else "..."
        return f"{key}={value}: expected {expected_value(key)}."
    if key:
        return f"{key}: {chain[-1].splitlines()[0].rstrip('.')}."
    return "\n".join(line for line in chain[0].splitlines() if line.strip() and "+" not in line)


def expected_value(key: str) -> str:
    """What the value of a setting must be; "" where it may be anything, or there is no setting."""
    key = re.sub(r"\[\d+\]$", "", key)
    setting = settings().get(key)
    if setting is None:  # a value of a mapping
        parent = settings().get(key.rpartition(".")[0])
        return _TYPES.get(get_args(parent.type)[-1], "") if parent and get_args(parent.type) else ""
    choices = [
        str(choice).lower() if isinstance(choice, bool) else str(choice)
        for choice in setting.constraint.get("choices", ())
    ]
    if choices:
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    if is_dataclass(setting.type):
        return f"settings below it ({', '.join(item.name for item in fields(setting.type))})"
    if get_origin(setting.type) is list and re.search(r"[._]size$", key):
        return "[height,width]"
    of_values = _TYPES.get(get_args(setting.type)[-1], "") if get_args(setting.type) else ""
    if get_origin(setting.type) is list:
        return "a list, such as [a,b]" if of_values == "text" else f"a list, each {of_values}"
    if get_origin(setting.type) is dict:
        return f"a mapping, such as {{a: 1}}{of_values and f', each value {of_values}'}"
    return "a path" if key in PATH_KEYS else _TYPES.get(setting.type, "")


def explain_unnamed_choice(arguments: Iterable[str], config_folder: Path) -> str:
    """The message for a group of settings that is given a number or nothing; "" if none is."""
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if (config_folder / group).is_dir() and not _is_name(yaml.safe_load(choice)):
            valid = sorted(path.stem for path in (config_folder / group).glob("*.yaml"))
            return f"{argument}: expected the name of a choice. Valid are: {', '.join(valid)}."
    return ""


def _is_name(choice: object) -> bool:
    return all(isinstance(name, str) for name in (choice if isinstance(choice, list) else [choice]))


def _keys(node: object, prefix: str = "") -> Iterable[str]:
    """Dotted names of all settings and groups."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _explain_choice(text: str) -> str:
    found = re.search(r"Could not find '([^']+)'", text)
    if found is None:
        return text
    group, _, choice = found[1].rpartition("/")
    options = re.search(r"Available options in '[^']*':\n((?:\t.*\n?)+)", text)
    valid = [line.strip() for line in options[1].splitlines()] if options else []
    near = nearest(choice, valid)
    hint = f" Did you mean {group}={' or '.join(near)}?" if near else ""
    return f"{group}={choice}: there is no such choice.{hint} Valid are: {', '.join(valid)}."


def _key_in(text: str) -> str | None:
    for pattern in (r"full_key: (\S+)", r"Could not override '([^']+)'", r"key '([^']+)'"):
        found = re.search(pattern, text)
        if found:
            return found[1].removeprefix("train.")
    return None
