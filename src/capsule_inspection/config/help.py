"""`--help`: the header of the configuration file, its settings and choices, with their comments.

Read from `conf/` directly, because Hydra's help template has no descriptions and takes seconds.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.schema import EXPERIMENTS
from capsule_inspection.types import ANNOTATION_FORMATS

_WIDTH, _MAX_KEY = 100, 36
_FREQUENT = (
    *("data.root", "task.epochs", "task.batch_size", "task.image_size", "optimizer.lr"),
    *("model.weights", "trainer.accelerator", "trainer.devices"),
)
"""Settings of groups that are shown where the command line names no choice."""
_SELECT = re.compile(r"\$\{oc\.select:([^,}]+),[^}]*\}")
_COMMAND = re.compile(r"python (\w+\.py)")
_OF_MODEL = re.compile(r"/(\w+)@_global_\.\1")
FOOTER = """\
Settings are changed with key=value. --cfg job prints all of them, with --resolve also interpolated
values; --config-dir <folder> adds choices of your own, in folders as those of conf/."""
SWEEP_FOOTER = """\
-m runs all combinations of comma-separated values; hydra.run.dir=<folder> names the run folder."""
Row = tuple[str, str, str]
"""Key, value and comment."""


def help_text(config_folder: Path, name: str, arguments: Sequence[str] = ()) -> str:
    """The help of an entry point; with the settings of the choices that the arguments name."""
    path = config_folder / f"{name}.yaml"
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    chosen = _choices(path, given)
    opening = _COMMAND.sub(lambda found: format_command([found[1]]), header(path))
    own = sorted(read_settings(path), key=lambda row: "." in row[0])
    if name == "convert":
        comments = {key: comment for key, _, comment in _settings_of(config_folder, "data", "coco")}
        own = [(key, value, comment or comments.get(key, "")) for key, value, comment in own]
    sections = [opening, _table("Settings", own)]
    shown = [group for group in chosen if group in given or (group == "task" and "model" in given)]
    rows = [
        row
        for group in (shown or chosen)
        for row in _settings_of(config_folder, group, chosen[group])
        if shown or row[0] in _FREQUENT
    ]
    if rows:
        choices = ", ".join(f"{group}={chosen[group]}" for group in shown)
        title = f"Settings of {choices}" if shown else "Frequent settings of the groups below"
        sections.append(_table(title, rows))
    if name == "convert":
        sections.append(_list_files("format=", config_folder / "data", ANNOTATION_FORMATS))
    for group in sorted({*chosen, *(EXPERIMENTS if name == "train" else ())}):
        names = sorted(file.stem for file in (config_folder / group).glob("*.yaml"))
        default = f" ({chosen[group]})" if group in chosen else ""
        sections.append(_list_files(f"{group}={default}", config_folder / group, names))
    footer = [FOOTER]
    if name == "train":
        command = format_command(["train.py", "model=unet", "--help"])
        footer += [SWEEP_FOOTER, f"{command} lists the settings of a choice."]
    return "\n\n".join([*sections, "\n".join(footer)])


def _settings_of(config_folder: Path, group: str, choice: str) -> list[Row]:
    prefix = "" if group == "experiment" else f"{group}."
    return read_settings(config_folder / group / f"{choice}.yaml", prefix)


def _list_files(title: str, folder: Path, names: Iterable[str]) -> str:
    """A table of choices, each with the first line of its file."""
    files = [folder / f"{name}.yaml" for name in names]
    return _table(title, [(file.stem, "", header(file).splitlines()[0]) for file in files])


def header(path: Path) -> str:
    """The comment at the top of a configuration file."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def read_settings(path: Path, prefix: str = "") -> list[Row]:
    """The settings of a file and of those that it includes, which it may override."""
    text, found = path.read_text(encoding="utf-8"), dict[str, Row]()
    for default in _defaults(path):
        if default == "_self_":
            rows: Iterable[Row] = _own_settings(text, yaml.compose(text), prefix)
        else:
            rows = read_settings(default, prefix) if isinstance(default, Path) else ()
        for key, value, comment in rows:
            found[key] = key, value, comment or found.get(key, ("", "", ""))[2]
    return list(found.values())


