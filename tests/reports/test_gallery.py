"""The gallery's file: whole, escaped, needing nothing else, whatever photographs are called."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from drawn_predictions import CLASSES, HOSTILE, about, marked, row

from capsule_inspection.reports.gallery import WITHOUT_SCRIPTS, write_gallery
from capsule_inspection.reports.overlays import colours_of

OWN_SCRIPTS = 3


def page_of(folder: Path, rows: Sequence[Any], task: str = "classification", **said: Any) -> str:
    path = write_gallery(folder, iter(rows), about=about(rows, task, **said))
    assert path == folder / "index.html"
    assert [found.name for found in folder.iterdir()] == ["index.html"]
    return path.read_text(encoding="utf-8")


def rows_in(page: str) -> list[Any]:
    found = re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_names_do_no_harm_and_arrive_as_they_are(tmp_path):
    rows = [row(f"photos/{name}", name, 0.9, remarks=[name]) for name in HOSTILE]

    page = page_of(tmp_path, rows, title=HOSTILE[0], run=HOSTILE[0], classes=["good", *HOSTILE])

    assert page.count("</script>") == OWN_SCRIPTS
    assert "<img src=x" not in page
    assert page.count("<!--") == 0
    assert [found["path"] for found in rows_in(page)] == [one["path"] for one in rows]
    assert rows_in(page)[1]["remarks"] == [HOSTILE[1]]


def test_error_messages_are_escaped_with_and_without_scripts(tmp_path):
    page = page_of(tmp_path, [row("a.png", error="<script>alert(1)</script>")])

    assert page.count("</script>") == OWN_SCRIPTS
    assert "&lt;script&gt;alert(1)" in page


def test_name_that_is_no_utf8_is_written(tmp_path):
    page = page_of(tmp_path, [row("a\udcff.png", "crack", 0.9, overlay="overlays/a\udcff.png")])

    assert rows_in(page)[0]["path"] == "a\udcff.png"
    assert rows_in(page)[0]["overlay"] == "overlays/a%FF.png"


def test_links_to_pictures_are_encoded_and_stay_below_the_page(tmp_path):
    rows = [row("a", "crack", 0.9, overlay=f"overlays/{name}") for name in HOSTILE]
    rows.append(row("b", "crack", 0.9, overlay="javascript:alert(1).png"))

    links = [found["overlay"] for found in rows_in(page_of(tmp_path, rows))]

    assert links[2] == "overlays/%E8%86%A0%E5%9B%8A%20%231%20100%2525%3F.png"
    assert all(re.fullmatch(r"[\w.%/~-]+", link) for link in links)


@pytest.mark.parametrize("task", ["classification", "reconstruction", "segmentation"])
def test_page_needs_nothing_but_itself(tmp_path, task):
    page = page_of(tmp_path, [row("a.png", "crack", 0.9, overlay="overlays/a.png")], task)

    assert "http" not in page
    assert "fetch(" not in page
    assert "@import" not in page
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert all(source.startswith("data:") for source in sources)


def test_answer_stands_before_everything_else(tmp_path):
    rows = [row("a", "crack", 0.9), row("b", "good", 0.1, remarks=["darker"]), row("c")]

    page = page_of(tmp_path, rows)

    sentence = "1 of 3 images shows a defect, 1 could not be read, 1 looks unlike"
    assert page.index(sentence) < page.index("look at these yourself") < page.index('id="rows"')


def test_number_that_is_none_is_left_out_rather_than_breaking_the_page(tmp_path):
    rows = [row("a", "crack", 0.9, threshold=float("nan")), row("b", "good", 1 / 3)]

    found = rows_in(page_of(tmp_path, rows))

    assert found[0]["threshold"] is None
    assert found[1]["score"] == 0.333333


def test_no_images_make_a_page_too(tmp_path):
    page = page_of(tmp_path, [])

    assert rows_in(page) == []
    assert "There are no images here." in page


@pytest.mark.parametrize(("count", "told"), [(WITHOUT_SCRIPTS, False), (WITHOUT_SCRIPTS + 1, True)])
def test_table_without_scripts_ends_and_says_so(tmp_path, count, told):
    page = page_of(tmp_path, [row(f"{n}.png", "crack", 0.9) for n in range(count)])

    table = page[page.index("<noscript>") :]
    assert table.count("<tr><td>") == WITHOUT_SCRIPTS
    assert (f"of the first {WITHOUT_SCRIPTS} of {count} images" in page) == told
    assert len(rows_in(page)) == count


def test_classes_are_told_by_colour_where_they_are_marked(tmp_path):
    page = page_of(tmp_path, [marked("a.png", "crack", 0.9)], "segmentation")

    for colour in colours_of(len(CLASSES))[1:]:
        assert page.count("background: #{:02x}{:02x}{:02x}".format(*colour)) == 1
    assert "&lt;b&gt;膠囊&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("task", "legend", "pictures"),
    [
        ("classification", True, 1),
        ("reconstruction", True, 1),
        ("segmentation", True, 0),
        ("classification", False, 0),
        ("segmentation", False, 0),
    ],
)
def test_heat_is_explained_where_there_is_any(tmp_path, task, legend, pictures):
    page = page_of(tmp_path, [row("a.png", "crack", 0.9)], task, legend=legend)

    assert page.count("data:image/png;base64,") == pictures
    if not legend:
        assert "Colours of the classes" not in page


def test_page_of_before_stays_where_rows_fail(tmp_path):
    before = page_of(tmp_path, [row("a.png", "crack", 0.9)])

    def failing():
        yield row("b.png", "crack", 0.9)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_gallery(tmp_path, failing(), about=about([]))
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1
