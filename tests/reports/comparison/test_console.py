"""A comparison in the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from comparisons import write

from capsule_inspection.reports.comparison.console import print_comparison
from capsule_inspection.reports.comparison.page import headline, recommendation_text
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.tables import Table


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_the_terminal_has_tables_pairs_caveats_and_the_recommendation(tmp_path, capsys) -> None:
    runs = [write(tmp_path, f"m{n}", wrong=range(n), thumbnails=False) for n in range(4)]
    runs.append(write(tmp_path, "[red]last[/]", record={"optimistic": True}, thumbnails=False))
    comparison = compare(runs)

    print_comparison(comparison)

    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    balanced = [row for row in rows if row[0] == "balanced accuracy"]
    tables = {table.title: table for table in comparison.tables}
    image_metrics = tables["Test images"]
    column = image_metrics.columns.index("balanced accuracy")
    expected = [row[column].text for row in image_metrics.rows]
    assert [row[1:] for row in balanced] == [expected[:3], expected[3:]]
    assert sum(row[0] == "training time" for row in rows) == 2
    assert any("[red]last[/]" in line for line in lines)
    text = "\n".join(lines)
    for sentence in (
        *(f"• {headline(comparison, pair)}" for pair in comparison.pairs),
        *comparison.caveats,
        *recommendation_text(comparison),
    ):
        assert sentence in text
    assert comparison.caveats


def test_a_table_of_some_models_only_has_dashes_for_the_others(tmp_path, capsys) -> None:
    comparison = compare([write(tmp_path, "a"), write(tmp_path, "b")])
    leading = comparison.tables[0]
    name, accuracy = leading.rows[1][:2]
    part = Table("Part", ("model", "only b"), ((name, accuracy),), is_leading=True)

    print_comparison(replace(comparison, tables=[leading, part]))

    (row,) = [line for line in capsys.readouterr().out.splitlines() if "only b" in line]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["–", accuracy.text]
