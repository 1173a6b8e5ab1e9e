"""Numbers as text, and what all templates can call."""

import pytest

from capsule_inspection.reports import formatting
from capsule_inspection.reports.html import EmbeddedImage, environment
from capsule_inspection.reports.tables import Cell, Table
from capsule_inspection.types import Estimate


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0%"), (0.00031, "0.031%"), (0.045, "4.5%"), (0.238, "24%"), (0.9949, "99%"),
     (0.996, "99.6%"), (0.99999, "99.9%"), (1.0, "100%"), (1.5, "150%")],
)  # fmt: skip
def test_a_percentage_is_0_or_100_only_where_it_is_exact(fraction, text):
    assert formatting.format_percent(fraction) == text


def test_a_rate_has_its_counts_unless_images_are_grouped():
    rate = Estimate(5 / 21, 0.1, 0.45, 21)
    assert formatting.format_rate_of(rate) == "24% (5 of 21)"
    assert formatting.format_rate_of(rate, "defects") == "24% (5 of 21 defects)"
    assert formatting.format_rate_of(rate, grouped=True) == "24%"
    assert formatting.format_rate_of(rate, "defects", grouped=True) == "24% of the defects"


@pytest.mark.parametrize(
    ("score", "threshold", "text"),
    [
        (0.12, 0.5, "score 0.12"),
        (0.12, None, "score 0.12"),
        (0.487521, 0.4875394, "score 0.48752, threshold 0.48754"),
        (0.49, 0.486, "score 0.49, threshold 0.486"),
        (0.5, 0.5, "score 0.5, threshold 0.5"),
        (1e-9, 2e-9, "score 1e-09"),
    ],
)
def test_a_score_near_its_threshold_is_told_from_it(score, threshold, text):
    assert formatting.format_score(score, threshold) == text


def test_small_fractions_are_not_rounded_to_nothing():
    assert formatting.format_metric("pixel_fpr", 0.00031) == "0.031%"
    assert formatting.format_metric("auroc", 0.00031) == ".000"
    assert formatting.format_p_value(0.04999) == "= .0500"
    assert formatting.format_p_value(0.0004) == "< .001"


def render(source: str, **values: object) -> str:
    return environment().from_string(source).render(**values)


def test_templates_format_numbers_and_escape_text():
    assert render("{{ e | format_estimate }}", e=Estimate(0.5, 0.25, 0.75, 4)) == (
        ".500 (.250 to .750)"
    )
    lines = "{% macro m() %}one\n\n  two {{ name }}\n{% endmacro %}"
    assert render(lines + "{{ m() | sentences | join('; ') }}", name="<b>") == (
        "one; two &lt;b&gt;"
    )


def test_table_of_a_page_sorts_by_numbers_and_escapes_its_cells():
    table = Table("a title", ("model", "AUROC"), ((Cell("<i>"), Cell(".9", 0.9)),), note="why")
    page = render('{% import "macros.html.j2" as parts %}{{ parts.table(t) }}', t=table)

    for part in (
        '<th scope="col"><button type="button">AUROC</button></th>',
        "<th scope=row>&lt;i&gt;</th>",
        '<td class="number" data-value="0.9">.9</td>',
        'aria-label="a title"',
        '<p class="note">why</p>',
    ):
        assert part in page


def test_image_of_1200_pixels_takes_both_columns():
    def png(width: int) -> bytes:
        return bytes(16) + width.to_bytes(4, "big") + (700).to_bytes(4, "big")

    narrow, wide = (EmbeddedImage("a.png", "a title", png(width)) for width in (1199, 1200))
    assert (narrow.is_wide, wide.is_wide) == (False, True)
    page = render('{% import "macros.html.j2" as parts %}{{ parts.plots([i]) }}', i=wide)
    assert 'class="plot wide"' in page
    assert 'width="1200" height="700"' in page
