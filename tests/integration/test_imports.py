"""What predicting imports: torch takes seconds, and an exported file needs none of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import Cli

CPU = ("batch_size=1", "trainer=cpu", "trainer.threads=1", "workers=1")
TRAINING = {"lightning", "pytorch_lightning", "torchmetrics", "tensorboard"}
EVALUATION = {"scipy", "sklearn", "pandas", "statsmodels", "matplotlib"}
MODELS = {"timm", "torchvision", "segmentation_models_pytorch"}
PREDICT = """
import json, sys
from capsule_inspection import commands
sys.argv[0] = "predict.py"
status = commands.run("predict")
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported_by(folder: Path, *settings: str) -> set[str]:
    """The packages that predict.py has loaded at its end."""
    command = [sys.executable, "-c", PREDICT, f"output={folder / 'predicted'}", *CPU, *settings]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, packages = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    assert (folder / "predicted" / "overlays").is_dir()
    return set(packages)


@pytest.fixture
def image(finished_home: Path) -> Path:
    return next((finished_home / "bottle" / "test" / "crack").iterdir())


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_an_exported_file_predicts_without_torch(
    cli: Cli, finished_home: Path, image: Path, tmp_path: Path, name: str
) -> None:
    run = finished_home / "run"
    settings = (f"format={name}", f"output={tmp_path / 'exported'}", "threads=1")
    result = cli("export", f"run={run}", *settings)
    assert result.status == 0, result.err
    packages = imported_by(tmp_path, f"run={tmp_path / 'exported'}", f"input={image}")
    assert name.replace("onnx", "onnxruntime") in packages
    assert packages & ({"torch"} | TRAINING | EVALUATION | MODELS) == set()


def test_a_run_predicts_without_what_trains_and_without_the_libraries_of_other_models(
    finished_home: Path, image: Path, tmp_path: Path
) -> None:
    packages = imported_by(
        tmp_path, f"run={finished_home / 'run'}", f"input={image}", "explain=all", "overlays=all"
    )
    assert "torch" in packages
    assert packages & (TRAINING | EVALUATION | MODELS) == set()
