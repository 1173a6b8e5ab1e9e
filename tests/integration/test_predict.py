"""predict.py: images through a finished run, into a folder with a gallery."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from built import Compose
from PIL import Image
from quick import (
    ODD_NAME,
    accept_changes,
    check_error,
    content,
    draw,
    rows_of,
    temporary_files,
)
from small import Cli, CommandResult

from capsule_inspection.config import checks
from capsule_inspection.data.image_io import DecodeConfig, DecodedImage
from capsule_inspection.inference import prediction_folder, predictor
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.reports.run.test_result import stored_result
from capsule_inspection.types import ConfigurationError, RunError
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.load_run import choose_runtime, load_predictor
from capsule_inspection.workflows.predict import build_rows

CPU = ("batch_size=2", "trainer=cpu", "trainer.threads=1", "workers=1")
RUNTIME = hardware.RuntimeConfig("cpu", hardware.FLOAT32, channels_last=False, threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images, in a folder of an odd name, with an odd name and another size among them."""
    folder = tmp_path / ODD_NAME
    for number in range(4):
        draw(folder / f"{number}.png", seed=100 + number)
    draw(folder / "<img src=x onerror=alert(1)>.png", seed=104)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "large.png")
    return folder


@pytest.fixture
def loaded(compose: Compose, finished_home: Path) -> Callable[..., Predictor]:
    """The finished run as predict.py loads it: `loaded("trainer.precision=bf16")`."""

    def call(*settings: str) -> Predictor:
        run = finished_home / "run"
        config = compose("predict", f"run={run}", "input=x", *CPU, *settings)
        return load_predictor(run, choose_runtime(run, config.trainer))

    return call


def predict(cli: Cli, run: Path, photos: Path, output: Path, *more: str) -> CommandResult:
    return cli("predict", f"run={run}", f"input={photos}", f"output={output}", *CPU, *more)


def without_log(output: Path) -> dict[str, bytes]:
    return {name: found for name, found in content(output).items() if name != "predict.log"}


def test_a_folder_becomes_tables_overlays_and_a_gallery_and_resumes_after_an_interruption(
    cli: Cli, finished: Path, photos: Path
) -> None:
    output, images = photos / "result", sorted(str(path) for path in photos.iterdir())
    result = predict(cli, finished, photos, output, "explain=all")
    assert result.status == 0, result.err
    assert "6 images: " in result.out
    assert "How good this model is: In its test it missed " in result.out.splitlines()[-1]
    text = (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in text]
    assert [row["path"] for row in found] == images
    for row in found:
        with Image.open(output / row["overlay"]) as overlay:
            assert overlay.size == (32, 32)
    (large,) = (row for row in found if row["path"].endswith("large.png"))
    assert any("50x30" in warning for warning in large["ood_warnings"])
    assert (large["width"], large["height"]) == (50, 30)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "<img src=x onerror" not in page
    assert "heat from low to high" in page
    assert "How good this model is: In its test it missed " in page
    record = json.loads((output / "prediction.json").read_text("utf-8"))
    assert (record["status"], record["precision"]) == ("finished", "32-true")
    assert not temporary_files(output)

    complete = rows_of(output)
    kept = [line for line in text if "3.png" not in line]
    (output / "predictions.jsonl").write_text("\n".join([*kept, '{"path": "cut sh']), "utf-8")
    (output / "predictions.csv").unlink()
    result = predict(cli, finished, photos, output, "explain=all")
    assert "5 images are predicted, 1 remain" in result.out  # its own overlays are none of them
    names = ("path", "status", "predicted_label", "is_defect", "ood_warnings")
    for row, other in zip(rows_of(output), complete, strict=True):
        assert [row[name] for name in names] == [other[name] for name in names]
        for name in ("score", "p_good", "p_crack", "p_poke"):  # other batches round otherwise
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-6)

    before = without_log(output)
    result = predict(cli, finished, photos, output, "explain=all", "overlays=defects")
    check_error(result, "overlays=all", "overlays=defects is set now")
    path = finished / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["network.head.bias"][0] += 1
    torch.save(checkpoint, path)
    accept_changes(finished)
    result = predict(cli, finished, photos, output, "explain=all")
    check_error(result, "were made with checkpoint=", "Name another folder")
    assert without_log(output) == before


def test_files_that_cannot_be_read_are_rows_and_alone_are_read_again(
    cli: Cli, finished_home: Path, photos: Path, tmp_path: Path
) -> None:
    run, table, whole = finished_home / "run", photos / "lot.csv", (photos / "2.png").read_bytes()
    (photos / "1.png").write_bytes(b"no image")
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (20_000, 20_000)).save(photos / "bomb.png")
    table.write_text("path\n0.png\n1.png\n2.png\nbomb.png\nnever.png\n", encoding="utf-8")
    settings = (f"run={run}", f"input={table}", *CPU, "max_pixels=1600")
    result = cli("predict", *settings)
    (folder,) = (tmp_path / "outputs" / "predictions").iterdir()
    again = f"run the command again with output={folder}"
    check_error(result, "4 of 5 images cannot be read", "1.png: is not a PNG, JPEG")
    check_error(result, "bomb.png: is 20000x20000 pixels; max_pixels allows 1600")
    check_error(result, "there is no such file", f"{again}: only these are read")
    assert f"After an interruption {again}" in result.out
    rows = rows_of(folder)
    assert [row["status"] for row in rows] == ["ok", "error", "error", "error", "error"]
    assert rows[0]["predicted_label"]
    assert "cut short" in rows[2]["error"]
    assert (folder / "index.html").is_file()

    (photos / "2.png").write_bytes(whole)
    for name in ("1.png", "never.png"):
        draw(photos / name, seed=7)
    result = cli("predict", *settings, f"output={folder}")
    check_error(result, "1 of 5", "Repair them and run the same command again: only these are")
    assert "1 images are predicted, 4 remain" in result.out
    assert [row["status"] for row in rows_of(folder)] == ["ok", "ok", "ok", "error", "ok"]


