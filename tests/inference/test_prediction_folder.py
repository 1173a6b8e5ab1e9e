"""Predictions in a folder: kept row by row, continued, never mixed or overwritten."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from flushes import FlushRecord
from quick import rows_of

from capsule_inspection.inference import prediction_folder
from capsule_inspection.inference.prediction_folder import (
    ROWS,
    PredictionFolder,
    absolute_path,
    identity,
)
from capsule_inspection.integrity import file_sha256, seal
from capsule_inspection.types import RunError

MADE_BY = {"model": "resnet18", "checkpoint": "abc"}
OTHER_VERSION = json.dumps(seal({"format_version": 99}))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def opened(output: Path, **changed: str | None) -> PredictionFolder:
    return PredictionFolder(output, made_by={**MADE_BY, **changed})


def images(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(os.fsencode(name))
    return [folder / name for name in names]


def row_of(path: Path, **values: Any) -> dict[str, Any]:
    row = dict.fromkeys(prediction_folder._FIELDS)
    row |= {"path": str(path), "status": "ok", "predicted_label": "good", "is_defect": False}
    row |= {"file": absolute_path(path), "score": 0.125, "coloured": False}
    row |= {"regions": [], "ood_warnings": [], "notes": []}
    return {**row, **identity(path), **values}


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
        rows = results.sort([absolute_path(Path("../b"))])
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
        ("prediction.json", OTHER_VERSION, "made with format_version=99, and format_version=1"),
        ("prediction.json", '{"format_version": 1}', "does not fit its checksum"),
        ("prediction.json", "[" * 100_000, "nested too deeply"),
    ):
        (folder := tmp_path / message).mkdir()
        (folder / name).write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match=message):
            opened(folder)
        assert (folder / name).read_text(encoding="utf-8") == content


def test_a_setting_that_is_left_to_the_run_is_called_so(output: Path) -> None:
    opened(output, threshold=None).__enter__().__exit__(None, None, None)
    with pytest.raises(RunError, match=r"the run's own threshold, and threshold=0\.3 is set"):
        opened(output, threshold="0.3")


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
        results.sort([str(first), str(second)])
        results.finish()
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


def damage(path: Path, text: bytes, other: bytes) -> None:
    content = path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, other, 1))


def write_rows(output: Path, *rows: dict[str, Any]) -> None:
    """Rows with a right checksum, as a folder from elsewhere may have them."""
    lines = "".join(map(prediction_folder._as_line, rows))
    (output / ROWS).write_bytes(lines.encode(errors="backslashreplace"))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (b"0.125", b"0.925"),
        (b'"checksum"', b'"checksun"'),
        (b"false", b"fa\xffse"),
        (b"{", b"[" * 9999),
    ],
)
def test_damaged_rows_are_counted_and_predicted_again(
    tmp_path: Path,
    output: Path,
    caplog: pytest.LogCaptureFixture,
    text: bytes,
    other: bytes,
) -> None:
    first, second = images(tmp_path, "a", "b")
    with opened(output) as results:
        results.add(row_of(first))
        results.add(row_of(second))
    damage(output / ROWS, text, other)
    with opened(output) as results:
        assert list(results.done()) == [str(second)]
    assert "1 predictions and 0 overlays are damaged or missing" in caplog.text


def test_overlays_that_are_missing_empty_damaged_or_links_are_drawn_again(
    tmp_path: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = images(tmp_path, "a", "b", "c", "d", "e")
    with opened(output) as results:
        for number, path in enumerate(paths):
            name = f"overlays/{number:06d}_x.png"
            (output / name).write_bytes(b"drawn")
            digest = file_sha256(output / name)
            results.add(row_of(path, overlay=name, overlay_sha256=digest))
    whole, missing, empty, damaged, link = sorted((output / "overlays").iterdir())
    missing.unlink()
    empty.write_bytes(b"")
    damaged.write_bytes(b"drawm")
    link.rename(tmp_path / "private.png")
    link.symlink_to(tmp_path / "private.png")
    (output / "overlays" / "000009_of_no_row.png").write_bytes(b"drawn")
    (output / "overlays" / "mine.txt").touch()
    with opened(output) as results:
        assert list(results.done()) == [str(paths[0])]
        assert results.overlay_numbers() == {0}
    assert "0 predictions and 4 overlays are damaged or missing" in caplog.text
    assert {path.name for path in (output / "overlays").iterdir()} == {whole.name, "mine.txt"}
    assert (tmp_path / "private.png").read_bytes() == b"drawn"


@pytest.mark.parametrize(
    "value",
    [
        {"overlay": "../private.png"},
        {"overlay": "/etc/passwd"},
        {"overlay": "overlays/../../private.png"},
        {"overlay": "javascript:alert(1)"},
        {"file": None},
        {"regions": [7]},
        {"regions": [{"area_px": "many"}]},
        {"probabilities": {"good": "often"}},
        {"score": "high"},
        {"ood_warnings": [{}]},
        {"status": []},
    ],
)
def test_rows_of_foreign_folders_that_are_none_of_ours_are_predicted_again(
    tmp_path: Path, output: Path, value: dict[str, Any]
) -> None:
    (path,) = images(tmp_path, "a")
    (tmp_path / "private.png").write_bytes(b"")
    with opened(output):
        pass
    digest = file_sha256(tmp_path / "private.png")
    write_rows(output, row_of(path, overlay_sha256=digest, **value))
    with opened(output) as results:
        assert not results.done()


def test_a_row_of_an_impossible_file_name_ends_in_no_traceback(output: Path) -> None:
    with opened(output):
        pass
    write_rows(output, *(row_of(Path("a"), file=name) for name in ("\0", "\ud800", "x" * 9999)))
    with opened(output) as results:
        assert len(results.done()) == 3
        results.finish()


def test_a_link_as_folder_of_overlays_is_refused(tmp_path: Path, output: Path) -> None:
    with opened(output):
        pass
    (output / "overlays").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (output / "overlays").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="expected a folder, found a link"):
        opened(output)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_whose_first_file_was_being_written_is_begun_anew(output: Path) -> None:
    output.mkdir()
    (output / ".prediction.json.abc.part").touch()
    with opened(output) as results:
        assert not results.continues
    assert not list(output.glob("*.part"))


def test_rows_are_finished_in_the_order_of_the_images(tmp_path: Path, output: Path) -> None:
    first, second = images(tmp_path, "a", "b")
    for order in ((first, second), (second, first)):
        with opened(output) as results:
            for path in order:
                results.add(row_of(path))
            results.rows = results.rows[-2:]
            results.sort([str(first), str(second)])
            results.finish()
        assert paths_in(output) == [str(first), str(second)]


def test_all_else_is_on_the_disk_before_the_record_says_finished(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes, write_record = FlushRecord(output, monkeypatch), PredictionFolder._write_record
    checked = []

    def check(self: PredictionFolder, status: str) -> None:
        checked.append((status, flushes.unflushed(output)))
        write_record(self, status)

    monkeypatch.setattr(PredictionFolder, "_write_record", check)
    with opened(output) as results:
        (output / "overlays" / "000000_a.png").write_bytes(b"drawn")
        results.add(row_of(*images(tmp_path, "a")))
        results.finish()
    assert checked[-1] == ("finished", [])
    flushes.check(output)
