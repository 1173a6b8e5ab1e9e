"""Configuration errors in one message: where, what was found, what would be valid.

Hydra's own texts are kept where they help; the nearest valid names come from difflib.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "hparams",
}
"""Choices of Hydra's plugins, and the extra of this package that brings each."""
CONFIGURATION_EXCEPTIONS = (HydraException, OmegaConfBaseException)


def nearest(name: str, valid: Iterable[str], *, count: int = 3) -> list[str]:
    """The valid names most like `name`, best first; those that contain it count as near."""
    names = list(dict.fromkeys(valid))
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.6)
    last = name.rsplit(".", maxsplit=1)[-1]
    by_last = {key: key.rsplit(".", maxsplit=1)[-1] for key in names}
    same_last = [
        key for key in names if by_last[key] in difflib.get_close_matches(last, by_last.values())
    ]
    return list(dict.fromkeys(close + same_last))[:count]


def suggestion(name: str, valid: Iterable[str]) -> str:
    """A sentence that names what is near, or all that is valid where that is a short list."""
    names = sorted(set(valid))
    near = nearest(name, names)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Valid are: {', '.join(names)}." if len(names) <= 20 else ""


def explain(error: BaseException, *, composed: DictConfig | None) -> str:
    """One message for an exception of Hydra or OmegaConf.

    `composed` is the configuration without the user's values, from which valid keys are taken.
    """
    chain = [str(link) for link in _chain(error)]
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
        return f"{missing[1]} is needed: say {missing[1]}=<value> on the command line."
    group = re.search(r"Could not override '([^']+)'. *\n?No match in the defaults list", text)
    if group:
        return (
            f"{group[1]}=...: the chosen model's task has no such group of settings. "
            "python train.py --help lists the groups."
        )
    key = _key_in(text)
    if key and composed is not None and ("not in" in text or "No match" in text):
        return f"{key}: there is no such setting. {suggestion(key, all_keys(composed))}".strip()
    if key and ("could not be converted" in text or "is not a" in text):
        return f"{key}: {_first_line(chain[-1])}."
    return "\n".join(line for line in chain[0].splitlines() if line.strip() and "+" not in line)


def all_keys(config: DictConfig) -> list[str]:
    """Dotted names of all settings and groups."""
    container = OmegaConf.to_container(config, resolve=False)
    return list(_walk(container, ""))


def _walk(node: object, prefix: str) -> Iterable[str]:
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        name = f"{prefix}{key}"
        yield name
        yield from _walk(value, f"{name}.")


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


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


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".")
