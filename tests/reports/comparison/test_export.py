"""The numbers of a comparison as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from comparisons import measure_runs, mentions, mixed, write

from capsule_inspection.reports.comparison.export import FORMAT_VERSION, to_csv, to_json
from capsule_inspection.reports.comparison.pairs import DecisionSettings
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.types import Costs, Estimate

DICE = "binary_dice_global"


def test_the_csv_has_every_metric_and_number_of_every_model(tmp_path) -> None:
    found = measure_runs(mixed(tmp_path))
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [row["model"] for row in rows] == ["near", "binary", "named", "autoencoder"]
    assert float(rows[0][DICE]) > float(rows[1][DICE])
    assert (rows[2][DICE], rows[3]["accuracy"]) == ("", "")
    accuracy = found[2].metrics["accuracy"]
    assert float(rows[2]["accuracy"]) == accuracy.value
    assert float(rows[2]["accuracy_low"]) == accuracy.ci_low
    assert int(rows[2]["accuracy_n"]) == 20
    assert rows[0]["validation_binary_Dice"] == "0.4"
    assert rows[2]["training_time"] == "65.0"
    assert rows[2]["optimistic"] == "False"


def test_the_json_has_recommendation_models_and_pairs(tmp_path) -> None:
    runs = [write(tmp_path, "best", wrong=range(2)), write(tmp_path, "worst", wrong=range(30))]
    settings = DecisionSettings(primary="accuracy", margin=0.1)
    comparison = compare(runs, settings=settings)
    results, pairs = comparison.results, comparison.pairs
    content = json.loads(to_json(results, pairs, comparison.recommendation, "a sentence"))

    assert content["format_version"] == FORMAT_VERSION == 1
    assert content["recommendation"] == {
        "model": comparison.recommendation.model,
        "reason": comparison.recommendation.reason.value,
        "text": "a sentence",
    }
    assert content["primary"] == {
        "metric": "accuracy", "label": "accuracy", "margin": 0.1, "higher_is_better": True
    }  # fmt: skip
    model = content["models"][0]
    assert (model["name"], model["task"], model["seeds"], model["folds"]) == (
        "best", "classification", [0], []
    )  # fmt: skip
    assert model["runs"] == [str(runs[0].path)]
    assert model["metrics"]["accuracy"] == results[0].metrics["accuracy"].as_dict()
    assert model["costs"]["training_time"]["mean"] == 64.0
    (pair,) = content["pairs"]
    difference = pairs[0].differences["accuracy"]
    assert (pair["first"], pair["second"]) == ("best", "worst")
    assert (pair["images"], pair["groups"]) == (66, 66)
    assert pair["verdict"] == pairs[0].verdict.value
    assert pair["better"] == "best"
    assert pair["differences"]["accuracy"] == {
        "value": difference.value,
        "low": difference.ci_low,
        "high": difference.ci_high,
        "p": difference.p_value,
        "p_corrected": pairs[0].corrected_p_values["accuracy"],
        "simultaneous_low": pairs[0].simultaneous["accuracy"][0],
        "simultaneous_high": pairs[0].simultaneous["accuracy"][1],
        "test": difference.test,
    }


def test_a_metric_that_is_not_a_number_is_null_in_the_json(tmp_path) -> None:
    comparison = compare([write(tmp_path, "a")])
    comparison.results[0].metrics["accuracy"] = Estimate(float("nan"), None, None, 66)
    text = to_json(comparison.results, [], comparison.recommendation, "")
    assert "NaN" not in text
    assert json.loads(text)["models"][0]["metrics"]["accuracy"]["value"] is None


def test_costs_are_the_primary_endpoint_of_the_json_where_they_are_given(tmp_path) -> None:
    runs = [write(tmp_path, name, wrong=range(n)) for name, n in (("a", 1), ("b", 9))]
    comparison = compare(runs, settings=DecisionSettings(costs=Costs(20, 1)))
    content = json.loads(
        to_json(comparison.results, comparison.pairs, comparison.recommendation, "")
    )
    assert content["primary"]["metric"] == "expected_cost"
    assert content["primary"]["higher_is_better"] is False
    difference = content["pairs"][0]["differences"]["expected_cost"]["value"]
    of_models = [model["metrics"]["expected_cost"]["value"] for model in content["models"]]
    assert difference == pytest.approx(of_models[0] - of_models[1])
    assert not mentions(list(content["models"][0]["costs"]), ",")
