"""export.py: a finished run becomes a file that predicts the same, or no file at all."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import Compose
from quick import (
    ODD_NAME,
    check_error,
    content,
    draw_mvtec,
    metrics_of,
    move_images,
    record_of,
    rows_of,
    temporary_files,
)
from small import Cli, CommandResult

from capsule_inspection.config import checks
from capsule_inspection.inference import exported
from capsule_inspection.inference.formats.base import ExportedBackend
from capsule_inspection.inference.formats.torch_export import TorchExport
from capsule_inspection.types import ConfigurationError, DataError, InspectionError, RunError
from capsule_inspection.workflows.export import export as export_run
from capsule_inspection.workflows.export import load_source

ONNX, OPENVINO, TORCH_EXPORT = "onnx", "openvino", "torch_export"
FILES = {
    ONNX: ["export.json", "model.onnx"],
    OPENVINO: ["export.json", "model.bin", "model.xml"],
    TORCH_EXPORT: ["export.json", "model.pt2"],
}
OUTPUTS = {
    "finished": ["logits"],
    "autoencoder": ["anomaly_map", "score"],
    "unet": ["foreground", "class_probabilities"],
}
PRINTED = {
    "finished": ["accuracy", "balanced_accuracy", "auroc"],
    "autoencoder": ["auroc", "false_negative_rate", "false_positive_rate"],
    "unet": ["binary_dice_global", "auroc"],
}


def export(cli: Cli, run: Path, *settings: str) -> CommandResult:
    return cli("export", f"run={run}", "threads=1", "images=6", *settings)


@pytest.fixture
def configured(compose: Compose) -> Callable[..., Any]:
    """The checked configuration of an export: `configured(run, "format=torch_export")`."""

    def call(run: Path, *settings: str) -> Any:
        config = compose("export", f"run={run}", "threads=1", *settings)
        checks.check(config)
        return config

    return call


def record(folder: Path) -> dict[str, Any]:
    """The content of export.json."""
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_classifier_is_exported_into_its_run_and_predicts_the_same(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    before = content(finished)
    folder = finished / "export" / "torch_export"
    (folder.parent / ".torch_export.killed.part").mkdir(parents=True)
    result = export(cli, finished, "format=torch_export")
    assert result.status == 0, result.err
    assert names(folder.parent) == ["torch_export"]
    assert names(folder) == FILES[TORCH_EXPORT]
    assert "Compared with the run on 6 images" in result.out
    assert re.search(r"logits +differs by \S+ at most \(0.0001 allowed\)", result.out)
    assert "0 of 12 differ" in result.out
    stored = record(folder)
    assert stored["parity"]["comparisons"] == 12
    assert stored["parity"]["differences"]["logits"]["largest"] < 1e-6
    assert stored["run"]["checkpoint_sha256"]
    after = content(finished)
    assert {n: value for n, value in after.items() if not n.startswith("export/")} == before
    assert not temporary_files(finished)

    whole = content(folder)
    result = export(cli, finished, "format=torch_export")  # as after a kill at its very end
    assert result.status == 0, result.err
    assert "Exported before, and kept" in result.out
    assert content(folder) == whole
    result = export(cli, finished, "format=torch_export", "calibration_images=5")
    check_error(result, "expected a new or empty folder")
    (folder / "model.pt2").write_bytes(b"damaged")
    result = export(cli, finished, "format=torch_export")
    check_error(result, "model.pt2: damaged or changed since it was written", "Remove the folder")
    for name, written in whole.items():
        (folder / name).write_bytes(written)

    photos = Path(record_of(finished)["data"]["root"]) / "test" / "crack"
    moved = shutil.copy(folder / "model.pt2", tmp_path / "膠囊.pt2")
    metadata = exported.open_exported(Path(moved), threads=1).metadata
    assert metadata.model == "custom_resnet"
    assert str(tmp_path) not in json.dumps(metadata.as_dict())
    settings = ("trainer=cpu", "trainer.threads=1", "workers=1", "explain=none")
    for name, run in (("ours", finished), ("theirs", moved)):
        output = tmp_path / name
        result = cli("predict", f"run={run}", f"input={photos}", f"output={output}", *settings)
        assert result.status == 0, result.err
    assert rows_of(tmp_path / "ours") == rows_of(tmp_path / "theirs")
    output = f"output={tmp_path / 'all'}"
    result = cli("predict", f"run={moved}", f"input={photos}", output, "threshold=0", *settings)
    assert result.status == 0, result.err
    assert {(row["is_defect"], row["threshold"]) for row in rows_of(tmp_path / "all")} == {
        ("true", "0")
    }


def test_a_classifier_is_exported_as_onnx_to_a_folder_of_any_name(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    moved = shutil.move(finished, tmp_path / f"run {ODD_NAME}")
    output = tmp_path / ODD_NAME
    result = export(cli, Path(moved), "format=onnx", f"output={output}")
    assert result.status == 0, result.err
    assert names(output) == FILES[ONNX]
    parity = record(output)["parity"]
    assert parity["differences"]["logits"]["largest"] < 1e-4
    assert parity["predictions_changed"] == 0


@pytest.fixture(scope="session")
def homes(finished_home: Path, autoencoder_home: Path, unet_home: Path) -> dict[str, Path]:
    """The shared run of each task."""
    return {"finished": finished_home, "autoencoder": autoencoder_home, "unet": unet_home}


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO, TORCH_EXPORT])
@pytest.mark.parametrize("task", ["finished", "autoencoder", "unet"])
def test_each_task_is_exported_in_each_format_and_int8_models_are_measured(
    cli: Cli, homes: dict[str, Path], tmp_path: Path, task: str, name: str
) -> None:
    run, output = homes[task] / "run", tmp_path / "out"
    int8 = name != TORCH_EXPORT
    result = export(cli, run, f"format={name}", f"int8={int8}", f"output={output}")
    assert result.status == 0, result.err
    assert names(output) == FILES[name]
    parity, measured = record(output)["parity"], record(output)["int8"]
    assert list(parity["differences"]) == OUTPUTS[task]
    assert parity["predictions_changed"] == 0
    if not int8:
        return
    test = [row for row in rows_of(run) if row["split"] == "test"]
    assert measured["images"] == len(test)
    assert f"int8 on the {len(test)} images of test" in result.out
    for key in PRINTED[task]:
        assert key in result.out
        assert measured["before"][key]["value"] is not None
        assert measured["after"][key]["value"] is not None


def test_metrics_before_quantization_are_those_of_the_run(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantization that changes nothing changes no metric."""
    run, output = finished_home / "run", tmp_path / "out"
    monkeypatch.setattr(TorchExport, "require", lambda self, *, int8: None)
    monkeypatch.setattr(
        TorchExport,
        "quantize",
        lambda self, path, output, metadata, calibration: shutil.copy(path, output),
    )
    result = export(cli, run, "format=torch_export", "int8=true", f"output={output}")
    assert result.status == 0, result.err
    measured = record(output)["int8"]
    assert measured["predictions_changed"] == 0
    assert measured["before"] == measured["after"]
    for key in PRINTED["finished"]:
        own = metrics_of(run)[f"test/{key}"]["value"]
        assert measured["before"][key]["value"] == pytest.approx(own)
    assert "balanced_accuracy" in result.out
    assert "+0.000" in result.out