def test_a_full_disk_is_one_error_message(
    cli: Cli, finished_home: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prediction_folder.PredictionFolder, "add", refuse)
    result = predict(cli, finished_home / "run", photos, tmp_path / "out")
    check_error(result, "the disk is full ([Errno 28] No space left on device)", "Free some space")


def test_an_image_that_changes_while_it_is_read_has_its_earlier_identity(
    loaded: Callable[..., Predictor], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = photos / "2.png", predictor.read_image

    def read_and_change(path: Path, config: DecodeConfig) -> DecodedImage:
        decoded = read(path, config)
        draw(path, seed=7, size_px=44)
        return decoded

    assert loaded().read(path).identity == prediction_folder.identity(path)
    monkeypatch.setattr(predictor, "read_image", read_and_change)
    (predicted,) = loaded().stream([path], batch_size=2, workers=1)
    assert predicted.identity != prediction_folder.identity(path)


def test_only_overlays_with_an_explanation_are_coloured(
    loaded: Callable[..., Predictor],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "overlays").mkdir()
    paths = [photos / f"{number}.png" for number in range(4)]

    used = loaded()

    def coloured(explain: str) -> set[bool]:
        stream = used.stream(paths, batch_size=2, workers=1, explain=explain)
        rows = list(build_rows(tmp_path, enumerate(stream), "all", workers=1))
        assert all((tmp_path / row["overlay"]).is_file() for row in rows)
        return {row["coloured"] for row in rows}

    assert coloured("all") == {True}
    assert coloured("none") == {False}
    monkeypatch.setattr(TorchBackend, "call", lambda *given: None)  # as exported files do
    caplog.set_level("INFO")
    assert coloured("all") == {False}
    assert caplog.text.count("Explanations are not available") == 1


def test_predictions_are_computed_in_the_precision_of_the_setting(
    loaded: Callable[..., Predictor], photos: Path
) -> None:
    scores = []
    for precision in ("bf16", "32"):
        used = loaded(f"trainer.precision={precision}")
        (predicted,) = used.stream([photos / "0.png"], batch_size=1, workers=1)
        scores.append(predicted.prediction.score)
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_threshold_has_its_own_test_result_and_a_run_without_metrics_none(
    finished_home: Path, finished: Path, compose: Compose
) -> None:
    run = finished_home / "run"
    runtime = choose_runtime(run, compose("predict", f"run={run}", "input=x", *CPU).trainer)
    results = [
        stored_result(load_predictor(run, runtime, threshold=value).metadata.run, where="run")
        for value in (None, 0.0, "argmax")
    ]
    assert [result.threshold for result in results] == [None, 0.0, "argmax"]
    assert results[1].rejected.wrong == results[1].rejected.images  # all scores exceed 0
    (finished / "metrics.json").unlink()
    assert load_predictor(finished, runtime, verify=False).metadata.run["test"] is None


def test_a_run_that_is_not_finished_or_has_no_checkpoint_is_refused(finished: Path) -> None:
    for status, why in (
        ("running", "it was stopped before its end"),
        ("failed", "its status is failed"),
        ("interrupted", "its status is interrupted"),
    ):
        accept_changes(finished, status=status, error="the disk was full")
        expected = rf"not finished, {why}.*train\.py resume="
        with pytest.raises(RunError, match=expected):
            load_predictor(finished, RUNTIME)
    (finished / "checkpoints" / "best.ckpt").unlink()
    accept_changes(finished, status="finished")
    with pytest.raises(RunError, match=r"best\.ckpt.*there is no such checkpoint"):
        load_predictor(finished, RUNTIME)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(
    cli: Cli, finished: Path, photos: Path, tmp_path: Path
) -> None:
    path = finished / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "extra": Trap(tmp_path / "executed")}, path)
    accept_changes(finished)
    result = predict(cli, finished, photos, tmp_path / "out")
    check_error(result, "more than tensors and plain values")
    assert not (tmp_path / "executed").exists()


def test_an_empty_folder_is_refused_before_the_model_is_read(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (finished / "checkpoints" / "best.ckpt").write_bytes(b"x")
    result = predict(cli, finished, tmp_path / "photos", tmp_path / "out")
    check_error(result, "expected images")


def test_invalid_settings_are_refused(
    cli: Cli, compose: Compose, finished_home: Path, tmp_path: Path
) -> None:
    run = finished_home / "run"
    for setting, expected in {
        "workers=0": "workers=0: expected a number from 1 to 1024",
        "overlays=some": "overlays=some: not a choice",
        "batch_size=0": "batch_size=0: expected a value from 1",
        "max_pixels=0": "max_pixels=0: expected a value from 64",
    }.items():
        with pytest.raises(ConfigurationError, match=re.escape(expected)):
            checks.check(compose("predict", f"run={run}", "input=x", setting))
    result = predict(cli, run, tmp_path, tmp_path / "out", "data.roi=none")
    check_error(result, "data.roi: this is a setting of train.py", status=2)
