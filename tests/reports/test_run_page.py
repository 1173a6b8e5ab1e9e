"""The page of a run: whole by itself, escaped, whatever is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from drawn_anomaly_runs import draw_anomaly_run
from drawn_explanations import add_figures, draw_explanations
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_marking_run

from capsule_inspection.reports.figure_words import meaning_of
from capsule_inspection.reports.run_page import write_run_page
from capsule_inspection.types import RunError

pytestmark = pytest.mark.usefixtures("unrendered")


def page_of(folder: Path) -> str:
    path = write_run_page(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees, without pictures."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def in_order(text: str, *told: str) -> None:
    assert [text.index(part) for part in told] == sorted(text.index(part) for part in told)


def test_page_of_a_one_class_run_answers_first_explains_and_needs_nothing_but_itself(anomaly_run):
    page = page_of(anomaly_run)
    text = text_of(page)

    in_order(text, "Verdict:", "The figures", "How it was trained")
    for name in ("auroc", "f1_best", "pixel_average_precision", "aupro"):
        assert meaning_of(name) in text
    assert "just keep to 10%" in text
    assert "Defects were painted onto the good images" in text
    assert "python train.py model=autoencoder" in text
    assert "Pooled over pixels" not in text
    assert "calibration 20 Good ones that set the threshold, and nothing else." in text
    assert page.count("data:image/png;base64,") == len(list((anomaly_run / "figures").iterdir()))
    assert "http" not in page
    assert "<script" not in page
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert all(source.startswith("data:") for source in sources)

    # Pictures that are there are taken as they are; a record may say next to nothing.
    (anomaly_run / "figures" / "pro.png").unlink()
    record = {"format_version": 1, "data": {"classes": ["good"]}}
    (anomaly_run / "run.json").write_text(json.dumps(record))
    assert "task unknown" in text_of(page_of(anomaly_run))
    assert not (anomaly_run / "figures" / "pro.png").exists()


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


def test_page_of_a_classification_has_what_it_has(tmp_path):
    folder = draw_run(tmp_path / "run", wrong=[3, 50])
    text = text_of(page_of(folder))

    for told in ("What is taken for what, test images.", "The model learned from them.",
                 "The mistakes that the model was surest of."):  # fmt: skip
        assert told in text
    for absent in ("AUPRO", "looked at the defect", "highest point"):
        assert absent not in text

    draw_explanations(folder, [44, 45, 46], hits=[44, 45])
    add_figures(folder, 2, 3, chance=0.1)
    shutil.rmtree(folder / "figures")
    text = text_of(page_of(folder))
    for told in ("The network looked at the defect in 2 of 3 images",
                 "highest point of the map on the defect 0.667",
                 "the same for a point at random on the part 0.100 none: computed 3",
                 "Where the network looked, in images with a defect."):  # fmt: skip
        assert told in text


def test_page_of_marks_answers_first_and_explains_both_ways_of_averaging(marking_run):
    page = page_of(marking_run)
    text = text_of(page)

    in_order(text, "Verdict:", "a mark lies on the defect", "What was decided",
             "Pooled over pixels: ", "How well the marks cover each kind of defect.",
             "How it was trained")  # fmt: skip
    assert "Worst, median and best image: crack" in text
    assert "yellow, which is where the map is brightest" not in text
    assert page.count("data:image/png;base64,") == len(list((marking_run / "figures").iterdir()))


def test_binary_marks_have_a_page(tmp_path):
    text = text_of(page_of(draw_marking_run(tmp_path / "run", binary=True)))

    assert "IoU of any defect, pooled over pixels" in text
    assert "mean IoU of the defects" not in text
    assert "What is taken for what" not in text


def test_run_without_any_prediction_is_refused(anomaly_run):
    path = anomaly_run / "predictions.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")

    with pytest.raises(RunError, match="no image was predicted"):
        write_run_page(anomaly_run)
