"""export.py: a finished run becomes a file that says the same, or none at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import Compose
from quick import (
    ODD_NAME,
    check_refusal,
    content,
    draw_mvtec,
    figures_of,
    move_images,
    record_of,
    rows_of,
    strays,
)
from small import Answer, Door

from capsule_inspection.config import checks
from capsule_inspection.inference import exported, formats
from capsule_inspection.inference.formats import ONNX, OPENVINO, TORCHSCRIPT
from capsule_inspection.inference.formats.torchscript_format import TorchScript
from capsule_inspection.types import ConfigurationError, DataError, InspectionError, RunError
from capsule_inspection.workflows.export_source import open_source
from capsule_inspection.workflows.exporting import export as export_run

FILES = {
    ONNX: ["export.json", "model.onnx"],
    OPENVINO: ["export.json", "model.bin", "model.xml"],
    TORCHSCRIPT: ["export.json", "model.pt"],
}
OUTPUTS = {
    "finished": ["logits"],
    "autoencoder": ["map", "score"],
    "unet": ["foreground", "kinds"],
}
SHOWN = {
    "finished": ["accuracy", "balanced_accuracy", "auroc"],
    "autoencoder": ["auroc", "defects_missed", "good_rejected"],
    "unet": ["foreground_dice_of_pixels", "auroc"],
}


def export(door: Door, run: Path, *settings: str) -> Answer:
    return door("export", f"run={run}", "threads=1", "images=6", *settings)


@pytest.fixture
def configured(compose: Compose) -> Callable[..., Any]:
    """The checked configuration of an export: `configured(run, "format=torchscript")`."""

    def call(run: Path, *settings: str) -> Any:
        config = compose("export", f"run={run}", "threads=1", *settings)
        checks.check(config)
        return config

    return call


def record(folder: Path) -> dict[str, Any]:
    """What export.json says."""
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_classifier_is_exported_into_its_run_and_answers_there(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    before = content(finished)
    answer = export(door, finished, "format=torchscript")
    assert answer.status == 0, answer.err
    folder = finished / "export" / "torchscript"
    assert names(folder) == FILES[TORCHSCRIPT]
    assert "Held against the run on 6 images" in answer.out
    assert re.search(r"logits +differs by \S+ at most \(0.0001 allowed\)", answer.out)
    assert "answers    0 of 12 differ" in answer.out
    told = record(folder)
    assert told["parity"]["comparisons"] == 12
    assert told["parity"]["differences"]["logits"]["largest"] < 1e-6
    assert told["run"]["checkpoint_sha256"]
    after = content(finished)
    assert {n: value for n, value in after.items() if not n.startswith("export/")} == before
    assert not strays(finished)

    photos = Path(record_of(finished)["data"]["root"]) / "test" / "crack"
    moved = shutil.copy(folder / "model.pt", tmp_path / "膠囊.pt")
    description = exported.open_exported(Path(moved), threads=1).description
    assert description.model == "custom_resnet"
    assert str(tmp_path) not in json.dumps(description.as_dict())
    settings = ("trainer=cpu", "trainer.threads=1", "workers=1", "explain=none")
    for name, run in (("ours", finished), ("theirs", moved)):
        output = tmp_path / name
        answer = door("predict", f"run={run}", f"input={photos}", f"output={output}", *settings)
        assert answer.status == 0, answer.err
    assert rows_of(tmp_path / "ours") == rows_of(tmp_path / "theirs")


def test_a_classifier_is_exported_as_onnx_to_a_folder_of_any_name(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    moved = shutil.move(finished, tmp_path / f"run {ODD_NAME}")
    output = tmp_path / ODD_NAME
    answer = export(door, Path(moved), "format=onnx", f"output={output}")
    assert answer.status == 0, answer.err
    assert names(output) == FILES[ONNX]
    parity = record(output)["parity"]
    assert parity["differences"]["logits"]["largest"] < 1e-4
    assert parity["answers_changed"] == 0


@pytest.fixture(scope="session")
def homes(finished_home: Path, autoencoder_home: Path, unet_home: Path) -> dict[str, Path]:
    """The shared run of each task."""
    return {"finished": finished_home, "autoencoder": autoencoder_home, "unet": unet_home}


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO, TORCHSCRIPT])
@pytest.mark.parametrize("task", ["finished", "autoencoder", "unet"])
def test_each_task_is_exported_in_each_format_and_eight_bits_tell_what_they_cost(
    door: Door, homes: dict[str, Path], tmp_path: Path, task: str, name: str
) -> None:
    run, output = homes[task] / "run", tmp_path / "out"
    int8 = name != TORCHSCRIPT
    answer = export(door, run, f"format={name}", f"int8={int8}", f"output={output}")
    assert answer.status == 0, answer.err
    assert names(output) == FILES[name]
    parity, told = record(output)["parity"], record(output)["eight_bits"]
    assert list(parity["differences"]) == OUTPUTS[task]
    assert parity["answers_changed"] == 0
    if not int8:
        return
    test = [row for row in rows_of(run) if row["split"] == "test"]
    assert told["images"] == len(test)
    assert f"Eight bits on the {len(test)} images of test" in answer.out
    for key in SHOWN[task]:
        assert key in answer.out
        assert told["before"][key]["value"] is not None
        assert told["after"][key]["value"] is not None


def test_figures_before_eight_bits_are_those_of_the_run(
    door: Door, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a quantisation that changes nothing, nothing changes."""
    run, output = finished_home / "run", tmp_path / "out"
    monkeypatch.setattr(TorchScript, "require", lambda self, *, int8: None)
    monkeypatch.setattr(
        TorchScript, "quantise", lambda self, path, output, made, seen: shutil.copy(path, output)
    )
    answer = export(door, run, "format=torchscript", "int8=true", f"output={output}")
    assert answer.status == 0, answer.err
    told = record(output)["eight_bits"]
    assert told["answers_changed"] == 0
    assert told["before"] == told["after"]
    for key in SHOWN["finished"]:
        own = figures_of(run)[f"test/{key}"]["value"]
        assert told["before"][key]["value"] == pytest.approx(own)
    assert "balanced_accuracy" in answer.out
    assert "+0.000" in answer.out


