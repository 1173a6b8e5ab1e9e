"""Images per second of training ResNet18 on a GPU; skipped where there is none."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks import training
from benchmarks.image_copies import ensure_image_copies
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.optimizer_steps import OptimizerSteps, augmented_batches
from benchmarks.sizes import DATA_FOLDER, Sizes

TARGET, TARGET_DEVICE = 8_000, "H200"
_BATCHES = 20
SIZE_PX = 64


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure images per second, and the ratio to bare optimizer steps."""
    if not torch.cuda.is_available():
        return [Measurement("ResNet18 on a GPU", (), "images/s", note="no GPU available to torch")]
    device = torch.cuda.get_device_name()
    rates = measure_rates(sizes, rounds=rounds, trainer="gpu")
    target = TARGET if TARGET_DEVICE in device else None
    return [
        Measurement(
            "ResNet18 on a GPU",
            tuple(rates["training"]),
            "images/s",
            target=target,
            at_least=True,
            note=f"{device}, batch {sizes.gpu_batch_size}",
        ),
        Measurement(
            "ResNet18 on a GPU / optimizer steps", ratios(rates["training"], rates["steps"])
        ),
        Measurement("optimizer steps on a GPU", tuple(rates["steps"]), "images/s"),
    ]


def measure_rates(sizes: Sizes, *, rounds: int, trainer: str) -> dict[str, list[float]]:
    """Images per second of training batches and of optimizer steps."""
    root = ensure_image_copies(sizes.gpu_images, rendered=sizes.scaling_rendered, size_px=SIZE_PX)
    arguments = [*_overrides(sizes, root), f"trainer={trainer}"]
    parts = training.build_parts(arguments)
    steps = OptimizerSteps(parts, augmented_batches(parts, count=_BATCHES))
    step_images = sum(len(batch["label"]) for batch in steps.batches)

    def train() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = training.time_epochs(arguments, Path(folder, "run"))
        return parts.images / times.training

    return interleave(
        {"training": train, "steps": lambda: step_images / steps.time_epoch()}, rounds=rounds
    )


def _overrides(sizes: Sizes, root: Path) -> list[str]:
    """Many small images, enlarged in the cache: decoding is not measured here."""
    return [
        "model=resnet18",
        "model.weights=none",
        *training.LABELS_ONLY,
        "data=mvtec",
        f"data.root={root}",
        f"data.cache_folder={DATA_FOLDER / 'cache'}",
        "data.near_duplicates=off",
        "data.roi=none",
        f"task.image_size=[{sizes.image_size[0]},{sizes.image_size[1]}]",
        f"task.batch_size={sizes.gpu_batch_size}",
        "split.val=0.2",
        "split.test=0.0",
    ]
