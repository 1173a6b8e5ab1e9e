"""The page of predictions and its texts: self-contained and escaped, whatever the names."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sample_predictions import CLASSES, HOSTILE, about, row, segmented

from capsule_inspection.reports.gallery.page import MAX_TABLE_ROWS, write_gallery
from capsule_inspection.reports.gallery.prediction_html import details_html, headline_html
from capsule_inspection.reports.gallery.text import TASKS, summarize, warn
from capsule_inspection.reports.plots.overlays import colours_of

OWN_SCRIPTS = 3


def page_of(folder: Path, rows: Sequence[Any], task: str = "classification", **changed: Any) -> str:
    path = write_gallery(folder, iter(rows), about=about(rows, task, **changed))
    assert path == folder / "index.html"
    assert [found.name for found in folder.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


def rows_in(page: str) -> list[Any]:
    found = re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_names_do_no_harm_and_arrive_as_they_are(tmp_path):
    rows = [row(f"photos/{name}", name, 0.9, ood_warnings=[name]) for name in HOSTILE]
    rows.append(row("a.png", error="<script>alert(1)</script>"))
    rows.append(row("a\udcff.png", "crack", 0.9, overlay="overlays/a\udcff.png"))  # no UTF-8

    page = page_of(tmp_path, rows, title=HOSTILE[0], run=HOSTILE[0], classes=["good", *HOSTILE])

    assert page.count("</script>") == OWN_SCRIPTS
    assert "<img src=x" not in page
    assert page.count("<!--") == 0
    assert "&lt;script&gt;alert(1)" in page
    found = rows_in(page)
    assert [one["path"] for one in found] == [one["path"] for one in rows]
    assert found[1]["ood_warnings"] == [HOSTILE[1]]
    assert found[-1]["overlay"] == "overlays/a%FF.png"


def test_links_to_overlays_are_encoded_and_stay_below_the_page(tmp_path):
    rows = [row("a", "crack", 0.9, overlay=f"overlays/{name}") for name in HOSTILE]
    rows.append(row("b", "crack", 0.9, overlay="javascript:alert(1).png"))

    links = [found["overlay"] for found in rows_in(page_of(tmp_path, rows))]

    assert links[2] == "overlays/%E8%86%A0%E5%9B%8A%20%231%20100%2525%3F.png"
    assert all(re.fullmatch(r"[\w.%/~-]+", link) for link in links)


def test_page_is_self_contained_and_explains_heat_where_there_is_any(tmp_path):
    for task, legend, images in (
        ("classification", True, 1),
        ("anomaly_detection", True, 1),
        ("segmentation", True, 0),
        ("classification", False, 0),
        ("segmentation", False, 0),
    ):
        rows = [row("a.png", "crack", 0.9, overlay="overlays/a.png")]
        page = page_of(tmp_path, rows, task, legend=legend)

        assert page.count("data:image/png;base64,") == images
        assert legend or "Colours of the classes" not in page
        assert not any(word in page for word in ("http", "fetch(", "@import"))
        sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
        assert all(source.startswith("data:") for source in sources)


def test_summary_stands_first_and_nan_becomes_none(tmp_path):
    rows = [row("a", "crack", 0.9, threshold=float("nan")), row("c"),
            row("b", "good", 1 / 3, ood_warnings=["darker"])]  # fmt: skip

    page = page_of(tmp_path, rows)

    sentence = "1 of 3 images shows a defect, 1 could not be read, 1 looks unlike"
    assert page.index(sentence) < page.index("check these yourself") < page.index('id="rows"')
    found = rows_in(page)
    assert found[0]["threshold"] is None
    assert found[2]["score"] == 0.333333
    assert "There are no images here." in page_of(tmp_path, [])


def test_table_without_scripts_is_cut_and_says_so(tmp_path):
    for count, is_cut in ((MAX_TABLE_ROWS, False), (MAX_TABLE_ROWS + 1, True)):
        page = page_of(tmp_path, [row(f"{n}.png", "crack", 0.9) for n in range(count)])

        assert page[page.index("<noscript>") :].count("<tr><td>") == MAX_TABLE_ROWS
        assert (f"of the first {MAX_TABLE_ROWS} of {count} images" in page) == is_cut
        assert len(rows_in(page)) == count


def test_legend_has_the_colour_of_each_class(tmp_path):
    page = page_of(tmp_path, [segmented("a.png", "crack", 0.9)], "segmentation")

    for colour in colours_of(len(CLASSES))[1:]:
        assert page.count("background: #{:02x}{:02x}{:02x}".format(*colour)) == 1
    assert "&lt;b&gt;膠囊&lt;/b&gt;" in page


def test_former_page_stays_where_rows_fail(tmp_path):
    before = page_of(tmp_path, [row("a.png", "crack", 0.9)])

    def failing():
        yield row("b.png", "crack", 0.9)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_gallery(tmp_path, failing(), about=about([]))
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1


# --- texts


def counts(images: int, defects: int = 0, errors: int = 0, unlike: int = 0) -> dict[str, int]:
    good = images - defects - errors
    return {"images": images, "defects": defects, "good": good, "errors": errors, "unlike": unlike}


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (counts(210, 12, errors=1, unlike=3), "12 of 210 images show a defect, 1 could not be "
         "read, 3 look unlike the training images."),
        (counts(10_000, 1, unlike=1), "1 of 10,000 images shows a defect, 1 looks unlike the "
         "training images."),
        (counts(5), "None of 5 images shows a defect."),
        (counts(1, 1), "1 of 1 image shows a defect."),
        (counts(3, errors=3), "None of 3 images could be read."),
        (counts(0), "There are no images here."),
    ],
)  # fmt: skip
def test_summary_is_one_sentence(counted, expected):
    assert summarize(counted) == expected


def test_warnings_are_of_what_happened_and_every_task_is_explained():
    assert warn(counts(5, 2)) == []
    assert "not inspected" in " ".join(warn(counts(5, errors=1)))
    assert "check these yourself" in " ".join(warn(counts(5, unlike=1)))
    for texts in TASKS.values():
        alone = texts.explain(has_overlays=False)
        assert texts.explain(has_overlays=True).startswith(f"{alone} ")
        assert "Bright" not in alone


def one(**values: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        **row("a.png", "faulty_imprint", 0.75),
        "width": 100,
        "height": 50,
        "probabilities": {"good": 0.25, "faulty_imprint": 0.75},
    }
    return {**plain, **values}


def test_headline_has_the_predicted_class():
    for values, expected in (
        ({}, "Defect: faulty imprint"),
        ({"predicted_label": "defect"}, "Defect<"),
        ({"predicted_label": "good", "is_defect": False}, "Good: no defect found"),
        ({"status": "error", "is_defect": None}, "Not inspected"),
    ):
        assert expected in headline_html(one(**values))


def test_details_have_warnings_probabilities_and_regions():
    text = details_html(one(ood_warnings=["it is blurred"]))
    parts = ["may be wrong", "it is blurred", "faulty imprint</td><td>75.0%", "good</td><td>25.0%"]
    assert sorted(parts, key=text.index) == parts
    assert "a.png, 100x50 pixels" in text

    region = {"class": "poke", "area_px": 12, "box": [1, 2, 3, 4], "probability": 0.9}
    text = details_html(one(threshold=0.5, regions=[region]))
    assert "region: poke</td><td>12 pixels from (1, 2) to (3, 4), probability 90%" in text
    assert "a defect above the threshold 0.5" in text


def test_texts_from_files_do_no_harm():
    harm = "<img src=x onerror=alert(1)>"
    for values in ({"path": harm}, {"predicted_label": harm}, {"ood_warnings": [harm]},
                   {"status": "error", "error": harm, "path": harm}):  # fmt: skip
        whole = headline_html(one(**values)) + details_html(one(**values))
        assert "<img" not in whole
        assert "&lt;img" in whole
