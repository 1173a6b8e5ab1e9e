"""All numbers of a comparison for machines: comparison.csv and comparison.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from capsule_inspection.metrics.registry import LOWER_IS_BETTER, metric_label
from capsule_inspection.reports.comparison.costs import Spread
from capsule_inspection.reports.comparison.decision import Recommendation
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import PairwiseComparison
from capsule_inspection.reports.comparison.tables import COST_NUMBERS, TRAINING_NUMBERS

FORMAT_VERSION = 1
"""Of comparison.json."""


def to_csv(results: Sequence[ModelMetrics]) -> str:
    """A row for each model: all metrics with limits and n, all numbers of training and cost."""
    metrics = dict.fromkeys(name for result in results for name in result.metrics)
    rows = []
    for result in results:
        model = result.model
        row: dict[str, Any] = {
            "model": result.name,
            "task": model.task,
            "runs": len(model.runs),
            "seeds": " ".join(map(str, model.seeds)),
            "stage": model.stage,
            "optimistic": model.is_optimistic,
            "initial_weights": result.weights,
        }
        for name in metrics:
            values = result.metrics[name].as_dict() if name in result.metrics else {}
            row[name] = values.get("value")
            row |= {f"{name}_{key}": values.get(key) for key in ("low", "high", "n")}
        rows.append(row | {key: spread and spread.mean for key, spread in _costs(result).items()})
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def to_json(
    results: Sequence[ModelMetrics],
    pairs: Sequence[PairwiseComparison],
    recommendation: Recommendation,
    text: str,
) -> str:
    """The recommendation and its `text`, its primary endpoint, all models and all pairs."""
    primary = recommendation.primary
    content = {
        "format_version": FORMAT_VERSION,
        "recommendation": {
            "model": recommendation.model,
            "reason": recommendation.reason,
            "text": text,
        },
        "primary": {
            "metric": primary,
            "label": metric_label(primary),
            "margin": recommendation.margin,
            "higher_is_better": primary not in LOWER_IS_BETTER,
        },
        "models": [_model_to_dict(result) for result in results],
        "pairs": [_pair_to_dict(pair) for pair in pairs],
    }
    # JSON has no NaN, which metrics.json of a run may hold.
    finite = json.loads(json.dumps(content), parse_constant=lambda constant: None)
    return json.dumps(finite, indent=1) + "\n"


def _model_to_dict(result: ModelMetrics) -> dict[str, Any]:
    return {
        "name": result.name,
        "task": result.model.task,
        "runs": [str(run.path) for run in result.model.runs],
        "seeds": result.model.seeds,
        "folds": [fold for fold in result.model.folds if fold >= 0],
        "metrics": {name: estimate.as_dict() for name, estimate in result.metrics.items()},
        "costs": {key: asdict(spread) for key, spread in _costs(result).items() if spread},
    }


def _pair_to_dict(pair: PairwiseComparison) -> dict[str, Any]:
    differences = {}
    for name, difference in pair.differences.items():
        low, high = pair.simultaneous.get(name, (None, None))
        differences[name] = {
            "value": difference.value,
            "low": difference.ci_low,
            "high": difference.ci_high,
            "p": difference.p_value,
            "p_corrected": pair.corrected_p_values.get(name),
            "simultaneous_low": low,
            "simultaneous_high": high,
            "test": difference.test,
        }
    return {
        "first": pair.first,
        "second": pair.second,
        "images": pair.num_images,
        "groups": pair.num_groups,
        "verdict": pair.verdict,
        "better": pair.better,
        "differences": differences,
    }


def _costs(result: ModelMetrics) -> dict[str, Spread | None]:
    """All numbers of training and cost, by their headings as keys."""
    return {
        heading.replace(",", "").replace(" ", "_"): result.cost(heading)
        for heading in (*TRAINING_NUMBERS, *COST_NUMBERS)
    }
