"""Paths on the command line are not changed by Hydra's grammar."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from small import REPOSITORY

from capsule_inspection.config.paths import (
    choose_data,
    expand_home,
    expand_homes,
    name_given_threshold,
    quote_arguments,
    split_paths,
)
from capsule_inspection.types import ConfigurationError

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
    (quoted,) = quote_arguments([argument])
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
    assert quote_arguments(others) == others


def test_lists_of_paths_and_sweeps_over_weights_are_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "a,b", tmp_path / "c"
    first.mkdir()
    second.mkdir()
    assert parsed(f"runs=[{first},{second}]") == [str(first), str(second)]
    assert split_paths(f"{first},{second}") == [str(first), str(second)]
    assert split_paths(f"'{first}',{second}") == [f"'{first}'", str(second)]
    _, quoted = quote_arguments(["-m", "model.weights=auto,none"])
    assert OverridesParser.create().parse_override(quoted).is_sweep_override()


def test_a_path_that_is_not_utf8_is_refused_unless_it_is_not_stored() -> None:
    name = os.fsdecode(b"/images/d\xe9")
    for key in ("data.root", "hydra.run.dir", "run"):
        with pytest.raises(ConfigurationError, match=r"'.*\\udce9': this path is not UTF-8"):
            quote_arguments([f"{key}={name}"])
    assert parsed(f"input={name}") == name


def test_the_home_folder_is_expanded_where_a_path_begins_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for key in (*KEYS, "hydra.run.dir"):
        assert parsed(f"{key}=~/a b") == f"{tmp_path}/a b", key
    assert parsed("runs=[~/a,~/b]") == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert parsed("input='~/a'") == f"{tmp_path}/a"
    assert [expand_home(path) for path in ("a/~", "~no one/a")] == ["a/~", "~no one/a"]
    (tmp_path / "~").touch()
    assert expand_home("~") == "~"


def test_the_home_folder_is_expanded_in_files_of_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = OmegaConf.create({"data": {"root": "~/a", "path": None}, "runs": ["~/b", "c"]})
    expand_homes(config)
    assert config.data == {"root": f"{tmp_path}/a", "path": None}
    assert config.runs == [f"{tmp_path}/b", "c"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("data.root=/my/images", "auto"),
        ("model=unet data.root=/my/images -m", "auto"),
        ("data.path=images.csv", "manifest"),
        ("data.path=images.csv data.root=/my/images", "manifest"),
        ("experiment=few_defects data.root=/my/images", "auto"),
        ("experiment=nosuch data.root=/my/images", "auto"),
        # What chooses the data set is left alone.
        ("data=mvtec data.root=/my/images", None),
        ("+data=folder data.root=/my/images", None),
        ("experiment=quickstart data.root=/my/images", None),
        ("experiment=few_defects,quickstart data.root=/my/images -m", None),
        ("data.root=drawn data.size_px=96", None),
        ("data.counts={good:8} data.root=drawn", None),
        ("resume=outputs/a data.root=/moved", None),
        ("data.cache_folder=/cache seed=1", None),
    ],
)
def test_a_place_of_images_without_data_is_no_place_to_draw(
    arguments: str, expected: str | None
) -> None:
    assert choose_data(arguments.split(), REPOSITORY / "conf") == expected


def test_a_list_of_paths_may_be_longer_than_any_path() -> None:
    runs = [f"outputs/classification/resnet18/{number:060}" for number in range(60)]
    assert split_paths(",".join(runs)) == runs
    names = ",".join(f"run{number}" for number in range(60))
    assert split_paths(names) == names.split(",")
