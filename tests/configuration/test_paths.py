"""Paths on the command line reach Hydra as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from capsule_inspection.configuration.paths import quote_path_arguments, split_paths


def parsed(argument: str) -> object:
    (quoted,) = quote_path_arguments([argument])
    return OverridesParser.create().parse_override(quoted).value()


@pytest.mark.parametrize(
    "path",
    [
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
    ],
)
@pytest.mark.parametrize("key", ["data.root", "resume", "run", "input", "output", "model.weights"])
def test_any_path_survives_hydras_grammar(key: str, path: str) -> None:
    assert str(parsed(f"{key}={path}")) == path


def test_null_stays_null() -> None:
    assert parsed("resume=null") is None


def test_other_settings_are_left_alone() -> None:
    assert quote_path_arguments(["seed=1,2", "-m", "data.roi=[1,2,3,4]"]) == [
        "seed=1,2",
        "-m",
        "data.roi=[1,2,3,4]",
    ]


def test_a_list_of_runs_keeps_its_commas(tmp_path: Path) -> None:
    first, second = tmp_path / "a,b", tmp_path / "c"
    first.mkdir()
    second.mkdir()
    assert parsed(f"runs=[{first},{second}]") == [str(first), str(second)]


def test_a_sweep_over_weights_is_still_a_sweep() -> None:
    _, quoted = quote_path_arguments(["-m", "model.weights=auto,none"])
    assert OverridesParser.create().parse_override(quoted).is_sweep_override()


def test_pieces_that_exist_as_one_path_stay_together(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert split_paths(f"{tmp_path}/a,b,{tmp_path}/c") == [f"{tmp_path}/a,b", f"{tmp_path}/c"]
