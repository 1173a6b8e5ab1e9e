"""Parameter groups: rates by layer, no decay on vectors, libraries by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.tasks.optimizers import (
    FineTuning,
    parameter_groups,
    timm_optimizer,
    torch_optimizer,
)


def layers() -> list[list[nn.Parameter]]:
    return [list(nn.Linear(3, 3).parameters()) for _ in range(3)]


def test_one_rate_makes_two_groups() -> None:
    groups = parameter_groups(layers(), learning_rate=0.1, tuning=FineTuning(0, 1.0, 1.0))
    assert [group["lr"] for group in groups] == [0.1, 0.1]
    assert [len(group["params"]) for group in groups] == [3, 3]
    assert groups[1]["weight_decay"] == 0


def test_rates_fall_towards_the_input_and_the_head_has_its_own() -> None:
    groups = parameter_groups(layers(), learning_rate=0.1, tuning=FineTuning(0, 0.5, 3.0))
    rates = [group["lr"] for group in groups if "weight_decay" not in group]
    assert rates == pytest.approx([0.025, 0.05, 0.3])


def test_every_parameter_is_in_exactly_one_group() -> None:
    found = layers()
    groups = parameter_groups(found, learning_rate=0.1, tuning=FineTuning(0, 0.5, 1.0))
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for layer in found for parameter in layer)


@pytest.mark.parametrize("make", [torch_optimizer, timm_optimizer])
def test_libraries_optimizers_step(make) -> None:
    found = layers()
    groups = parameter_groups(found, learning_rate=0.1, tuning=FineTuning(0, 1.0, 1.0))
    name = "NAdam" if make is torch_optimizer else "lamb"
    optimizer = make(groups, name=name, lr=0.1, weight_decay=0.0, options={})
    before = found[0][0].detach().clone()
    found[0][0].sum().backward()
    optimizer.step()
    assert not torch.equal(before, found[0][0])


@pytest.mark.parametrize(
    ("make", "name", "near"), [(torch_optimizer, "nadm", "NAdam"), (timm_optimizer, "lam", "lamb")]
)
def test_an_unknown_optimizer_is_an_error_with_near_names(make, name: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=near):
        make([], name=name, lr=0.1, weight_decay=0.0, options={})


def test_an_option_that_the_optimizer_does_not_take_is_an_error() -> None:
    groups = parameter_groups(layers(), learning_rate=0.1, tuning=FineTuning(0, 1.0, 1.0))
    with pytest.raises(ConfigurationError, match=r"optimizer\.options"):
        torch_optimizer(groups, name="SGD", lr=0.1, weight_decay=0.0, options={"momentun": 0.9})
