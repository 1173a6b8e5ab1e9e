"""Fraction of the machine's fastest matrix product that an epoch reaches, in FLOP/s."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.optimizer_steps import augmented_batches
from benchmarks.sizes import Sizes
from benchmarks.training import TrainingParts

TARGET = 0.6
_MIN_S = 0.5
_MIN_PRODUCTS = 3


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure the fraction and both rates."""
    arguments = [*training.label_overrides(sizes), "trainer=cpu"]
    parts = training.build_parts(arguments)
    dtype = torch.bfloat16 if parts.runtime.precision.startswith("bf16") else torch.float32
    flops = step_flops(parts) * parts.images

    def epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return flops / training.time_epochs(arguments, Path(folder, "run")).training

    def product() -> float:
        return max(product_rate(size, dtype) for size in sizes.product_sizes)

    rates = interleave({"epoch": epoch, "product": product}, rounds=rounds)
    dtype_name = str(dtype).removeprefix("torch.")
    return [
        Measurement(
            "FLOP/s of the training epoch / largest product",
            ratios(rates["epoch"], rates["product"]),
            target=TARGET,
            at_least=True,
            note=f"product in {dtype_name}",
        ),
        Measurement("training epoch", tuple(rate / 1e9 for rate in rates["epoch"]), "GFLOP/s"),
        Measurement(
            f"{dtype_name} product", tuple(rate / 1e9 for rate in rates["product"]), "GFLOP/s"
        ),
    ]


def step_flops(parts: TrainingParts) -> float:
    """Floating point operations of one image, forward and backward."""
    batch = augmented_batches(parts, count=1)[0]
    image, label = batch["image"][:2], batch["label"][:2]
    with FlopCounterMode(display=False) as counter:
        parts.module.loss(parts.module.network(image), label).backward()
    return counter.get_total_flops() / len(image)


def product_rate(size: int, dtype: torch.dtype) -> float:
    """Operations a second of (size, size) @ (size, size)."""
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    out = left @ right
    began, products = time.perf_counter(), 0
    while products < _MIN_PRODUCTS or time.perf_counter() - began < _MIN_S:
        torch.matmul(left, right, out=out)
        products += 1
    return product_flops(size) * products / (time.perf_counter() - began)


def product_flops(size: int) -> int:
    """One multiplication and one addition for each term."""
    return 2 * size**3
