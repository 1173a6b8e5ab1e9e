"""app.py: what its page predicts, and the page itself in a browser."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image
from quick import accept_changes, check_error, draw, record_of, rows_of
from small import REPOSITORY, Cli

from capsule_inspection.inference.embeddings import load_embeddings
from capsule_inspection.workflows import app
from capsule_inspection.workflows.app_predictions import (
    AppModel,
    Displayed,
    Example,
    find_examples,
    to_data_uri,
)
from capsule_inspection.workflows.app_uploads import Uploads

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip
PATIENCE_S = 300
"""For a server to start, and to stop."""
Compose = Callable[..., DictConfig]


def model_of(run: Path, compose: Compose, folder: Path, *settings: str) -> AppModel:
    """What the page displays a run with."""
    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1", *settings)
    (folder / "uploads").mkdir(exist_ok=True)
    return app.load_model(config, Uploads(folder / "uploads", config))


def test_uploads_are_predicted_with_similar_training_images_also_several_at_once(
    finished_home: Path, compose: Compose, tmp_path: Path
) -> None:
    model = model_of(finished_home / "run", compose, tmp_path, "neighbours=3")
    known = load_embeddings(finished_home / "run" / "embeddings.npz")
    shown = model.predict(finished_home / "bottle" / known.paths[0])
    assert shown.row["status"] == "ok"
    assert shown.explained == shown.row["predicted_label"]
    assert shown.image is not None
    assert shown.overlay is not None
    image, overlay = (np.asarray(Image.open(path)) for path in (shown.image, shown.overlay))
    assert image.shape == overlay.shape == (1024, 1024, 3)  # enlarged
    assert not np.array_equal(image, overlay)
    assert model.uploads.has(str(shown.image))
    assert shown.similar[0][1].endswith("similarity 100%")
    assert shown.similar[0][0] == to_data_uri(known.pictures[0])
    assert len(shown.similar) == 3

    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    bad = model.predict(tmp_path / "notes.txt")
    assert bad.row["error"].startswith("is not a PNG, JPEG, BMP, TIFF, WebP, GIF")
    assert str(tmp_path) not in str(bad.row)
    assert bad == Displayed(bad.row)
    assert model.predict(tmp_path / "notes.txt", 0.2) == bad

    paths = [draw(tmp_path / f"{number}.png", seed=number) for number in range(6)]
    alone = [model.predict(path).row["score"] for path in paths]
    assert len(set(alone)) == len(paths)
    again = model_of(finished_home / "run", compose, tmp_path)
    with ThreadPoolExecutor(len(paths)) as clients:
        assert [of.row["score"] for of in clients.map(again.predict, paths)] == alone


def test_another_threshold_decides_without_predicting_anew(
    finished_home: Path, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(finished_home / "run", compose, tmp_path)
    path = draw(tmp_path / "a.png", seed=0)
    shown = model.predict(path)
    monkeypatch.setattr(model.predictor, "read", None)
    for threshold, is_defect in ((0.0, True), (1.0, False)):
        moved = model.predict(path, threshold)
        assert moved.row["is_defect"] is is_defect
        assert moved._replace(row=shown.row) == shown
    assert model.predict(path) == shown


def test_models_without_one_deciding_score_have_no_slider(
    finished_home: Path, autoencoder_home: Path, unet_home: Path, compose: Compose, tmp_path: Path
) -> None:
    classifier = model_of(finished_home / "run", compose, tmp_path, "threshold.value=0.25")
    slider = classifier.slider()
    assert slider is not None
    assert (slider.own, slider.low, slider.high) == (0.25, 0, 1)
    assert (
        model_of(finished_home / "run", compose, tmp_path, "threshold.value=argmax").slider()
        is None
    )
    assert model_of(unet_home / "run", compose, tmp_path).slider() is None
    model = model_of(autoencoder_home / "run", compose, tmp_path)
    slider = model.slider()
    assert slider is not None
    assert model.result is not None
    assert model.result.scored is not None
    assert all(slider.has(score) for score in model.result.scored.score)
    assert slider.own == model.predictor.post_processor.threshold.value


def test_examples_are_the_first_test_images_of_each_class_and_only_files_of_equal_content(
    finished: Path,
    finished_home: Path,
    compose: Compose,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = shutil.copytree(finished_home / "bottle", tmp_path / "images")
    data = record_of(finished)["data"]
    accept_changes(finished, data={**data, "root": str(images)})
    model = model_of(finished, compose, tmp_path)
    assert model.examples_split == "test"
    assert [of.label for of in model.examples[:3]] == ["good", "crack", "poke"]
    assert 3 <= len(model.examples) <= 6
    tested = {row["path"] for row in rows_of(finished) if row["split"] == "test"}
    assert {of.path.relative_to(images).as_posix() for of in model.examples} <= tested
    assert all(of.picture.startswith("data:image/png") for of in model.examples)
    assert all(of.is_there(2**20) for of in model.examples)

    changed, gone, pipe = (of.path for of in model.examples[:3])
    changed.write_bytes(gone.read_bytes())
    gone.unlink()
    pipe.unlink()
    os.mkfifo(pipe)
    assert not any(of.is_there(2**20) for of in model.examples[:3])

    def examples(run: Path = finished, max_bytes: int = 2**20) -> list[Example]:
        return find_examples(run, model.predictor, max_bytes=max_bytes)[0]

    assert examples() == model.examples[3:]
    assert examples(max_bytes=10) == []
    assert examples(tmp_path) == []  # an exported model
    (finished / "predictions.csv").write_text("damaged", encoding="utf-8")
    assert examples() == []
    assert "The page has no examples" in caplog.text


@pytest.fixture
def address(finished_home: Path, tmp_path: Path) -> Iterator[str]:
    """Where a page for a finished run is served, by a process of its own behind a proxy."""
    pytest.importorskip("gradio")
    settings = [f"run={finished_home / 'run'}", "port=0", "max_upload_mb=1", "trainer=cpu"]
    command = [sys.executable, "-u", str(REPOSITORY / "app.py"), *settings]
    behind_a_proxy = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    with subprocess.Popen(
        command, cwd=tmp_path, env=behind_a_proxy, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = _served(server)
            yield line.split()[3].rstrip(",")
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()


def _served(server: subprocess.Popen[str]) -> str:
    """The line with the address; one that never comes ends with the process."""
    assert server.stdout is not None
    patience = threading.Timer(PATIENCE_S, server.kill)
    patience.start()
    lines = []
    for line in server.stdout:
        lines.append(line)
        if line.startswith("Upload images at "):
            patience.cancel()
            return line
    patience.cancel()
    pytest.fail(f"the page was not served: {lines}")


@pytest.fixture
def view(address: str) -> Iterator[Any]:
    """The page in a browser."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.messages = []  # a page that is in order writes none
        page.on("console", lambda message: page.messages.append(message.text))
        page.goto(address)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        yield page
        browser.close()


