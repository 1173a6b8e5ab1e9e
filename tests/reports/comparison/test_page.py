"""The page in a browser: offline, without errors, sortable, every picture there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_runs import draw_run

from capsule_inspection.reports.comparison.writing import compare, write_comparison
from capsule_inspection.reports.run_folder import read_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip
WIDTHS = {"desktop": 1280, "telephone": 390}


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    errors = {"sixty": range(6), "forty_seven": range(19), "fifty_nine": range(6, 13)}
    runs = [
        read_run(draw_run(folder / name, model=name, wrong=wrong)) for name, wrong in errors.items()
    ]
    return write_comparison(compare(runs), folder / "comparison")


@pytest.fixture(params=list(WIDTHS))
def page(request: pytest.FixtureRequest, page_path: Path) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 800})
        opened.context.set_offline(True)
        opened.messages = []
        opened.on("console", lambda message: opened.messages.append(message.text))
        opened.on("pageerror", lambda error: opened.messages.append(str(error)))
        opened.on("requestfailed", lambda asked: opened.messages.append(asked.url))
        opened.goto(page_path.as_uri())
        yield opened
        browser.close()


def test_the_page_loads_offline_shows_every_picture_and_sorts(page: Any) -> None:
    assert page.messages == []
    widths = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
    assert len(widths) == 6
    assert all(width > 100 for width in widths)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    first = page.locator("table").first

    def order() -> list[str]:
        return first.locator("tbody tr td:first-child").all_inner_texts()

    assert order() == ["sixty", "forty_seven", "fifty_nine"]
    first.locator("th button", has_text="accuracy").first.click()
    assert order() == ["forty_seven", "fifty_nine", "sixty"]
    first.locator("th button", has_text="accuracy").first.click()
    assert order() == ["sixty", "fifty_nine", "forty_seven"]
    first.locator("th button", has_text="model").click()
    assert order() == ["fifty_nine", "forty_seven", "sixty"]
    assert page.messages == []
