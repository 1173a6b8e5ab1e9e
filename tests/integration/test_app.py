"""app.py: what its page predicts, and the page itself in a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from quick import check_error, draw
from small import REPOSITORY, Cli

from capsule_inspection.inference.embeddings import load_embeddings
from capsule_inspection.types import RunError
from capsule_inspection.workflows import app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip
PATIENCE_S = 300
"""For a server to start, and to stop."""
Compose = Callable[..., DictConfig]


def predict_of(run: Path, compose: Compose) -> Callable[[str | None], app.Displayed]:
    """What the page calls with an upload."""
    from capsule_inspection.workflows.hardware import resolve_runtime
    from capsule_inspection.workflows.load_run import load_predictor

    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = load_predictor(run, resolve_runtime(config.trainer))
    return app.build_predict(predictor, load_embeddings(run / "embeddings.npz"), count=3)


def test_uploads_are_predicted_with_similar_training_images_also_several_at_once(
    finished_home: Path, compose: Compose, tmp_path: Path
) -> None:
    predict = predict_of(finished_home / "run", compose)
    known = load_embeddings(finished_home / "run" / "embeddings.npz")
    text, overlay, similar = predict(str(finished_home / "bottle" / known.paths[0]))
    assert 'class="headline' in text
    assert overlay is not None
    assert overlay.shape == (1024, 1024, 3)  # enlarged
    assert len(similar) == 3
    assert np.array_equal(similar[0][0], known.pictures[0])
    assert similar[0][1].endswith("100% alike")

    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    text, overlay, similar = predict(str(tmp_path / "notes.txt"))
    assert "Not inspected" in text
    assert (
        "notes.txt: is not a PNG, JPEG, BMP, TIFF, WebP, GIF, JPEG 2000, PNM or AVIF image" in text
    )
    assert str(tmp_path) not in text
    assert (overlay, similar) == (None, [])

    paths = [str(draw(tmp_path / f"{number}.png", seed=number)) for number in range(6)]
    alone = [predict(path)[0] for path in paths]
    assert len(set(alone)) == len(paths)
    with ThreadPoolExecutor(len(paths)) as clients:
        assert [shown[0] for shown in clients.map(predict, paths)] == alone


def test_without_a_name_the_run_that_finished_last_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunError, match=r"there is no finished run.*make train"):
        app.find_latest_run(tmp_path)
    for name, record in {
        "a": {"finished": "2026-01-02"},
        "b": {"finished": "2026-01-03"},
        "running": {"finished": "2026-02-01", "status": "running"},
        "too new": {"format_version": 99},
        "without a checkpoint": {"finished": "2026-03-01"},
        "damaged": None,
    }.items():
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        if name != "without a checkpoint":
            (tmp_path / name / "checkpoints" / "best.ckpt").touch()
        whole = {"format_version": 1, "status": "finished", **(record or {})}
        (tmp_path / name / "run.json").write_text("{" if record is None else json.dumps(whole))
    assert app.find_latest_run(tmp_path) == tmp_path / "b"
    assert caplog.text.count("It is skipped.") == 2


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
        page.goto(address)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        yield page
        browser.close()


@pytest.mark.slow
def test_the_page_predicts_uploaded_files_and_does_not_fetch_urls(
    view: Any, address: str, finished_home: Path, tmp_path: Path
) -> None:
    assert address.startswith("http://127.0.0.1:")
    for path in ("train/good/000.png", "test/poke/000.png"):
        _drop(view, finished_home / "bottle" / path)
        view.wait_for_selector("#prediction .headline:is(.good, .near, .bad)")
        assert "000.png" in view.inner_text("#prediction")
        view.wait_for_selector("#overlay img")
        view.wait_for_selector("#similar img")
    notes = tmp_path / "notes.txt"
    notes.write_text("not an image", encoding="utf-8")
    _drop(view, notes)
    view.wait_for_selector("#prediction .headline.none")
    assert "is not a PNG, JPEG" in view.inner_text("#prediction")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2 * 2**20))
    _drop(view, large)
    view.wait_for_selector("text=/maximum (allowed )?(file )?size/i")

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    call = f"{address}gradio_api/call/predict"
    named = {"path": "https://example.org/large.png", "meta": {"_type": "gradio.FileData"}}
    request = urllib.request.Request(
        call, json.dumps({"data": [named]}).encode(), {"Content-Type": "application/json"}
    )
    with direct.open(request) as begun:
        number = json.load(begun)["event_id"]
    with direct.open(f"{call}/{number}") as result:
        event = result.read().decode()
    assert "event: error" in event
    assert "URLs are not fetched" in event


def _drop(view: Any, path: Path) -> None:
    clear = view.query_selector("#upload button[aria-label='Clear']")
    if clear is not None:
        clear.click()
        view.wait_for_selector("#prediction .headline", state="detached")
    view.set_input_files("#upload input[type=file]", str(path))


def test_a_folder_that_is_no_run_is_refused(cli: Cli, tmp_path: Path) -> None:
    check_error(cli("app", f"run={tmp_path}"), "expected a run folder")