def _defaults(path: Path) -> Iterator[Any]:
    """The defaults list: `_self_`, included files as paths, and choices as mappings."""
    listed = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", [])
    for each in listed if "_self_" in listed else [*listed, "_self_"]:
        if isinstance(each, str) and (path.parent / f"{each}.yaml").is_file():
            yield path.parent / f"{each}.yaml"
        elif isinstance(each, dict) and (key := next(iter(each))).lstrip("/").startswith("base@"):
            conf = path.parent.parent if key[0] == "/" else path.parent
            yield conf / "base" / f"{each[key]}.yaml"
        else:
            yield each


def _choices(path: Path, given: dict[str, str]) -> dict[str, str]:
    """The choice of each group: of the command line, else of the defaults list."""
    found: dict[str, str] = {}
    for default in _defaults(path):
        if isinstance(default, Path):
            found |= _choices(default, given)
        for key, choice in default.items() if isinstance(default, dict) else ():
            of_model = _OF_MODEL.fullmatch(key)
            group = of_model[1] if of_model else key
            conf = path.parent.parent if of_model else path.parent
            name = given.get(group, "").removesuffix(".yaml")
            files = [conf / group / f"{each}.yaml" for each in (name, choice)]
            if (file := next((file for file in files if file.is_file()), None)) is not None:
                found[group] = file.stem
                found |= _choices(file, given)
    return found


def _own_settings(text: str, node: yaml.MappingNode, prefix: str) -> Iterator[Row]:
    lines = text.splitlines()
    for key, value in node.value:
        if key.value in ("defaults", "hydra", "builder") or (
            key.value == "name" and value.value != "???"
        ):
            continue
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        end = key.end_mark if is_block else value.end_mark
        comment = " ".join(
            [*_comments_above(lines, key.start_mark.line), *_comments_beside(lines, end)]
        )
        if is_block and comment:
            yield f"{prefix}{key.value}.*", "", comment
        if is_block:
            yield from _own_settings(text, value, f"{prefix}{key.value}.")
        else:
            plain = _SELECT.sub(r"${\1}", text[value.start_mark.index : value.end_mark.index])
            if not isinstance(value, yaml.ScalarNode):
                plain = plain.replace(", ", ",").replace(": ", ":")
            shown = {"???": "<required>", "{value:null}": "null"}.get(plain, plain)
            yield f"{prefix}{key.value}", shown, comment


def _comments_above(lines: Sequence[str], line: int) -> list[str]:
    above = reversed(lines[:line])
    found = list(takewhile(lambda each: each.lstrip().startswith("#"), above))
    first = line - len(found)
    if first == 0 or lines[first - 1].endswith(";"):  # the header, or of the setting above
        return []
    return [each.lstrip()[1:].strip() for each in reversed(found)]


def _comments_beside(lines: Sequence[str], end: yaml.Mark) -> list[str]:
    beside = re.search(r"(?:^|:?\s)#\s*(.*)$", lines[end.line][end.column :])
    found = [beside[1]] if beside else []
    for line in lines[end.line + 1 :]:
        if not (found and found[-1].endswith(";") and line.lstrip().startswith("#")):
            break
        found.append(line.lstrip()[1:].strip())
    return found


def _table(title: str, rows: Sequence[Row]) -> str:
    cells = [(f"{key}={value}" if value else key, comment) for key, value, comment in rows]
    width = min(max((len(left) for left, _ in cells), default=0), _MAX_KEY)
    indent = " " * (width + 4)
    wrapper = textwrap.TextWrapper(_WIDTH - len(indent), break_on_hyphens=False)
    lines = [title if title.endswith(("=", ")")) else f"{title}:"]
    for left, comment in cells:
        wrapped = [indent + line for line in wrapper.wrap(comment)]
        if len(left) <= width and wrapped:
            lines.append(f"  {left:{width}}  {wrapped[0].lstrip()}")
            lines += wrapped[1:]
        else:
            lines += [f"  {left}", *wrapped]
    return "\n".join(lines)
