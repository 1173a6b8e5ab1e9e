"""What a run costs: peak memory, size, operations and latency of its network."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from capsule_inspection.workflows.hardware import RuntimeConfig

Forward = Callable[[torch.Tensor], Any]
_WARMUPS, _MIN_REPEATS = 3, 5
_ENOUGH_S = 1.0
"""After so many passes and so much time no further passes are measured."""


def reset_peak_memory() -> None:
    """Start a new measurement, for a run that is not the first of its process.

    Where the system cannot (other than Linux), the peak is that of the whole process.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> dict[str, int]:
    """Largest resident memory since `reset_peak_memory`, and largest memory of the GPU."""
    resident = _peak_resident_bytes()
    peak = {} if resident is None else {"resident": resident}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak


def _peak_resident_bytes() -> int | None:
    """None where the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def profile_network(
    network: torch.nn.Module, image_size: Sequence[int], *, forward: Forward | None = None
) -> dict[str, int]:
    """Parameters, and floating point operations of one image of size (H, W).

    `forward` computes an image where that is not one call of the network, such as tiles.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    image = torch.zeros(1, 3, *image_size, device=device)
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        (forward or network)(image)
    network.train(was_training)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "flops": int(counter.get_total_flops())}


def measure_latency_ms(
    network: torch.nn.Module,
    image_size: Sequence[int],
    *,
    runtime: RuntimeConfig,
    repeats: int = 20,
    forward: Forward | None = None,
) -> float:
    """Median time in milliseconds of one image of size (H, W), with the device of the run.

    Of at most `repeats` passes; of slow networks fewer. The network is left as it was.
    """
    parameter = next(network.parameters())
    device, was_training = torch.device(runtime.device), network.training
    layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
    image = torch.zeros(1, 3, *image_size, device=device, dtype=parameter.dtype)
    image = image.to(memory_format=layout)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(runtime.precision)
    network.eval().to(device)
    times_s = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for _ in range(repeats + _WARMUPS):
            start = time.perf_counter()
            (forward or network)(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times_s.append(time.perf_counter() - start)
            if len(times_s) >= _WARMUPS + _MIN_REPEATS and sum(times_s) >= _ENOUGH_S:
                break
    network.train(was_training).to(parameter.device)
    return 1000 * statistics.median(times_s[_WARMUPS:])
