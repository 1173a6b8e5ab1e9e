"""Wording from the templates."""

from __future__ import annotations

from capsule_inspection.reports.comparison.wording import note


def test_a_note_is_plain_text_on_one_line() -> None:
    text = note("guessing", "auroc", [("<b>", False), ("a|b", False), ("c", True)])
    assert text == (
        "Not shown to be better than guessing, by AUROC: <b> and a|b. "
        "Worse than guessing, by AUROC: c."
    )
