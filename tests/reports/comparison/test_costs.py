"""Numbers of single runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import measure_runs
from sample_anomaly_runs import write_one_class_run
from sample_runs import write_classification_run

from capsule_inspection.reports.comparison import costs
from capsule_inspection.reports.comparison.costs import find_convergence, run_numbers
from capsule_inspection.reports.run.run_folder import read_run


def test_numbers_of_a_run_are_those_of_its_record_and_its_best_epoch(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a"))
    found = run_numbers(run)
    best = run.epochs.set_index("epoch").loc[8]
    assert found["stopped at epoch"] == 12
    assert found["best epoch"] == 9
    assert found[costs.TRAINING_TIME] == 60 + len("custom_resnet")
    assert found[costs.EPOCH_TIME] == pytest.approx(found[costs.TRAINING_TIME] / 12)
    assert found["training loss"] == pytest.approx(1.5 / 12)
    assert found["validation loss"] == best["val/loss"]
    gap = best["train/balanced_accuracy"] - best["val/balanced_accuracy"]
    assert found[costs.GAP] == pytest.approx(gap)
    validation = run.metrics["val/balanced_accuracy"]  # 0.8, from 0.4 to 0.95
    assert found[costs.GAP_LOW] == pytest.approx(gap - (validation.ci_high - validation.value))
    assert found[costs.GAP_HIGH] == pytest.approx(gap + (validation.value - validation.ci_low))
    assert found["peak memory"] == 1e9
    assert "validation binary Dice" not in found


def test_a_number_that_is_missing_or_not_finite_is_absent(tmp_path) -> None:
    record = {"inference_ms_per_image": float("nan"), "network": None, "epochs": 0}
    folder = write_classification_run(tmp_path / "a", record=record)
    (folder / "metrics.csv").unlink()
    found = run_numbers(read_run(folder))
    assert "time of an image" not in found
    assert costs.PARAMETERS not in found
    assert not {"stopped at epoch", costs.EPOCH_TIME, costs.GAP, "validation loss"} & set(found)


def test_losses_and_models_without_class_probabilities_have_no_gap(tmp_path) -> None:
    assert costs.GAP not in run_numbers(write_one_class_run(tmp_path / "a"))
    monitor = {"monitor": {"key": "val/loss", "value": 0.3}}
    folder = write_classification_run(tmp_path / "b", record=monitor)
    assert costs.GAP not in run_numbers(read_run(folder))


def test_a_spread_counts_the_runs_that_have_a_number(tmp_path) -> None:
    folders = [write_classification_run(tmp_path / f"{seed}", seed=seed) for seed in range(3)]
    for folder, time_s in zip(folders, (10.0, 30.0, None), strict=True):
        path = folder / "run.json"
        record = json.loads(path.read_text()) | {"training_time_s": time_s}
        path.write_text(json.dumps(record))
    (result,) = measure_runs([read_run(folder) for folder in folders])
    assert result.cost(costs.TRAINING_TIME) == costs.Spread(20.0, 10.0, 30.0, 2)
    assert result.cost("validation binary Dice") is None


def test_a_curve_converges_where_it_arrives_and_stays() -> None:
    rising = np.concatenate([np.linspace(0, 1, 20), np.ones(40)])
    found = find_convergence(rising)
    assert found is not None
    assert 17 <= found <= 22
    sparse = np.full(120, np.nan)
    sparse[::2] = rising
    assert find_convergence(sparse) == 2 * found
    assert find_convergence(np.full(30, 0.7)) == 4
    still_rising, jumping = np.linspace(0, 1, 60), np.tile([0.0] * 6 + [1.0] * 6, 6)
    for curve in (still_rising, jumping, np.ones(9)):  # the last is too short to tell
        assert find_convergence(curve) is None
