"""CPU time of `predict.py` for one image, of runs and of an exported file.

Compared to importing torch, Lightning and timm, which a training needs. CPU time varies less than
wall time on a busy machine. The models are trained for an epoch, with random initial weights.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

LIBRARIES = "import torch, lightning, timm"
TARGETS = {"custom_resnet": 0.8, "resnet18": 1.3, "resnet18 in ONNX": 0.35}
"""Largest ratio to importing the libraries. timm imports torchvision, and that torch's compiler."""
_TRAINING = (
    *("task.epochs=1", "data.size_px=200", "task.image_size=[64,64]", "model.weights=none"),
    "data.counts={good: 15, crack: 5, faulty_imprint: 5, poke: 5, scratch: 5, squeeze: 5}",
)


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure CPU seconds and the ratio to the libraries for each model; `sizes` change nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = _make_models(folder)

        def cpu_s(*arguments: str) -> float:
            return run_python(*arguments, folder=folder).cpu_s

        def predict(model: str) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as output:
                settings = (f"run={folder / model}", f"input={image}", f"output={output}/made")
                return cpu_s(str(REPOSITORY / "predict.py"), *settings, "trainer=cpu")

        seconds = interleave(
            {model: partial(predict, model) for model in TARGETS}
            | {"libraries": partial(cpu_s, "-c", LIBRARIES)},
            rounds=rounds,
        )
    found = [Measurement(LIBRARIES, tuple(seconds["libraries"]), "s of CPU time")]
    for model, target in TARGETS.items():
        ratio = ratios(seconds[model], seconds["libraries"])
        found += [
            Measurement(f"predict.py, one image, {model}", tuple(seconds[model]), "s of CPU time"),
            Measurement(f"the same / {LIBRARIES}", ratio, target=target),
        ]
    return found


def _make_models(folder: Path) -> Path:
    """Train and export the models of `TARGETS` into folders of their names; returns an image."""

    def run(script: str, *arguments: str) -> None:
        run_python(str(REPOSITORY / script), *arguments, folder=folder)

    for model in ("custom_resnet", "resnet18"):
        places = (f"data.root={folder / 'drawn'}", f"hydra.run.dir={folder / model}")
        run("train.py", f"model={model}", *places, f"data.cache_folder={folder}/cache", *_TRAINING)
    run("export.py", f"run={folder / 'resnet18'}", f"output={folder / 'resnet18 in ONNX'}")
    return next((folder / "drawn").rglob("good/*.png"))
