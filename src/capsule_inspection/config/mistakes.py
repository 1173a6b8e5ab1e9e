"""Arguments that are no settings, or not as Hydra reads them: answered before Hydra does.

Options with dashes, single words, spaces within a setting, open brackets, paths for a choice.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from capsule_inspection.config.messages import describe_choices, expected_value, explain_key
from capsule_inspection.config.paths import FOLDER_KEYS, MAPPING_KEYS, PATH_KEYS
from capsule_inspection.config.quoting import format_command, is_quoted, unquote
from capsule_inspection.config.schema import EXPERIMENTS, settings_of
from capsule_inspection.config.similar_names import nearest
from capsule_inspection.files import exists
from capsule_inspection.types import SPLITS, ConfigurationError

_FLAGS = ("-m", "--multirun", "--resolve", "--hydra-help", "--help", "-h", "--version")
_OPTIONS = {
    "--cfg": "job hydra all",
    "--info": "all config defaults defaults-tree plugins",
    "--config-dir": "",
}
"""Options with a value, and its choices; any folder where there are none."""
_SHORT = {"-c": "--cfg", "-i": "--info", "-cd": "--config-dir"}
_BRACKETS = {"[": "]", "{": "}"}
_FIRST_KEYS = {"train": "data.root", "predict": "input", "convert": "input"}
"""What a path alone is taken for; by other commands for a run."""
_NO_NAME = re.compile(r"|null|true|false|[-+]?\d[\d.]*(e[-+]?\d+)?")
_TABLES = (".csv", ".tsv", ".parquet")
_DESCRIPTIONS = (".yaml", ".yml", ".json", ".xml")


def check_arguments(arguments: Sequence[str], command: str, config_folder: Path) -> None:
    """Raise ConfigurationError for the first argument that Hydra would not understand."""
    rest = list(arguments)
    is_sweep = bool({"-m", "--multirun"} & set(arguments))
    has_own_choices = any(each.startswith(("--config-dir", "-cd")) for each in arguments)
    if is_sweep and command != "train":
        raise ConfigurationError("-m: only train.py has sweeps. Give one value at a time.")
    if is_sweep and shows_settings(arguments):
        raise ConfigurationError("-m: --cfg and --info show one configuration. Leave it out.")
    while rest:
        argument = rest.pop(0)
        if argument.startswith("~"):
            raise ConfigurationError(
                f"{argument}: a setting cannot be removed. Give it another value."
            )
        if argument.startswith("-"):
            if _check_option(argument, rest, command):
                rest.pop(0)
        elif "=" not in argument:
            raise ConfigurationError(_explain_word(argument, rest, command, config_folder))
        else:
            _check_key(argument, command)
            _check_value(argument, rest, may_be_several=is_sweep or command != "train")
            _check_space(argument, rest[0] if rest else "=")
            _check_choice(argument, command, config_folder, has_own=has_own_choices)


def _check_space(argument: str, word: str) -> None:
    """Raise ConfigurationError where a path seems to go on after a space, in the next `word`."""
    value = unquote(argument.partition("=")[2])
    is_path = "/" in value and not exists(value)
    if is_path and "=" not in word and not word.startswith(("-", "~")):
        raise ConfigurationError(
            f"{argument} {word}: spaces end an argument. Write "
            f"{shlex.quote(f'{argument} {word}')} if the path has one."
        )


def shows_settings(arguments: Sequence[str]) -> bool:
    """Whether the configuration is printed in place of what the command does."""
    options = [argument.partition("=")[0] for argument in arguments]
    return any(_SHORT.get(option, option) in ("--cfg", "--info") for option in options)


def _check_option(argument: str, rest: Sequence[str], command: str) -> bool:
    """Whether the next argument is the option's value. Raises ConfigurationError."""
    option, is_given, value = argument.partition("=")
    option, known = _SHORT.get(option, option), settings_of(command)
    value = value or (rest[0] if rest and not rest[0].startswith("-") else "")
    if argument in _FLAGS:
        return False
    if option in _OPTIONS:
        choices = _OPTIONS[option].split()
        if choices and value not in choices:
            raise ConfigurationError(f"{option} {value}: expected one of {', '.join(choices)}.")
        if not choices and not (value and Path(value).is_dir()):
            raise ConfigurationError(f"{option} {value}: there is no such folder.")
        return not is_given
    name = option.lstrip("-").replace("-", "_")
    if len(name) > 2 and name not in known and (flags := nearest(option, [*_FLAGS, *_OPTIONS])):
        raise ConfigurationError(f"{option}: there is no such option. Did you mean {flags[0]}?")
    if len(name) > 1 and (keys := nearest(name, known)):
        written = shlex.quote(value) if value and (is_given or "=" not in value) else "<value>"
        raise ConfigurationError(f"{option}: settings have no dashes. Write {keys[0]}={written}")
    raise ConfigurationError(
        f"{option}: there is no such option. Settings are written key=value: "
        f"{format_command([f'{command}.py', '--help'])} lists them."
    )


