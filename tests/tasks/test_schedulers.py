"""Learning rates over a training."""

from __future__ import annotations

import pytest
import torch

from capsule_inspection.tasks.schedulers import constant, cosine, one_cycle, plateau

STEPS = 40


def rates(make, **settings: float) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = make(optimizer, total_steps=STEPS, mode="max", **settings)
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.scheduler.step()
    return seen


def test_cosine_warms_up_and_falls_to_its_share() -> None:
    seen = rates(cosine, warmup=0.1, final=0.05)
    assert seen[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert max(seen) == pytest.approx(1.0)
    assert seen[-1] == pytest.approx(0.05, abs=0.01)
    assert seen[4:] == sorted(seen[4:], reverse=True)


def test_one_cycle_rises_to_the_rate_and_falls_again() -> None:
    seen = rates(one_cycle, warmup=0.25, initial=0.04, final=0.001)
    assert seen[0] == pytest.approx(0.04)
    assert max(seen) == pytest.approx(1.0, abs=0.01)
    assert seen.index(max(seen)) in (9, 10)
    assert seen[-1] < 0.02


def test_one_cycle_takes_a_single_step() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    one_cycle(optimizer, total_steps=1, mode="max", warmup=0.25, initial=0.1, final=0.01)


def test_one_cycle_goes_on_in_a_longer_training() -> None:
    settings = {"mode": "max", "warmup": 0.25, "initial": 0.1, "final": 0.01}
    first, optimizer = (
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2)
    )
    short = one_cycle(first, total_steps=4, **settings).scheduler
    longer = one_cycle(optimizer, total_steps=8, **settings).scheduler
    longer.load_state_dict(short.state_dict())
    for _ in range(8):
        optimizer.step()
        longer.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01, rel=0.1)


def test_constant_is_constant() -> None:
    assert set(rates(constant)) == {1.0}


def test_plateau_lowers_the_rate_when_nothing_improves() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = plateau(
        optimizer, total_steps=STEPS, mode="max", factor=0.1, patience=1, min_lr=1e-3
    )
    assert not schedule.each_step
    for value in (0.5, 0.4, 0.3):
        schedule.scheduler.step(value)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
