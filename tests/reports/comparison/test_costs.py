"""Numbers of single runs, and the validation metric by which models are ranked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparisons import measure_runs
from sample_anomaly_runs import write_one_class_run
from sample_runs import write_classification_run
from sample_segmentation_runs import write_offset_segmentation_run

from capsule_inspection.reports.comparison import costs
from capsule_inspection.reports.comparison.costs import (
    find_convergence,
    rank_on_validation,
    run_numbers,
)
from capsule_inspection.reports.run.run_folder import RunFolder, read_run


def one_class(folder: Path, model: str, **changed) -> RunFolder:
    return write_one_class_run(folder / model, model=model, **changed)


def segmentation(folder: Path, model: str, **changed) -> RunFolder:
    return write_offset_segmentation_run(folder / model, model=model, **changed)


def named(folder: Path, model: str, accuracy: float = 0.8) -> RunFolder:
    run = write_classification_run(folder / model, model=model)
    path = run / "metrics.json"
    of = '"val/balanced_accuracy": {"value": '
    path.write_text(path.read_text().replace(f"{of}0.8", f"{of}{accuracy}"))
    return read_run(run)


def l1(weight: float) -> dict[str, dict]:
    return {"task": {"loss": {"l1": weight}}}


MEAN_IOU = {"monitor": {"key": "val/mean_iou_smoothed", "value": 0.5}}
CASES = {
    "loss": (
        [(one_class, "a", {"val_loss": 0.3, "skill": 3.0}),
         (one_class, "b", {"val_loss": 0.1, "skill": 0.0}),
         (one_class, "c", {"val_loss": 0.2, "skill": 2.0})],
        "loss", "b c a",
    ),
    "losses of other terms": (
        [(one_class, "a", {"val_loss": 0.3, "settings": l1(1.0)}),
         (one_class, "b", {"val_loss": 0.1, "settings": l1(0.5)})],
        None, "a b",
    ),
    "losses of other folds": (
        [(one_class, "a", {"fold": 0}), (one_class, "b", {"fold": 1})], None, "a b",
    ),
    "one class and names": (
        [(one_class, "a", {"skill": 0.0}), (named, "b", {})], None, "a b",
    ),
    "balanced accuracy": (
        [(named, "a", {}), (named, "b", {"accuracy": 0.9})], "balanced_accuracy", "b a",
    ),
    "overlap": (
        [(segmentation, "a", {"monitored": 0.4, "offset": 0}),
         (segmentation, "b", {"monitored": 0.6, "offset": 6, "binary": True}),
         (segmentation, "c", {"monitored": 0.5, "offset": 3})],
        "binary_dice", "b c a",
    ),
    "overlaps of other images": (
        [(segmentation, f"m{n}", {"settings": {"split": {"seed": n}}}) for n in range(2)],
        None, "m0 m1",
    ),
    "overlaps of other names": (
        [(segmentation, f"m{n}", {"binary": bool(n), "record": MEAN_IOU}) for n in range(2)],
        None, "m0 m1",
    ),
    "overlap of names": ([(segmentation, "m0", {"record": MEAN_IOU})], "mean_iou", "m0"),
    "names and masks": ([(segmentation, "a", {}), (named, "b", {})], None, "a b"),
}  # fmt: skip


@pytest.mark.parametrize(("runs", "by", "order"), CASES.values(), ids=CASES)
def test_models_rank_by_the_metric_that_they_share(tmp_path, runs, by, order) -> None:
    written = [write(tmp_path, model, **changed) for write, model, changed in runs]
    ranking = rank_on_validation(measure_runs(written))
    assert ranking.by == by
    assert " ".join(result.name for result in ranking.order) == order


def test_numbers_of_a_run_are_those_of_its_record_and_its_best_epoch(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a"))
    found = run_numbers(run)
    best = run.epochs.set_index("epoch").loc[8]
    assert found["stopped at epoch"] == 11
    assert found["best epoch"] == 8
    assert found[costs.TRAINING_TIME] == 60 + len("custom_resnet")
    assert found[costs.EPOCH_TIME] == pytest.approx(found[costs.TRAINING_TIME] / 12)
    assert found["training loss"] == pytest.approx(1.5 / 12)
    assert found["validation loss"] == best["val/loss"]
    gap = best["train/balanced_accuracy"] - best["val/balanced_accuracy"]
    assert found[costs.GAP] == pytest.approx(gap)
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
