"""Forward and backward passes of networks with depthwise convolutions, with and without our own.

In bfloat16, without an optimizer's step, which is the same for both.

On a CPU without bfloat16 in hardware runs train in float32, and there is nothing to measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch

from benchmarks.figures import Row, interleave, ratios
from benchmarks.sizes import Sizes
from capsule_inspection.models.layers import convert_depthwise_to_float32
from capsule_inspection.workflows.hardware import supports_bf16

NETWORKS = ("efficientnet_b0", "mobilenetv3_small_100")
TARGET = 0.8


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """A row for each network: our step by the plain one, channels-last."""
    rows = []
    for name in NETWORKS:
        figure = f"step with depthwise in float32 / all in bfloat16, {name}"
        if not supports_bf16("cpu"):
            rows.append(Row(figure, (), target=TARGET, note="no bfloat16 in hardware"))
            continue
        steps = {"ours": _step(name, sizes, ours=True), "plain": _step(name, sizes, ours=False)}
        seconds = interleave(steps, rounds=rounds)
        rows.append(Row(figure, ratios(seconds["ours"], seconds["plain"]), target=TARGET))
    return rows


def _step(name: str, sizes: Sizes, *, ours: bool) -> Callable[[], float]:
    network = timm.create_model(name, num_classes=6)
    if ours:
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
