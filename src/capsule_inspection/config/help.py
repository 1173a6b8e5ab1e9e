"""`--help`: the header of the configuration file, and each choice with the first line of its file.

Read from `conf/` directly, because Hydra's help template has no descriptions and takes seconds.
"""

from __future__ import annotations

from pathlib import Path

HIDDEN_GROUPS = ("hydra", "base")
_GROUPS_OF_MODEL = ("split", "task", "threshold")
FOOTER = """\
Settings are changed with key=value. --cfg job prints all settings, with --resolve also interpolated
values. -m runs all combinations of comma-separated values.
"""


def help_text(config_folder: Path, name: str) -> str:
    """The help of an entry point."""
    path = config_folder / f"{name}.yaml"
    defaults = path.read_text(encoding="utf-8")
    sections = [header(path)]
    for group in sorted(folder for folder in config_folder.iterdir() if folder.is_dir()):
        of_model = "- model:" in defaults and group.name in _GROUPS_OF_MODEL
        if group.name not in HIDDEN_GROUPS and (f"- {group.name}:" in defaults or of_model):
            sections.append(_describe_group(group))
    return "\n\n".join([*sections, FOOTER])


def header(path: Path) -> str:
    """The comment at the top of a configuration file."""
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
