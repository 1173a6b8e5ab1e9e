"""The entry points as they are called from a shell."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from quick import check_error
from small import REPOSITORY, Cli

NEEDED = {
    "evaluate": "run is required",
    "predict": "input, run are required",
    "compare": "runs is required",
    "export": "run is required",
    "convert": "input, output are required",
}
"""The error message of each entry point for its required settings."""


def test_each_script_tells_what_it_is_for_and_what_it_needs(
    clean_hydra: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(name: str, *arguments: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / f"{name}.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    names = {path.stem for path in REPOSITORY.glob("*.py")}
    assert names == {path.stem for path in (REPOSITORY / "conf").glob("*.yaml")}
    assert names == {"train", "app", *NEEDED}
    for name in names:
        status, out, err = call(name, "--help")
        assert (status, err) == (0, "")
        assert out.startswith(f"Configuration of `python {name}.py`: ")
    for name, expected in NEEDED.items():
        status, out, err = call(name)
        assert (status, out) == (2, "")
        assert err.startswith(f"error: {expected}: add ")
        assert len(err.splitlines()) == 1


def test_an_entry_point_is_called_from_another_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "predict.py")]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {NEEDED['predict']}: add ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_message_whatever_else_writes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def compare(config: object) -> None:
        logging.getLogger("capsule_inspection").warning("into the log file, which is full as well")
        writer = threading.Thread(target=fill)  # as that of TensorBoard
        writer.start()
        writer.join()
        fill()

    monkeypatch.setattr("capsule_inspection.workflows.compare.compare_runs", compare)
    log = "hydra.job_logging.handlers.file.filename=/dev/full"
    check_error(cli("compare", "runs=[a]", f"output={tmp_path / 'out'}", log), "the disk is full")
    for handler in logging.root.handlers:
        with contextlib.suppress(OSError):
            handler.close()


def test_a_mistake_leaves_nothing_behind(cli: Cli, tmp_path: Path) -> None:
    for name, arguments, status in (
        ("predict", ["run=latest", "input=x"], 1),
        ("predict", ["source=x", "model=best.ckpt"], 2),
        ("train", ["data=/my/images"], 2),
        ("train", ["data=synthetic", "model=resnet18,unet"], 2),
        ("train", ["data=synthetic", "model=timm", "model.name=resnt50"], 2),
        ("train", ["data=synthetic", "model.weights=none.ckpt"], 2),
        ("app", ["--port", "7860"], 2),
    ):
        result = cli(name, *arguments)
        check_error(result, status=status)
        assert len(result.err.splitlines()) == 1
        assert list(tmp_path.rglob("*")) == []
