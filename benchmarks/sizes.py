"""Sizes of all benchmarks: those of the targets, and those of a smoke run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA_FOLDER = REPOSITORY / "data" / "benchmarks"
WORK_FOLDER = REPOSITORY / "outputs" / "benchmarks"


@dataclass(frozen=True)
class Sizes:
    """`counts` are synthetic images of each class, of `size_px`; four fifths are for training."""

    counts: dict[str, int]
    size_px: int
    image_size: tuple[int, int]
    batch_size: int
    product_sizes: tuple[int, ...]
    scaling: tuple[int, ...]
    scaling_rendered: int
    cold_start_images: int
    cold_start_rendered: int
    gpu_images: int
    gpu_batch_size: int
    report_runs: tuple[int, int, int] = (50, 100, 200)
    report_images: int = 300
    comparison_studies: int = 2000
    localization_images: int = 150
    localization_size_px: int = 512
    predicted_images: int = 96
    autoencoder_overrides: tuple[str, ...] = ()
    mask_overrides: tuple[str, ...] = ()
    segmentation_overrides: tuple[str, ...] = ()
    memory_overrides: tuple[str, ...] = ()


FULL = Sizes(
    counts={
        "good": 219,
        "crack": 23,
        "faulty_imprint": 22,
        "poke": 21,
        "scratch": 23,
        "squeeze": 20,
    },
    size_px=1000,
    image_size=(224, 224),
    batch_size=32,
    product_sizes=(2048, 3072, 4096),
    scaling=(300, 3_000, 30_000),
    scaling_rendered=300,
    cold_start_images=3_000,
    cold_start_rendered=60,
    gpu_images=12_800,
    gpu_batch_size=256,
)
QUICK = Sizes(
    counts={"good": 15, "crack": 5, "faulty_imprint": 5, "poke": 5, "scratch": 5, "squeeze": 5},
    size_px=200,
    image_size=(64, 64),
    batch_size=8,
    product_sizes=(256, 512),
    scaling=(30, 100, 300),
    report_runs=(5, 10, 20),
    report_images=60,
    comparison_studies=40,
    localization_images=8,
    localization_size_px=64,
    predicted_images=10,
    scaling_rendered=30,
    cold_start_images=30,
    cold_start_rendered=15,
    gpu_images=200,
    gpu_batch_size=32,
    autoencoder_overrides=(
        "task.image_size=[64,176]",
        "task.crop_size=[32,64]",
        "task.batch_size=8",
        "task.repeats=2",
    ),
    mask_overrides=("task.image_size=[64,176]", "task.batch_size=8"),
    segmentation_overrides=(
        "task.image_size=[64,176]",
        "task.crop_size=[32,64]",
        "task.batch_size=8",
    ),
    memory_overrides=(
        "data.size_px=96",
        "data.counts={good: 15, crack: 5, faulty_imprint: 5, poke: 5, scratch: 5, squeeze: 5}",
        "task.image_size=[32,96]",
    ),
)
