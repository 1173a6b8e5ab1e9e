"""Errors of Hydra and OmegaConf as one message: the key, what was found, and what is valid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.files import exception_chain

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "hparams",
}
"""The extra of this package that installs each plugin of Hydra."""
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
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing[1]} is required: add {missing[1]}=<value> to the command line."
    group = re.search(r"Could not override '([^']+)'. *\n?No match in the defaults list", text)
    if group:
        return (
            f"{group[1]}=...: the chosen model's task has no such group of settings. "
            "python train.py --help lists the groups."
        )
    key = _key_in(text)
    if key and composed is not None and ("not in" in text or "No match" in text):
        valid = _keys(OmegaConf.to_container(composed, resolve=False))
        return f"{key}: there is no such setting. {suggestion(key, valid)}".strip()
    if key and "is not Optional" in text:
        return f"{key}=null: expected a value. Give one, or remove {key}."
    if key and re.search("could not be converted|is not a|Cannot convert", text):
        # Some causes are templates that OmegaConf has not filled in, or empty.
        causes = [link.strip() for link in chain if link.strip() and "$" not in link]
        return f"{key}: {causes[-1].splitlines()[0].rstrip('.')}."
    return "\n".join(line for line in chain[0].splitlines() if line.strip() and "+" not in line)


def explain_unnamed_choice(arguments: Iterable[str], config_folder: Path) -> str:
    """The message for a group of settings that is given a number or nothing; "" if none is."""
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if (config_folder / group).is_dir() and not isinstance(yaml.safe_load(choice), str | list):
            valid = sorted(path.stem for path in (config_folder / group).glob("*.yaml"))
            return f"{argument}: expected the name of a choice. Valid are: {', '.join(valid)}."
    return ""


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
