"""The gallery as it is used: order, filters, a closer look, by mouse and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from drawn_predictions import CLASSES, HOSTILE, about, marked, row, with_picture

from capsule_inspection.reports.gallery import write_gallery

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip

Open = Callable[..., Any]


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
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the gallery of some rows, offline; nothing may go wrong on it, nor be asked for."""
    contexts, messages = [], []

    def open_page(
        rows: Sequence[Any], task: str = "classification", *, width: int = 1280, **said: Any
    ) -> Any:
        path = write_gallery(tmp_path, iter(rows), about=about(rows, task))
        context = browser.new_context(viewport={"width": width, "height": 800}, **said)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("requestfailed", lambda asked: messages.append(asked.url))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def few() -> list[Any]:
    """In the order of files; the names say where they belong by default."""
    return [
        row("photos/6 good.png", "good", 0.1),
        row("photos/5 unread.png"),
        row("photos/1 surest.png", "crack", 0.99),
        row("photos/4 unlike.png", "good", 0.2, remarks=["darker than all others"]),
        row("photos/10 clear.png", "good", 0.01),
        row("photos/3 unsure.png", CLASSES[2], 0.6),
        row("photos/2 sure.png", CLASSES[2], 0.8, remarks=["brighter"]),
    ]


def names(page: Any) -> list[str]:
    return [name.split(" ")[0] for name in page.locator(".card .name").all_inner_texts()]


def test_hostile_names_are_shown_and_their_pictures_found(opened, tmp_path):
    rows = [with_picture(tmp_path, row(f"photos/{name}", "crack", 0.9)) for name in HOSTILE]

    page = opened(rows)

    page.wait_for_function("[...document.querySelectorAll('.card img')].every(i => i.complete)")
    widths = page.eval_on_selector_all(".card img", "all => all.map(i => i.naturalWidth)")
    assert widths == [24] * len(HOSTILE)
    assert sorted(page.locator(".card .name").all_text_contents()) == sorted(HOSTILE)


def test_what_needs_a_person_comes_first(opened):
    assert names(opened(few())) == ["1", "2", "3", "4", "5", "6", "10"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("score", ["1", "2", "3", "4", "6", "10", "5"]),
        ("name", ["1", "2", "3", "4", "5", "6", "10"]),
        ("class", ["4", "6", "10", "1", "2", "3", "5"]),
        ("unsure", ["3", "2", "4", "1", "6", "10", "5"]),
    ],
)
def test_cards_are_sorted(opened, order, expected):
    page = opened(few())

    page.get_by_role("combobox", name="Sort by").select_option(order)

    assert names(page) == expected


def test_least_certain_of_scores_are_those_closest_to_the_threshold(opened):
    scores = {"far above": 0.95, "just above": 0.51, "just below": 0.46, "far below": 0.01}
    page = opened([marked(name, "crack", score) for name, score in scores.items()], "segmentation")

    page.get_by_role("combobox", name="Sort by").select_option("unsure")

    shown = page.locator(".card .name").all_inner_texts()
    assert shown == ["just above", "just below", "far above", "far below"]


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        ("All 7", ["1", "2", "3", "4", "5", "6", "10"]),
        ("Defects 3", ["1", "2", "3"]),
        ("Unlike training 2", ["2", "4"]),
        ("Not read 1", ["5"]),
        ("Good 3", ["4", "6", "10"]),
    ],
)
def test_buttons_say_how_many_there_are_and_show_these(opened, button, expected):
    page = opened(few())

    page.get_by_role("button", name=button).click()

    assert names(page) == expected
    assert page.locator("#kinds [aria-pressed=true]").all_inner_texts() == [button]


def test_class_and_name_narrow_what_is_shown(opened):
    page = opened(few())

    page.get_by_role("combobox", name="Class").select_option(CLASSES[2])
    assert names(page) == ["2", "3"]
    assert page.locator("#count").inner_text() == "2 of 7 images"
    page.get_by_label("Name has").fill("UNSURE")
    assert names(page) == ["3"]
    page.get_by_label("Name has").fill("nothing has this")
    assert page.locator("#count").inner_text() == "No image is like that."


def test_file_that_was_not_read_shows_why_and_no_picture(opened):
    failed = opened(few()).locator(".card.error")

    assert "Not read" in failed.inner_text()
    assert "it is damaged" in failed.inner_text()
    assert failed.locator("img").count() == 0


def test_cards_say_what_the_model_says(opened, tmp_path):
    card = opened(few()).locator(".card", has_text="2 sure")
    assert f"Defect: {CLASSES[2]}" in card.inner_text()
    assert "72%" in card.inner_text()
    assert "brighter" in card.inner_text()

    of_marks = opened([marked("a.png", "crack", 0.9, regions=5)], "segmentation").locator(".card")
    assert "score 0.9, threshold 0.5" in of_marks.inner_text()
    assert "5 regions: crack 1,200 px, crack 1,200 px, crack 1,200 px and 2 more" in (
        of_marks.inner_text()
    )


def test_closer_look_by_keyboard_goes_on_and_comes_back(opened, tmp_path):
    page = opened([with_picture(tmp_path, one) for one in few() if one["status"] == "ok"])
    closer = page.get_by_role("dialog")

    page.locator(".open").first.focus()
    page.keyboard.press("Enter")
    assert "1 surest.png" in closer.inner_text()
    assert "1000 x 800 px" in closer.inner_text()
    page.keyboard.press("ArrowRight")
    assert "photos/2 sure.png" in closer.inner_text()
    assert "2 of 6" in closer.inner_text()
    page.wait_for_function("document.querySelector('dialog img').naturalWidth === 24")
    page.keyboard.press("Escape")

    assert not closer.is_visible()
    assert "2 sure" in page.evaluate("document.activeElement.innerText")


def test_closer_look_tells_regions_in_pixels_of_the_photograph(opened):
    page = opened([marked("a.png", "crack", 0.9)], "segmentation")

    page.locator(".card").click()

    told = page.get_by_role("dialog").inner_text()
    for fact in ("1,200 px", "10 to 50", "20 to 60", "The score is 0.9, above the threshold"):
        assert fact in told
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_ten_thousand_photographs_are_shown_some_at_a_time(opened):
    page = opened([row(f"photos/{n}.png", "crack", 0.5 + n / 30_000) for n in range(10_000)])

    assert page.locator(".card").count() == 60
    assert page.locator("#count").inner_text() == "10,000 images, the first 60 are shown"
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 120
    assert "9939.png" in page.evaluate("document.activeElement.innerText")
    page.get_by_label("Name has").fill("/4711.png")
    assert page.locator(".card .name").all_inner_texts() == ["4711.png"]
    assert not page.locator("#more").is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_page_and_closer_look_fit_their_window(opened, tmp_path, width):
    rows = [with_picture(tmp_path, row("photos/" + 50 * "long" + ".png", "crack", 0.9)), *few()]
    page = opened(rows, width=width)
    fits = "document.documentElement.scrollWidth <= window.innerWidth"

    assert page.evaluate(fits)
    page.locator(".open").first.click()
    assert page.evaluate(fits)
    assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")


def test_without_scripts_there_is_a_plain_table(opened):
    page = opened(few(), java_script_enabled=False)

    assert page.locator("table tbody tr").count() == len(few())
    assert "it is damaged" in page.locator("table").inner_text()
    assert not page.locator("#controls").is_visible()