def _explain_word(word: str, rest: Sequence[str], command: str, config_folder: Path) -> str:
    """The message for an argument without `=`."""
    following, known = rest[0] if rest else "", settings_of(command)
    if following.startswith("="):
        value = following[1:] or (rest[1] if len(rest) > 1 else "")
        return f"{word} {following}: spaces end an argument. Write {word}={value}"
    folders = sorted(config_folder.iterdir())
    groups = [each.name for each in folders if exists(each / f"{Path(word).name}.yaml")]
    if word in known:
        written = f"{word}=<value>"
    elif groups and groups[0] in known:
        written = f"{groups[0]}={word}"
    elif _is_path(word) and command == "compare":
        paths = [each for each in (word, *rest) if "=" not in each and not each.startswith("-")]
        written = f"runs=[{','.join(paths)}]"
    elif _is_path(word):
        written = f"{_FIRST_KEYS.get(command, 'run')}={word}"
    elif keys := nearest(word, known):
        written = f"{keys[0]}={following if following and '=' not in following else '<value>'}"
    else:
        help_command = format_command([f"{command}.py", "--help"])
        return f"{word}: expected <key>=<value>. {help_command} lists the settings."
    return f"{word}: expected <key>=<value>. Write {written}"


def _is_path(text: str) -> bool:
    return bool(text) and ("/" in text or bool(Path(text).suffix) or exists(text))


def _check_key(argument: str, command: str) -> None:
    given, _, value = argument.partition("=")
    key, known = given.lstrip("+").strip(), settings_of(command)
    if not key or key != given.lstrip("+") or value.startswith("="):
        written = f"{key or '<key>'}={value.lstrip('=').strip() or '<value>'}"
        raise ConfigurationError(f"{argument}: expected <key>=<value>. Write {written}")
    first = key.partition(".")[0]
    name = first if command == "train" else key  # Hydra knows which settings the choices have
    is_open = first.startswith("hydra") or (first in known and key.startswith(MAPPING_KEYS))
    if name not in known and not is_open:
        raise ConfigurationError(explain_key(key, list(known), command))


def _check_value(argument: str, rest: Sequence[str], *, may_be_several: bool) -> None:
    """Reject a value that goes on in the following arguments, or is not complete."""
    given, _, value = argument.partition("=")
    key, is_list = given.lstrip("+"), value[:1] in _BRACKETS
    is_open = is_list and _is_open(value) and not exists(value)
    goes_on = is_open or value[-1:] in ("", ",") or (key == "runs" and not is_list)
    words = list(itertools.takewhile(lambda word: "=" not in word and word[:1] != "-", rest))
    if words and goes_on:
        whole = " ".join([argument, *words])
        written = f"{key}={','.join(piece.rstrip(',') for piece in (value, *words) if piece)}"
        if is_list:
            written = shlex.quote(whole)
        elif value and expected_value(key).startswith(("[", "a list")):
            written = written.replace("=", "=[", 1) + "]"
        elif value and not may_be_several:
            written = f"-m {written}, since several values are a sweep"
        raise ConfigurationError(f"{whole}: spaces end an argument. Write {written}")
    if is_open:
        raise ConfigurationError(f"{argument}: the bracket is not closed.")
    if value.endswith(",") and not exists(value):
        raise ConfigurationError(f"{argument}: a value is missing after the comma.")
    if not unquote(value) and key in (*PATH_KEYS, *FOLDER_KEYS):
        raise ConfigurationError(f"{argument}: expected a path.")


def _is_open(value: str) -> bool:
    return not is_quoted(value) and value.count(value[0]) > value.count(_BRACKETS[value[0]])


def _check_choice(argument: str, command: str, config_folder: Path, *, has_own: bool) -> None:
    """Reject a path, a number or nothing where the name of a choice is expected."""
    given, _, quoted = argument.partition("=")
    group, value = given.lstrip("+"), unquote(quoted)
    is_value = group == "threshold" and command != "train"
    if is_value or not (config_folder / group).is_dir():
        return
    if group == "split" and command == "evaluate" and value in SPLITS:
        raise ConfigurationError(f"split={value}: one split is chosen with subset={value}.")
    names = [name.strip().removesuffix(".yaml") for name in value.strip("[]").split(",")]
    is_open = has_own or group.startswith("hydra/")  # there may be choices elsewhere
    is_path = _is_path(value) and not all(
        is_open or exists(config_folder / group / f"{name}.yaml") for name in names
    )
    is_list = value[:1] in _BRACKETS and group not in EXPERIMENTS
    if not (is_path or is_list or any(map(_NO_NAME.fullmatch, names))):
        return
    path = Path(value)
    by_path = {
        "model": f"model=<name> model.weights={value}",
        "split": f"split=manifest split.path={value}",
        "data": f"data=manifest data.path={value}"
        if path.suffix.lower() in _TABLES
        else f"data=auto data.root={path.parent if path.suffix in _DESCRIPTIONS else path}",
    }
    remedy = f" For a path write {by_path[group]}" if is_path and group in by_path else ""
    valid = describe_choices(group, config_folder)
    raise ConfigurationError(f"{group}={value}: expected the name of a choice. {valid}{remedy}")
