"""The data of a run, where it is now."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import draw_part, save_pixels, write_images
from omegaconf import OmegaConf

from capsule_inspection.config.schema import FromRun
from capsule_inspection.types import ConfigurationError, DataError
from capsule_inspection.workflows.dataset import data_record, from_run, given_depth, load_dataset
from capsule_inspection.workflows.evaluate import _data_settings

Compose = Callable[..., Any]
STORED = {"name": "manifest", "path": "a.csv", "root": None, "cache_folder": "c", "workers": 4}


def test_what_has_moved_is_taken_from_where_it_is_now_where_the_data_set_has_such_a_setting() -> (
    None
):
    now = OmegaConf.structured(FromRun("from_run", path="b.csv", cache_folder="d", workers=1))
    found = from_run(OmegaConf.create(STORED), now)
    assert found == {**STORED, "path": "b.csv", "cache_folder": "d", "workers": 1}
    now = OmegaConf.structured(FromRun("from_run", masks="masks"))
    with pytest.raises(ConfigurationError, match=r"data\.masks=masks: .*which has no such"):
        from_run(OmegaConf.create(STORED), now)


def test_layout_inventory_and_warnings_are_logged_once_and_recorded(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    write_images(tmp_path, ["good/0.png", "good/1.png", "crack/2.png", "overview.png"])
    places = (f"data.root={tmp_path}", f"data.cache_folder={tmp_path / 'cache'}")
    data = compose("train", "data=folder", *places, "data.image_size=[32,48]").data
    with caplog.at_level(logging.INFO):
        index, _ = load_dataset(data)
    lines = caplog.text.splitlines()
    described = f"class folders in {tmp_path}: 3 images, 0 masks; not used: 1 image"
    assert sum(described in line for line in lines) == 1
    assert any("Classes: good 2 (the good class), crack 1" in line for line in lines)
    assert sum("1 image in no class folder" in line for line in lines) == 1
    record = data_record(index)
    assert record["layout"] == "class folders"
    assert dict(index.inventory)["images"] == 3
    assert any("overview.png" in warning for warning in index.warnings)
    json.dumps(record)
    caplog.clear()
    monkeypatch.setenv("LOCAL_RANK", "1")
    load_dataset(data)
    assert "overview.png" not in caplog.text


def test_the_good_class_of_other_images_is_that_of_the_model(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path / "a", ["OK_Teile/0.png", "OK_Teile/1.png", "crack/2.png"])
    write_images(tmp_path / "b", ["fine/0.png", "crack/2.png"])
    size, cache = "data.image_size=[32,48]", f"data.cache_folder={tmp_path / 'cache'}"

    def load(folder: str, *classes: str, further: bool = False, given: str = "null") -> list[str]:
        places = (f"data.root={tmp_path / folder}", cache, size, f"data.good_class={given}")
        data = compose("train", "data=folder", *places).data
        caplog.clear()
        with caplog.at_level(logging.INFO):
            index, _ = load_dataset(data, classes=classes, further=further)
        return [index.classes[sample.label] for sample in index.samples]

    assert load("a", "good", "crack") == ["good", "good", "crack"]
    assert "Good class: OK_Teile here, good in the model." in caplog.text
    assert load("a", "OK_Teile", "crack") == ["OK_Teile", "OK_Teile", "crack"]
    assert "Good class" not in caplog.text
    assert load("b", "good", "crack", given="fine") == ["crack", "good"]
    with pytest.raises(DataError, match=r"the classes fine are not.*data\.good_class"):
        load("b", "good", "crack")
    # A one-class model takes any class for a defect: then there is no good image.
    assert load("b", "good", "crack", further=True) == ["crack", "fine"]
    assert "No image is of the good class good: crack, fine." in caplog.text


def write_parts(root: Path, *, bits: int) -> None:
    """Images of 16-bit files with values of some bits, of 8-bit files with 8."""
    for number in range(6):
        pixels = draw_part(number)[0][:, :, 0]
        values = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16 if bits > 8 else np.uint8)
        save_pixels(root / f"{('good', 'crack')[number % 2]}/{number}.png", values)


def test_a_bit_depth_that_was_found_stays_with_the_run_and_its_evaluations(
    compose: Compose, tmp_path: Path
) -> None:
    write_parts(tmp_path / "deep", bits=12)
    write_parts(tmp_path / "flat", bits=8)
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    run = compose("train", "data=folder", f"data.root={tmp_path / 'deep'}", cache)
    load_dataset(run.data)
    assert run.data.bit_depth == given_depth(run.data) == 12
    flat = compose("train", "data=folder", f"data.root={tmp_path / 'flat'}", cache)
    load_dataset(flat.data)
    assert (flat.data.bit_depth, given_depth(flat.data)) == ("auto", None)  # nothing to find
    for setting, depth in (((), 12), (("data.bit_depth=14",), 14)):
        arguments = ("run=x", "data=folder", "data.root=x", *setting)
        assert _data_settings(compose("evaluate", *arguments), run).bit_depth == depth
