"""predict.py: photographs through a finished run, into a folder with a gallery."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import check_agreement, evaluate, predict_test_images
from PIL import Image
from quick import ODD_NAME, check_refusal, content, draw, record_of, rows_of, strays
from small import Answer, Door

from capsule_inspection.inference import predictor, results
from capsule_inspection.inference.torch_engine import TorchEngine


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photographs, in a folder of an odd name, with an odd name among them."""
    folder = tmp_path / ODD_NAME
    for number in range(4):
        draw(folder / f"{number}.png", seed=100 + number)
    draw(folder / "<img src=x onerror=alert(1)>.png", seed=104)
    return folder


def predict(door: Door, run: Path, photos: Path, output: Path, *more: str) -> Answer:
    settings = ("batch_size=2", "trainer=cpu", "trainer.threads=1", "workers=1")
    return door("predict", f"run={run}", f"input={photos}", f"output={output}", *settings, *more)


def lines(output: Path) -> list[dict[str, Any]]:
    text = (output / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_photographs_get_the_answers_that_the_run_gave_for_its_test_images(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    evaluate(door, finished, tmp_path / "evaluated")
    predict_test_images(door, finished, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", tmp_path / "evaluated")


def test_a_folder_becomes_tables_pictures_and_a_gallery(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    answer = predict(door, finished, photos, output)
    assert answer.status == 0, answer.err
    assert "5 photographs: " in answer.out
    found = lines(output)
    assert [row["path"] for row in found] == sorted(str(path) for path in photos.iterdir())
    for row in found:
        with Image.open(output / row["overlay"]) as overlay:
            assert overlay.size == (32, 32)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "<img src=x onerror" not in page
    assert json.loads((output / "prediction.json").read_text("utf-8"))["status"] == "finished"
    assert not strays(output)


def test_a_file_that_cannot_be_read_is_a_row_and_the_rest_goes_on(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "1.png").write_bytes(b"no photograph")
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    answer = predict(door, finished, photos, tmp_path / "out")
    check_refusal(answer, "2 of 5 photographs could not be read", "1.png: is not a PNG, JPEG")
    rows = {Path(row["path"]).name: row for row in rows_of(tmp_path / "out")}
    assert [name for name, row in rows.items() if row["status"] == "error"] == ["1.png", "2.png"]
    assert "cut short" in rows["2.png"]["error"]
    assert rows["3.png"]["prediction"]
    assert (tmp_path / "out" / "index.html").is_file()

    (photos / "2.png").write_bytes(whole)
    draw(photos / "1.png", seed=7)
    again = predict(door, finished, photos, tmp_path / "out")
    assert again.status == 0, again.err
    assert "3 photographs are done, 2 to go" in again.out
    assert {row["status"] for row in rows_of(tmp_path / "out")} == {"ok"}


def test_its_own_pictures_are_no_photographs(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        answer = predict(door, finished, photos, photos / "result")
        assert answer.status == 0, answer.err
        assert "5 photographs: " in answer.out
    assert "5 photographs are done, 0 to go" in answer.out


def test_how_to_go_on_names_the_folder_where_the_command_does_not(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "1.png").write_bytes(b"no photograph")
    answer = door("predict", f"run={finished}", f"input={photos}", "trainer=cpu", "workers=1")
    (folder,) = (tmp_path / "outputs" / "predictions").iterdir()
    setting = f"output={folder}"
    check_refusal(answer, f"run the command again with {setting}: only these are read anew")
    assert f"To go on after an interruption, run the command again with {setting}" in answer.out
    named = predict(door, finished, photos, tmp_path / "out")
    check_refusal(named, "Mend them and run the same command again: only these are read anew")


def test_a_full_disk_is_told_in_one_message(
    door: Door, finished: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.Results, "add", refuse)
    answer = predict(door, finished, photos, tmp_path / "out")
    check_refusal(answer, "the disk is full ([Errno 28] No space left on device)", "Make room")


def test_a_photograph_that_changes_while_it_is_read_is_read_again(
    door: Door, finished: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = predictor.read_image

    def read_and_change(path: Path, *, max_pixels: int) -> np.ndarray:
        pixels = read(path, max_pixels=max_pixels)
        if path.name == "2.png":
            draw(path, seed=7, size_px=44)
        return pixels

    monkeypatch.setattr(predictor, "read_image", read_and_change)
    assert predict(door, finished, photos, tmp_path / "out").status == 0
    monkeypatch.setattr(predictor, "read_image", read)
    answer = predict(door, finished, photos, tmp_path / "out")
    assert "4 photographs are done, 1 to go" in answer.out


def test_colours_that_no_picture_has_are_not_explained(
    door: Door, finished: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "Bright places in a picture"
    for name, setting in (("coloured", "explain=all"), ("plain", "explain=none")):
        assert predict(door, finished, photos, tmp_path / name, setting).status == 0
        page = (tmp_path / name / "index.html").read_text(encoding="utf-8")
        assert (words in page) == (name == "coloured")
    monkeypatch.setattr(TorchEngine, "explain", lambda *given: None)  # as exported files do
    answer = predict(door, finished, photos, tmp_path / "out", "explain=all")
    assert answer.out.count("Where the model looks is not shown") == 1
    assert words not in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_predictions_that_were_cut_short_end_as_others_do(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    assert predict(door, finished, photos, whole).status == 0
    later = photos / "3.png"
    kept = later.read_bytes()
    later.unlink()
    assert predict(door, finished, photos, output).status == 0
    with (output / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"path": "cut sh')
    (output / "predictions.csv").unlink()
    later.write_bytes(kept)
    assert predict(door, finished, photos, output).status == 0
    ours, theirs = (rows_of(folder) for folder in (output, whole))
    names = ("path", "status", "prediction", "is_defect", "remarks")
    assert [[row[name] for name in names] for row in ours] == [
        [row[name] for name in names] for row in theirs
    ]
    numbers = ("score", "p_good", "p_crack", "p_poke")  # other batches round otherwise
    for row, other in zip(ours, theirs, strict=True):
        for name in numbers:
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-6)


def test_an_image_bomb_is_a_row_and_not_decoded(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    Image.new("1", (20_000, 20_000)).save(photos / "bomb.png")
    answer = predict(door, finished, photos, tmp_path / "out", "max_pixels=1600")
    check_refusal(answer, "bomb.png: is 20000x20000 pixels; max_pixels allows 1600")
    assert len(rows_of(tmp_path / "out")) == 6


def test_missing_files_of_a_table_are_rows(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    table = photos / "lot.csv"
    table.write_text("path\n0.png\nnever.png\n", encoding="utf-8")
    answer = predict(door, finished, table, tmp_path / "out")
    check_refusal(answer, "1 of 2 photographs could not be read", "there is no such file")


def test_a_used_output_folder_is_refused_and_stays(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work", encoding="utf-8")
    check_refusal(predict(door, finished, photos, tmp_path / "out"), "thesis.txt", "name another")
    assert "thesis.txt" in content(tmp_path / "out")


def test_predictions_of_other_settings_are_not_continued(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    assert predict(door, finished, photos, tmp_path / "out").status == 0
    before = without_log(tmp_path / "out")
    answer = predict(door, finished, photos, tmp_path / "out", "overlays=defects")
    check_refusal(answer, "overlays=all", "overlays=defects is asked for now")
    assert without_log(tmp_path / "out") == before


def test_predictions_of_another_model_are_not_continued(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    import torch

    other = shutil.copytree(finished, tmp_path / "other")
    path = other / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["network.head.bias"][0] += 1
    torch.save(checkpoint, path)
    assert predict(door, finished, photos, tmp_path / "out").status == 0
    before = without_log(tmp_path / "out")
    answer = predict(door, other, photos, tmp_path / "out")
    check_refusal(answer, "were made with checkpoint=", "name another folder")
    assert without_log(tmp_path / "out") == before


def without_log(output: Path) -> dict[str, bytes]:
    return {name: found for name, found in content(output).items() if name != "predict.log"}


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_finished_is_refused(
    door: Door, finished: Path, photos: Path, tmp_path: Path, status: str
) -> None:
    record = {**record_of(finished), "status": status, "error": "the disk was full"}
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    answer = predict(door, finished, photos, tmp_path / "out")
    check_refusal(answer, f"not finished, its status is {status}", "train.py resume=")


def test_a_run_without_its_best_checkpoint_is_refused(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    (finished / "checkpoints" / "best.ckpt").unlink()
    check_refusal(predict(door, finished, photos, tmp_path / "out"), "there is no such checkpoint")


@pytest.mark.parametrize("name", ["photo.png", "model.bin", "two models"])
def test_what_is_neither_run_nor_exported_file_is_told_what_is_expected(
    door: Door, photos: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "two models":
        path.mkdir()
        for file in ("a.onnx", "b.pt"):
            (path / file).write_bytes(b"x")
    else:
        path.write_bytes(b"x")
    answer = predict(door, path, photos, tmp_path / "out")
    check_refusal(answer, f"{path}: ", ".onnx, .xml, .pt" if name != "model.bin" else ".xml file")


class Harm:
    """Would write a file if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    path = finished / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "extra": Harm(tmp_path / "harmed")}, path)
    answer = predict(door, finished, photos, tmp_path / "out")
    check_refusal(answer, "more than tensors and plain values")
    assert not (tmp_path / "harmed").exists()


def test_an_empty_folder_is_refused_before_the_model_is_read(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    shutil.rmtree(finished / "checkpoints")
    (finished / "checkpoints").mkdir()
    (finished / "checkpoints" / "best.ckpt").write_bytes(b"x")
    answer = predict(door, finished, tmp_path / "photos", tmp_path / "out")
    check_refusal(answer, "expected photographs")


def test_photographs_of_another_size_are_marked(door: Door, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "large.png")
    assert predict(door, finished, folder, tmp_path / "out").status == 0
    (row,) = lines(tmp_path / "out")
    assert any("50x30" in remark for remark in row["remarks"])
    assert (row["width"], row["height"]) == (50, 30)


def test_what_is_recorded_is_the_precision_that_was_computed(
    door: Door, finished: Path, photos: Path, tmp_path: Path
) -> None:
    precisions = {"trainer.precision=bf16": "bf16-mixed", "trainer.precision=32": "32-true"}
    for setting, meant in precisions.items():
        output = tmp_path / meant
        assert predict(door, finished, photos, output, setting).status == 0
        assert json.loads((output / "prediction.json").read_text("utf-8"))["precision"] == meant
    first, second = (lines(tmp_path / meant) for meant in precisions.values())
    assert [row["score"] for row in first] != [row["score"] for row in second]
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("workers=0", "workers=0: expected a number from 1 to 1024"),
        ("overlays=some", "overlays=some: not a choice"),
        ("batch_size=0", "batch_size=0: expected a value from 1"),
        ("max_pixels=0", "max_pixels=0: expected a value from 64"),
        ("trainer.precision=16", "trainer.precision=16: photographs are answered in 32-true or"),
        ("data.roi=none", "data.roi cannot be set together with run="),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    door: Door, finished: Path, photos: Path, tmp_path: Path, setting: str, expected: str
) -> None:
    check_refusal(predict(door, finished, photos, tmp_path / "out", setting), expected, status=2)