@pytest.mark.parametrize("right_for_single_images", [False, True])
def test_a_model_with_other_outputs_is_not_kept(
    cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch, right_for_single_images: bool
) -> None:
    before, plain = content(finished), ExportedBackend.run

    def wrong(self: Any, arrays: Any) -> dict[str, np.ndarray]:
        found = plain(self, arrays)
        if right_for_single_images:
            return found if len(arrays["image"]) == 1 else {k: v[::-1] for k, v in found.items()}
        return {name: values * 1.01 for name, values in found.items()}

    monkeypatch.setattr(ExportedBackend, "run", wrong)
    result = export(cli, finished, "format=torch_export")
    check_error(result, "does not predict as the run does", "logits differs by", "not kept")
    assert content(finished) == before
    assert not temporary_files(finished)


def test_a_model_that_cannot_be_written_leaves_nothing(
    configured: Callable[..., Any], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(TorchExport, "write", fail)
    with pytest.raises(RunError, match=r"torch_export: this network cannot.*no such operation"):
        export_run(configured(finished, "format=torch_export"))
    assert not (finished / "export" / "torch_export").exists()
    config = configured(finished, "format=torch_export", f"output={finished / 'run.json' / 'out'}")
    with pytest.raises(RunError, match=r"cannot be written.*name another folder"):
        export_run(config)


@pytest.mark.parametrize(
    ("settings", "error", "expected"),
    [
        (["output=used"], RunError, r"thesis\.txt.*name another folder"),
        (["output=used/thesis.txt"], RunError, "found a file"),
        (["format=onnx"], ConfigurationError, r"pip install -e '\.\[onnx\]'"),
        (["int8=true"], ConfigurationError, "Set format=openvino or format=onnx"),
        (["data=mvtec", "data.root=/x"], ConfigurationError, "set data.root=<folder>"),
        (["threads=0"], ConfigurationError, "threads=0: expected a number from 1 to 1024"),
        (["images=0"], ConfigurationError, "images=0: expected a value from 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_run_is_read(
    configured: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: list[str],
    error: type[InspectionError],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(error, match=expected):
        export_run(configured(tmp_path / "no run", "format=torch_export", *settings))
    assert content(tmp_path) == {"used/thesis.txt": b"years of work"}


def test_mistakes_on_the_command_line_are_refused(cli: Cli, finished_home: Path) -> None:
    run = finished_home / "run"
    check_error(export(cli, run, "format=onxx"), "Did you mean onnx?", status=2)
    check_error(
        export(cli, run, "subset=test"), "subset: this is a setting of evaluate.py", status=2
    )


def test_images_that_have_moved_are_found_in_data_root_and_no_others_are_used(
    configured: Callable[..., Any], finished: Path, tmp_path: Path
) -> None:
    there, cache = move_images(finished, tmp_path), f"data.cache_folder={tmp_path / 'new cache'}"
    with pytest.raises(DataError, match=r"gone: there is no such folder"):
        load_source(configured(finished))
    source = load_source(configured(finished, f"data.root={there}", cache))
    assert source.data.index.root == there
    assert (tmp_path / "new cache").is_dir()
    other = draw_mvtec(tmp_path / "other", first_seed=1000)
    (other / "test" / "crack" / "000.png").rename(other / "test" / "crack" / "unknown.png")
    with pytest.raises(DataError, match=r"unknown\.png"):
        load_source(configured(finished, f"data.root={other}", cache))
