"""An epoch of ours against one of the plain loop, on the same files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import our_training
from benchmarks.figures import Row, interleave, ratios
from benchmarks.plain_loop import PlainTraining
from benchmarks.sizes import Sizes
from capsule_inspection.types import TRAIN, VAL
from capsule_inspection.workflows import hardware

TARGET = 0.38


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for the training batches alone, and for whole epochs of both."""
    arguments = [*our_training.overrides(sizes), "trainer=cpu"]
    parts = our_training.prepare(arguments)
    files = our_training.trained_and_validated(parts)
    plain = PlainTraining(
        train=files[TRAIN],
        val=files[VAL],
        num_classes=len(parts.data.index.classes),
        image_size=sizes.image_size,
        batch_size=sizes.batch_size,
    )
    whole: dict[str, list[float]] = {"ours": [], "plain": []}

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = our_training.time_epochs(arguments, Path(folder, "run"))
        whole["ours"].append(times.whole)
        return times.training

    def theirs() -> float:
        training, with_validation = plain.time_epoch()
        whole["plain"].append(with_validation)
        return training

    seconds = interleave({"ours": ours, "plain": theirs}, rounds=rounds)
    bf16 = "" if hardware.supports_bf16("cpu") else ", no bf16 here: float32"
    note = f"{len(files[TRAIN])} images{bf16}"
    counted = {name: values[-rounds:] for name, values in whole.items()}
    return [
        Row(
            "training epoch / plain loop",
            ratios(seconds["ours"], seconds["plain"]),
            target=TARGET,
            note=note,
        ),
        Row(
            "training epoch with validation and checkpoints / plain loop with validation",
            ratios(counted["ours"], counted["plain"]),
        ),
        Row("training epoch", tuple(seconds["ours"]), "s"),
        Row("training epoch of the plain loop", tuple(seconds["plain"]), "s"),
    ]
