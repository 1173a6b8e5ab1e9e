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
from quick import (
    ODD_NAME,
    QUICK,
    check_refusal,
    content,
    draw_mvtec,
    move_images,
    record_of,
    rows_of,
    strays,
)
from small import Answer, Door

from capsule_inspection.inference import exported, formats
from capsule_inspection.inference.formats import ONNX, OPENVINO, TORCHSCRIPT

NOISE_IMAGES = tuple(setting for setting in QUICK if not setting.startswith("model"))
FILES = {
    ONNX: ["export.json", "model.onnx"],
    OPENVINO: ["export.json", "model.bin", "model.xml"],
    TORCHSCRIPT: ["export.json", "model.pt"],
}
NETWORKS = {
    "reconstruction": (
        "model=autoencoder",
        "model.width=4",
        "model.depth=3",
        "model.bottleneck=8",
        "model.head_width=4",
        "model.corruption=cutout",
        "task.window=null",
        "task.batch_size=8",
        "task.views=2",
    ),
    "segmentation": (
        "model=unet",
        "model.encoder=autoencoder",
        "+model.encoder_options.width=4",
        "model.encoder_depth=3",
        "model.decoder_channels=[8,8,8]",
        "model.weights=none",
        "task.window=null",
        "task.views=1",
        "task.batch_size=8",
        "task.painting.variants=3",
    ),
}


def export(door: Door, run: Path, *settings: str) -> Answer:
    return door("export", f"run={run}", "threads=1", "images=6", *settings)


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
    assert {name: before[name] for name in before} == {
        name: value for name, value in content(finished).items() if not name.startswith("export/")
    }
    assert not strays(finished)

    root = Path(record_of(finished)["data"]["root"])
    photographs = root / "test" / "crack"
    settings = ("trainer=cpu", "trainer.threads=1", "workers=1", "explain=none")
    for name, run in (("ours", finished), ("theirs", folder)):
        output = tmp_path / name
        said = door("predict", f"run={run}", f"input={photographs}", f"output={output}", *settings)
        assert said.status == 0, said.err
    assert rows_of(tmp_path / "ours") == rows_of(tmp_path / "theirs")


@pytest.mark.parametrize("name", [ONNX, OPENVINO])
def test_a_classifier_is_exported_to_a_folder_of_any_name(
    door: Door, finished: Path, tmp_path: Path, name: str
) -> None:
    moved = shutil.move(finished, tmp_path / f"run {ODD_NAME}")
    output = tmp_path / ODD_NAME
    answer = export(door, Path(moved), f"format={name}", f"output={output}")
    assert answer.status == 0, answer.err
    assert names(output) == FILES[name]
    parity = record(output)["parity"]
    assert parity["differences"]["logits"]["largest"] < 1e-4
    assert parity["answers_changed"] == 0


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Path]:
    """Runs of the other tasks, once there are some."""
    return {}


