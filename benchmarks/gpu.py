"""Images a second of ResNet18 on a GPU, through our trainer; skipped where there is none."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks import our_training
from benchmarks.altered_copies import ensure_copies
from benchmarks.bare_steps import BareSteps, augmented_batches
from benchmarks.figures import Row, interleave, ratios
from benchmarks.sizes import DATA_FOLDER, Sizes

TARGET, TARGET_DEVICE = 8_000, "H200"
_BATCHES = 20


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for images a second, and for the share of what bare steps reach."""
    if not torch.cuda.is_available():
        return [Row("ResNet18 on a GPU", (), "images/s", note="torch sees no GPU")]
    device = torch.cuda.get_device_name()
    rates = measure_rates(sizes, rounds=rounds, trainer="gpu")
    target = TARGET if TARGET_DEVICE in device else None
    return [
        Row(
            "ResNet18 on a GPU",
            tuple(rates["ours"]),
            "images/s",
            target=target,
            at_least=True,
            note=f"{device}, batch {sizes.gpu_batch_size}",
        ),
        Row("ResNet18 on a GPU / bare steps", ratios(rates["ours"], rates["bare"])),
        Row("bare steps on a GPU", tuple(rates["bare"]), "images/s"),
    ]


def measure_rates(sizes: Sizes, *, rounds: int, trainer: str) -> dict[str, list[float]]:
    """Images a second of training batches, ours and bare."""
    root = ensure_copies(sizes.gpu_images, drawn=sizes.growth_drawn)
    arguments = [*overrides(sizes, root), f"trainer={trainer}"]
    parts = our_training.prepare(arguments)
    bare = BareSteps(parts, augmented_batches(parts, count=_BATCHES))
    bare_images = sum(len(batch["label"]) for batch in bare.batches)

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            times = our_training.time_epochs(arguments, Path(folder, "run"))
        return parts.images / times.training

    return interleave(
        {"ours": ours, "bare": lambda: bare_images / bare.time_epoch()}, rounds=rounds
    )


def overrides(sizes: Sizes, root: Path) -> list[str]:
    """Many small images, enlarged in the cache: what is decoded does not matter here."""
    return [
        "model=resnet18",
        "model.weights=none",
        *our_training.LABELS_ALONE,
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
