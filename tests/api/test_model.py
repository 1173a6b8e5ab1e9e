"""load_model: predictions of files and of images in memory, equal to those of predict.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from quick import accept_changes, draw, draw_mvtec
from small import Cli

from capsule_inspection import Model, load_model
from capsule_inspection.types import ConfigurationError, DataError, RunError

CPU = ("trainer=cpu", "trainer.threads=1", "workers=1", "overlays=none", "verify=skip")


@pytest.fixture(scope="module")
def model(finished_home: Path) -> Model:
    """The finished classifier."""
    return load_model(finished_home / "run", threads=1)


@pytest.fixture(scope="module", params=["finished_home", "autoencoder_home", "unet_home"])
def home(request: pytest.FixtureRequest) -> Path:
    """The home of the finished run of each task."""
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images, the first grey and the last wider than high."""
    folder = tmp_path / "photos"
    draw(folder / "1.png", seed=2)
    Image.open(folder / "1.png").convert("L").save(folder / "0.png")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "2.png")
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_predictions_are_those_of_predict_py_to_the_last_bit(
    home: Path, photos: Path, cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = home / "run"
    loaded = load_model(run, threads=1)
    for source in (photos / "2.png", photos):
        output = tmp_path / f"predicted_{source.stem}"
        result = cli("predict", f"run={run}", f"input={source}", f"output={output}", *CPU)
        assert result.status == 0, result.err
        capfd.readouterr()
        found = list(loaded.predict_folder(source, workers=1))
        if source.is_file():
            with Image.open(source) as image:
                others: list[Any] = [source, str(source), image, np.asarray(image)]
                found += [loaded.predict(other) for other in others]
        assert capfd.readouterr() == ("", "")
        expected = lines(output)
        assert len(found) == (5 if source.is_file() else 3)
        for number, prediction in enumerate(found):
            row = expected[0 if source.is_file() else number]
            for key, value in prediction.as_row().items():
                if key != "path":
                    assert json.loads(json.dumps(value)) == row[key], key
            assert prediction.label == row["predicted_label"]
            assert prediction.score == row["score"]
            assert prediction.probabilities == row["probabilities"]


def test_maps_have_the_size_of_the_image_and_are_those_of_the_model(
    home: Path, photos: Path
) -> None:
    loaded = load_model(home / "run", threads=1)
    prediction = loaded.predict(photos / "2.png", explain="all")
    x0, y0, x1, y1 = prediction.box
    assert 0 <= x0 < x1 <= prediction.width == 50
    assert 0 <= y0 < y1 <= prediction.height == 30
    outside = np.ones((30, 50), bool)
    outside[y0:y1, x0:x1] = False
    maps = (prediction.anomaly_map, prediction.predicted_mask, prediction.explanation)
    assert [found is not None for found in maps] == {
        "classification": [False, False, True],
        "anomaly_detection": [True, False, False],
        "segmentation": [True, True, False],
    }[loaded.task]
    for found in maps:
        assert found is None or (found.shape == (30, 50) and not found[outside].any())
    assert prediction.predicted_mask is None or prediction.predicted_mask.dtype == np.uint8


def test_a_region_is_where_its_mask_is(unet_home: Path, photos: Path) -> None:
    loaded = load_model(unet_home / "run", threads=1)
    predictor = loaded._predictor
    read = predictor.read(photos / "2.png")
    assert read.image is not None
    (predicted,) = predictor.predict([read])
    assert predicted.at_crop is not None
    mask = np.zeros_like(predicted.at_crop.predicted_mask)
    mask[10:14, 20:40] = 2
    changed = predicted.at_crop.__class__(label=2, score=1.0, predicted_mask=mask)
    found = loaded._prediction(predicted._replace(at_crop=changed)).predicted_mask
    assert found is not None
    rows, columns = np.nonzero(found == 2)
    expected = read.image.to_source((20, 10, 40, 14))
    actual = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(actual, expected, atol=1)


def test_a_figure_and_a_picture_show_the_prediction(home: Path, photos: Path) -> None:
    prediction = load_model(home / "run", threads=1).predict(photos / "1.png", explain="all")
    figure = prediction.plot()
    assert prediction.label in figure.get_suptitle()
    assert 1 <= len(figure.axes) <= 2
    for displayed in (prediction, figure):
        assert displayed._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert repr(prediction).startswith(f"Prediction('{photos / '1.png'}', label=")


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I;16")


@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_of_any_mode_is_predicted_as_its_file(
    model: Model, finished_home: Path, photos: Path, mode: str
) -> None:
    rgb = Image.open(photos / "1.png")
    image = rgb.convert("L" if mode == "I;16" else "RGB" if mode == "LAB" else mode[:4])
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) << 4)
        model = load_model(finished_home / "run", threads=1, bit_depth=12)
    if mode in ("LA", "PA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    file = photos / ("a.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "a.tif")
    image.save(file)
    expected = model.predict(file)
    with Image.open(file) as opened:
        for same in (image, opened):
            found = model.predict(same)
            assert (found.score, found.probabilities) == (expected.score, expected.probabilities)
            assert found.notes == expected.notes


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_a_pil_image_keeps_its_orientation_and_its_colour_profile(
    model: Model, photos: Path, name: str
) -> None:
    from PIL import ImageCms

    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = Image.open(photos / "2.png")
    image.save(photos / name, exif=exif, icc_profile=profile, quality=100)
    expected = model.predict(photos / name)
    assert (expected.width, expected.height) == (30, 50)
    with Image.open(photos / name) as opened:
        found = model.predict(opened)
    assert (found.width, found.height, found.score) == (30, 50, expected.score)
    assert found.notes == expected.notes