@pytest.mark.slow
def test_the_page_predicts_uploaded_files_and_decides_by_another_threshold(
    view: Any, address: str, finished_home: Path, tmp_path: Path
) -> None:
    assert address.startswith("http://127.0.0.1:")
    assert "In its test it missed" in view.inner_text("#head")
    assert "Images stay on this machine" in view.inner_text("#head")
    notes, large = tmp_path / "notes.txt", tmp_path / "large.png"
    notes.write_text("not an image", encoding="utf-8")
    large.write_bytes(bytes(2 * 2**20))
    poke = finished_home / "bottle" / "test" / "poke" / "000.png"
    view.set_input_files("#upload input", [str(path) for path in (poke, large, notes, poke)])
    view.wait_for_selector("#prediction tbody tr:nth-child(3)")
    assert "large.png was not uploaded" in view.inner_text("#upload")
    assert "is not a PNG, JPEG" in view.inner_text("#prediction tbody tr:nth-child(2)")
    view.wait_for_selector("#prediction .headline:is(.good, .near, .bad)")
    assert "any defect" in view.inner_text("#prediction .subline")
    for image in view.query_selector_all("#prediction img"):
        assert image.evaluate("image => image.naturalWidth") > 0
    assert view.query_selector_all("#prediction .similar img")
    _act(lambda: view.click("#prediction tbody tr:nth-child(2)"), view, ".headline.none")
    row = "tr:nth-child(3)"
    _act(lambda: view.click(f"#prediction {row} button"), view, f"{row}[aria-current]")
    for place, decided in ((1, ":is(.good, .near)"), (0, ":is(.bad, .near)")):
        changed = f"{decided} + p:has-text('threshold {place}00.0%')" if place else decided
        _act(functools.partial(_slide, view, place), view, f".headline{changed}")
        assert "In its test, at threshold=" in view.inner_text("#effects")
    reset = ".subline:not(:has-text('threshold 0.0%'))"
    _act(lambda: view.click("#threshold button"), view, reset)
    assert "This is the threshold that the model decides by" in view.inner_text("#effects")
    _act(lambda: view.click("#examples button"), view, "> *:not(:has(table.files)) .headline")
    assert view.messages == []
    view.set_viewport_size({"width": 390, "height": 800})
    assert view.evaluate("document.documentElement.scrollWidth") == 390


def _act(act: Callable[[], object], view: Any, effect: str) -> None:
    """Act until an effect is displayed.

    Gradio loses an event where the stream of the one before ends at the same moment.
    """
    from playwright.sync_api import TimeoutError as Missing

    for _ in range(3):
        act()
        with contextlib.suppress(Missing):
            view.wait_for_selector(f"#prediction {effect}", timeout=20_000)
            return
    pytest.fail(f"{effect} is not displayed: {view.inner_text('#prediction')}")


def _slide(view: Any, place: float) -> None:
    """Move the slider, as a mouse does."""
    view.eval_on_selector(
        "#threshold input",
        """(range, place) => {
            range.value = place * range.max;
            range.dispatchEvent(new Event("change", {bubbles: true}));
        }""",
        place,
    )


def test_a_folder_that_is_no_run_is_refused(cli: Cli, tmp_path: Path) -> None:
    check_error(cli("app", f"run={tmp_path}"), "expected a run folder")