@pytest.mark.parametrize("right_for_one_alone", [False, True])
def test_a_model_that_says_something_else_is_not_kept(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch, right_for_one_alone: bool
) -> None:
    before, plain = content(finished), formats.ExportedEngine.run

    def wrong(self: Any, arrays: Any) -> dict[str, np.ndarray]:
        found = plain(self, arrays)
        if right_for_one_alone:
            return found if len(arrays["image"]) == 1 else {k: v[::-1] for k, v in found.items()}
        return {name: values * 1.01 for name, values in found.items()}

    monkeypatch.setattr(formats.ExportedEngine, "run", wrong)
    answer = export(door, finished, "format=torchscript")
    check_refusal(answer, "does not say what the run says", "logits differs by", "not kept")
    assert content(finished) == before
    assert not strays(finished)


def test_what_cannot_be_written_is_told_and_leaves_nothing(
    configured: Callable[..., Any], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(TorchScript, "write", fail)
    with pytest.raises(RunError, match=r"torchscript: this network cannot.*no such operation"):
        export_run(configured(finished, "format=torchscript"))
    assert not (finished / "export" / "torchscript").exists()
    config = configured(finished, "format=torchscript", f"output={finished / 'run.json' / 'out'}")
    with pytest.raises(RunError, match=r"cannot be written.*name another folder"):
        export_run(config)


@pytest.mark.parametrize(
    ("settings", "error", "expected"),
    [
        (["output=used"], RunError, r"thesis\.txt.*name another folder"),
        (["output=used/thesis.txt"], RunError, "found a file"),
        (["format=onnx"], ConfigurationError, r"pip install -e '\.\[onnx\]'"),
        (["int8=true"], ConfigurationError, "Say format=openvino or format=onnx"),
        (["data=mvtec", "data.root=/x"], ConfigurationError, "say data.root=<folder>"),
        (["threads=0"], ConfigurationError, "threads=0: expected a number from 1 to 1024"),
        (["images=0"], ConfigurationError, "images=0: expected a value from 1"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_run_is_read(
    configured: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: list[str],
    error: type[InspectionError],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(formats.sys.modules, "onnxscript", None)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(error, match=expected):
        export_run(configured(tmp_path / "no run", "format=torchscript", *settings))
    assert content(tmp_path) == {"used/thesis.txt": b"years of work"}


def test_mistakes_on_the_command_line_are_refused(door: Door, finished_home: Path) -> None:
    run = finished_home / "run"
    check_refusal(export(door, run, "format=onxx"), "Did you mean onnx?", status=2)
    check_refusal(export(door, run, "stage=test"), "stage: there is no such setting", status=2)


def test_images_that_have_moved_are_taken_from_their_new_place_and_no_others(
    configured: Callable[..., Any], finished: Path, tmp_path: Path
) -> None:
    there, cache = move_images(finished, tmp_path), f"data.cache_folder={tmp_path / 'new cache'}"
    with pytest.raises(DataError, match=r"gone: there is no such folder"):
        open_source(configured(finished))
    source = open_source(configured(finished, f"data.root={there}", cache))
    assert source.data.index.root == there
    assert (tmp_path / "new cache").is_dir()
    assert len(source.to_compare(6)) == 6
    other = draw_mvtec(tmp_path / "other", first_seed=1000)
    (other / "test" / "crack" / "000.png").rename(other / "test" / "crack" / "unknown.png")
    with pytest.raises(DataError, match=r"unknown\.png"):
        open_source(configured(finished, f"data.root={other}", cache))
