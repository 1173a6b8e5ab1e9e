"""The validation metric by which models are ranked."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparisons import measure_runs, one_class, segmentation
from sample_runs import write_classification_run

from capsule_inspection.reports.comparison.ranking import rank_on_validation
from capsule_inspection.reports.run.run_folder import RunFolder, read_run


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


def test_models_without_the_validation_metric_of_the_others_are_not_ranked_by_it(tmp_path) -> None:
    """A balanced accuracy and an AUROC have no order."""
    better = named(tmp_path, "better", accuracy=0.9)
    path = named(tmp_path, "other").path / "metrics.json"
    path.write_text(path.read_text().replace("val/balanced_accuracy", "val/another"))
    ranking = rank_on_validation(measure_runs([better, read_run(path.parent)]))
    assert ranking.by != "balanced_accuracy"
