"""Predictions in a folder: kept row by row, continued, never mixed or overwritten."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from quick import rows_of

from capsule_inspection.inference.prediction_folder import (
    ROWS,
    PredictionFolder,
    absolute_path,
    identity,
)
from capsule_inspection.types import RunError

MADE_BY = {"model": "resnet18", "checkpoint": "abc"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def opened(output: Path, **changed: str) -> PredictionFolder:
    return PredictionFolder(output, made_by={**MADE_BY, **changed})


def images(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(os.fsencode(name))
    return [folder / name for name in names]


def row_of(path: Path, **values: Any) -> dict[str, Any]:
    row = {"path": str(path), "status": "ok", "predicted_label": "good", "is_defect": False}
    row["file"] = absolute_path(path)
    return {**row, "score": 0.125, **identity(path), **values}


def paths_in(output: Path) -> list[str]:
    return [json.loads(line)["path"] for line in (output / ROWS).read_text("utf-8").splitlines()]


def check_free(output: Path) -> None:
    """No lock is left."""
    with opened(output):
        pass


def test_rows_are_in_the_file_as_soon_as_they_are_added(tmp_path: Path, output: Path) -> None:
    (path,) = images(tmp_path, "膠囊.png")
    with opened(output) as results:
        results.add(row_of(path))
        assert paths_in(output) == [str(path)]
        with pytest.raises(RunError, match="another process writes predictions here"):
            opened(output)


def test_a_second_run_forgets_what_failed_or_changed_and_keeps_what_is_gone(
    tmp_path: Path, output: Path
) -> None:
    same, changed, *others = paths = images(tmp_path, "a", "b", "c", "d", "e", "f")
    failed, gone, failed_gone, replaced = others
    status = replaced.stat()
    with opened(output) as results:
        for path in paths:
            wrong = {"status": "error", "error": "is damaged"}
            results.add(row_of(path, **(wrong if path in (failed, failed_gone) else {})))
    changed.write_bytes(b"another image")
    replaced.write_bytes(replaced.read_bytes()[::-1])
    os.utime(replaced, ns=(status.st_atime_ns, status.st_mtime_ns))  # of equal size and time
    gone.unlink()
    failed_gone.unlink()
    with opened(output) as results:
        assert results.continues
        assert list(results.done()) == paths_in(output) == [str(same), str(gone)]


def test_images_are_known_from_every_working_directory(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = images(tmp_path, "a", "b")
    monkeypatch.chdir(tmp_path)
    with opened(Path("out")) as results:
        results.add(row_of(Path("b")))
        results.add(row_of(Path("a")))
        assert list(results.done()) == [str(second), str(first)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    second.write_bytes(b"another image")
    with opened(Path("../out")) as results:
        assert [row["path"] for row in results.done().values()] == ["a"]
        results.add(row_of(Path("../b")))
        rows = results.finish([absolute_path(Path("../b"))])
    assert [row["path"] for row in rows] == ["../b", "a"]


def test_a_full_disk_does_not_keep_the_folder_locked(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        close = flush

    results = opened(output)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *given, **named: Full())
        with pytest.raises(OSError, match="No space left"), results:
            results.add(row_of(tmp_path / "a"))
    check_free(output)


def test_a_line_that_was_cut_short_is_predicted_again(tmp_path: Path, output: Path) -> None:
    first, second = images(tmp_path, "a", "b")
    with opened(output) as results:
        results.add(row_of(first))
        results.add(row_of(second))
    whole = (output / ROWS).read_bytes()
    (output / ROWS).write_bytes(whole[:-20])
    with opened(output) as results:
        assert list(results.done()) == [str(first)]
        results.add(row_of(second))
    assert (output / ROWS).read_bytes() == whole


def test_predictions_of_another_model_or_version_and_other_files_are_refused_and_stay(
    tmp_path: Path, output: Path
) -> None:
    with opened(output) as results:
        results.add(row_of(*images(tmp_path, "a")))
    before = (output / ROWS).read_bytes()
    with pytest.raises(RunError, match="made with checkpoint=abc, and checkpoint=xyz"):
        opened(output, checkpoint="xyz")
    assert (output / ROWS).read_bytes() == before
    check_free(output)
    for name, content, message in (
        ("report.txt", "report.txt", r"found 1 files, such as report\.txt"),
        ("prediction.json", '{"format_version": 99}', "expected predictions of format 1, found 99"),
    ):
        (folder := tmp_path / f"with {name}").mkdir()
        (folder / name).write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match=message):
            opened(folder)
        assert (folder / name).read_text(encoding="utf-8") == content


def test_the_table_has_a_column_for_each_class_and_the_order_of_the_images(
    tmp_path: Path, output: Path
) -> None:
    first, second = images(tmp_path, "a", "b")
    region = {"class": "poke", "area_px": 12, "box": [1, 2, 3, 4], "probability": 0.9}
    found = {
        "probabilities": {"good": 0.25, "poke": 0.75},
        "regions": [region, region],
        "ood_warnings": ["640x480 pixels", "dark"],
    }
    with opened(output) as results:
        results.add(row_of(second, status="error", error='cut "short", sadly', score=None))
        results.add(row_of(first, **found))
        results.finish([str(first), str(second)])
    rows = rows_of(output)
    assert [row["path"] for row in rows] == [str(first), str(second)]
    assert rows[0]["p_poke"] == "0.75"
    assert rows[0]["is_defect"] == "false"
    assert rows[0]["mask_px"] == "24"
    assert json.loads(rows[0]["regions"]) == [region, region]
    assert rows[0]["ood_warnings"] == "640x480 pixels; dark"
    assert rows[1]["error"] == 'cut "short", sadly'
    assert rows[1]["score"] == rows[1]["p_good"] == ""


def test_names_that_are_no_utf8_are_continued(tmp_path: Path, output: Path) -> None:
    (path,) = images(tmp_path, os.fsdecode(b"caf\xe9.png"))
    for continues in (False, True, True):
        with opened(output) as results:
            assert results.continues == continues
            if not continues:
                results.add(row_of(path))
            assert list(results.done()) == [str(path)]
