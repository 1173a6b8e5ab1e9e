"""Errors of Hydra and OmegaConf as one message: the key, what was found, and what is valid."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config.paths import PATH_KEYS
from capsule_inspection.config.quoting import format_command, unquote
from capsule_inspection.config.schema import COMMANDS, choices_with, settings, settings_of
from capsule_inspection.config.similar_names import meant, nearest
from capsule_inspection.files import exception_chain

EXTRAS = {
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "hparams",
}
"""The extra of this package that installs each plugin of Hydra."""
_SENTENCES = (
    (r"Missing mandatory value: (\S+)", "{0} is required: add {1} to the command line."),
    (
        r"Interpolation key '([^']+)' not found",
        "${{{0}}}: there is no such setting whose value could be used.",
    ),
    (r"Environment variable '([^']+)' not found", "${{oc.env:{0}}}: this variable is not set."),
    (r"Multiple values for (?:schema/)?([\w/]+)", "{0}: expected one choice, without + and []."),
)
"""What Hydra and OmegaConf write, and the message for it."""
_SEVERAL = r"Ambiguous value for argument '(.*)'\n1\.|Sweep parameters '(.*)' requires --multirun"
_LIBRARY_NAME = re.compile(r"[a-z]\w*\d\w*|\w+_\w+")
"""As resnet50 or convnext_atto."""
_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_CHOICES = {"segmenter": "unet"}
"""Choices that have another name than their builder."""
CONFIGURATION_EXCEPTIONS = (HydraException, OmegaConfBaseException)


def explain(error: BaseException, *, composed: DictConfig | None, command: str = "train") -> str:
    """One message for an exception of Hydra or OmegaConf.

    `composed` is the configuration of the command without the user's values, which has the valid
    keys.
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
            return sentence.format(found[1], example(found[1]))
    if several := re.search(_SEVERAL, text, re.DOTALL):
        return _explain_several(several[1] or several[2], command)
    key = _key_in(text)
    if key and "No match in the defaults list" in text:
        return explain_key(key, list(settings_of(command)), command)
    if key and composed is not None and "not in" in text:
        valid = _keys(OmegaConf.to_container(composed, resolve=False))
        return explain_key(key, list(valid), command)
    return _explain_value(key, chain)


def _explain_several(argument: str, command: str) -> str:
    """The message for several values where one is expected: a list, or a sweep without -m."""
    key, _, value = argument.partition("=")
    value = re.sub(r",\s+", ",", value)
    expected = expected_value(key)
    if expected.startswith(("[", "a list")):
        return f"{argument}: expected {expected}. Write {key}=[{value}]"
    if command != "train":
        return f"{argument}: expected one value."
    again = format_command(["train.py", "-m", f"{key}={value}"])
    return f"{argument}: several values are a sweep, which needs -m: {again} ..."


def explain_key(key: str, valid: list[str], command: str) -> str:
    """The message for a setting that the command, or what was chosen, does not have."""
    help_command = format_command([f"{command}.py", "--help"])
    others = [f"{name}.py" for name in COMMANDS if key in settings_of(name)]
    find = meant if others and f"{command}.py" not in others else nearest
    near = find(key, [*valid, "hydra.run.dir"] if command == "train" else valid)
    of_size = "=[height,width]" if near and expected_value(near[0]) == "[height,width]" else ""
    guess = f"Did you mean {' or '.join(near)}{of_size}?" if near else ""
    if f"{command}.py" in others:
        if "." not in key:
            owner = "the chosen model" if command == "train" else f"{command}.py"
            return f"{key}: {owner} has no such choices. {help_command} lists the settings."
        group, owners = key.partition(".")[0], [_CHOICES.get(one, one) for one in choices_with(key)]
        few = f"{' or '.join(owners[:3])}{' and others' if len(owners) > 3 else ''}"
        which = f"with the chosen {group}: it belongs to {group}={few}"
        return f"{key}: there is no such setting {which}. {guess}".rstrip()
    if others:
        return f"{key}: this is a setting of {', '.join(others)}. {guess}".rstrip()
    return f"{key}: there is no such setting. {guess or f'{help_command} lists all.'}"


def _explain_value(key: str | None, chain: list[str]) -> str:
    """The message for a value of the wrong type, on the command line or in a file."""
    text = "\n".join(chain)
    given = re.search(r"Error merging override \+*([^=]+)=(.*)", text)
    if given and expected_value(given[1]):
        return f"{given[1]}={unquote(given[2])}: expected {expected_value(given[1])}."
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


def example(key: str) -> str:
    """A setting that is required, as an argument."""
    return {"run": "run=latest", "runs": "runs=[<run>,<run>]"}.get(key, f"{key}=<value>")


def describe_choices(group: str, config_folder: Path) -> str:
    """A sentence with the choices of a group."""
    names = sorted(path.stem for path in (config_folder / group).glob("*.yaml"))
    return f"Valid are: {', '.join(names)}."


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
    if group == "model" and _LIBRARY_NAME.fullmatch(choice):
        hint += f" For a classifier of timm of that name: model=timm model.name={choice}."
    return f"{group}={choice}: there is no such choice.{hint} Valid are: {', '.join(valid)}."


def _key_in(text: str) -> str | None:
    for pattern in (r"full_key: (\S+)", r"Could not override '([^']+)'", r"key '([^']+)'"):
        found = re.search(pattern, text)
        if found:
            return found[1].removeprefix("train.")
    return None
