"""`python compare.py`, called as a user does."""

from __future__ import annotations

import shutil
from pathlib import Path

from drawn_runs import draw_run
from quick import ODD_NAME, check_refusal
from small import Door


def two_runs(folder: Path) -> str:
    runs = [draw_run(folder / name, model=name, wrong=range(n)) for n, name in enumerate("ab", 2)]
    return f"runs=[{','.join(map(str, runs))}]"


def test_runs_compare_alike_where_they_are_moved_or_named_by_their_folder(
    door: Door, tmp_path: Path
) -> None:
    here = two_runs(tmp_path / ODD_NAME)
    answer = door("compare", here, f"output={tmp_path / 'x'}")
    assert answer.status == 0, answer.err
    assert "a and b: not distinguishable on these 66 images." in answer.out
    written = {path.name for path in (tmp_path / "x").iterdir()}
    assert {"comparison.html", "comparison.md", "comparison.csv", "figures"} <= written

    sweep = shutil.move(tmp_path / ODD_NAME, tmp_path / "sweep")
    draw_run(sweep / "c", model="c", record={"status": "failed", "error": "why not"})
    answer = door("compare", f"runs=[{sweep}]", f"output={tmp_path / 'y'}")
    assert answer.status == 0, answer.err
    assert "c: failed. why not" in (tmp_path / "y" / "comparison.html").read_text()
    csv = [(tmp_path / name / "comparison.csv").read_text() for name in "xy"]
    assert csv[0] == csv[1]


def test_a_run_that_cannot_be_read_is_named_and_nothing_is_written(
    door: Door, tmp_path: Path
) -> None:
    good = draw_run(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    text = (draw_run(tmp_path / "NaN") / "predictions.csv").read_text().splitlines()
    text[5] = text[5].rpartition(",")[0] + ",nan"
    (tmp_path / "NaN" / "predictions.csv").write_text("\n".join(text))
    for name, expected in {
        "missing": "no such run folder",
        "empty": "expected a run folder with run.json",
        "NaN": "not finite",
    }.items():
        output = tmp_path / f"of {name}"
        answer = door("compare", f"runs=[{good},{tmp_path / name}]", f"output={output}")
        check_refusal(answer, str(tmp_path / name), expected)
        assert [path.name for path in output.iterdir()] == ["train.log"]


def test_a_sweep_without_finished_runs_says_why(door: Door, tmp_path: Path) -> None:
    draw_run(tmp_path / "sweep" / "a", record={"status": "failed", "error": "why not"})
    answer = door("compare", f"runs=[{tmp_path / 'sweep'}]", f"output={tmp_path / 'out'}")
    check_refusal(answer, "found neither (a: failed. why not)")


def test_what_cannot_be_meant_is_refused(door: Door, tmp_path: Path) -> None:
    runs = two_runs(tmp_path / "runs")
    check_refusal(door("compare", "runs=[]"), "name at least one run folder")
    answer = door("compare", runs, "reference=c", f"output={tmp_path / 'out'}")
    check_refusal(answer, "Compared are: a, b", status=2)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    answer = door("compare", runs, f"output={tmp_path / 'used'}")
    check_refusal(answer, "expected a new or empty folder")
    assert (tmp_path / "used" / "mine.txt").read_text() == "mine"
    assert not list((tmp_path / "used").glob("comparison*"))
