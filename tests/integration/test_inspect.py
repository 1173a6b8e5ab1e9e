"""`inspect=true`: what is in a data set, in the console and on a page, without training."""

from __future__ import annotations

from pathlib import Path

from quick import QUICK, check_error, content, rows_of
from small import Cli


def test_inspect_describes_the_data_set_and_trains_nothing(cli: Cli, mvtec: Path) -> None:
    (mvtec / "notes.txt").write_text("of the camera")
    (mvtec / "readme.heic").write_bytes(b"\0\0\0\x18ftypheic")
    given = (*QUICK, "data=mvtec", f"data.root={mvtec}", "hydra.run.dir=seen")
    result = cli("train", *given, "inspect=true")
    assert result.status == 0
    for expected in ("crack", "poke", ".heic", "Defect sizes"):
        assert expected in result.out
    assert sorted(path.name for path in Path("seen").iterdir() if path.suffix != ".log") == [
        "figures",
        "report.html",
        "split.csv",
    ]
    assert len(rows_of(Path("seen"), "split.csv")) == 18
    page = Path("seen/report.html").read_text(encoding="utf-8")
    assert ".heic" in page
    assert "inspect=true" not in page.partition("<pre")[2]


def test_inspect_shows_a_data_set_that_cannot_be_split(cli: Cli, mvtec: Path) -> None:
    for path in sorted((mvtec / "test/poke").iterdir())[1:]:
        path.unlink()
        (mvtec / "ground_truth/poke" / f"{path.stem}_mask.png").unlink()
    given = (*QUICK, "data=mvtec", f"data.root={mvtec}", "split=holdout", "hydra.run.dir=seen")
    result = cli("train", *given, "inspect=true")
    check_error(result, "poke has 1 image")
    assert "poke has 1 image" in Path("seen/report.html").read_text(encoding="utf-8")


def test_inspect_is_no_sweep(cli: Cli, mvtec: Path) -> None:
    given = (*QUICK, "data=mvtec", f"data.root={mvtec}", "hydra.sweep.dir=seen", "inspect=true")
    check_error(cli("train", "-m", *given, "seed=0,1"), "leave out -m", status=2)


def test_inspect_replaces_no_file_of_a_run(cli: Cli, finished: Path, mvtec: Path) -> None:
    before = content(finished)
    given = (*QUICK, "data=mvtec", f"hydra.run.dir={finished}", "inspect=true")
    check_error(cli("train", *given, f"data.root={mvtec}"), "there is a run in this folder")
    assert {**content(finished), "train.log": b""} == {**before, "train.log": b""}
