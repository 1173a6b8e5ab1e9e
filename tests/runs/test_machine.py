from __future__ import annotations

import mmap
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from threadpoolctl import ThreadpoolController

from capsule_inspection.configuration.schema import Trainer
from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.networks.depthwise import Float32Depthwise
from capsule_inspection.runs import building, machine


def test_narrow_strided_convolutions_rule_channels_last_out() -> None:
    def network(channels: int, stride: int) -> torch.nn.Module:
        return torch.nn.Conv2d(channels, 32, kernel_size=1, stride=stride)

    assert not machine.suits_channels_last(network(15, 2))
    assert machine.suits_channels_last(network(16, 2))
    assert machine.suits_channels_last(network(8, 1))


def test_peak_memory_is_that_of_the_present_run() -> None:
    machine.reset_peak_memory()
    with mmap.mmap(-1, 200_000_000) as held:
        held.write(bytes(200_000_000))
        high = machine.peak_memory_bytes()["resident"]
    machine.reset_peak_memory()
    assert machine.peak_memory_bytes()["resident"] < high - 100_000_000


def test_what_an_image_goes_through_in_parts_is_measured_in_parts() -> None:
    network = torch.nn.Conv2d(3, 4, 3)
    seen: list[torch.Size] = []

    def through(image: torch.Tensor) -> list[torch.Tensor]:
        seen.append(image.shape)
        return [network(part) for part in image.split(8, dim=2)]

    of_part = machine.measure_network(network, (8, 16))
    assert machine.measure_network(network, (16, 16), through=through) == {
        "parameters": of_part["parameters"],
        "flops": 2 * of_part["flops"],
    }
    choices = machine.Choices("cpu", "32-true", channels_last=True, threads=1)
    machine.measure_latency_ms(network, (16, 16), choices=choices, repeats=2, through=through)
    assert seen == [(1, 3, 16, 16)] * (1 + 2 + 3)


def test_latency_leaves_the_network_as_it_was() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    choices = machine.Choices("cpu", "32-true", channels_last=True, threads=1)
    assert machine.measure_latency_ms(network, (16, 16), choices=choices, repeats=2) > 0
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("devices", [1, "auto"])
def test_a_job_trains_on_the_gpu_that_it_has_to_itself(
    devices: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(building.L, "Trainer", lambda **settings: given.update(settings))
    settings = Trainer(accelerator="gpu", precision="32-true", devices=devices, threads=1)
    choices = machine.choose(OmegaConf.structured(settings), gpu=1)
    building.make_trainer(choices, devices=devices)
    assert choices.gpu == 1
    assert given["devices"] == [1]


def test_a_run_that_asks_for_several_gpus_is_given_no_single_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = Trainer(accelerator="gpu", precision="32-true", devices=2, threads=1)
    assert machine.choose(OmegaConf.structured(settings), gpu=1).gpu is None


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error(
    accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    settings = OmegaConf.structured(Trainer(accelerator=accelerator))
    with pytest.raises(ConfigurationError, match=f"trainer.accelerator={accelerator}.*trainer=cpu"):
        machine.choose(settings)


@pytest.mark.parametrize(("precision", "made"), [("bf16-mixed", 1), ("32-true", 0)])
def test_depthwise_convolutions_are_trained_in_float32_beside_bfloat16_alone(
    precision: str, made: int
) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8))
    choices = machine.Choices("cpu", precision, channels_last=True, threads=1)
    machine.fit_network(choices, network, asked="auto")
    assert sum(isinstance(layer, Float32Depthwise) for layer in network) == made


@pytest.mark.parametrize(
    ("asked", "meant"), [("bf16", "bf16-mixed"), (32, "32-true"), ("16", "16-mixed")]
)
def test_short_names_of_precisions_mean_the_long_ones(asked: object, meant: str) -> None:
    settings = OmegaConf.structured(Trainer(accelerator="cpu", precision=asked))
    assert machine.choose(settings).precision == meant


def test_float32_is_shortened_only_where_answers_need_not_be_exact() -> None:
    choices = machine.Choices("cpu", machine.FULL, channels_last=True, threads=1)
    for exact, matmul in ((True, "highest"), (False, "high")):
        machine.apply(choices, exact=exact)
        assert torch.get_float32_matmul_precision() == matmul
        assert torch.backends.cudnn.allow_tf32 is not exact


@pytest.mark.parametrize(
    ("trained", "answers"),
    [("bf16-mixed", "32-true"), ("16-mixed", "32-true"), ("64-true", "64-true")],
)
def test_answers_are_rounded_to_no_fewer_bits_than_float32_has(trained: str, answers: str) -> None:
    choices = machine.Choices("cpu", trained, channels_last=True, threads=1)
    assert machine.as_in_use(choices).precision == answers


def test_numpy_leaves_the_cores_to_the_network() -> None:
    openblas = ThreadpoolController().select(internal_api="openblas")
    openblas = openblas.select(threading_layer="pthreads")
    if not len(openblas):
        pytest.skip("numpy computes without OpenBLAS here")
    threads = torch.get_num_threads()
    with openblas.limit(limits=2):
        machine.apply(machine.Choices("cpu", machine.FULL, channels_last=True, threads=threads))
        assert {library["num_threads"] for library in openblas.info()} == {1}
    assert torch.get_num_threads() == threads
