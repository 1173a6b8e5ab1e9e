"""The commands of README.md and of the pages in docs/ compose and pass their checks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from capsule_inspection.config.checks import check
from capsule_inspection.config.paths import name_given_threshold, quote_arguments
from capsule_inspection.config.quoting import decode_keys

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", DOCS / "data.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^python (\w+)\.py (.*)$", re.MULTILINE)


def commands(*pages: Path) -> set[tuple[str, str]]:
    """Script and arguments of the complete commands that stand in blocks of code."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = (block.replace("\\\n", "") for block in BLOCK.findall(text))
    found = {command for block in blocks for command in SCRIPT.findall(block)}
    return {command for command in found if "..." not in command[1]}


QUICK = sorted(commands(*PAGES[:2]))
SLOW = sorted(commands(*PAGES[2:]) - set(QUICK))
COMMANDS = [*QUICK, *(pytest.param(*command, marks=pytest.mark.slow) for command in SLOW)]


def first_job(arguments: list[str]) -> list[str]:
    """The overrides of the first job of a sweep."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    return [
        f"{each.key_or_group}={next(each.sweep_string_iterator())}"
        if each.is_sweep_override()
        else argument
        for argument, each in zip(arguments, parsed, strict=True)
    ]


@pytest.mark.parametrize(("script", "arguments"), COMMANDS)
def test_documented_commands_pass_their_checks(
    compose: Callable[..., DictConfig], script: str, arguments: str
) -> None:
    words = shlex.split(arguments.replace("<time>", "time"), comments=True)
    overrides = quote_arguments([word for word in words if word != "-m"])
    if script != "train":
        overrides = name_given_threshold(overrides)
    config = compose(script, *first_job(overrides))
    decode_keys(config)
    if not config.get("resume"):
        check(config)


def test_commands_of_all_scripts_are_found() -> None:
    assert len(commands(DOCS / "data.md")) > 20
    assert {script for script, _ in QUICK} >= {
        *("train", "evaluate", "predict", "compare", "export", "convert")
    }
