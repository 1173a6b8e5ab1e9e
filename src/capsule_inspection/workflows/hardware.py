"""What the machine can do, and what is chosen for it where the user leaves it open."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from threadpoolctl import ThreadpoolController

from capsule_inspection.models.depthwise import train_depthwise_in_float32
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import sharing

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "hydra-core",
    "numpy",
    "capsule-inspection",
)
FULL, HALF = "32-true", "bf16-mixed"
PRECISIONS = {"32": FULL, "bf16": HALF, "16": "16-mixed"}
"""Short names of Lightning's precisions, and what they mean."""


@dataclass(frozen=True)
class Choices:
    """How a run computes: chosen for the machine, or set by the user; recorded either way."""

    device: str
    precision: str
    channels_last: bool
    threads: int
    gpu: int | None = None
    """Number of the GPU that a job of a sweep has to itself; None leaves it to Lightning."""


def choose(trainer: DictConfig, *, gpu: int | None = None) -> Choices:
    """Choices for a trainer's settings; `auto` means what is quickest on this machine."""
    device = _device(str(trainer.accelerator))
    precision = PRECISIONS.get(str(trainer.precision), str(trainer.precision))
    if precision == "auto":
        precision = HALF if has_bf16(device) else FULL
    channels_last = trainer.channels_last
    if channels_last == "auto":
        channels_last = device in ("cpu", "cuda")
    threads = trainer.threads
    if threads == "auto":
        cores = sharing.cores_of_job(available_cores())
        threads = max(1, cores // processes(trainer, device))
    own_gpu = gpu if device == "cuda" and str(trainer.devices) in ("1", "auto") else None
    return Choices(device, precision, bool(channels_last), int(threads), own_gpu)


def apply(choices: Choices, *, exact: bool = False) -> None:
    """Set what is global to the process.

    With `exact` no GPU shortens float32 to TF32, whose 10 bits show in an answer.
    """
    torch.set_num_threads(choices.threads)
    if choices.gpu is not None:
        torch.cuda.set_device(choices.gpu)
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    keep_freed_memory()
    compute_small_matrices_alone()


def as_in_use(choices: Choices) -> Choices:
    """The same, but in float32 where training rounded to fewer bits: so `predict.py` computes."""
    is_mixed = choices.precision.endswith("-mixed")
    return replace(choices, precision=FULL) if is_mixed else choices


def compute_small_matrices_alone() -> None:
    """Let numpy's and scipy's OpenBLAS compute in the thread that calls it.

    Its own threads go on spinning for some time after each product, however small, and take the
    cores from the network that computes next. PyTorch's threads, which are OpenMP's, stay.
    """
    openblas = ThreadpoolController().select(internal_api="openblas")
    openblas.select(threading_layer="pthreads").limit(limits=1)


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step.

    By default it gives large blocks back to the kernel, which costs some 10,000 page faults a step
    (mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (-1, -3):
            mallopt(parameter, 2**30)


def has_bf16(device: str) -> bool:
    """Whether bfloat16 is computed in hardware: emulated it is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


FEWEST_CHANNELS = 16
"""Input channels that a strided 1x1 convolution needs to be safe in channels-last layout."""


def suits_channels_last(network: torch.nn.Module) -> bool:
    """False where the channels-last gradient is wrong or crashes on a CPU.

    Seen with torch 2.15 (oneDNN): strided 1x1 convolutions of fewer than 16 input channels read
    beyond their memory, which gives random gradients or a segmentation fault; without AVX-512
    that was seen below 8 channels (docs/experiments.md).
    """
    return not any(
        isinstance(module, torch.nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < FEWEST_CHANNELS
        for module in network.modules()
    )


def fit_network(choices: Choices, network: torch.nn.Module, *, asked: object) -> Choices:
    """Prepare a network, for training or its evaluation: the layout of its weights, slow layers.

    `asked` is the channels-last setting; `auto` gives way where that layout is unsafe.
    """
    if asked == "auto" and not suits_channels_last(network):
        choices = replace(choices, channels_last=False)
    if choices.channels_last:
        network.to(memory_format=torch.channels_last)
    if choices.device == "cpu" and choices.precision == HALF:
        train_depthwise_in_float32(network)
    return choices


def processes(trainer: DictConfig, device: str) -> int:
    """Training processes that share the cores of this machine."""
    return int(trainer.devices) if device == "cpu" and str(trainer.devices).isdigit() else 1


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(accelerator: str) -> str:
    """The device of an accelerator. Raises ConfigurationError where this machine has none such."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    if accelerator in ("gpu", "cuda", "mps"):
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: torch finds no such device on this machine. Say "
            "trainer=cpu or trainer.accelerator=auto, or see with python -c 'import torch; "
            "print(torch.cuda.is_available())' why not."
        )
    return "cpu" if accelerator == "auto" else accelerator


def reset_peak_memory() -> None:
    """Begin to measure anew, for a run that is not the first of its process.

    Where the system cannot (other than Linux), the peak is that of the whole process.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> dict[str, int]:
    """Largest resident memory since `reset_peak_memory`, and of the GPU."""
    resident = _peak_resident_bytes()
    peak = {} if resident is None else {"resident": resident}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak


def _peak_resident_bytes() -> int | None:
    """None where the system does not tell."""
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


def describe(choices: Choices) -> dict[str, Any]:
    """Hardware and choices, as plain values."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "gpus": gpus,
        "platform": platform.platform(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        **vars(choices),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result."""
    return {"python": platform.python_version(), **versions_of(PACKAGES)}


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Versions of installed packages by name."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit(folder: Path) -> str | None:
    """Commit of the source tree, with -dirty where it has changes; None outside of a repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


Seeing = Callable[[torch.Tensor], Any]
"""What an image goes through where that is not its network at once, such as tiles."""


def measure_network(
    network: torch.nn.Module, image_size: Sequence[int], *, through: Seeing | None = None
) -> dict[str, int]:
    """Parameters, and floating point operations of one image at a size (H, W)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    image = torch.zeros(1, 3, *image_size, device=device)
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        (through or network)(image)
    network.train(was_training)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "flops": int(counter.get_total_flops())}


def measure_latency_ms(
    network: torch.nn.Module,
    image_size: Sequence[int],
    *,
    choices: Choices,
    repeats: int = 20,
    through: Seeing | None = None,
) -> float:
    """Median time of one image of size (H, W) through the network, batch of one, in milliseconds.

    As the run predicts: same device, precision and threads. The network is left as it was found.
    """
    parameter = next(network.parameters())
    device, was_training = torch.device(choices.device), network.training
    layout = torch.channels_last if choices.channels_last else torch.contiguous_format
    image = torch.zeros(1, 3, *image_size, device=device, dtype=parameter.dtype)
    image = image.to(memory_format=layout)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choices.precision)
    network.eval().to(device)
    times_s = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for _ in range(repeats + 3):
            began = time.perf_counter()
            (through or network)(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times_s.append(time.perf_counter() - began)
    network.train(was_training).to(parameter.device)
    return 1000 * statistics.median(times_s[3:])