@pytest.fixture
def run_of(
    door: Door,
    trained_once: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """A finished run of a task; no test may change it."""

    def train(task: str) -> Path:
        if task not in trained_once:
            home = tmp_path_factory.mktemp(task)
            draw_mvtec(home / "bottle", counts={"good": 16, "crack": 6, "poke": 6})
            own = ["data=mvtec", f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'c'}"]
            folder = f"hydra.run.dir={home / 'run'}"
            answer = door("train", *NOISE_IMAGES, *NETWORKS[task], *own, folder)
            assert answer.status == 0, answer.err
            trained_once[task] = home / "run"
        return trained_once[task]

    return train


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO, TORCHSCRIPT])
@pytest.mark.parametrize("task", ["reconstruction", "segmentation"])
def test_the_other_tasks_are_exported(
    door: Door, run_of: Callable[[str], Path], tmp_path: Path, task: str, name: str
) -> None:
    answer = export(door, run_of(task), f"format={name}", f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err
    print(answer.out)
    parity = record(tmp_path / "out")["parity"]
    outputs = {"reconstruction": ["map", "score"], "segmentation": ["foreground", "kinds"]}
    assert list(parity["differences"]) == outputs[task]
    assert parity["answers_changed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO])
@pytest.mark.parametrize("task", ["classification", "reconstruction", "segmentation"])
def test_eight_bits_tell_what_they_cost(
    door: Door,
    finished: Path,
    run_of: Callable[[str], Path],
    tmp_path: Path,
    task: str,
    name: str,
) -> None:
    run = finished if task == "classification" else run_of(task)
    output = tmp_path / "out"
    answer = export(door, run, f"format={name}", "int8=true", f"output={output}")
    assert answer.status == 0, answer.err
    print(answer.out)
    assert names(output) == FILES[name]
    told = record(output)["eight_bits"]
    test = [row for row in rows_of(run) if row["split"] == "test"]
    assert told["images"] == len(test)
    assert f"Eight bits on the {len(test)} images of test" in answer.out
    shown = {
        "classification": ["accuracy", "balanced_accuracy", "auroc"],
        "reconstruction": ["auroc", "defects_missed", "good_rejected"],
        "segmentation": ["foreground_dice_of_pixels", "auroc"],
    }
    for key in shown[task]:
        assert key in answer.out
        assert told["before"][key]["value"] is not None
        assert told["after"][key]["value"] is not None


def test_figures_before_eight_bits_are_those_of_the_run(
    door: Door, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a quantisation that changes nothing, nothing changes."""
    from capsule_inspection.inference.formats.torchscript_format import TorchScript

    monkeypatch.setattr(TorchScript, "require", lambda self, *, int8: None)
    monkeypatch.setattr(
        TorchScript, "quantise", lambda self, path, output, made, seen: shutil.copy(path, output)
    )
    answer = export(door, finished, "format=torchscript", "int8=true", f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err
    told = record(tmp_path / "out")["eight_bits"]
    assert told["answers_changed"] == 0
    assert told["before"] == told["after"]
    own = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    for key in ("accuracy", "balanced_accuracy", "auroc"):
        assert told["before"][key]["value"] == pytest.approx(own[f"test/{key}"]["value"])
    assert "balanced_accuracy" in answer.out
    assert "+0.000" in answer.out


def test_a_model_that_says_something_else_is_not_kept(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(finished)
    plain = formats.ExportedEngine.run

    def wrong(self: Any, arrays: Any) -> dict[str, np.ndarray]:
        return {name: values * 1.01 for name, values in plain(self, arrays).items()}

    monkeypatch.setattr(formats.ExportedEngine, "run", wrong)
    answer = export(door, finished, "format=torchscript")
    check_refusal(answer, "does not say what the run says", "logits differs by", "not kept")
    assert content(finished) == before
    assert not strays(finished)


def test_a_model_that_is_right_for_one_image_alone_is_not_kept(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = formats.ExportedEngine.run

    def wrong(self: Any, arrays: Any) -> dict[str, np.ndarray]:
        found = plain(self, arrays)
        return found if len(arrays["image"]) == 1 else {k: v[::-1] for k, v in found.items()}

    monkeypatch.setattr(formats.ExportedEngine, "run", wrong)
    check_refusal(export(door, finished, "format=torchscript"), "logits differs by")
    assert not (finished / "export" / "torchscript").exists()


def test_a_network_that_cannot_be_written_is_told(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsule_inspection.inference.formats.torchscript_format import TorchScript

    def fail(*given: object) -> None:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(TorchScript, "write", fail)
    answer = export(door, finished, "format=torchscript")
    check_refusal(answer, "format=torchscript: this network cannot be written", "no such operation")
    assert not (finished / "export" / "torchscript").exists()


def test_a_folder_that_cannot_be_written_is_told(door: Door, finished: Path) -> None:
    (finished / "file").write_bytes(b"x")
    answer = export(door, finished, "format=torchscript", f"output={finished / 'file' / 'out'}")
    check_refusal(answer, "cannot be written", "name another folder")


def test_an_unknown_format_is_told_the_nearest(door: Door, finished: Path) -> None:
    check_refusal(
        export(door, finished, "format=onxx"), "format=onxx", "Did you mean onnx?", status=2
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["format=torchscript", "int8=true"], "Say format=openvino or format=onnx"),
        (["threads=0"], "threads=0: expected a number from 1 to 1024"),
        (["images=0"], "images=0: expected a value from 1"),
        (["data=mvtec", "data.root=/x"], "say data.root=<folder>"),
        (["data.image_size=[8,8]"], "data.image_size cannot be set together with run="),
        (["stage=test"], "stage: there is no such setting"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    door: Door, finished: Path, settings: list[str], expected: str
) -> None:
    check_refusal(export(door, finished, *settings), expected, status=2)
    assert not (finished / "export").exists()


def test_missing_packages_are_named_before_the_run_is_read(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.sys.modules, "onnxscript", None)
    (finished / "checkpoints" / "best.ckpt").write_bytes(b"x")
    check_refusal(export(door, finished, "format=onnx"), "pip install -e '.[onnx]'", status=2)


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_finished_is_refused(door: Door, finished: Path, status: str) -> None:
    (finished / "run.json").write_text(json.dumps({**record_of(finished), "status": status}))
    answer = export(door, finished, "format=torchscript")
    check_refusal(answer, f"not finished, its status is {status}")


def test_a_run_without_a_checkpoint_is_refused(door: Door, finished: Path) -> None:
    (finished / "checkpoints" / "best.ckpt").unlink()
    check_refusal(export(door, finished), "there is no such checkpoint")


def test_a_folder_that_is_no_run_is_refused(door: Door, tmp_path: Path) -> None:
    check_refusal(export(door, tmp_path), "expected a run folder")


def test_a_used_output_is_refused_and_stays(door: Door, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work", encoding="utf-8")
    answer = export(door, finished, "format=torchscript", f"output={tmp_path / 'out'}")
    check_refusal(answer, "thesis.txt", "name another folder")
    assert content(tmp_path / "out") == {"thesis.txt": b"years of work"}
    answer = export(door, finished, "format=torchscript", f"output={tmp_path / 'out/thesis.txt'}")
    check_refusal(answer, "found a file")


def test_images_that_have_moved_are_asked_for_and_taken(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    there = move_images(finished, tmp_path)
    check_refusal(export(door, finished, "format=torchscript"), "data.root")
    cache = tmp_path / "another cache"
    moved = [f"data.root={there}", f"data.cache_folder={cache}"]
    answer = export(door, finished, "format=torchscript", *moved)
    assert answer.status == 0, answer.err
    assert cache.is_dir()


def test_other_images_than_those_of_the_run_are_refused(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    other = draw_mvtec(tmp_path / "other", first_seed=1000)
    other_name = next((other / "test" / "crack").iterdir())
    other_name.rename(other_name.with_name("unknown.png"))
    answer = export(door, finished, "format=torchscript", f"data.root={other}")
    assert answer.status == 1
    assert "unknown.png" in answer.err


def test_names_of_the_exported_file_are_free(door: Door, finished: Path, tmp_path: Path) -> None:
    assert export(door, finished, "format=torchscript").status == 0
    file = finished / "export" / "torchscript" / "model.pt"
    moved = shutil.copy(file, tmp_path / "膠囊.pt")
    description = exported.open_exported(Path(moved), threads=1).description
    assert description.model == "custom_resnet"
    assert str(tmp_path) not in json.dumps(description.as_dict())
