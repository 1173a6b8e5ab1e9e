"""Names of any script and with any characters arrive as they were typed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.checks import check, check_additions
from capsule_inspection.config.paths import quote_arguments
from capsule_inspection.config.quoting import decode_keys, quote, unquote
from capsule_inspection.types import ConfigurationError

Compose = Callable[..., DictConfig]
NAMES = ("良品", "geprüft", "OK (A)", "#1", "a,b", "it's", "true", "1e3", "${seed}", "[x]", "a: b")


@pytest.mark.parametrize("name", NAMES)
def test_a_class_of_any_name_can_be_the_good_one(name: str) -> None:
    (quoted,) = quote_arguments([f"data.good_class={name}"])
    value = OverridesParser.create().parse_override(quoted).value()
    assert OmegaConf.create({"key": value}).key == name


def test_null_and_quoted_names_stay() -> None:
    given = ["data.good_class=null", "data.good_class='null'", 'data.good_class="良 品"']
    assert quote_arguments(given) == given
    for name in NAMES:
        assert unquote(quote(name)) == name


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data.class_map={良品: 好, a b: null}", {"良品": "好", "a b": None}),
        ("data.class_map={'Good ': good, \"a,b\": x}", {"Good ": "good", "a,b": "x"}),
        ("data.class_map={1: 1e3, true: no}", {"1": "1e3", "true": "no"}),
        ("data.class_map.良品=good", {"良品": "good"}),
        ("data.class_map.v1.2=null", {"v1.2": None}),
        ("data.mask_values={1: crack, 2: ひび}", {1: "crack", 2: "ひび"}),
        ("data.mask_values={'255,0,0': crack}", {"255,0,0": "crack"}),
        ("data.exclude=[a b, 良品, 1e3, *.bmp]", ["a b", "良品", "1e3", "*.bmp"]),
        ("data.exclude=*.bmp", ["*.bmp"]),
    ],
)  # fmt: skip
def test_lists_and_mappings_keep_names_of_any_script(
    compose: Compose, argument: str, value: object
) -> None:
    quoted = quote_arguments([argument])
    check_additions(quoted)
    config = compose("train", "model=custom_resnet", "data=folder", "data.root=/x", *quoted)
    decode_keys(config)
    found = config.data[argument.partition("=")[0].split(".")[1]]
    assert OmegaConf.to_container(found) == value


def test_columns_of_a_table_may_have_any_names(compose: Compose) -> None:
    given = ["data.columns={path: 画像, label: Fehler (Art), mask: 'a,b'}", "data.columns.group=1"]
    quoted = quote_arguments(given)
    check_additions(quoted)
    config = compose("train", "model=custom_resnet", "data=manifest", "data.path=/x", *quoted)
    columns = {"path": "画像", "label": "Fehler (Art)", "mask": "a,b", "group": "1"}
    assert config.data.columns == columns


def test_a_mapping_that_the_data_set_does_not_have_is_refused(compose: Compose) -> None:
    quoted = quote_arguments(["data.columns={mask: x}"])
    with pytest.raises(ConfigurationError, match=r"data\.columns=.*data=synthetic has no such"):
        check(compose("train", "model=custom_resnet", "data=synthetic", *quoted))
    check(compose("train", "model=custom_resnet", "data=manifest", "data.path=/x", *quoted))


def test_values_that_hydra_can_read_are_not_touched() -> None:
    given = ["data.roi=[1, 2,3,4]", "model=a,b", "data.augmentation={noise: 0.1}", "--cfg", "~data"]
    assert quote_arguments(given) == given
    assert quote_arguments(["data.verify=ä"]) == ["data.verify='ä'"]


def test_sweeps_over_names_are_kept() -> None:
    for value in ("a,良品", "choice(a,b)"):
        _, quoted = quote_arguments(["-m", f"data.good_class={value}"])
        assert OverridesParser.create().parse_override(quoted).is_sweep_override()


def test_run_folders_of_any_name_keep_interpolations() -> None:
    (quoted,) = quote_arguments(["hydra.run.dir=/ü (1)/${name}"])
    value = OverridesParser.create().parse_override(quoted).value()
    assert OmegaConf.create({"name": "run", "key": value}).key == "/ü (1)/run"
