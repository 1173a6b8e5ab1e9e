"""config.yaml of a run folder, read back. yaml is imported when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capsule_inspection.types import RunError


def read_settings(path: Path) -> dict[str, Any]:
    """Settings by their dotted names, empty where there is no file; lists stay lists.

    Raises RunError where it cannot be read.
    """
    import yaml

    if not path.exists():
        return {}
    try:
        # The C loader is ten times as quick, and a report may read a hundred of these files.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read as settings ({reason}).") from error
    return dict(_dotted(content, ""))


def _dotted(node: object, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _dotted(value, f"{prefix}.{key}" if prefix else str(key))
