"""The page of a run: whole by itself, escaped, readable on a telephone, whatever is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from drawn_marking_runs import draw_marking_run
from drawn_runs import draw_anomaly_run, draw_run

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.figure_words import meaning_of
from capsule_inspection.reports.run_page import write_run_page
from capsule_inspection.reports.run_pictures import write_run_pictures

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run"]  # fmt: skip


def page_of(folder: Path) -> str:
    path = write_run_page(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees, without pictures."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_page_of_a_one_class_run_answers_first_and_then_explains(anomaly_run):
    page = page_of(anomaly_run)
    text = text_of(page)

    assert text.index("Verdict:") < text.index("The figures") < text.index("How it was trained")
    for name in ("auroc", "f1_best", "pixel_average_precision", "aupro"):
        assert meaning_of(name) in text
    assert "just keep to 10%" in text
    assert "Defects were painted onto the good images" in text
    assert "python train.py model=autoencoder" in text
    assert "Pooled over pixels" not in text
    assert "calibration 20 Good ones that set the threshold, and nothing else." in text
    assert page.count("data:image/png;base64,") == len(list((anomaly_run / "figures").iterdir()))


def test_page_needs_nothing_but_itself(anomaly_run):
    page = page_of(anomaly_run)

    assert "http" not in page
    assert "<script" not in page
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert all(source.startswith("data:") for source in sources)


def test_text_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = draw_anomaly_run(
        tmp_path / "a <b>run",
        classes=("good", evil, "a & b"),
        record={"model": evil, "command": ["train.py", evil], "hardware": {"device": evil}},
    )
    page = page_of(folder)

    assert "<script" not in page
    assert "<b>" not in page
    assert page.count("&lt;script&gt;") > 5
    assert "a &amp; b" in page


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"images": (12,)}, "Not measured, since there are no defect images in the test part"),
        ({"images": (0, 3, 3)}, "Not measured, since there are no good images in the test part"),
        ({"masks": False}, "Not measured, since without masks nobody knows"),
        ({"maps": False}, "Not measured, since the run kept no maps"),
    ],
)
def test_absent_figures_are_explained(tmp_path, changed, reason):
    assert reason in text_of(page_of(draw_anomaly_run(tmp_path / "run", **changed)))


def test_page_of_a_classification_has_what_it_has(tmp_path):
    text = text_of(page_of(draw_run(tmp_path / "run", wrong=[3, 50])))

    assert "What is taken for what, test images." in text
    assert "The mistakes that the model was surest of." in text
    assert "The model learned from them." in text
    assert "AUPRO" not in text


def test_page_of_marks_answers_first_and_explains_both_ways_of_averaging(marking_run):
    page = page_of(marking_run)
    text = text_of(page)

    where = ("Verdict:", "a mark lies on the defect", "What was decided", "Pooled over pixels: ",
             "How well the marks cover each kind of defect.", "How it was trained")  # fmt: skip
    assert [text.index(part) for part in where] == sorted(text.index(part) for part in where)
    assert "Worst, median and best image: crack" in text
    assert "yellow, which is where the map is brightest" not in text
    assert page.count("data:image/png;base64,") == len(list((marking_run / "figures").iterdir()))


def test_binary_marks_have_a_page(tmp_path):
    text = text_of(page_of(draw_marking_run(tmp_path / "run", binary=True)))

    assert "IoU of any defect, pooled over pixels" in text
    assert "mean IoU of the defects" not in text
    assert "What is taken for what" not in text


def test_pictures_that_are_there_are_taken_as_they_are(anomaly_run):
    write_run_pictures(anomaly_run)
    (anomaly_run / "figures" / "pro.png").unlink()

    page_of(anomaly_run)

    assert not (anomaly_run / "figures" / "pro.png").exists()


def test_record_that_says_next_to_nothing_is_enough(anomaly_run):
    record = {"format_version": 1, "data": {"classes": ["good"]}}
    (anomaly_run / "run.json").write_text(json.dumps(record))

    assert "task unknown" in text_of(page_of(anomaly_run))


def test_run_without_any_prediction_is_refused(anomaly_run):
    path = anomaly_run / "predictions.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")

    with pytest.raises(RunError, match="no image was predicted"):
        write_run_page(anomaly_run)


@pytest.mark.parametrize(
    ("kind", "width"), [("anomaly_run", 1280), ("anomaly_run", 390), ("marking_run", 390)]
)
def test_page_fits_its_window_offline_and_shows_every_picture(request, kind, width):
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    folder = request.getfixturevalue(kind)
    path, messages = write_run_page(folder), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page: Any = browser.new_page(viewport={"width": width, "height": 800})
        page.context.set_offline(True)
        page.on("console", lambda message: messages.append(message.text))
        page.on("requestfailed", lambda asked: messages.append(asked.url))
        page.goto(path.as_uri())
        widths = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
        fits = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert messages == []
    assert len(widths) == len(list((folder / "figures").iterdir()))
    assert min(widths) > 100
    assert fits
