"""Small run folders, and the texts and extents of figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sample_anomaly_runs import write_anomaly_run
from sample_runs import HEADER, prediction_row, write_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimate

NAMES = ("good", "007", "膠囊 $x$")
LABELS = (0, 0, 0, 1, 1, 2)
PREDICTED = (0, 0, 2, 0, 1, 2)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A classifier with odd class names: six images each of val and test, the third unkept."""
    rows = [
        prediction_row(first + i, stage, 0, NAMES[LABELS[i]], NAMES[predicted], 0.5, "",
                   *(np.full(3, 0.1) + 0.7 * np.eye(3)[predicted]))
        for stage, first in (("val", 10), ("test", 20))
        for i, predicted in enumerate(PREDICTED)
    ]  # fmt: skip
    return write_run(
        tmp_path / "a run, 1",
        record={"format_version": 1, "status": "finished", "best_epoch": 2},
        config=None,
        predictions=[[*HEADER, "dice", *(f"p_{name}" for name in NAMES)], *rows],
        metrics={
            "test/accuracy": Estimate(0.5, 0.2, 0.8, 6),
            "test/recall/good": Estimate(1.0, 0.44, 1.0, 3),
            "test/recall/007": Estimate(0.0, None, None, 2),
            "val/accuracy": Estimate(0.25, 0.1, 0.5, 6),
        },
        epochs=[
            ["epoch", "step", "seconds", "lr", "train/loss", "val/loss", "val/balanced_accuracy"],
            *([e, 3 * e, 0.5, 0.001, 2.0 / (e + 1), "" if e % 2 else 1.5, "" if e % 2 else 0.4]
              for e in range(4)),
        ],
        thumbnails={str(first + i): 40 * i for first in (10, 20) for i in (0, 1, 3, 4, 5)},
    )  # fmt: skip


@pytest.fixture
def anomaly_run(tmp_path: Path) -> Path:
    return write_anomaly_run(tmp_path / "one class")


@pytest.fixture
def segmentation_run(tmp_path: Path) -> Path:
    return write_segmentation_run(tmp_path / "segmentation")


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates are made, but what is saved of each is a single pixel, which is much faster."""
    monkeypatch.setattr(
        Figure, "savefig", lambda self, file, **_: Image.new("L", (1, 1)).save(file, format="png")
    )


@pytest.fixture
def texts_of() -> Callable[[Figure], str]:
    """All texts of a figure; drawing it fails on any warning."""

    def written_in(figure: Figure) -> str:
        style.figure_to_array(figure)
        return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())

    return written_in


@pytest.fixture
def is_inside_figure() -> Callable[[Figure], bool]:
    """Whether everything that is drawn lies within the figure."""

    def is_inside(figure: Figure) -> bool:
        style.figure_to_array(figure)
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        low, high = min(box.x0, box.y0), max(box.x1 - width, box.y1 - height)
        return low > -0.05 and high < 0.05

    return is_inside


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page offline; it must have no errors and fetch nothing."""
    contexts, messages = [], []

    def open_page(path: Path, *, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("requestfailed", lambda request: messages.append(request.url))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
