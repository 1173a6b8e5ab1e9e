"""Tasks are found by their folder; the example in tests/example_task is one that is added."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick import QUICK, draw_mvtec, metrics_of, record_of, rows_of
from small import Cli

from capsule_inspection import tasks
from capsule_inspection.tasks import adapter
from capsule_inspection.tasks.post_processor import post_processor_type
from capsule_inspection.types import RunError

EXAMPLE = Path(__file__).parents[1] / "example_task"


def test_a_task_is_a_folder_with_the_same_files() -> None:
    assert tasks.names() == ["anomaly_detection", "classification", "segmentation"]
    for name in tasks.names():
        folder = Path(tasks.__path__[0]) / name
        assert {path.name for path in folder.glob("*.py")} >= {
            "adapter.py",
            "inference_model.py",
            "lightning_module.py",
            "post_processor.py",
        }
        assert adapter.task_type(name, where="here").__name__.endswith("Task")
    with pytest.raises(RunError, match=r"here: expected a task of .*found '\.\.x'"):
        adapter.task_type("..x", where="here")
    with pytest.raises(RunError, match="here: expected a task"):
        post_processor_type("..x", where="here")


def test_an_added_task_trains_evaluates_predicts_and_compares(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(EXAMPLE / "tasks")])
    data, run = draw_mvtec(tmp_path / "bottle"), tmp_path / "run"
    settings = ("task=good_or_defect", f"hydra.searchpath=[file://{EXAMPLE / 'conf'}]")
    places = (f"data.root={data}", f"data.cache_folder={tmp_path / 'cache'}")
    for name in ("run", "other"):
        own = (f"hydra.run.dir={tmp_path / name}", f"seed={len(name)}")
        result = cli("train", *QUICK, "data=mvtec", *places, *settings, *own)
        assert result.status == 0, result.err
    assert record_of(run)["task"] == "good_or_defect"
    assert {"test/auroc", "test/false_negative_rate"} <= set(metrics_of(run))
    assert {row["predicted_label"] for row in rows_of(run)} <= {"good", "defect"}

    result = cli("evaluate", f"run={run}", f"output={tmp_path / 'again'}", "trainer=cpu")
    assert result.status == 0, result.err
    assert metrics_of(tmp_path / "again")["test/auroc"] == metrics_of(run)["test/auroc"]
    output = tmp_path / "predicted"
    result = cli("predict", f"run={run}", f"input={data / 'test'}", f"output={output}")
    assert result.status == 0, result.err
    scores = {data / row["path"]: float(row["score"]) for row in rows_of(run)}
    found = {Path(row["path"]): float(row["score"]) for row in rows_of(output)}
    both = scores.keys() & found.keys()
    assert both
    assert [found[path] for path in both] == pytest.approx([scores[p] for p in both], abs=1e-6)
    assert "The model predicts whether an image shows a defect" in (
        output / "index.html"
    ).read_text(encoding="utf-8")

    result = cli("compare", f"runs=[{run},{tmp_path / 'other'}]", f"output={tmp_path / 'compared'}")
    assert result.status == 0, result.err
    table = rows_of(tmp_path / "compared", "comparison.csv")
    assert [float(row["auroc"]) for row in table]
