from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from capsule_inspection.data.masks.rules import MaskRules, compile_rules, mask_rules
from capsule_inspection.types import IGNORE_INDEX, ConfigurationError, DataError

CLASSES = ("good", "crack", "poke")
ROOT = Path("bottle")


def test_settings_become_rules() -> None:
    assert mask_rules("auto", None, False) == MaskRules()
    assert mask_rules("binary", 255, True) == MaskRules(255, inverted=True, binary=True)
    colour = {"255,0,0": "a", "0-255-0": "b", "#0000ff": "c", "(1, 2, 3)": "d", "1/1/1": "e"}
    classes = {1: "crack", "2": None, **colour}
    assert mask_rules(classes, None, False).classes == {
        1: "crack",
        2: None,
        (255, 0, 0): "a",
        (0, 255, 0): "b",
        (0, 0, 255): "c",
        (1, 2, 3): "d",
        (1, 1, 1): "e",
    }
    assert mask_rules({1: 10}, None, False).classes == {1: "10"}  # a class that is a number


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("gray", "expected auto, binary, or a class for each value"),
        ([1, 2], "expected auto, binary"),
        ({}, "expected auto, binary"),
        ({-1: "crack"}, "neither a value"),
        ({True: "crack"}, "neither a value"),
        ({float("inf"): "crack"}, "neither a value"),
        ({"256-0-0": "crack"}, "nor a colour of three numbers"),
        ({"1-2": "crack"}, "nor a colour"),
        ({"red": "crack"}, "nor a colour"),
        ({1: ["crack"]}, "expected the name of a class, or null"),
        ({1: ""}, "expected the name of a class"),
        ({1: "crack", 255: None}, "ignore=255 is in data.mask_values too"),
    ],
)
def test_values_without_a_meaning_are_refused(values: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^data\.mask_.*{reason}"):
        mask_rules(values, 255, False)


def test_inverted_masks_need_no_map() -> None:
    with pytest.raises(ConfigurationError, match=r"mask_inverted=true and a map .* exclude"):
        mask_rules({1: "crack"}, None, True)


def test_a_map_names_classes_of_the_data_set_alone() -> None:
    code = compile_rules(MaskRules(classes={7: "poke", 9: None, 0: "background"}), CLASSES, ROOT)
    assert code.labels == {7: 2, 9: IGNORE_INDEX, 0: 0}
    with pytest.raises(
        DataError, match=r"names the classes dent; .* are good, crack, poke\. .*map"
    ):
        compile_rules(MaskRules(classes={7: "dent", 1: "poke"}), CLASSES, ROOT)


def test_the_key_tells_rules_apart_that_read_files_differently() -> None:
    rules = (
        (MaskRules(), CLASSES),
        (MaskRules(255), CLASSES),
        (MaskRules(inverted=True), CLASSES),
        (MaskRules(binary=True), CLASSES),
        (MaskRules(classes={1: "crack"}), CLASSES),
        (MaskRules(classes={1: "poke"}), CLASSES),
        (MaskRules(classes={1: None}), CLASSES),
        (MaskRules(), ("good", "1", "10")),
    )
    keys = [compile_rules(rule, classes, ROOT).key for rule, classes in rules]
    assert keys[0] == ""
    assert len(set(keys)) == len(keys)
    assert compile_rules(MaskRules(), ("good", "1", "2"), ROOT).key == ""  # names are positions


def test_a_message_shows_a_setting_that_the_command_line_takes() -> None:
    values = [7, (255, 0, 0), 9]
    code = compile_rules(MaskRules(), CLASSES, ROOT)
    example = "'data.mask_values={7: ?, 255-0-0: ?, 9: ?}' (? is crack, poke or null)"
    assert code.example(values) == example
    code = compile_rules(MaskRules(), CLASSES[:2], ROOT)
    example = code.example(values)
    assert example == "'data.mask_values={7: crack, 255-0-0: crack, 9: crack}'"
    parsed = OverridesParser.create().parse_override(example.strip("'")).value()
    assert mask_rules(parsed, None, False).classes == dict.fromkeys(values, "crack")
