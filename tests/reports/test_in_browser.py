"""Pages in a browser, offline: order, filters, dialog, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from sample_predictions import CLASSES, HOSTILE, about, row, segmented, with_overlay
from sample_runs import write_classification_run

from capsule_inspection.reports.comparison.report import compare, write_comparison
from capsule_inspection.reports.gallery.page import write_gallery
from capsule_inspection.reports.run.page import write_run_page
from capsule_inspection.reports.run.run_folder import read_run

TELEPHONE = 390
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
DIALOG_FITS = "(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))"
WINDOWS = (1440, 1024, TELEPHONE)
WIDTHS = "all => all.map(i => i.naturalWidth)"


def check_accessibility(page: Any) -> None:
    """Fails where axe-core finds a violation, in the light or in the dark scheme."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
    page.emulate_media(color_scheme="light")


@pytest.fixture
def gallery(opened: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Opens the gallery of some rows."""

    def open_gallery(rows: Sequence[Any], task: str = "classification", **options: Any) -> Any:
        path = write_gallery(tmp_path, iter(rows), about=about(rows, task))
        return opened(path, **options)

    return open_gallery


def few() -> list[Any]:
    """In the order of files; the numbers in the names are the default order."""
    return [
        row("photos/6 good.png", "good", 0.1),
        row("photos/5 unread.png"),
        row("photos/1 surest.png", "crack", 0.99),
        row("photos/4 unlike.png", "good", 0.2, ood_warnings=["darker than all others"]),
        row("photos/10 clear.png", "good", 0.01),
        row("photos/3 unsure.png", CLASSES[2], 0.6),
        row("photos/2 sure.png", CLASSES[2], 0.8, ood_warnings=["brighter"]),
    ]


def names(page: Any) -> str:
    return " ".join(n.split(" ")[0] for n in page.locator(".card .name").all_inner_texts())


def test_cards_that_need_a_check_come_first_and_are_sorted_and_filtered(gallery):
    page = gallery(few())

    assert names(page) == "1 2 3 4 5 6 10"
    failed, sure = page.locator(".card.error"), page.locator(".card", has_text="2 sure")
    assert "Not read" in failed.inner_text()
    assert "it is damaged" in failed.inner_text()
    assert failed.locator("img").count() == 0
    assert all(text in sure.inner_text() for text in (f"Defect: {CLASSES[2]}", "72%", "brighter"))

    for order, expected in (
        ("score", "1 2 3 4 6 10 5"),
        ("class", "4 6 10 1 2 3 5"),
        ("unsure", "3 4 2 6 1 10 5"),
        ("name", "1 2 3 4 5 6 10"),
    ):
        page.get_by_role("combobox", name="Sort by").select_option(order)
        assert names(page) == expected
    for button, expected in (
        ("Defects 3", "1 2 3"),
        ("Near the threshold 1", "3"),
        ("Unlike training 2", "2 4"),
        ("Not read 1", "5"),
        ("Good 3", "4 6 10"),
        ("All 7", "1 2 3 4 5 6 10"),
    ):
        page.get_by_role("button", name=button).click()
        assert names(page) == expected
        assert page.locator("#kinds [aria-pressed=true]").all_inner_texts() == [button]

    page.get_by_role("combobox", name="Class").select_option(CLASSES[2])
    assert names(page) == "2 3"
    assert page.locator("#count").inner_text() == "2 of 7 images"
    page.get_by_label("Name has").fill("UNSURE")
    assert names(page) == "3"
    page.get_by_label("Name has").fill("nothing has this")
    assert page.locator("#count").inner_text() == "No image matches."


@pytest.mark.slow
def test_regions_are_in_pixels_and_the_least_certain_are_closest_to_the_threshold(gallery):
    scores = {"far above": 0.95, "just above": 0.51, "just below": 0.46, "far below": 0.01}
    page = gallery([segmented(n, "crack", s, regions=5) for n, s in scores.items()], "segmentation")

    page.get_by_role("combobox", name="Sort by").select_option("unsure")
    shown = page.locator(".card .name").all_inner_texts()
    assert shown == ["just above", "just below", "far above", "far below"]
    card = page.locator(".card", has_text="far above")
    assert "score 0.95, threshold 0.5" in card.inner_text()
    assert "5 regions: crack 1,200 px, crack 1,200 px, crack 1,200 px and 2 more" in (
        card.inner_text()
    )

    card.click()
    text = page.get_by_role("dialog").inner_text()
    for fact in ("1,200 px", "10 to 50", "20 to 60", "score 0.95, threshold 0.5"):
        assert fact in text
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_card_of_a_classifier_says_its_decision_and_how_near_the_threshold_it_is(gallery):
    page = gallery(
        [
            row("near.png", "good", 0.45, threshold=0.5),
            row("clear.png", "good", 0.05, threshold=0.5),
            row("rejected.png", CLASSES[1], 0.9, threshold=0.5),
        ]
    )

    near, clear, rejected = (
        page.locator(".card", has_text=name) for name in ("near.png", "clear.png", "rejected.png")
    )
    assert "any defect 45%, threshold 50%" in near.inner_text()
    assert "near the threshold" in near.inner_text()
    for other in (clear, rejected):
        assert "near the threshold" not in other.inner_text()
    assert names(page) == "rejected.png near.png clear.png"
    colour = "node => getComputedStyle(node).borderTopColor"
    assert near.evaluate(colour) == clear.evaluate(colour) != rejected.evaluate(colour)
    near.click()
    assert "any defect 45%, threshold 50%" in page.get_by_role("dialog").inner_text()


def test_card_tells_a_score_from_the_threshold_beside_it(gallery):
    page = gallery([row("edge.png", "good", 0.4998, threshold=0.5)])
    assert "any defect 49.98%, threshold 50%" in page.locator(".card").inner_text()


@pytest.mark.slow
def test_closer_look_by_keyboard_goes_on_and_comes_back(gallery, tmp_path):
    page = gallery([with_overlay(tmp_path, one) for one in few() if one["status"] == "ok"])
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
    page.wait_for_function("document.activeElement.innerText.includes('2 sure')")


@pytest.mark.slow
def test_ten_thousand_images_are_shown_some_at_a_time(gallery):
    page = gallery([row(f"photos/{n}.png", "crack", 0.5 + n / 30_000) for n in range(10_000)])

    assert page.locator(".card").count() == 60
    assert page.locator("#count").inner_text() == "10,000 images, the first 60 are shown"
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 120
    assert "9939.png" in page.evaluate("document.activeElement.innerText")
    page.get_by_label("Name has").fill("/4711.png")
    assert page.locator(".card .name").all_inner_texts() == ["4711.png"]
    assert not page.locator("#more").is_visible()


@pytest.mark.slow
def test_gallery_shows_hostile_names_fits_its_window_and_has_a_table_without_scripts(
    gallery, tmp_path
):
    names = (*HOSTILE, 50 * "long" + ".png")
    rows = [with_overlay(tmp_path, row(f"photos/{name}", "crack", 0.9)) for name in names]
    for width in (1280, TELEPHONE):
        page = gallery(rows, width=width)
        page.wait_for_function("[...document.querySelectorAll('.card img')].every(i => i.complete)")
        assert page.eval_on_selector_all(".card img", WIDTHS) == [24] * len(names)
        assert sorted(page.locator(".card .name").all_text_contents()) == sorted(names)
        assert page.evaluate(FITS)
        check_accessibility(page)
        page.locator(".open").first.click()
        assert page.evaluate(FITS)
        assert page.evaluate(DIALOG_FITS)
        check_accessibility(page)

    page = gallery(few(), java_script_enabled=False)
    assert page.locator("table tbody tr").count() == len(few())
    assert "it is damaged" in page.locator("table").inner_text()
    assert not page.locator("#controls").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["anomaly_run", "segmentation_run", "run_folder"])
def test_page_of_a_run_fits_its_window_shows_every_plot_and_is_accessible(request, opened, fixture):
    folder = request.getfixturevalue(fixture)
    path = write_run_page(folder)
    for width in WINDOWS:
        page = opened(path, width=width)
        widths = page.eval_on_selector_all("main img", WIDTHS)
        assert len(widths) == len(list((folder / "figures").iterdir()))
        assert min(widths) > 100
        assert page.evaluate(FITS)
        assert page.locator(".contents ul").is_visible() == (width > TELEPHONE)
        check_accessibility(page)


@pytest.mark.slow
def test_plots_open_large_by_keyboard_and_the_focus_comes_back(opened, anomaly_run):
    page = opened(write_run_page(anomaly_run))
    box, plots = page.get_by_role("dialog"), page.locator(".zoom")
    titles = plots.locator("img").evaluate_all("all => all.map(i => i.alt)")

    plots.first.focus()
    page.keyboard.press("Enter")
    assert f"1 of {len(titles)}: {titles[0]}" in box.inner_text()
    assert box.locator("img").evaluate("i => i.naturalWidth") > 100
    check_accessibility(page)
    page.keyboard.press("ArrowLeft")
    assert titles[-1] in box.inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert titles[1] in box.inner_text()
    box.get_by_role("button", name="Actual size").click()
    assert box.locator("img").evaluate("i => i.width === i.naturalWidth")
    page.keyboard.press("Escape")

    assert not box.is_visible()
    page.wait_for_function(
        "title => document.activeElement.getAttribute('aria-label').endsWith(title)", arg=titles[1]
    )


@pytest.mark.slow
def test_run_page_sorts_copies_its_command_and_has_a_menu_on_a_telephone(opened, anomaly_run):
    path = write_run_page(anomaly_run)
    page = opened(path, permissions=["clipboard-read", "clipboard-write"])
    table = page.locator("#decision table")
    threshold = table.get_by_role("button", name="threshold")

    def values() -> list[float]:
        return table.locator("td:nth-of-type(1)").evaluate_all(
            "all => all.map(c => Number(c.dataset.value))"
        )

    before = values()
    assert len(set(before)) > 1
    threshold.focus()
    page.keyboard.press("Enter")
    assert values() == sorted(before)
    page.keyboard.press("Enter")
    assert values() == sorted(before, reverse=True)
    assert table.locator("[aria-sort]").get_attribute("aria-sort") == "descending"

    page.locator(".copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "python train.py model=autoencoder"

    page = opened(path, width=TELEPHONE)
    page.locator(".contents summary").click()
    page.get_by_role("link", name="Training").click()
    assert page.evaluate("location.hash") == "#training"
    assert not page.locator(".contents ul").is_visible()
    page.wait_for_function("document.querySelector('.contents [aria-current]') !== null")


@pytest.mark.slow
def test_page_of_a_comparison_fits_its_window_shows_every_plot_and_sorts(opened, tmp_path):
    errors = {"sixty": range(6), "forty_seven": range(19), "fifty_nine": range(6, 13)}
    runs = [
        read_run(write_classification_run(tmp_path / n, model=n, wrong=wrong))
        for n, wrong in errors.items()
    ]
    path = write_comparison(compare(runs), tmp_path / "comparison")
    for width in (TELEPHONE, 1024, 1440):
        page = opened(path, width=width)
        widths = page.eval_on_selector_all("main img", WIDTHS)
        assert len(widths) == len(list((path.parent / "figures").iterdir()))
        assert min(widths) > 100
        assert page.evaluate(FITS)
    check_accessibility(page)

    first_screen = "e => e.getBoundingClientRect().top < window.innerHeight"
    assert page.locator(".verdict h2").evaluate(first_screen)
    assert page.locator("#conclusion .plot").evaluate_all(f"all => all.every({first_screen})")
    pair = page.locator("#pairs summary").first
    pair.focus()
    page.keyboard.press("Enter")
    assert not page.locator("#pairs table").first.is_visible()

    first = page.locator("table").first

    def order_after(button: str) -> list[str]:
        first.locator("th button", has_text=button).first.focus()
        page.keyboard.press("Enter")
        return first.locator("tbody tr :first-child").all_inner_texts()

    assert first.locator("tbody tr :first-child").all_inner_texts() == list(errors)
    assert order_after("accuracy") == ["forty_seven", "fifty_nine", "sixty"]
    assert order_after("accuracy") == ["sixty", "fifty_nine", "forty_seven"]
    assert order_after("model") == ["fifty_nine", "forty_seven", "sixty"]
