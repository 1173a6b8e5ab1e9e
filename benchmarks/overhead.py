"""Cost of data loading, augmentation and the trainer on top of the bare optimizer steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.optimizer_steps import OptimizerSteps, augmented_batches
from benchmarks.sizes import Sizes

TARGET = 1.08


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure training batches and whole epochs of each task."""
    overrides = {
        "resnet18": training.label_overrides(sizes),
        "resnet18 with masks": training.mask_overrides(sizes),
        "autoencoder": training.autoencoder_overrides(sizes),
        "unet": training.segmentation_overrides(sizes),
    }
    return [
        measurement
        for name, given in overrides.items()
        for measurement in _measure_task([*given, "trainer=cpu"], name, rounds=rounds)
    ]


def _measure_task(arguments: list[str], name: str, *, rounds: int) -> list[Measurement]:
    parts = training.build_parts(arguments)
    steps = OptimizerSteps(parts, augmented_batches(parts))
    whole: list[float] = []

    def train_epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = training.time_epochs(arguments, Path(folder, "run"))
        whole.append(times.whole)
        return times.training

    seconds = interleave({"training": train_epoch, "steps": steps.time_epoch}, rounds=rounds)
    return [
        Measurement(
            f"{name}: training batches of an epoch / optimizer steps",
            ratios(seconds["training"], seconds["steps"]),
            target=TARGET,
            note="without validation and checkpoints",
        ),
        Measurement(
            f"{name}: whole epoch / optimizer steps",
            ratios(whole[-rounds:], seconds["steps"]),
            note="with validation, metrics and both checkpoints",
        ),
        Measurement(f"{name}: optimizer steps of an epoch", tuple(seconds["steps"]), "s"),
    ]
