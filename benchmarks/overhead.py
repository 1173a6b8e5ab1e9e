"""What data, augmentation and the trainer cost above the bare optimizer steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import our_training
from benchmarks.bare_steps import BareSteps, augmented_batches
from benchmarks.figures import Row, interleave, ratios
from benchmarks.sizes import Sizes

TARGET = 1.08


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for the training batches (the target's), and for the whole epoch; of each task."""
    return [
        *_rows([*our_training.overrides(sizes), "trainer=cpu"], "", rounds=rounds),
        *_rows(
            [*our_training.mask_overrides(sizes), "trainer=cpu"],
            "resnet18 with masks: ",
            rounds=rounds,
        ),
        *_rows(
            [*our_training.one_class_overrides(sizes), "trainer=cpu"],
            "autoencoder: ",
            rounds=rounds,
        ),
        *_rows(
            [*our_training.segmentation_overrides(sizes), "trainer=cpu"], "unet: ", rounds=rounds
        ),
    ]


def _rows(arguments: list[str], of: str, *, rounds: int) -> list[Row]:
    parts = our_training.prepare(arguments)
    bare = BareSteps(parts, augmented_batches(parts))
    whole: list[float] = []

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = our_training.time_epochs(arguments, Path(folder, "run"))
        whole.append(times.whole)
        return times.training

    seconds = interleave({"ours": ours, "bare": bare.time_epoch}, rounds=rounds)
    return [
        Row(
            f"{of}training batches of an epoch / bare steps",
            ratios(seconds["ours"], seconds["bare"]),
            target=TARGET,
            note="without validation and checkpoints",
        ),
        Row(
            f"{of}whole epoch / bare steps",
            ratios(whole[-rounds:], seconds["bare"]),
            note="with validation, figures and both checkpoints",
        ),
        Row(f"{of}bare steps of an epoch", tuple(seconds["bare"]), "s"),
    ]
