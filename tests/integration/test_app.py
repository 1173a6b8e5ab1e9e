"""app.py: what its page answers, and the page itself in a browser."""

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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from quick import check_refusal, draw, record_of
from small import REPOSITORY, Door

from capsule_inspection.contracts import ConfigurationError, RunError
from capsule_inspection.inference.neighbours import read_neighbours
from capsule_inspection.runs import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip
PATIENCE_S = 300
"""For a server to start, and to stop."""
Compose = Callable[..., DictConfig]


def inspecting(run: Path, compose: Compose) -> Callable[[str | None], serving.Shown]:
    """What the page calls with an upload."""
    from capsule_inspection.runs import machine
    from capsule_inspection.runs.opening import open_predictor

    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = open_predictor(run, machine.choose(config.trainer), explain="all")
    return serving.answering(predictor, read_neighbours(run / "neighbours.npz"), count=3)


def test_a_training_image_is_answered_with_itself_as_its_nearest_neighbour(
    finished: Path, compose: Compose
) -> None:
    inspect = inspecting(finished, compose)
    known = read_neighbours(finished / "neighbours.npz")
    root = Path(record_of(finished)["data"]["root"])
    words, picture, similar = inspect(str(root / known.paths[0]))
    assert 'class="verdict' in words
    assert picture is not None
    assert picture.shape == (1024, 1024, 3)  # enlarged, so that it fills its place
    assert len(similar) == 3
    assert np.array_equal(similar[0][0], known.pictures[0])
    assert similar[0][1].endswith("100% alike")


def test_what_is_no_photograph_is_told_and_nothing_is_shown(
    finished: Path, compose: Compose, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("not a photograph", encoding="utf-8")
    words, picture, similar = inspecting(finished, compose)(str(tmp_path / "notes.txt"))
    assert "Not inspected" in words
    assert "notes.txt: is not a PNG, JPEG, BMP, TIFF or WebP image" in words
    assert picture is None
    assert similar == []


def test_several_visitors_at_once_get_their_own_answers(
    finished: Path, compose: Compose, tmp_path: Path
) -> None:
    inspect = inspecting(finished, compose)
    paths = [str(draw(tmp_path / f"{number}.png", seed=number)) for number in range(6)]
    alone = [inspect(path)[0] for path in paths]
    together: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: inspect(paths[n])[0]}))
        for n in range(len(paths))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(len(paths))] == alone


def test_without_a_name_the_run_that_was_finished_last_is_taken(
    finished: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    for name, time in (("a", "2026-01-02T00:00:00"), ("b", "2026-01-03T00:00:00")):
        shutil.copytree(finished, outputs / name)
        record = {**record_of(finished), "finished": time}
        (outputs / name / "run.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copytree(finished, outputs / "c")
    record = {**record_of(finished), "status": "running", "finished": "2026-02-01T00:00:00"}
    (outputs / "c" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert serving.latest_run(outputs) == outputs / "b"


def test_a_run_that_cannot_be_read_is_passed_over(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outputs = tmp_path / "outputs"
    for name, text in (("a", "{"), ("b", None), ("c", '{"format_version": 99}')):
        shutil.copytree(finished, outputs / name)
        if text is not None:
            (outputs / name / "run.json").write_text(text, encoding="utf-8")
    assert serving.latest_run(outputs) == outputs / "b"
    assert caplog.text.count("It is passed over.") == 2


def test_a_proxy_is_not_asked_for_the_page_itself(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "corp.example, localhost")
    monkeypatch.setenv("no_proxy", "other.example")
    themes = SimpleNamespace(Default=dict)
    monkeypatch.setattr(serving, "_gradio", lambda: SimpleNamespace(themes=themes))

    class Page:
        def launch(self, **settings: object) -> None:
            raise ValueError("localhost is not accessible")

    with pytest.raises(
        ConfigurationError, match=r"is not accessible.*add 127\.0\.0\.1 to NO_PROXY"
    ):
        serving.launch(Page(), compose("app"))
    for name in ("NO_PROXY", "no_proxy"):
        assert os.environ[name] == "corp.example,localhost,other.example,127.0.0.1,::1"


def test_without_any_run_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no finished run.*make train"):
        serving.latest_run(tmp_path)


@pytest.fixture
def address(finished: Path, tmp_path: Path) -> Iterator[str]:
    """Where a page for a finished run is served, by a process of its own."""
    pytest.importorskip("gradio")
    settings = [f"run={finished}", "port=0", "max_upload_mb=1", "trainer=cpu"]
    command = [sys.executable, "-u", str(REPOSITORY / "app.py"), *settings]
    behind_a_proxy = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    with subprocess.Popen(
        command, cwd=tmp_path, env=behind_a_proxy, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = _served(server)
            yield line.split()[3].rstrip(",")
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=PATIENCE_S)
            assert server.returncode == 0
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
        if line.startswith("Drop photographs at "):
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
def test_photographs_and_other_files_are_dropped_on_the_page(
    view: Any, address: str, finished: Path, tmp_path: Path
) -> None:
    assert address.startswith("http://127.0.0.1:")
    root = Path(record_of(finished)["data"]["root"])
    good = next((root / "train" / "good").iterdir())
    for path in (good, next((root / "test" / "poke").iterdir())):
        _drop(view, path)
        view.wait_for_selector("#answer .verdict.good, #answer .verdict.bad")
        assert path.name in view.inner_text("#answer")
        view.wait_for_selector("#picture img")
        view.wait_for_selector("#similar img")
    notes = tmp_path / "notes.txt"
    notes.write_text("not a photograph", encoding="utf-8")
    _drop(view, notes)
    view.wait_for_selector("#answer .verdict.none")
    assert "is not a PNG, JPEG" in view.inner_text("#answer")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2 * 2**20))
    _drop(view, large)
    view.wait_for_selector("text=/maximum (allowed )?(file )?size/i")


@pytest.mark.slow
def test_addresses_are_not_fetched(address: str) -> None:
    """Behind a proxy, which the page itself does not ask."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    call = f"{address}gradio_api/call/inspect"
    named = {"path": "https://example.org/large.png", "meta": {"_type": "gradio.FileData"}}
    request = urllib.request.Request(
        call, json.dumps({"data": [named]}).encode(), {"Content-Type": "application/json"}
    )
    with direct.open(request) as asked:
        number = json.load(asked)["event_id"]
    with direct.open(f"{call}/{number}") as answer:
        said = answer.read().decode()
    assert "event: error" in said
    assert "Addresses are not fetched" in said


def _drop(view: Any, path: Path) -> None:
    clear = view.query_selector("#upload button[aria-label='Clear']")
    if clear is not None:
        clear.click()
        view.wait_for_selector("#answer .verdict", state="detached")
    view.set_input_files("#upload input[type=file]", str(path))


def test_a_folder_that_is_no_run_is_refused(door: Door, tmp_path: Path) -> None:
    check_refusal(door("app", f"run={tmp_path}"), "expected a run folder")
