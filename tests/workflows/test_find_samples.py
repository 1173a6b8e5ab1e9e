"""From the configuration of a data set to its samples and their inventory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_folders import write_images

from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import ConfigurationError, DataError
from capsule_inspection.workflows.find_samples import find_samples, layout_settings

Compose = Callable[..., Any]
NORMAL = ["Data/Images/Normal/0.JPG", "Data/Images/Normal/1.JPG"]


def test_settings_of_layouts_come_from_the_keys_of_the_data_set(compose: Compose) -> None:
    data = compose(
        "train",
        "data=folder",
        "data.root=x",
        "data.masks=m",
        "++data.class_map={Scratch:scratch,dust:null,seven:8}",
        "data.mask_values={1:crack,255-0-0:poke}",
        "data.good_class='7'",
        "data.mask_suffixes=[_m]",
    ).data
    settings = layout_settings(data)
    assert settings.masks == Path("m")
    assert settings.good_class == "7"
    assert settings.class_map == {"Scratch": "scratch", "dust": None, "seven": "8"}
    assert settings.mask_rules == MaskRules(classes={1: "crack", (255, 0, 0): "poke"})
    assert list(settings.mask_suffixes) == ["_m"]
    with pytest.raises(
        ConfigurationError, match=r"data\.class_map=\{a: \[1\]\}: expected the name"
    ):
        layout_settings(
            compose("train", "data=mvtec", "data.root=x", "++data.class_map={a:[1]}").data
        )
    with pytest.raises(ConfigurationError, match=r"data\.mask_values=blue"):
        layout_settings(compose("train", "data=mvtec", "data.root=x", "data.mask_values=blue").data)


def test_of_a_table_other_files_are_only_counted(compose: Compose, tmp_path: Path) -> None:
    write_images(tmp_path, ["good/0.png", "good/1.png", "crack/2.png", "else/3.png"])
    table = tmp_path / "images.csv"
    table.write_text("path,label\ngood/0.png,good\ncrack/2.png,crack\n")
    found = find_samples(compose("train", "data=manifest", f"data.path={table}").data)
    assert found.warnings == ()
    summary = "2 images, 0 masks, 1 other file read; not used: 1 image"
    assert found.inventory["summary"] == summary


def test_masks_of_a_table_are_counted_in_files_and_folders(
    compose: Compose, tmp_path: Path
) -> None:
    write_images(tmp_path, ["good/0.png", "crack/1.png", "crack/2.png"])
    write_images(tmp_path, ["m/1.png", "m/1b.png", "m/2/a.png"])
    table = tmp_path / "images.csv"
    table.write_text(
        "path,label,mask\ngood/0.png,good,\ncrack/1.png,crack,m/1.png|m/1b.png\n"
        "crack/2.png,crack,m/2\n"
    )
    found = find_samples(compose("train", "data=manifest", f"data.path={table}").data)
    assert found.inventory["summary"] == "3 images, 3 masks, 1 other file read"


def test_one_category_of_several_is_a_data_set_of_its_own(compose: Compose, tmp_path: Path) -> None:
    for name in ("candle", "pcb1"):
        write_images(tmp_path / name, [*NORMAL, "Data/Images/Anomaly/2.JPG"])
    data = compose("train", "data=visa", f"data.root={tmp_path}", "data.category=pcb1").data
    found = find_samples(data)
    assert found.root == tmp_path / "pcb1"
    assert found.inventory["summary"] == "3 images, 0 masks"


def test_what_auto_has_recognised_is_said_and_excluded_files_are_left_out(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path, ["good/0.png", "good/1.png", "crack/2.png", "dust/3.png"])
    data = compose("train", "data=auto", f"data.root={tmp_path}", "data.exclude=[dust]").data
    with caplog.at_level(logging.INFO):
        found = find_samples(data)
    assert found.classes == ("good", "crack")
    assert (
        "data=auto: read as data=folder (class folders), since it has the classes good, crack."
        in (caplog.text)
    )


def test_a_strict_layout_is_not_read_as_another(compose: Compose, tmp_path: Path) -> None:
    write_images(tmp_path, ["good/0.png", "good/1.png", "crack/2.png"])
    with pytest.raises(DataError, match=r"expected a category folder of MVTec AD.*use data=folder"):
        find_samples(compose("train", "data=mvtec", f"data.root={tmp_path}").data)


@pytest.mark.parametrize("data", ["auto", "synthetic"])
def test_images_and_cache_have_folders_of_their_own(
    compose: Compose, tmp_path: Path, data: str
) -> None:
    places = (f"data.root={tmp_path}", f"data.cache_folder={tmp_path}/.")
    with pytest.raises(ConfigurationError, match=r"data\.cache_folder=.*folder of the images"):
        find_samples(compose("train", f"data={data}", *places).data)
    assert not list(tmp_path.iterdir())
