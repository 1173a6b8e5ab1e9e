"""Predictions in a folder: kept row by row, continued, never mixed or overwritten."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.contracts import RunError
from capsule_inspection.inference.results import ROWS, TABLE, Results, identity, whole_path

MADE_BY = {"model": "resnet18", "checkpoint": "abc"}


def photograph(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(os.fsencode(name))
    return path


def row_of(path: Path, **values: Any) -> dict[str, Any]:
    row = {"path": str(path), "status": "ok", "prediction": "good", "is_defect": False}
    return {**row, "score": 0.125, **identity(path), **values}


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / ROWS).read_text("utf-8").splitlines()]


def test_rows_are_in_the_file_as_soon_as_they_are_added(tmp_path: Path) -> None:
    path = photograph(tmp_path, "膠囊.png")
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(path))
        assert [row["path"] for row in lines(tmp_path / "out")] == [str(path)]


def test_a_second_run_knows_what_is_done_and_forgets_what_failed_or_changed(tmp_path: Path) -> None:
    same, changed, failed = (photograph(tmp_path, name) for name in ("a", "b", "c"))
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(same))
        results.add(row_of(changed))
        results.add(row_of(failed, status="error", error="is damaged"))
    changed.write_bytes(b"another photograph")
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        assert results.continues
        assert list(results.done()) == [str(same)]
        assert [row["path"] for row in lines(tmp_path / "out")] == [str(same)]


def test_rows_of_photographs_that_are_gone_are_kept(tmp_path: Path) -> None:
    gone, failed = photograph(tmp_path, "a"), photograph(tmp_path, "b")
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(gone))
        results.add(row_of(failed, status="error", error="is damaged"))
    gone.unlink()
    failed.unlink()
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        assert list(results.done()) == [str(gone)]


def test_photographs_are_known_from_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = photograph(tmp_path, "a"), photograph(tmp_path, "b")
    monkeypatch.chdir(tmp_path)
    with Results(Path("out"), made_by=MADE_BY) as results:
        results.add({**row_of(Path("b")), "file": whole_path(Path("b"))})
        results.add(row_of(Path("a")))  # as in older versions
        assert list(results.done()) == [str(second), str(first)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    second.write_bytes(b"another photograph")
    with Results(Path("../out"), made_by=MADE_BY) as results:
        assert [row["path"] for row in results.done().values()] == ["a"]
        results.add({**row_of(Path("../b")), "file": whole_path(Path("../b"))})
        rows = results.finish([whole_path(Path("../b"))])
    assert [row["path"] for row in rows] == ["../b", "a"]


def test_a_full_disk_does_not_keep_the_folder_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        close = flush

    results = Results(tmp_path / "out", made_by=MADE_BY)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *given, **named: Full())
        with pytest.raises(OSError, match="No space left"), results:
            results.add(row_of(photograph(tmp_path, "a")))
    Results(tmp_path / "out", made_by=MADE_BY).__enter__().__exit__(None, None, None)  # it is free


def test_a_line_that_was_cut_short_is_predicted_again(tmp_path: Path) -> None:
    first, second = photograph(tmp_path, "a"), photograph(tmp_path, "b")
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(first))
        results.add(row_of(second))
    whole = (tmp_path / "out" / ROWS).read_bytes()
    (tmp_path / "out" / ROWS).write_bytes(whole[:-20])
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        assert list(results.done()) == [str(first)]
        results.add(row_of(second))
    assert (tmp_path / "out" / ROWS).read_bytes() == whole


def test_predictions_of_another_model_are_refused_and_stay(tmp_path: Path) -> None:
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(photograph(tmp_path, "a")))
    before = (tmp_path / "out" / ROWS).read_bytes()
    with pytest.raises(RunError, match="made with checkpoint=abc, and checkpoint=xyz"):
        Results(tmp_path / "out", made_by={**MADE_BY, "checkpoint": "xyz"})
    assert (tmp_path / "out" / ROWS).read_bytes() == before
    Results(tmp_path / "out", made_by=MADE_BY).__enter__().__exit__(None, None, None)  # it is free


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path, "report.txt")
    with pytest.raises(RunError, match=r"found 1 files, such as report\.txt"):
        Results(tmp_path, made_by=MADE_BY)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".txt"] == ["report.txt"]


def test_a_folder_that_is_written_now_is_refused(tmp_path: Path) -> None:
    with (
        Results(tmp_path / "out", made_by=MADE_BY),
        pytest.raises(RunError, match="another process writes predictions here"),
    ):
        Results(tmp_path / "out", made_by=MADE_BY)


def test_predictions_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prediction.json").write_text('{"format_version": 99}', encoding="utf-8")
    with pytest.raises(RunError, match="made by a newer version"):
        Results(tmp_path, made_by=MADE_BY)


def test_the_table_has_a_column_for_each_class_and_the_order_of_the_photographs(
    tmp_path: Path,
) -> None:
    first, second = photograph(tmp_path, "a"), photograph(tmp_path, "b")
    region = {"class": "poke", "area_px": 12, "box": [1, 2, 3, 4], "probability": 0.9}
    with Results(tmp_path / "out", made_by=MADE_BY) as results:
        results.add(row_of(second, status="error", error='cut "short", sadly', score=None))
        results.add(
            row_of(
                first,
                probabilities={"good": 0.25, "poke": 0.75},
                regions=[region, region],
                remarks=["640x480 pixels", "dark"],
            )
        )
        results.finish([str(first), str(second)])
    with (tmp_path / "out" / TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(first), str(second)]
    assert rows[0]["p_poke"] == "0.75"
    assert rows[0]["is_defect"] == "false"
    assert rows[0]["marked_px"] == "24"
    assert json.loads(rows[0]["regions"]) == [region, region]
    assert rows[0]["remarks"] == "640x480 pixels; dark"
    assert rows[1]["error"] == 'cut "short", sadly'
    assert rows[1]["score"] == rows[1]["p_good"] == ""


def test_names_that_are_no_utf8_are_continued(tmp_path: Path) -> None:
    path = photograph(tmp_path, os.fsdecode(b"caf\xe9.png"))
    for continues in (False, True, True):
        with Results(tmp_path / "out", made_by=MADE_BY) as results:
            assert results.continues == continues
            if not continues:
                results.add(row_of(path))
            assert list(results.done()) == [str(path)]