def test_a_home_folder_is_expanded(
    model: Model, finished_home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(finished_home))
    found = load_model("~/run", threads=1).predict(photos / "2.png")
    assert found.score == model.predict(photos / "2.png").score


def test_arrays_of_grey_alpha_and_more_bits_are_predicted_as_files(
    model: Model, finished_home: Path, photos: Path
) -> None:
    grey = np.asarray(Image.open(photos / "0.png"))
    expected = model.predict(photos / "0.png").score
    assert model.predict(grey).score == expected
    assert model.predict(np.dstack([grey] * 3)[:, ::-1][:, ::-1]).score == expected
    assert model.predict(np.dstack([grey] * 3 + [np.full_like(grey, 255)])).score == expected
    deep = load_model(finished_home / "run", threads=1, bit_depth=16)
    assert deep.predict(grey.astype(np.uint16) * 257).score == expected
    assert deep.predict((grey.astype(np.uint16) * 257).astype(">u2")).score == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((20, 20, 3), np.float32), "found float32 (20, 20, 3). Scale it to 0 to 255"),
        (np.zeros((3, 20, 20), np.uint8), "found uint8 (3, 20, 20). Move its channels to the end"),
        (np.zeros((1, 20, 20, 3), np.uint8), "Give one image at a time"),
        (np.zeros((20, 20, 3), np.uint16), "Save colour of 16 bits as PNG, and give its path"),
        (np.zeros((20, 20), bool), "found bool (20, 20). Convert it"),
        (np.zeros((4, 20, 3), np.uint8), "array: is 20x4 pixels; at least 8x8 are needed"),
        (np.full((20, 20), 999, np.uint16), "name the depth of these images with bit_depth"),
        ([1, 2], "expected the path of an image, a PIL image, or an array"),
        (Image.new("HSV", (20, 20)), "the mode of this PIL image is HSV. Convert it"),
        (Image.new("F", (20, 20)), "PIL image: has 32-bit or signed pixels"),
        ("nowhere.png", "nowhere.png: there is no such file."),
    ],
)
def test_what_is_no_image_is_refused(model: Model, image: Any, expected: str) -> None:
    with pytest.raises(DataError, match=re.escape(expected)):
        model.predict(image)


def test_a_pil_image_of_a_damaged_file_is_refused(model: Model, photos: Path) -> None:
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(photos / "2.png") as image, pytest.raises(DataError, match="cut short"):
        model.predict(image)


