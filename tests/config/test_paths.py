"""Paths on the command line are not changed by Hydra's grammar."""

from __future__ import annotations

from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from capsule_inspection.config.paths import (
    name_given_threshold,
    quote_path_arguments,
    split_paths,
)

KEYS = ("data.root", "resume", "run", "input", "output", "model.weights")
PATHS = (
    "plain",
    "/with space/and,comma",
    "a=b",
    "(bracket",
    "膠囊/照片",
    "it's",
    'double"quote',
    "back\\slash'quote",
    "ends with backslash\\",
    "[list]",
    "{dict}",
    "*.png",
    "tilde~",
    "colon:semi;",
    "percent%20",
    "true",
    "1e3",
    "${seed}",
)


def parsed(argument: str) -> object:
    (quoted,) = quote_path_arguments([argument])
    return OverridesParser.create().parse_override(quoted).value()


def test_paths_survive_hydras_grammar() -> None:
    for path in PATHS:
        for key in KEYS:
            assert OmegaConf.create({"key": parsed(f"{key}={path}")}).key == path, key


def test_a_given_threshold_is_no_choice_of_the_group() -> None:
    given = ["run=threshold=1", "threshold=0.3", "threshold.value=argmax", "-m"]
    expected = ["run=threshold=1", "threshold.value=0.3", "threshold.value=argmax", "-m"]
    assert name_given_threshold(given) == expected


def test_other_settings_are_not_quoted() -> None:
    assert parsed("resume=null") is None
    others = ["seed=1,2", "-m", "data.roi=[1,2,3,4]"]
    assert quote_path_arguments(others) == others


def test_lists_of_paths_and_sweeps_over_weights_are_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "a,b", tmp_path / "c"
    first.mkdir()
    second.mkdir()
    assert parsed(f"runs=[{first},{second}]") == [str(first), str(second)]
    assert split_paths(f"{first},{second}") == [str(first), str(second)]
    _, quoted = quote_path_arguments(["-m", "model.weights=auto,none"])
    assert OverridesParser.create().parse_override(quoted).is_sweep_override()
