"""The entry points as they are called from a shell."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from small import REPOSITORY

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