def test_files_that_cannot_be_read_are_named_at_the_end_or_left_out(
    model: Model, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "1.png").write_bytes(b"no image")
    stream = model.predict_folder(photos)
    found = [next(stream).path, next(stream).path]
    assert found == [str(photos / "0.png"), str(photos / "2.png")]
    with pytest.raises(DataError, match=r"(?s)1 image cannot be read, all .*1\.png: is not a"):
        next(stream)
    kept = list(model.predict_folder(photos, on_bad_file="skip"))
    assert [prediction.path for prediction in kept] == found
    assert "Left out: " in caplog.text
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match="expected images"):
        model.predict_folder(photos / "empty")


def test_images_are_read_a_few_batches_ahead_of_what_is_taken(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_mvtec(tmp_path / "many", counts={"good": 60})
    read, original = [], model._predictor.read
    monkeypatch.setattr(model._predictor, "read", lambda path: read.append(path) or original(path))
    stream = model.predict_folder(tmp_path / "many", batch_size=2, workers=1)
    assert next(stream).path == str(read[0])
    assert len(read) < 20
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cuba"}, "trainer.accelerator=cuba: not a choice"),
        ({"threads": 0}, "trainer.threads=0: expected a number from 1 to 1024"),
        ({"bit_depth": 9}, "bit_depth=9: not a choice"),
        ({"max_pixels": 1}, "max_pixels=1: expected a value from 64"),
        ({"threshold": 2.0}, "threshold=2.0: expected a probability from 0 to 1, or argmax"),
    ],
)
def test_settings_are_checked_as_those_of_the_command(
    finished_home: Path, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        load_model(finished_home / "run", **settings)


def test_a_threshold_decides(model: Model, finished_home: Path, photos: Path) -> None:
    for threshold, is_defect in ((np.float64(0), True), (1.0, False)):
        given = load_model(finished_home / "run", threshold=threshold, threads=1)
        prediction = given.predict(photos / "1.png")
        assert (prediction.is_defect, prediction.threshold) == (is_defect, threshold)
        assert prediction.score == model.predict(photos / "1.png").score
    with pytest.raises(ConfigurationError, match=r"explain='defect': expected one of all, defects"):
        model.predict(photos / "1.png", explain="defect")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"batch_size=0: expected a number of at least 1"):
        model.predict_folder(photos, batch_size=0)


def test_a_folder_of_runs_and_an_odd_name_are_found(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "my runs, (a=b) & 50% [膠囊]" / "1"
    folder.parent.mkdir(parents=True)
    shutil.move(finished, folder)
    for path in (folder, folder.parent, folder / "checkpoints" / "best.ckpt", "latest"):
        assert load_model(path, threads=1).path.resolve() == folder


def test_what_is_no_finished_run_is_refused(finished: Path, tmp_path: Path) -> None:
    def refuse(path: Path, expected: str) -> None:
        with pytest.raises(RunError, match=expected):
            load_model(path)

    refuse(tmp_path / "nowhere", r"expected a run folder with .* found no such folder")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", r"found no run\.json and no config\.yaml in it")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    refuse(tmp_path / "model.onnx", r"model\.onnx")
    accept_changes(finished, status="running")
    refuse(finished, r"this run is not finished.*train\.py resume=")
    accept_changes(finished, status="finished", format_version=99)
    refuse(finished, "99")


def test_an_export_predicts_as_its_run_and_one_of_another_version_is_refused(
    finished_home: Path, model: Model, photos: Path, cli: Cli, tmp_path: Path
) -> None:
    import onnx

    exported = tmp_path / "exported"
    result = cli("export", f"run={finished_home / 'run'}", f"output={exported}", "threads=1")
    assert result.status == 0, result.err
    expected = model.predict(photos / "1.png")
    for path in (exported, exported / "model.onnx"):
        found = load_model(path, threads=1).predict(photos / "1.png")
        assert found.score == pytest.approx(expected.score, abs=1e-4)
    content = onnx.load(exported / "model.onnx")
    stored = json.loads(content.metadata_props[0].value) | {"format_version": 99}
    content.metadata_props[0].value = json.dumps(stored)
    onnx.save(content, exported / "model.onnx")
    with pytest.raises(RunError, match="changed since it was exported"):
        load_model(exported)
    with pytest.raises(RunError, match="expected metadata of format 1, found 99"):
        load_model(exported, verify=False)
