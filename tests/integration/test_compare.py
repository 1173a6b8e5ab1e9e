"""`python compare.py`, called as a user does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from quick import ODD_NAME, check_error, content
from sample_runs import write_classification_run
from small import Cli

from capsule_inspection.reports.comparison import report


def two_runs(folder: Path) -> str:
    runs = [
        write_classification_run(folder / name, model=name, wrong=range(n))
        for n, name in enumerate("ab", 2)
    ]
    return f"runs=[{','.join(map(str, runs))}]"


def test_runs_compare_alike_where_they_are_moved_or_named_by_their_folder(
    cli: Cli, tmp_path: Path
) -> None:
    here = two_runs(tmp_path / ODD_NAME)
    result = cli("compare", here, f"output={tmp_path / 'x'}")
    assert result.status == 0, result.err
    assert "a and b: not distinguishable in balanced accuracy on these 66 images." in result.out
    written = {path.name for path in (tmp_path / "x").iterdir()}
    files = {f"comparison.{suffix}" for suffix in ("html", "md", "csv", "json")}
    assert {*files, "figures"} <= written

    sweep = shutil.move(tmp_path / ODD_NAME, tmp_path / "sweep")
    write_classification_run(
        sweep / "c", model="c", record={"status": "failed", "error": "why not"}
    )
    arguments = (f"runs=[{sweep}]", f"output={tmp_path / 'y'}")
    result = cli("compare", *arguments, "cost.false_negative=20", "cost.false_positive=1")
    assert result.status == 0, result.err
    assert "Left out: c: failed. why not" in result.out
    assert "c: failed. why not" in (tmp_path / "y" / "comparison.html").read_text()
    x, y = (json.loads((tmp_path / name / "comparison.json").read_text()) for name in "xy")
    assert (x["primary"]["metric"], x["primary"]["margin"]) == ("balanced_accuracy", 0.05)
    assert y["primary"]["metric"] == "expected_cost"
    for first, second in zip(x["models"], y["models"], strict=True):
        assert second["metrics"].pop("expected_cost")["value"] > 0
        assert first["metrics"] == second["metrics"]


def test_a_run_that_cannot_be_read_is_named_and_nothing_is_written(
    cli: Cli, tmp_path: Path
) -> None:
    good = write_classification_run(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    text = (write_classification_run(tmp_path / "NaN") / "predictions.csv").read_text().splitlines()
    text[5] = text[5].rpartition(",")[0] + ",nan"
    (tmp_path / "NaN" / "predictions.csv").write_text("\n".join(text))
    for name, expected in {
        "missing": "no such run folder",
        "empty": "expected a run folder with run.json",
        "NaN": "probabilities are missing or not from 0 to 1 for poke",
    }.items():
        output = tmp_path / f"of {name}"
        result = cli("compare", f"runs=[{good},{tmp_path / name}]", f"output={output}")
        check_error(result, str(tmp_path / name), expected)
        assert not output.exists()


def test_a_run_that_is_named_twice_counts_once(cli: Cli, tmp_path: Path) -> None:
    two_runs(tmp_path / "sweep")
    names = f"{tmp_path / 'sweep'},{tmp_path / 'sweep' / 'a'},{tmp_path / 'sweep'}/./b"
    result = cli("compare", f"runs=[{names}]", f"output={tmp_path / 'x'}")
    assert result.status == 0, result.err
    models = json.loads((tmp_path / "x" / "comparison.json").read_text())["models"]
    assert [model["name"] for model in models] == ["a", "b"]


def test_a_sweep_without_finished_runs_says_why(cli: Cli, tmp_path: Path) -> None:
    write_classification_run(
        tmp_path / "sweep" / "a", record={"status": "failed", "error": "why not"}
    )
    result = cli("compare", f"runs=[{tmp_path / 'sweep'}]", f"output={tmp_path / 'out'}")
    check_error(result, "found neither (a: failed. why not)")


def test_what_cannot_be_meant_is_refused(cli: Cli, tmp_path: Path) -> None:
    runs = two_runs(tmp_path / "runs")
    check_error(cli("compare", "runs=[]"), "name at least one run folder")
    result = cli("compare", runs, "reference=c", f"output={tmp_path / 'out'}")
    check_error(result, "Compared are: a, b", status=2)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    result = cli("compare", runs, f"output={tmp_path / 'used'}")
    check_error(result, "expected a new or empty folder")
    assert (tmp_path / "used" / "mine.txt").read_text() == "mine"
    assert not list((tmp_path / "used").glob("comparison*"))
    (tmp_path / "of others").mkdir()
    for link in (Path.symlink_to, Path.hardlink_to):
        link(tmp_path / "of others" / "train.log", tmp_path / "used" / "mine.txt")
        result = cli("compare", runs, f"output={tmp_path / 'of others'}")
        check_error(result, "train.log: a link, which messages would be written through")
        (tmp_path / "of others" / "train.log").unlink()
    assert (tmp_path / "used" / "mine.txt").read_text() == "mine"


def test_a_stopped_comparison_is_begun_anew_and_a_finished_one_is_kept(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    runs, output = two_runs(tmp_path / "runs"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(report, "to_markdown", stop)
        assert cli("compare", runs, f"output={output}").status == 130
    assert (output / "comparison.json").is_file()
    for folder in (output, tmp_path / "other"):
        assert cli("compare", runs, f"output={folder}").status == 0
    before = content(output)
    other = content(tmp_path / "other")
    assert {**before, "train.log": b""} == {**other, "train.log": b""}
    result = cli("compare", runs, f"output={output}")
    assert result.status == 0
    assert "Finished before, kept" in result.out
    result = cli("compare", runs, f"output={output}", "reference=a")
    check_error(result, "the output of another run, other images or other settings")
    assert {**content(output), "train.log": b""} == {**before, "train.log": b""}
