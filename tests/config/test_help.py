"""--help of each entry point: every choice of its groups, and its settings with their comments."""

from __future__ import annotations

import re

import pytest
from small import REPOSITORY

from capsule_inspection.config.help import FOOTER, header, help_text
from capsule_inspection.config.quoting import use_console_command
from capsule_inspection.config.schema import COMMANDS, settings_of
from capsule_inspection.types import ANNOTATION_FORMATS

CONF = REPOSITORY / "conf"
GROUPS = {
    "train": {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "base"},
    "evaluate": {"data", "split", "trainer"},
    "predict": {"trainer"},
    "compare": set(),
    "export": {"data"},
    "app": {"trainer"},
}


def tables(text: str) -> dict[str, dict[str, str]]:
    """The sections of a help text by title: the rows by setting or choice."""
    found: dict[str, dict[str, str]] = {}
    for section in text.partition(FOOTER)[0].split("\n\n")[1:]:
        if not section:
            continue
        title, *lines = section.splitlines()
        rows: list[list[str]] = []
        for line in lines:
            if re.match(r" {2}\S", line):
                rows.append([*re.split(r" {2,}", line.strip(), maxsplit=1), ""][:2])
            elif rows:
                rows[-1][1] = f"{rows[-1][1]} {line.strip()}".strip()
        found[title] = dict(rows)
    return found


@pytest.mark.parametrize(("name", "groups"), GROUPS.items())
def test_every_choice_is_listed_with_the_first_line_of_its_file(
    name: str, groups: set[str]
) -> None:
    text = help_text(CONF, name)
    assert text.startswith(header(CONF / f"{name}.yaml"))
    assert FOOTER in text
    listed = tables(text)
    titles = {title.partition("=")[0]: title for title in listed if re.match(r"\w+=", title)}
    assert set(titles) == groups
    for group, title in titles.items():
        files = list((CONF / group).glob("*.yaml"))
        assert listed[title] == {f.stem: header(f).splitlines()[0] for f in files}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_own_setting_has_its_default_in_lines_of_100_columns(name: str) -> None:
    text = help_text(CONF, name)
    own = tables(text)["Settings:"]
    keys = {row.partition("=")[0] for row in own}
    expected = {key for key in settings_of(name) if key.partition(".")[0] not in GROUPS["train"]}
    dataclasses = {"compare", "cost", "data"}  # their settings are listed
    assert expected - keys <= dataclasses | {"threshold.value"}
    assert max(map(len, text.splitlines())) <= 100


def test_settings_have_the_comments_of_their_files() -> None:
    own = tables(help_text(CONF, "predict"))["Settings:"]
    assert own["output=null"] == "a folder; null: outputs/predictions/<time>"
    assert own["threshold=null"].startswith("threshold=0.3 or threshold=argmax instead of")
    assert "run=<required>" in own
    formats = tables(help_text(CONF, "convert"))["format="]
    assert list(formats) == list(ANNOTATION_FORMATS)


def test_named_choices_are_listed_with_what_they_include_and_override() -> None:
    listed = tables(help_text(CONF, "train", ["model=resnet18", "data=yolo"]))
    (rows,) = (listed[title] for title in listed if title.startswith("Settings of "))
    assert "Settings of model=resnet18, task=classification_masks, data=yolo:" in listed
    assert "task.epochs=20" in rows  # of classification_masks, which includes classification
    assert "task.epochs=80" not in rows
    assert rows["data.exclude=[]"].startswith("glob patterns")  # of conf/base/files.yaml
    assert rows["data.mask_values=auto"].endswith("{255-0-0: crack}")
    assert rows["data.mask_ignore=null"].startswith("value of mask pixels")
    assert rows["data.unannotated=good"] == "an image without annotations: good, skip or error"
    assert not any("optimizer." in row for row in rows)


def test_help_has_the_commands_of_the_console_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_PROGRAM", "")
    use_console_command()
    text = help_text(CONF, "predict")
    assert "python" not in text
    assert text.startswith("Configuration of `capsule-inspection predict`: ")
