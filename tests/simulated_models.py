"""Models of a comparison from simulated predictions, without run folders."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.simulated_studies import Study
from capsule_inspection.reports.comparison.costs import PARAMETERS, TRAINING_TIME, Spread
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.table import NO_FOLD, ModelRuns


class PricedMetrics(ModelMetrics):
    """A model with a training time and a number of parameters."""

    time_s, parameters = 60.0, 1e6

    def cost(self, name: str) -> Spread | None:
        known = {TRAINING_TIME: self.time_s, PARAMETERS: self.parameters}
        return Spread.of([known[name]]) if name in known else None


def priced(model: ModelMetrics, *, time_s: float = 60.0, parameters: float = 1e6) -> ModelMetrics:
    """The model with other costs."""
    found = PricedMetrics(model.model, model.metrics)
    object.__setattr__(found, "time_s", time_s)
    object.__setattr__(found, "parameters", parameters)
    return found


def models_of_study(study: Study, *, names_defects: bool) -> list[ModelMetrics]:
    """The models of a study as tables, named 0, 1, ..."""
    tables = (_rows(study, number, names_defects) for number in range(len(study.score)))
    return [
        model_of(str(number), rows, names_defects=names_defects)
        for number, rows in enumerate(tables)
    ]


def model_of(name: str, rows: pd.DataFrame, *, names_defects: bool) -> ModelMetrics:
    """A model with these rows, one run for each seed and fold."""
    classes = tuple(f"class {number}" for number in range(6))
    runs: list[Any] = [
        SimpleNamespace(
            classes=classes if names_defects else (),
            names_defects=names_defects,
            class_names=classes,
            record={"seed": seed},
            settings={} if fold == NO_FOLD else {"split.fold": fold},
            metrics={},
            has_masks=False,
        )
        for (seed, fold), _ in rows.groupby(["seed", "fold"])
    ]
    model = ModelRuns(name, tuple(runs), classes, "test", rows)
    return PricedMetrics(model, {})


def rows_of(
    label: np.ndarray, wrong: Sequence[int], group: np.ndarray | None = None
) -> pd.DataFrame:
    """One run that is wrong, about good or defect, in the images `wrong`."""
    is_defect, is_wrong = label > 0, np.isin(np.arange(len(label)), list(wrong))
    rejected = is_defect != is_wrong
    return _table(
        label=label,
        group=np.arange(len(label)) if group is None else group,
        image=np.arange(len(label)),
        fold=np.full(len(label), NO_FOLD),
        seed=0,
        score=rejected.astype(float),
        rejected=rejected,
        correct=~is_wrong,
    )


def _rows(study: Study, number: int, names_defects: bool) -> pd.DataFrame:
    fold = study.fold if study.fold.any() else np.full(len(study.fold), NO_FOLD)
    right_decision = study.rejected[number] == (study.label[study.image] > 0)
    correct = study.correct[number] if names_defects else right_decision
    return pd.concat(
        [
            _table(
                label=study.label[study.image],
                group=study.group[study.image],
                image=study.image,
                fold=fold,
                seed=seed,
                score=study.score[number, seed],
                rejected=study.rejected[number, seed],
                correct=correct[seed],
            )
            for seed in range(study.score.shape[1])
        ],
        ignore_index=True,
    )


def _table(
    *, label: np.ndarray, group: np.ndarray, image: np.ndarray, **columns: Any
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": 0,
            "image_id": [f"image {number}" for number in image],
            "group": [f"group {number}" for number in group],
            "index": image,
            "label": [f"class {number}" for number in label],
            "is_defect": label > 0,
            "predicted_defect": columns.pop("rejected"),
            **columns,
        }
    ).assign(run=lambda rows: rows.groupby(["seed", "fold"]).ngroup())
