"""Parameter groups, optimizers by name, schedules and the moving average."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from capsule_inspection.tasks.optimization import (
    EMAMetric,
    FineTuningConfig,
    constant_schedule,
    cosine_schedule,
    one_cycle_schedule,
    parameter_groups,
    plateau_schedule,
    timm_optimizer,
    torch_optimizer,
)
from capsule_inspection.types import ConfigurationError

STEPS = 40


def layers() -> list[list[nn.Parameter]]:
    return [list(nn.Linear(3, 3).parameters()) for _ in range(3)]


def groups_of(found: list[list[nn.Parameter]], *factors: float) -> list[dict[str, Any]]:
    return parameter_groups(found, learning_rate=0.1, fine_tuning=FineTuningConfig(0, *factors))


def test_rates_fall_towards_the_input_and_vectors_do_not_decay() -> None:
    groups = groups_of(layers(), 1.0, 1.0)
    assert [group["lr"] for group in groups] == [0.1, 0.1]
    assert [len(group["params"]) for group in groups] == [3, 3]
    assert groups[1]["weight_decay"] == 0
    found = layers()
    groups = groups_of(found, 0.5, 3.0)  # the head has a rate of its own
    rates = [group["lr"] for group in groups if "weight_decay" not in group]
    assert rates == pytest.approx([0.025, 0.05, 0.3])
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for layer in found for parameter in layer)


@pytest.mark.parametrize(
    ("make", "name", "mistyped"),
    [(torch_optimizer, "NAdam", "nadm"), (timm_optimizer, "lamb", "lam")],
)
def test_optimizers_of_libraries_step_and_unknown_ones_are_refused_with_near_names(
    make: Any, name: str, mistyped: str
) -> None:
    found = layers()
    optimizer = make(groups_of(found, 1.0, 1.0), name=name, lr=0.1, weight_decay=0.0, options={})
    before = found[0][0].detach().clone()
    found[0][0].sum().backward()
    optimizer.step()
    assert not torch.equal(before, found[0][0])
    with pytest.raises(ConfigurationError, match=name):
        make([], name=mistyped, lr=0.1, weight_decay=0.0, options={})
    with pytest.raises(ConfigurationError, match=r"optimizer\.options"):
        make(groups_of(found, 1.0, 1.0), name=name, lr=0.1, weight_decay=0.0, options={"nosuch": 1})


def convolutions() -> list[list[nn.Parameter]]:
    return [list(nn.Conv2d(3, 3, 1).parameters()), list(nn.Linear(3, 3).parameters())]


@pytest.mark.parametrize("name", ["Muon", "LBFGS", "SparseAdam"])
def test_optimizers_that_do_not_suit_a_network_are_refused_before_training(name: str) -> None:
    groups = groups_of(convolutions(), 1.0, 1.0)
    state = torch.random.get_rng_state()
    with pytest.raises(ConfigurationError, match=f"optimizer.name={name} does not suit this net"):
        torch_optimizer(groups, name=name, lr=0.1, weight_decay=0.05, options={})
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_weight_decay_that_an_optimizer_does_not_have_is_refused() -> None:
    groups, settings = groups_of(convolutions(), 1.0, 1.0), {"name": "Rprop", "options": {}}
    assert torch_optimizer(groups, lr=0.1, weight_decay=0.0, **settings)
    with pytest.raises(ConfigurationError, match=r"optimizer.weight_decay=0.05: Rprop has none"):
        torch_optimizer(groups, lr=0.1, weight_decay=0.05, **settings)


def test_options_of_a_wrong_value_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"optimizer.options: NAdam .*Invalid epsilon"):
        torch_optimizer(
            groups_of(convolutions(), 1.0, 1.0),
            name="NAdam",
            lr=0.1,
            weight_decay=0.0,
            options={"eps": -1.0},
        )


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def rates(make: Any, **settings: float) -> list[float]:
    optimizer = sgd()
    schedule = make(optimizer, total_steps=STEPS, mode="max", **settings)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.scheduler.step()
    return found


def test_cosine_warms_up_and_falls_to_its_fraction_and_constant_is_constant() -> None:
    seen = rates(cosine_schedule, warmup=0.1, final=0.05)
    assert seen[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert max(seen) == pytest.approx(1.0)
    assert seen[-1] == pytest.approx(0.05, abs=0.01)
    assert seen[4:] == sorted(seen[4:], reverse=True)
    assert set(rates(constant_schedule)) == {1.0}


def test_one_cycle_rises_and_falls_in_any_number_of_steps_and_goes_on_in_a_longer_training() -> (
    None
):
    seen = rates(one_cycle_schedule, warmup=0.25, initial=0.04, final=0.001)
    assert seen[0] == pytest.approx(0.04)
    assert max(seen) == pytest.approx(1.0, abs=0.01)
    assert seen.index(max(seen)) in (9, 10)
    assert seen[-1] < 0.02
    settings = {"mode": "max", "warmup": 0.25, "initial": 0.1, "final": 0.01}
    one_cycle_schedule(sgd(), total_steps=1, **settings)
    optimizer = sgd()
    longer = one_cycle_schedule(optimizer, total_steps=8, **settings).scheduler
    longer.load_state_dict(
        one_cycle_schedule(sgd(), total_steps=4, **settings).scheduler.state_dict()
    )
    for _ in range(8):
        optimizer.step()
        longer.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01, rel=0.1)


def test_plateau_lowers_the_rate_when_nothing_improves() -> None:
    optimizer = sgd()
    schedule = plateau_schedule(
        optimizer, total_steps=STEPS, mode="max", factor=0.1, patience=1, min_lr=1e-3
    )
    assert not schedule.each_step
    for value in (0.5, 0.4, 0.3):
        schedule.scheduler.step(value)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_moving_average_is_unbiased_at_its_start_and_goes_on_from_its_state() -> None:
    metric, again = EMAMetric(0.5), EMAMetric(0.5)
    assert [metric.update(value) for value in (1.0, 0.0)] == pytest.approx([1.0, 0.25 / 0.75])
    again.load_state_dict(metric.state_dict())
    assert again.update(0.8) == metric.update(0.8)
    unsmoothed = EMAMetric(0.0)
    assert [unsmoothed.update(value) for value in (0.3, 0.9)] == pytest.approx([0.3, 0.9])
