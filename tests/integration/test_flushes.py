"""What a command has finished is on the disk: a power cut leaves no file empty or cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from flushes import FlushRecord
from quick import QUICK, record_of
from small import Cli

from capsule_inspection.data.synthetic_dataset import load_or_render_dataset
from capsule_inspection.files import atomic_write_text


def test_a_run_says_finished_when_all_of_its_files_and_the_cache_are_on_the_disk(
    cli: Cli, mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    flushes = FlushRecord(tmp_path, monkeypatch)
    images = ("data=mvtec", f"data.root={mvtec}", f"data.cache_folder={cache}")
    done = cli("train", *QUICK, *images, "save_weights=true", f"hydra.run.dir={run}")
    assert done.status == 0, done.err
    assert record_of(run)["status"] == "finished"
    flushes.check(run)
    assert any(path.is_relative_to(cache) for path in flushes.renamed)
    assert flushes.renamed[-1] == run / "run.json"


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "subset=val"),
        ("compare",),
        ("predict", "batch_size=4"),
        ("export", "format=torch_export", "images=2"),
    ],
    ids=lambda command: command[0],
)
def test_what_a_command_has_written_is_on_the_disk_when_it_ends(
    cli: Cli,
    finished_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    run, output = finished_home / "run", tmp_path / "output"
    given = {
        "compare": (f"runs=[{run}]",),
        "predict": (f"run={run}", f"input={finished_home / 'bottle'}/test/*/*.png"),
    }.get(command[0], (f"run={run}",))
    flushes = FlushRecord(tmp_path, monkeypatch)
    done = cli(*command, *given, f"output={output}")
    assert done.status == 0, done.err
    flushes.check(output)


def test_drawn_images_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = FlushRecord(tmp_path, monkeypatch)
    counts = {"good": 2, "crack": 1}
    found = load_or_render_dataset(tmp_path, seed=0, size_px=48, counts=counts, workers=0)
    assert len(list(found.rglob("*.png"))) == 4
    flushes.check(found)


def test_a_file_without_a_flush_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes, part = FlushRecord(tmp_path, monkeypatch), tmp_path / "part"
    part.write_text("a")
    part.replace(tmp_path / "whole")
    with pytest.raises(AssertionError, match="not flushed"):
        flushes.check(tmp_path)
    atomic_write_text(tmp_path / "whole", "c")
    flushes.faults.clear()
    flushes.check(tmp_path)
    with (tmp_path / "whole").open("a") as file:
        file.write("d")
    with pytest.raises(AssertionError, match="whole: not flushed at the end"):
        flushes.check(tmp_path)
