from __future__ import annotations

import torch

from capsule_inspection.runs import machine


def test_narrow_strided_convolutions_rule_channels_last_out() -> None:
    def network(channels: int, stride: int) -> torch.nn.Module:
        return torch.nn.Conv2d(channels, 32, kernel_size=1, stride=stride)

    assert not machine.suits_channels_last(network(15, 2))
    assert machine.suits_channels_last(network(16, 2))
    assert machine.suits_channels_last(network(8, 1))


def test_peak_memory_is_that_of_the_present_run() -> None:
    held = torch.ones(200_000_000, dtype=torch.uint8)
    high = machine.peak_memory_bytes()["resident"]
    del held
    machine.reset_peak_memory()
    assert machine.peak_memory_bytes()["resident"] < high - 100_000_000


def test_latency_leaves_the_network_as_it_was() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    choices = machine.Choices("cpu", "32-true", channels_last=True, threads=1)
    assert machine.measure_latency_ms(network, (16, 16), choices=choices, repeats=2) > 0
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
