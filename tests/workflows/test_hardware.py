from __future__ import annotations

import mmap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import ThreadpoolController

from capsule_inspection.config.schema import Trainer
from capsule_inspection.models.layers import Float32DepthwiseConv2d
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import hardware, profiling, trainer


def runtime_of(precision: str = "32-true", *, threads: int = 1) -> hardware.RuntimeConfig:
    return hardware.RuntimeConfig("cpu", precision, channels_last=True, threads=threads)


def resolved(*, gpu: int | None = None, **settings: Any) -> hardware.RuntimeConfig:
    return hardware.resolve_runtime(OmegaConf.structured(Trainer(**settings)), gpu=gpu)


def test_narrow_strided_convolutions_rule_channels_last_out() -> None:
    for channels, stride, suits in ((15, 2, False), (16, 2, True), (8, 1, True)):
        network = torch.nn.Conv2d(channels, 32, kernel_size=1, stride=stride)
        assert hardware.supports_channels_last(network) is suits


def test_peak_memory_is_that_of_the_present_run() -> None:
    profiling.reset_peak_memory()
    with mmap.mmap(-1, 200_000_000) as held:
        held.write(bytes(200_000_000))
        high = profiling.peak_memory_bytes()["resident"]
    profiling.reset_peak_memory()
    assert profiling.peak_memory_bytes()["resident"] < high - 100_000_000


def test_a_forward_function_in_parts_is_measured_in_parts() -> None:
    network = torch.nn.Conv2d(3, 4, 3)
    shapes: list[torch.Size] = []

    def forward(image: torch.Tensor) -> list[torch.Tensor]:
        shapes.append(image.shape)
        return [network(part) for part in image.split(8, dim=2)]

    of_part = profiling.profile_network(network, (8, 16))
    assert profiling.profile_network(network, (16, 16), forward=forward) == {
        "parameters": of_part["parameters"],
        "flops": 2 * of_part["flops"],
    }
    profiling.measure_latency_ms(
        network, (16, 16), runtime=runtime_of(), repeats=2, forward=forward
    )
    assert shapes == [(1, 3, 16, 16)] * (1 + 2 + 3)


def test_latency_leaves_the_network_as_it_was() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert profiling.measure_latency_ms(network, (16, 16), runtime=runtime_of(), repeats=2) > 0
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_job_trains_on_the_gpu_that_it_has_to_itself(
    monkeypatch: pytest.MonkeyPatch, compose: Callable[..., DictConfig]
) -> None:
    given: dict[str, Any] = {}

    def record(**settings: Any) -> SimpleNamespace:
        given.update(settings)
        return SimpleNamespace(world_size=1)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(trainer.L, "Trainer", record)
    settings = {"accelerator": "gpu", "precision": "32-true", "threads": 1, "gpu": 1}
    for devices in (1, "auto"):
        runtime = resolved(devices=devices, **settings)
        config = compose("train", f"trainer.devices={devices}")
        trainer.build_trainer(config, runtime, callbacks=[], loggers=[])
        assert (runtime.gpu, given["devices"]) == (1, [1])
    assert resolved(devices=2, **settings).gpu is None


def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps"):
        with pytest.raises(ConfigurationError, match=f"trainer.accelerator={name}.*trainer=cpu"):
            resolved(accelerator=name)


def test_processes_that_a_processor_cannot_start_are_refused() -> None:
    for devices in ([0], -1, 10_000):
        with pytest.raises(ConfigurationError, match=r"trainer\.devices="):
            resolved(accelerator="cpu", devices=devices)
    with pytest.raises(ConfigurationError, match=r"trainer\.sync_batchnorm=true: only"):
        resolved(accelerator="cpu", devices=2, sync_batchnorm=True)
    assert resolved(accelerator="cpu", devices=2).device == "cpu"


def test_depthwise_convolutions_are_trained_in_float32_beside_bfloat16_alone() -> None:
    for precision, made in (("bf16-mixed", 1), ("32-true", 0)):
        network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8))
        hardware.prepare_network(runtime_of(precision), network, channels_last="auto")
        assert sum(isinstance(layer, Float32DepthwiseConv2d) for layer in network) == made


def test_precisions_have_short_names_and_predictions_have_no_fewer_bits_than_float32() -> None:
    for short, meant in (("bf16", "bf16-mixed"), (32, "32-true"), ("16", "16-mixed")):
        assert resolved(accelerator="cpu", precision=short).precision == meant
    for trained in ("bf16-mixed", "16-mixed", "32-true", "64-true"):
        predicted = "64-true" if trained == "64-true" else "32-true"
        assert hardware.without_mixed_precision(runtime_of(trained)).precision == predicted


def test_float32_is_rounded_only_where_predictions_need_not_be_exact() -> None:
    for exact, matmul in ((True, "highest"), (False, "high")):
        hardware.apply_runtime(runtime_of(hardware.FLOAT32), exact=exact)
        assert torch.get_float32_matmul_precision() == matmul
        assert torch.backends.cudnn.allow_tf32 is not exact


def test_numpy_leaves_the_cores_to_the_network() -> None:
    openblas = ThreadpoolController().select(internal_api="openblas")
    openblas = openblas.select(threading_layer="pthreads")
    if not len(openblas):
        pytest.skip("numpy computes without OpenBLAS here")
    threads = torch.get_num_threads()
    with openblas.limit(limits=2):
        hardware.apply_runtime(runtime_of(hardware.FLOAT32, threads=threads))
        assert {library["num_threads"] for library in openblas.info()} == {1}
    assert torch.get_num_threads() == threads
