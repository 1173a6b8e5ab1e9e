"""The rooms import only what the plan allows them."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "capsule_inspection"
NAME = "capsule_inspection"
EVERYBODY = {"contracts", "files"}
ALLOWED: dict[str, set[str]] = {
    "contracts": set(),
    "files": set(),
    "configuration": set(),
    "networks": set(),
    "metrics": set(),
    "synthesis": set(),
    "data": {"synthesis"},
    "tasks": {"networks", "metrics"},
    "reports": {"metrics"},
    "inference": {"networks", "metrics", "data"},
    "runs": {"configuration", "networks", "metrics", "data", "synthesis", "tasks", "reports",
             "inference"},
}  # fmt: skip
FORBIDDEN_LIBRARIES = {
    "configuration": {"torch", "lightning", "torchvision", "timm"},
    "networks": {"lightning", "hydra", "omegaconf"},
    "metrics": {"lightning", "hydra", "omegaconf"},
    "synthesis": {"torch", "lightning", "hydra", "omegaconf"},
    "reports": {"torch", "lightning", "hydra", "omegaconf"},
    "tasks": {"hydra", "omegaconf"},
    "data": {"hydra", "omegaconf"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_each_file_imports_what_its_room_may() -> None:
    assert {room_of(path) for path in FILES} == set(ALLOWED)
    for path in FILES:
        room, imports = room_of(path), imports_of(path)
        own = {name.split(".")[1] for name in imports if name.startswith(f"{NAME}.")}
        assert own <= ALLOWED[room] | EVERYBODY | {room}, path
        libraries = {name.split(".")[0] for name in imports}
        assert not libraries & FORBIDDEN_LIBRARIES.get(room, set()), path
