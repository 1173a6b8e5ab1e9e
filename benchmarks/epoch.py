"""Time of an epoch, compared to the plain loop on the same files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.plain_loop import PlainTraining
from benchmarks.sizes import Sizes
from capsule_inspection.types import TRAIN, VAL
from capsule_inspection.workflows import hardware

TARGET = 0.38


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure training batches, and epochs with validation."""
    arguments = [*training.label_overrides(sizes), "trainer=cpu"]
    parts = training.build_parts(arguments)
    files = {stage: training.labelled_files(parts, stage) for stage in (TRAIN, VAL)}
    plain = PlainTraining(
        train=files[TRAIN],
        val=files[VAL],
        num_classes=len(parts.data.index.classes),
        image_size=sizes.image_size,
        batch_size=sizes.batch_size,
    )
    whole: dict[str, list[float]] = {"training": [], "plain": []}

    def train_epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = training.time_epochs(arguments, Path(folder, "run"))
        whole["training"].append(times.whole)
        return times.training

    def plain_epoch() -> float:
        training, with_validation = plain.time_epoch()
        whole["plain"].append(with_validation)
        return training

    seconds = interleave({"training": train_epoch, "plain": plain_epoch}, rounds=rounds)
    bf16 = "" if hardware.supports_bf16("cpu") else ", no bf16 here: float32"
    note = f"{len(files[TRAIN])} images{bf16}"
    timed = {name: values[-rounds:] for name, values in whole.items()}
    return [
        Measurement(
            "training epoch / plain loop",
            ratios(seconds["training"], seconds["plain"]),
            target=TARGET,
            note=note,
        ),
        Measurement(
            "training epoch with validation and checkpoints / plain loop with validation",
            ratios(timed["training"], timed["plain"]),
        ),
        Measurement("training epoch", tuple(seconds["training"]), "s"),
        Measurement("training epoch of the plain loop", tuple(seconds["plain"]), "s"),
    ]
