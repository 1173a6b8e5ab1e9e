"""Forward and backward pass in bfloat16, with depthwise convolutions in float32 and without.

Skipped on a CPU without bfloat16 in hardware, where runs train in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch

from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.sizes import Sizes
from capsule_inspection.models.layers import convert_depthwise_to_float32
from capsule_inspection.workflows.hardware import supports_bf16

NETWORKS = ("efficientnet_b0", "mobilenetv3_small_100")
TARGET = 0.8


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure the ratio of both for each network, channels-last."""
    found = []
    for name in NETWORKS:
        metric = f"step with depthwise in float32 / all in bfloat16, {name}"
        if not supports_bf16("cpu"):
            found.append(Measurement(metric, (), target=TARGET, note="no bfloat16 in hardware"))
            continue
        steps = {
            "float32": _step(name, sizes, float32=True),
            "plain": _step(name, sizes, float32=False),
        }
        seconds = interleave(steps, rounds=rounds)
        found.append(
            Measurement(metric, ratios(seconds["float32"], seconds["plain"]), target=TARGET)
        )
    return found


def _step(name: str, sizes: Sizes, *, float32: bool) -> Callable[[], float]:
    network = timm.create_model(name, num_classes=6)
    if float32:
        convert_depthwise_to_float32(network)
    network.to(memory_format=torch.channels_last)
    image = torch.rand(sizes.batch_size, 3, *sizes.image_size)
    image = image.to(memory_format=torch.channels_last)

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(image).float().square().mean()
        loss.backward()
        network.zero_grad()
        return time.perf_counter() - began

    return step
