"""--help of each entry point: every choice of its groups, each with one line."""

from __future__ import annotations

import re

import pytest
from small import REPOSITORY

from capsule_inspection.config.help import FOOTER, header, help_text

CONF = REPOSITORY / "conf"
GROUPS = {
    "train": {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "base"},
    "evaluate": {"data", "split", "trainer"},
    "predict": {"trainer"},
    "compare": set(),
    "export": {"data"},
    "app": {"trainer"},
}


@pytest.mark.parametrize(("name", "groups"), GROUPS.items())
def test_every_choice_is_listed_with_the_first_line_of_its_file(
    name: str, groups: set[str]
) -> None:
    text = help_text(CONF, name)
    opening, *sections = text.removesuffix(f"\n\n{FOOTER}").split("\n\n")
    assert opening == header(CONF / f"{name}.yaml")
    found = {
        (group, *re.split(r" {2,}", row.strip(), maxsplit=1))
        for group, _, rows in (section.partition("=\n") for section in sections)
        for row in rows.splitlines()
    }
    files = [path for group in groups for path in (CONF / group).glob("*.yaml")]
    assert len(files) >= len(groups)
    assert found == {(f.parent.name, f.stem, header(f).splitlines()[0]) for f in files}
