"""The page of predictions and its texts: self-contained and escaped, whatever the names."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sample_predictions import CLASSES, HOSTILE, about, row, segmented

from capsule_inspection.reports.gallery.page import (
    MAX_TABLE_ROWS,
    is_near_threshold,
    prediction_html,
    write_gallery,
)
from capsule_inspection.reports.plots.overlays import colours_of

OWN_SCRIPTS = 4


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
        assert all(source.startswith(("data:", "#")) for source in sources)


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


def summary_of(folder: Path, images: int, **counted: int) -> str:
    counts = {"images": images, "defects": 0, "good": 0, "near": 0, "unlike": 0, "errors": 0}
    page = page_of(folder, [], counts=counts | counted)
    verdict = page[page.index('<section class="verdict') : page.index("</section>")]
    return " ".join(re.sub(r"<[^>]*>", " ", verdict).split())


@pytest.mark.parametrize(
    ("images", "counted", "expected"),
    [
        (210, {"defects": 12, "errors": 1, "unlike": 3}, "12 of 210 images show a defect, 1 could "
         "not be read, 3 look unlike the training images."),
        (10_000, {"defects": 1, "unlike": 1}, "1 of 10,000 images shows a defect, 1 looks unlike "
         "the training images."),
        (9, {"defects": 2, "near": 1}, "2 of 9 images show a defect, 1 is near the threshold."),
        (5, {}, "None of 5 images shows a defect."),
        (1, {"defects": 1}, "1 of 1 image shows a defect."),
        (3, {"errors": 3}, "None of 3 images could be read."),
        (0, {}, "There are no images here."),
    ],
)  # fmt: skip
def test_summary_is_one_sentence_with_warnings_of_what_happened(
    tmp_path, images, counted, expected
):
    summary = summary_of(tmp_path, images, **counted)
    assert summary.startswith(expected)
    assert ("not inspected" in summary) == ("errors" in counted)
    assert ("check these yourself" in summary) == ("unlike" in counted)


def test_every_task_is_explained_and_colours_only_where_there_are_any(tmp_path):
    for task, words in (
        ("classification", "The model predicts a class."),
        ("anomaly_detection", "trained on good parts only"),
        ("segmentation", "The model predicts masks."),
        ("another", "predicts whether an image shows a defect"),
    ):
        page = page_of(tmp_path, [], task)
        assert words in page
        assert ("Bright regions" in page) == (task != "segmentation")
        assert "Bright regions" not in page_of(tmp_path, [], task, legend=False)


@pytest.mark.parametrize(("is_usable", "colour"), [(True, "verdict"), (False, "verdict bad")])
def test_the_models_own_test_stands_in_the_head_and_an_unusable_one_is_red(
    tmp_path, is_usable, colour
):
    tested = "In its test it missed 3 of 3 defects <b>"
    page = page_of(tmp_path, [row("a", "good", 0.1)], tested=tested, is_usable=is_usable)
    head = page[page.index('<section class="verdict') : page.index("</section>")]

    assert f'<section class="{colour}">' in head
    assert "How good this model is: In its test it missed 3 of 3 defects &lt;b&gt;" in head
    assert ('class="caveat"' in head) != is_usable


# --- near the threshold


@pytest.mark.parametrize(
    ("task", "score", "threshold", "expected"),
    [
        ("classification", 0.45, 0.5, True),
        ("classification", 0.3, 0.5, False),  # odds 3 / 7
        ("classification", 0.7, 0.5, False),
        ("classification", 0.15, 0.1, True),  # odds 0.176 of 0.111
        ("classification", 0.25, 0.1, False),
        ("classification", 0.9985, 0.998, True),
        ("classification", 0.9, 0.998, False),
        ("segmentation", 0.85, 0.9, True),
        ("anomaly_detection", 2.09, 2.0, True),
        ("anomaly_detection", 2.2, 2.0, False),
        ("anomaly_detection", 0.45, None, False),
        ("anomaly_detection", -1.04, -1.0, True),
    ],
)
def test_near_the_threshold_are_odds_within_a_factor_or_scores_within_a_fraction(
    task, score, threshold, expected
):
    label = "good" if threshold is None or score <= threshold else "crack"
    one = row("a.png", label, score, threshold=threshold)
    assert is_near_threshold(one, task) == expected


def test_without_a_threshold_an_image_is_near_where_any_defect_is_about_as_probable_as_none():
    for label, score, expected in (("good", 0.55, True), ("good", 0.1, False), ("good", 0.9, True),
                                   ("crack", 0.55, True), ("crack", 0.9, False)):  # fmt: skip
        assert is_near_threshold(row("a.png", label, score), "classification") == expected
    assert not is_near_threshold(row("unread.png"), "classification")


# --- one prediction, for the app


def one(**values: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        **row("a.png", "faulty_imprint", 0.75),
        "width": 100,
        "height": 50,
        "probabilities": {"good": 0.25, "faulty_imprint": 0.75},
    }
    return {**plain, **values}


def test_headline_has_the_colour_and_the_text_of_the_decision():
    for values, expected in (
        ({}, '<p class="headline bad">Defect: faulty imprint</p>'),
        ({"predicted_label": "defect"}, '<p class="headline bad">Defect</p>'),
        ({"predicted_label": "good", "is_defect": False, "score": 0.1},
         '<p class="headline good">Good: no defect found</p>'),
        ({"predicted_label": "good", "is_defect": False, "score": 0.45, "threshold": 0.5},
         '<p class="headline near">Good, near the threshold</p>\n<p class="subline">any defect '
         "45.0%, a defect above the threshold 50.0%</p>"),
        ({"score": 0.15, "threshold": 0.1},
         '<p class="headline near">Defect: faulty imprint, near the threshold</p>\n<p class='
         '"subline">any defect 15.0%, a defect above the threshold 10.0%</p>'),
        ({"predicted_label": "good", "is_defect": False, "score": 0.55},
         '<p class="headline near">Good, near the threshold</p>\n<p class="subline">any defect '
         "55.0%, the most probable class decides</p>"),
        ({"status": "error", "is_defect": None, "score": None}, "Not inspected"),
    ):  # fmt: skip
        assert expected in prediction_html(one(**values), "classification")


def test_details_have_warnings_probabilities_and_regions():
    text = prediction_html(
        one(ood_warnings=["it is blurred"], notes=["It is grey."]), "classification"
    )
    parts = [
        "may be wrong",
        "it is blurred",
        "It is grey.",
        "faulty imprint</td><td>75.0%",
        "good</td><td>25.0%",
    ]
    assert sorted(parts, key=text.index) == parts
    assert "a.png, 100x50 pixels" in text
    with_threshold = prediction_html(one(threshold=0.4), "classification")
    assert "any defect 75.0%, a defect above the threshold 40.0%" in with_threshold
    assert "good</td><td>25.0%" in with_threshold

    region = {"class": "poke", "area_px": 12, "box": [1, 2, 3, 4], "probability": 0.9}
    text = prediction_html(one(threshold=0.5, regions=[region]), "segmentation")
    assert "region: poke</td><td>12 pixels from (1, 2) to (3, 4), probability 90%" in text
    assert "score 0.75, a defect above the threshold 0.5" in text


def test_texts_from_files_do_no_harm():
    harm = "<img src=x onerror=alert(1)>"
    for values in ({"path": harm}, {"predicted_label": harm}, {"ood_warnings": [harm]},
                   {"probabilities": {harm: 1.0}},
                   {"status": "error", "error": harm, "path": harm}):  # fmt: skip
        whole = prediction_html(one(**values), "classification")
        assert "<img" not in whole
        assert "&lt;img" in whole
