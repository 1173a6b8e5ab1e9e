"""A stored configuration, the config.yaml of a run folder, is data: reading it runs nothing.

It holds plain values of a bounded size. Interpolations are resolved before it is written, and no
key names code, so either is refused; `existing_run.load_stored` also compares it with the schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.schema import GROUPS, Train
from capsule_inspection.integrity import check_size
from capsule_inspection.types import RunError, RunFiles

_MAX_BYTES = 2**20
_MAX_EVENTS, _MAX_DEPTH, _MAX_LENGTH = 50_000, 16, 8192
"""Limits of a file that was not written by this project: YAML nodes, nesting, length of a value."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader is ten times as fast, and a comparison may read a hundred of these files."""
HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_WRITTEN = {"cache_folder": ("data/cache", "decoded"), "root": ("data/synthetic", "capsule-*px-*")}
"""Settings of the data whose folder is written to: a usual one, and what is in one in use."""
REMEDY = "Restore it from a copy."


def to_yaml(config: DictConfig) -> str:
    """A configuration as config.yaml: resolved, with `${` in names and paths escaped."""
    values = OmegaConf.to_container(config, resolve=True)
    return OmegaConf.to_yaml(OmegaConf.create(_map_texts(values, _escape, keys=True)))


def _escape(text: str) -> str:
    return _INTERPOLATION.sub(r"\1\1\\${", text)


def _unescape(text: str) -> str:
    return _INTERPOLATION.sub(lambda found: found[1][: len(found[1]) // 2] + "${", text)


def _map_texts(node: Any, change: Callable[[str], str], *, keys: bool) -> Any:
    if isinstance(node, dict):
        names = _map_texts(list(node), change, keys=False) if keys else node
        values = _map_texts(list(node.values()), change, keys=keys)
        return dict(zip(names, values, strict=True))
    if isinstance(node, list):
        return [_map_texts(value, change, keys=keys) for value in node]
    return change(node) if isinstance(node, str) else node


def read_plain(path: Path) -> dict[str, Any]:
    """The values of a stored configuration.

    Raises RunError, naming file and key, where it is damaged, too large, or more than plain values.
    """
    try:
        check_size(path, max_bytes=_MAX_BYTES)
        text = path.read_text(encoding="utf-8")
        _check_structure(text)
        values = yaml.load(text, Loader=_LOADER)
        if not isinstance(values, dict):
            raise ValueError("it holds no settings")
        for key, reason in find_code(values):
            raise ValueError(f"{key}: {reason}")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{path}: expected the plain settings of a run: {reason}. {REMEDY}"
        ) from error
    return _map_texts(values, _unescape, keys=True)


def _check_structure(text: str) -> None:
    """Raise ValueError for references, which expand without bound, and for odd sizes."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {event.start_mark.line + 1} refers to another one (*)")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        is_long = isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_LENGTH
        if depth > _MAX_DEPTH or number > _MAX_EVENTS or is_long:
            raise ValueError(f"line {event.start_mark.line + 1} is too long or nested too deep")


def find_code(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Keys and values that are more than data, each with the reason."""
    if isinstance(node, dict):
        for name, value in node.items():
            full = f"{key}.{name}" if key else str(name)
            if name in HYDRA_KEYS:
                yield full, "a key with which Hydra runs code, which is not accepted"
            elif has_interpolation(str(name)):
                yield full, "is an interpolation, and stored settings are resolved"
            yield from find_code(value, full)
    elif isinstance(node, list):
        for value in node:
            yield from find_code(value, key)
    elif isinstance(node, str):
        if has_interpolation(node):
            yield key, f"{node:.80} is an interpolation, and stored settings are resolved"
    elif not isinstance(node, bool | int | float | None):
        yield key, f"{type(node).__name__} is no plain value"


def has_interpolation(text: str) -> bool:
    """Whether a text holds `${`, other than escaped."""
    return any(len(found[1]) % 2 == 0 for found in _INTERPOLATION.finditer(text))


def use_own_folders(data: DictConfig) -> None:
    """Replace stored folders that data are written to, but those below data/ or in use as such.

    A run folder may come from elsewhere, and must not choose a folder to write to.
    """
    for key, (usual, content) in _WRITTEN.items():
        folder = Path(data[key] or "")
        is_usual = folder.parts[:1] == ("data",) and ".." not in folder.parts
        is_written = key == "cache_folder" or data.name == "synthetic"
        if is_written and not is_usual and not any(each.is_dir() for each in folder.glob(content)):
            data[key] = usual


def typed(values: dict[str, Any]) -> DictConfig:
    """The values as the configuration of a training, with the types of the schema.

    Raises an exception of OmegaConf for a value of another type, and for an unknown key.
    """
    chosen = [group for group in GROUPS if group != "threshold" or values.get(group) is not None]
    groups = {group: _schema(group, values.get(group)) for group in chosen}
    plain = _map_texts(values, _escape, keys=False)
    return OmegaConf.merge(OmegaConf.structured(Train), groups, plain)  # type: ignore[return-value]


def absent_keys(config: DictConfig, values: dict[str, Any]) -> list[str]:
    """The settings of a typed configuration that the values lack, by their dotted keys."""
    return sorted(_keys(OmegaConf.to_container(config)) - _keys(values))


def _keys(node: Any, prefix: str = "") -> set[str]:
    if not isinstance(node, dict):
        return set()
    found = {f"{prefix}{key}" for key in node}
    return found.union(*(_keys(value, f"{prefix}{key}.") for key, value in node.items()))


def _schema(group: str, values: Any) -> Any:
    """The schema that the builder or the name of a choice has; by its keys where it has neither."""
    if not isinstance(values, dict):
        raise ValueError(f"{group}: expected settings below it, found {values!r:.80}")
    schemas = GROUPS[group]
    if len(schemas) == 1:
        (schema,) = schemas.values()
        return schema
    choice = values.get("builder", values.get("name"))
    if isinstance(choice, str) and choice in schemas:
        return schemas[choice]
    if group == "task":  # one that is added to the project may have no schema
        return {}
    raise ValueError(f"{group}: expected one of {', '.join(schemas)}, found {choice!r:.80}")


def stored_task(run: str | None) -> str | None:
    """The task of a run folder; None where it is not known, as of an exported model."""
    path = Path(run or "") / RunFiles.CONFIG
    if not run or not path.is_file():
        return None
    task = read_plain(path).get("task")
    name = task.get("name") if isinstance(task, dict) else None
    return name if isinstance(name, str) else None
