"""`--help` of the doors: the choices with what their files say of themselves.

Read from `conf/` directly: Hydra's own listing composes each group and takes seconds.
"""

from __future__ import annotations

from pathlib import Path

HIDDEN_GROUPS = ("hydra", "parts")
FOOTER = """\
Values are set with key=value; --cfg job shows every setting, -m runs all combinations of
comma-separated values, --resolve with --cfg job shows interpolated values.
"""


def wants_help(arguments: list[str]) -> bool:
    """Whether the command line asks for help and nothing else matters."""
    return any(argument in ("-h", "--help") for argument in arguments)


def help_text(config_folder: Path, name: str) -> str:
    """What the door is for, its commands, and each choice with one line."""
    sections = [header(config_folder / f"{name}.yaml")]
    defaults = (config_folder / f"{name}.yaml").read_text(encoding="utf-8")
    for group in sorted(path for path in config_folder.iterdir() if path.is_dir()):
        of_model = "- model:" in defaults and group.name in ("split", "task", "threshold")
        is_used = f"- {group.name}:" in defaults or of_model
        if group.name not in HIDDEN_GROUPS and is_used:
            sections.append(_describe_group(group))
    return "\n\n".join([*sections, FOOTER])


def header(path: Path) -> str:
    """The comment lines at the top of a configuration file, without the marks."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def _describe_group(group: Path) -> str:
    files = sorted(group.glob("*.yaml"))
    width = max(len(path.stem) for path in files)
    rows = [f"  {path.stem:{width}}  {header(path).splitlines()[0]}" for path in files]
    return "\n".join([f"{group.name}=", *rows])
