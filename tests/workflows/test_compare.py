"""The comparison at the end of a sweep."""

from __future__ import annotations

import json

import pytest
from sample_runs import write_classification_run

from capsule_inspection.workflows.compare import report_sweep


def test_a_sweep_is_compared_as_its_configuration_says_and_replaces_what_there_was(
    tmp_path,
) -> None:
    settings = {
        "compare": {"primary": "accuracy", "margin": 0.1},
        "cost": {"false_negative": 20, "false_positive": 1, "defect_rate": 0.01},
    }
    for number, name in enumerate("ab"):
        write_classification_run(
            tmp_path / name, model=name, settings=settings, wrong=(40 + number,), thumbnails=False
        )
    (tmp_path / "comparison").mkdir()
    (tmp_path / "comparison" / "former.html").touch()
    (tmp_path / ".comparison.killed.part" / "former").mkdir(parents=True)
    report_sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "comparison"}
    assert not (tmp_path / "comparison" / "former.html").exists()
    content = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert content["primary"]["metric"] == "accuracy"
    assert content["primary"]["margin"] == 0.1
    rejected = content["models"][0]["metrics"]["false_positive_rate"]["value"]
    cost = content["models"][0]["metrics"]["expected_cost"]["value"]
    assert cost == pytest.approx(0.99 * rejected + 20 * 0.01 * 0)
