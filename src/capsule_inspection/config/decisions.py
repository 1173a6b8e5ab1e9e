"""Checks of what decides: thresholds, costs, and the primary metric of comparisons; never torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.similar_names import suggestion
from capsule_inspection.config.stored import stored_task
from capsule_inspection.types import (
    ARGMAX,
    EXPECTED_COST,
    PRIMARY_METRICS,
    ConfigurationError,
    Costs,
)


def read_costs(config: DictConfig) -> Costs | None:
    """The settings `cost.*` after their checks; None where no cost is given."""
    cost = config.cost
    if cost.false_negative is None:
        return None
    return Costs(cost.false_negative, cost.false_positive, cost.defect_rate)


def _check_threshold_rule(config: DictConfig) -> None:
    """Reject a rule of another task than the model's."""
    rule, task = (OmegaConf.select(config, key) for key in ("threshold.name", "task.name"))
    is_for_classifiers = rule in ("operating_point", ARGMAX)
    if rule is None and task in ("classification", "anomaly_detection"):
        raise ConfigurationError(f"threshold=null: task={task} has one. See conf/threshold/.")
    if task == "classification" and rule is not None and not is_for_classifiers:
        raise ConfigurationError(
            f"threshold={rule}: for models that learn from good images only. A classifier has "
            "threshold=operating_point or threshold=argmax."
        )
    if task == "anomaly_detection" and is_for_classifiers:
        raise ConfigurationError(
            f"threshold={rule}: for classifiers. model={config.model.name} has "
            "threshold=conformal, sigma or f1."
        )


def _check_given_threshold(config: DictConfig) -> None:
    """Check `threshold=` of commands that predict with a run."""
    value = OmegaConf.select(config, "threshold.value")
    if value is not None:
        check_threshold(value, task=stored_task(config.run))


def check_threshold(value: Any, *, task: str | None) -> None:
    """Check a threshold that replaces the one of a trained model.

    `task` is None where it is not known before the model is opened. Raises ConfigurationError.
    """
    if task == "segmentation":
        raise ConfigurationError(
            f"threshold={value}: of a segmentation model the predicted mask decides, and its "
            "thresholds belong together. Remove it."
        )
    if value == ARGMAX and task != "anomaly_detection":
        return
    if value == ARGMAX:
        raise ConfigurationError(
            f"threshold={ARGMAX}: for classifiers, since a one-class model names no classes. Give "
            "a number, or remove it."
        )
    most = 1 if task == "classification" else sys.float_info.max
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= most):
        limits = {
            "classification": "a probability from 0 to 1, or argmax",
            "anomaly_detection": "a score of at least 0",
        }.get(task or "", "a number of at least 0, or argmax")
        raise ConfigurationError(f"threshold={value}: expected {limits}.")


def _check_costs(config: DictConfig) -> None:
    cost = OmegaConf.select(config, "cost")
    if cost is None:
        return
    names = ("false_negative", "false_positive")
    given = [name for name in names if cost[name] is not None]
    for name in given:
        if not 0 <= cost[name] < math.inf:
            raise ConfigurationError(
                f"cost.{name}={cost[name]:g}: expected a cost of at least 0, in any unit."
            )
    if len(given) == 1:
        (other,) = set(names) - set(given)
        raise ConfigurationError(
            f"cost.{given[0]}={cost[given[0]]:g}: cost.{other} is needed too, since decisions "
            f"depend on the ratio of both. Add cost.{other}=<value>."
        )
    if given and not any(cost[name] for name in names):
        raise ConfigurationError(
            "cost.false_negative=0 and cost.false_positive=0: with both zero nothing is better "
            "than anything. Give at least one a cost, or remove both."
        )
    rate = cost.defect_rate
    if rate is not None and not 0 < rate < 1:
        raise ConfigurationError(
            f"cost.defect_rate={rate:g}: expected the fraction of defects in production, between 0 "
            "and 1, such as 0.01."
        )
    if rate is not None and not given:
        raise ConfigurationError(
            f"cost.defect_rate={rate:g}: it weighs costs, and none are given. Add "
            "cost.false_negative and cost.false_positive, or remove it."
        )


def _check_comparison(config: DictConfig) -> None:
    compare = OmegaConf.select(config, "compare")
    if compare is None:
        return
    primary, margin = compare.primary, compare.margin
    if primary is not None and primary not in PRIMARY_METRICS:
        raise ConfigurationError(
            f"compare.primary={primary}: not a choice. {suggestion(primary, PRIMARY_METRICS)}"
        )
    if primary == EXPECTED_COST and config.cost.false_negative is None:
        raise ConfigurationError(
            f"compare.primary={EXPECTED_COST}: the costs are missing. Add "
            "cost.false_negative=<value> and cost.false_positive=<value>."
        )
    if not 0 < margin < 1:
        raise ConfigurationError(
            f"compare.margin={margin:g}: expected the smallest difference that matters, between 0 "
            "and 1, such as 0.05."
        )


RULES: tuple[Callable[[DictConfig], None], ...] = (
    _check_threshold_rule,
    _check_given_threshold,
    _check_costs,
    _check_comparison,
)
