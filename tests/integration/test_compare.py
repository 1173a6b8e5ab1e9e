"""`python compare.py`, called as a user does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from drawn_runs import draw_run
from quick import ODD_NAME, check_refusal
from small import Door


def two_runs(folder: Path) -> str:
    runs = [draw_run(folder / name, model=name, wrong=range(n)) for n, name in enumerate("ab", 2)]
    return f"runs=[{','.join(map(str, runs))}]"


def test_a_comparison_is_written_and_told(door: Door, tmp_path: Path) -> None:
    answer = door("compare", two_runs(tmp_path / ODD_NAME), f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err
    assert "a and b: not distinguishable on these 66 images." in answer.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.html", "comparison.md", "comparison.csv", "figures"} <= written


def test_a_sweep_folder_stands_for_its_finished_runs(door: Door, tmp_path: Path) -> None:
    two_runs(tmp_path / "sweep")
    draw_run(tmp_path / "sweep" / "c", model="c", record={"status": "failed", "error": "why not"})
    answer = door("compare", f"runs=[{tmp_path / 'sweep'}]", f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "c: failed. why not" in page


def test_runs_copied_elsewhere_compare_as_before(door: Door, tmp_path: Path) -> None:
    here = two_runs(tmp_path / "runs")
    door("compare", here, f"output={tmp_path / 'x'}")
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    shutil.rmtree(tmp_path / "runs")
    answer = door("compare", here.replace("/runs/", "/copy/"), f"output={tmp_path / 'y'}")
    assert answer.status == 0, answer.err
    csv = [(tmp_path / name / "comparison.csv").read_text() for name in "xy"]
    assert csv[0] == csv[1]


def broken(folder: Path, kind: str) -> Path:
    if kind == "missing":
        return folder / "nowhere"
    if kind == "empty":
        (folder / "empty").mkdir(parents=True)
        return folder / "empty"
    record = {"unfinished": {"status": "running"}, "newer": {"format_version": 99}}.get(kind, {})
    run = draw_run(folder / kind, record=record)
    if kind == "without predictions":
        (run / "predictions.csv").unlink()
    if kind == "NaN":
        text = (run / "predictions.csv").read_text().splitlines()
        cells = text[5].split(",")
        cells[-1] = "nan"
        (run / "predictions.csv").write_text("\n".join([*text[:5], ",".join(cells), *text[6:]]))
    return run


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "no such run folder"),
        ("empty", "expected a run folder with run.json"),
        ("unfinished", "is not finished"),
        ("without predictions", "predictions.csv: missing"),
        ("newer", "format_version is 99"),
        ("NaN", "not finite"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_and_nothing_is_written(
    door: Door, tmp_path: Path, kind: str, expected: str
) -> None:
    good = draw_run(tmp_path / "good")
    bad = broken(tmp_path, kind)
    answer = door("compare", f"runs=[{good},{bad}]", f"output={tmp_path / 'out'}")
    check_refusal(answer, str(bad), expected)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.log"]


def test_no_runs_and_a_used_output_are_refused(door: Door, tmp_path: Path) -> None:
    check_refusal(door("compare"), "runs is needed", status=2)
    check_refusal(door("compare", "runs=[]"), "name at least one run folder")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    answer = door("compare", two_runs(tmp_path / "runs"), f"output={tmp_path / 'used'}")
    check_refusal(answer, "expected a new or empty folder")
    assert (tmp_path / "used" / "mine.txt").read_text() == "mine"
    assert not list((tmp_path / "used").glob("comparison*"))


def test_a_reference_that_is_no_model_is_refused(door: Door, tmp_path: Path) -> None:
    answer = door(
        "compare", two_runs(tmp_path / "runs"), "reference=c", f"output={tmp_path / 'out'}"
    )
    check_refusal(answer, "Compared are: a, b", status=2)
    assert json.loads((tmp_path / "runs" / "a" / "run.json").read_text())["status"] == "finished"
