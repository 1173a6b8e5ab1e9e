"""How a run computes: device, precision, memory layout and threads, chosen for the machine.

torch is imported where a device other than the processor, or a network, needs it: an exported
file computes without.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from threadpoolctl import ThreadpoolController

from capsule_inspection.data.parallel import keep_freed_memory
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import resources

if TYPE_CHECKING:
    from torch import nn

FLOAT32, BF16_MIXED = "32-true", "bf16-mixed"
_PRECISIONS = {"32": FLOAT32, "bf16": BF16_MIXED, "16": "16-mixed"}
"""Short names of Lightning's precisions."""
_MIN_STRIDED_CHANNELS = 16
"""Input channels that a strided 1x1 convolution needs to be safe in channels-last layout."""


@dataclass(frozen=True)
class RuntimeConfig:
    """How a run computes; recorded in run.json."""

    device: str
    precision: str
    channels_last: bool
    threads: int
    gpu: int | None = None
    """Number of the GPU that a job of a sweep has to itself; None leaves it to Lightning."""


def resolve_runtime(trainer: DictConfig, *, gpu: int | None = None) -> RuntimeConfig:
    """The settings of `trainer`; `auto` is the fastest choice on this machine."""
    device = resolve_device(str(trainer.accelerator))
    _check_processes(trainer, device)
    precision = _PRECISIONS.get(str(trainer.precision), str(trainer.precision))
    if precision == "auto":
        precision = BF16_MIXED if supports_bf16(device) else FLOAT32
    channels_last = trainer.channels_last
    if channels_last == "auto":
        channels_last = device in ("cpu", "cuda")
    threads = trainer.threads
    if threads == "auto":
        cores = resources.cores_of_job(available_cores())
        threads = max(1, cores // _num_processes(trainer, device))
    own_gpu = gpu if device == "cuda" and str(trainer.devices) in ("1", "auto") else None
    return RuntimeConfig(device, precision, bool(channels_last), int(threads), own_gpu)


def resolve_device(accelerator: str) -> str:
    """Raises ConfigurationError where this machine has no such device."""
    if accelerator == "cpu":
        return accelerator
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    if accelerator in ("gpu", "cuda", "mps"):
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: torch finds no such device on this machine. Use "
            "trainer=cpu or trainer.accelerator=auto. To see what torch finds: python -c 'import "
            "torch; print(torch.cuda.is_available())'"
        )
    return "cpu"


def _check_processes(trainer: DictConfig, device: str) -> None:
    """Raise ConfigurationError for processes that this machine cannot start."""
    devices = trainer.devices
    if device == "cpu" and (OmegaConf.is_list(devices) or devices == -1):
        raise ConfigurationError(
            f"trainer.devices={devices}: on the processor it is the number of processes, such as 1."
        )
    most = max(4, available_cores())
    if device == "cpu" and _num_processes(trainer, device) > most:
        raise ConfigurationError(
            f"trainer.devices={devices}: so many processes slow each other down on "
            f"{available_cores()} cores. Give at most {most}."
        )
    if device != "cuda" and trainer.sync_batchnorm and str(devices) not in ("1", "auto"):
        raise ConfigurationError(
            "trainer.sync_batchnorm=true: only GPUs of CUDA can. Set it to false."
        )


def supports_bf16(device: str) -> bool:
    """Whether the hardware computes bfloat16: emulated it is slower than float32."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _num_processes(trainer: DictConfig, device: str) -> int:
    """Training processes that divide the cores of this machine."""
    return int(trainer.devices) if device == "cpu" and str(trainer.devices).isdigit() else 1


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def apply_runtime(runtime: RuntimeConfig, *, exact: bool = False) -> None:
    """Set the global options of the process.

    With `exact` no GPU rounds float32 to TF32, whose 10 bits show in a prediction.
    """
    import torch

    torch.set_num_threads(runtime.threads)
    if runtime.gpu is not None:
        torch.cuda.set_device(runtime.gpu)
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    apply_without_torch()


def apply_without_torch() -> None:
    """Those options that do not concern torch."""
    keep_freed_memory()
    # OpenBLAS (numpy, scipy) keeps its threads spinning after each product, which takes the cores
    # from the network. PyTorch's own threads are OpenMP's and stay.
    openblas = ThreadpoolController().select(internal_api="openblas")
    openblas.select(threading_layer="pthreads").limit(limits=1)


def without_mixed_precision(runtime: RuntimeConfig) -> RuntimeConfig:
    """The same in float32 where the precision is mixed, which is how `predict.py` computes."""
    is_mixed = runtime.precision.endswith("-mixed")
    return replace(runtime, precision=FLOAT32) if is_mixed else runtime


def prepare_network(
    runtime: RuntimeConfig, network: nn.Module, *, channels_last: object
) -> RuntimeConfig:
    """Set the memory layout of a network and replace its slow layers, in place.

    `channels_last` is the setting; with `auto` that layout is used only where it is safe.
    """
    import torch

    from capsule_inspection.models.layers import convert_depthwise_to_float32

    if channels_last == "auto" and not supports_channels_last(network):
        runtime = replace(runtime, channels_last=False)
    if runtime.channels_last:
        network.to(memory_format=torch.channels_last)
    if runtime.device == "cpu" and runtime.precision == BF16_MIXED:
        convert_depthwise_to_float32(network)
    return runtime


def supports_channels_last(network: nn.Module) -> bool:
    """False where the channels-last gradient is wrong or crashes on a CPU.

    Observed with torch 2.15 (oneDNN): strided 1x1 convolutions of fewer than 16 input channels read
    beyond their memory, which gives random gradients or a segmentation fault. Without AVX-512 that
    happened below 8 channels (docs/experiments/numerics.md).
    """
    import torch

    return not any(
        isinstance(module, torch.nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _MIN_STRIDED_CHANNELS
        for module in network.modules()
    )


def describe_hardware(runtime: RuntimeConfig) -> dict[str, Any]:
    """Hardware and runtime, as plain values."""
    import torch

    return {
        "processor": _processor_name(),
        "cores": available_cores(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "platform": platform.platform(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        **vars(runtime),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
