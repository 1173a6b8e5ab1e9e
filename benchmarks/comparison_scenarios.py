"""Scenarios of `comparison_errors`: studies without a difference, or with a known one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from benchmarks.simulated_studies import Design, Model, true_value
from capsule_inspection.metrics import names
from capsule_inspection.types import Costs

BALANCED, ACCURACY, AUROC = names.BALANCED_ACCURACY, names.ACCURACY, names.AUROC
MISSED, COST = names.FALSE_NEGATIVE_RATE, names.EXPECTED_COST
MARGIN = 0.05
SMALL = (44, 5, 5, 4, 4, 4)
RARE = (175, 40, 30, 10, 4, 3)
TEN_TO_ONE = Costs(false_negative=10, false_positive=1)

GOOD = Model.of(false_positive_rate=0.06, missed=0.12, naming=0.9)
"""About what a small network reaches on images of real capsules."""
DETECTOR = Model.of(false_positive_rate=0.1, missed=(0.05, 0.1, 0.2, 0.3, 0.4))
"""About an autoencoder: defects of different difficulty."""
PERFECT = Model.of(false_positive_rate=1e-6, missed=1e-6)
DESIGN = Design()
POOR = Model.of(false_positive_rate=0.45, missed=0.5, naming=0.3)


@dataclass(frozen=True)
class Scenario:
    """Models of known error rates, tested on the images of a design.

    `primary` is `compare.primary`. The first model is nowhere worse than another one in a scenario
    with a better model. McNemar's test compares `mcnemar` beside the decision: what is right in
    the sense of accuracy, or defects that are missed.
    """

    name: str
    models: tuple[Model, ...]
    design: Design = DESIGN
    primary: str = BALANCED
    costs: Costs | None = None
    margin: float = MARGIN
    mcnemar: str = ACCURACY
    effect: float = 0.0

    def difference(self, first: int, second: int) -> float:
        """True difference of two models in the primary metric."""
        values = (
            true_value(self.models[number], self.primary, self.design, self.costs)
            for number in (first, second)
        )
        return next(values) - next(values)


def null_scenarios() -> list[Scenario]:
    """Studies in which no model is better than the best of the others."""
    two = (GOOD, GOOD)
    same = Design(agreement=1.0)
    even = (176, 24, 24, 24, 24, 24)
    worse = Model.of(false_positive_rate=0.15, missed=0.3, naming=0.8)
    near = Model.of(false_positive_rate=0.005, missed=0.01, naming=0.99)
    thresholds = _two_thresholds(BALANCED)
    return [
        Scenario("two equal classifiers, 175 good and 87 defects", two),
        Scenario("same scores, two thresholds", thresholds, same),
        Scenario("same scores, two thresholds, AUROC", thresholds, same, AUROC),
        Scenario("groups of 4 with the same answer", two, Design(group_size=4)),
        *(
            Scenario(f"groups of {size} with the same answer", two, Design(even, group_size=size))
            for size in (1, 2, 8)
        ),
        *(
            Scenario(
                f"groups of {size}, partly the same answer",
                two,
                Design(even, group_size=size, group_agreement=0.5),
            )
            for size in (2, 4, 8)
        ),
        Scenario("different classes strong, rare ones of 3 and 4", *_different_classes(RARE)),
        Scenario("good images against the rarest class", *_good_against_rare(RARE)),
        Scenario("two equal classifiers, rare classes of 3 and 4", two, Design(RARE)),
        Scenario("different classes strong, 66 images", *_different_classes(SMALL)),
        Scenario("two equal classifiers, accuracy", two, primary=ACCURACY),
        Scenario("two equal classifiers, missed defects", two, primary=MISSED),
        Scenario("two equal classifiers, AUROC", two, primary=AUROC),
        Scenario("models that seldom agree", two, Design(agreement=0.1)),
        Scenario("models that mostly agree", two, Design(agreement=0.95)),
        *(Scenario(f"{count} equal classifiers", (GOOD,) * count) for count in (3, 5, 8)),
        Scenario("two equal classifiers, a third is worse", (GOOD, GOOD, worse)),
        Scenario("66 images", two, Design(SMALL)),
        Scenario("66 images, accuracy", two, Design(SMALL), ACCURACY),
        Scenario("perfect", (PERFECT, PERFECT)),
        Scenario("nearly perfect", (near, near)),
        Scenario("nearly perfect, 66 images", (near, near), Design(SMALL)),
        Scenario("nearly perfect, 66 images, AUROC", (near, near), Design(SMALL), AUROC),
        Scenario("hardly better than chance", (POOR, POOR)),
        *(
            Scenario(f"seeds: {seeds}, folds: {folds}", two, Design(seeds=seeds, folds=folds))
            for seeds, folds in ((1, 3), (1, 5), (1, 10), (3, 1), (5, 1), (3, 5))
        ),
        Scenario("cost 10 : 1", two, primary=COST, costs=TEN_TO_ONE),
        Scenario("cost 10 : 1, two thresholds", _two_thresholds(COST), same, COST, TEN_TO_ONE),
        Scenario("cost 10 : 1, 66 images", two, Design(SMALL), COST, TEN_TO_ONE),
        *_detectors(),
    ]


def _detectors() -> list[Scenario]:
    """Anomaly detectors: AUROC decides."""
    two = (DETECTOR, DETECTOR)
    designs = {
        "one split": DESIGN,
        "66 images": Design(SMALL),
        "groups of 4 with the same answer": Design(group_size=4),
        **{f"{folds} folds": Design(folds=folds) for folds in (3, 5, 10)},
        **{
            f"{folds} folds, all defects in each": Design(folds=folds, common_defects=True)
            for folds in (3, 5, 10)
        },
        "3 seeds, 5 folds, all defects in each": Design(folds=5, common_defects=True, seeds=3),
    }
    found = [
        Scenario(f"detectors, {name}", two, design, primary=AUROC)
        for name, design in designs.items()
    ]
    found.append(Scenario("eight detectors", two * 4, primary=AUROC))
    other = replace(DETECTOR, separation=DETECTOR.separation[::-1])
    even = Design((175, 17, 17, 17, 17, 17))
    return [
        *found,
        Scenario("detectors, different classes strong", (DETECTOR, other), even, AUROC),
        *(
            Scenario(f"detectors, 66 images, {folds} folds", two, Design(SMALL, folds=folds), AUROC)
            for folds in (5, 10)
        ),
    ]


def beyond_scenarios() -> list[Scenario]:
    """Outside of the claim: recipes of equal skill whose trainings differ by chance."""
    return [
        Scenario(
            f"spread of trainings {spread}, seeds: {seeds}, folds: {folds}",
            (GOOD, GOOD),
            Design(seeds=seeds, folds=folds, training_spread=spread),
        )
        for spread in (0.1, 0.3)
        for seeds, folds in ((1, 1), (1, 5), (5, 1))
    ]


def margin_scenarios() -> list[Scenario]:
    """The truth differs by the margin in one metric, so that `equivalent` is wrong."""
    base = Model.of(false_positive_rate=0.06, missed=0.25, naming=0.7)
    found = []
    for counts in (DESIGN.counts, (1000, 100, 100, 100, 100, 100)):
        for metric in (BALANCED, ACCURACY, AUROC, MISSED):
            design = Design(counts, agreement=0.9)
            better = _differing_by(metric, base, design)
            name = f"{metric.replace('_', ' ')}, {sum(counts)} images"
            primary = metric if metric != MISSED else AUROC
            found.append(Scenario(name, (better, base), design, primary))
    return found


def power_scenarios() -> list[Scenario]:
    """The first model is better by an effect than one other, or than two equal ones."""
    found = []
    for effect in np.linspace(0, 0.15, 6).tolist():
        detect, name = (
            tuple(
                Model.of(false_positive_rate=0.05, missed=missed, naming=naming)
                for missed in (0.25 - effect, 0.25)
            )
            for naming in (1.0, 0.9)
        )
        right = tuple(
            Model.of(false_positive_rate=wrong, missed=wrong) for wrong in (0.2 - effect, 0.2)
        )
        areas = _with_area(0.8 + effect), _with_area(0.8)
        families = [
            Scenario("missed defects", detect, primary=MISSED, mcnemar=MISSED),
            Scenario("missed defects", detect, primary=BALANCED, mcnemar=MISSED),
            Scenario("accuracy", right, primary=ACCURACY, mcnemar=ACCURACY),
            Scenario("area under the ROC curve", areas, primary=AUROC, mcnemar=ACCURACY),
            Scenario("missed defects, 10% misnamed", name, primary=BALANCED, mcnemar=MISSED),
        ]
        for family in families:
            better, other = family.models
            found += [
                replace(family, models=models, effect=effect)
                for models in ((better, other), (better, other, other))
            ]
    return sorted(found, key=lambda one: (one.name, one.primary, len(one.models), one.effect))


def _with_area(area: float) -> Model:
    """A detector with a false positive rate of .1 and this area under the ROC curve."""
    distance = float(ndtri(area) * np.sqrt(2))
    return replace(DETECTOR, separation=(distance,) * len(DETECTOR.separation))


def _two_thresholds(metric: str) -> tuple[Model, Model]:
    """One network with two thresholds, equal in the metric, far from each other in both rates."""
    costs = TEN_TO_ONE if metric == COST else None

    def value(threshold: float) -> float:
        return true_value(replace(GOOD, threshold=threshold), metric, DESIGN, costs)

    grid = np.linspace(-1, 4, 501)
    values = np.array([value(threshold) for threshold in grid])
    best = grid[values.argmin() if metric == COST else values.argmax()]
    low = best - 0.6
    high = float(brentq(lambda threshold: value(threshold) - value(low), best, 4))
    return replace(GOOD, threshold=float(low)), replace(GOOD, threshold=high)


def _different_classes(counts: tuple[int, ...]) -> tuple[tuple[Model, Model], Design]:
    """Equal balanced accuracy and false positive rate; the rare classes against the frequent."""
    first = Model.of(false_positive_rate=0.06, missed=(0.2, 0.2, 0.2, 0.05, 0.05))
    second = Model.of(false_positive_rate=0.06, missed=(0.1, 0.1, 0.1, 0.2, 0.2))
    return (first, second), Design(counts)


def _good_against_rare(counts: tuple[int, ...]) -> tuple[tuple[Model, Model], Design]:
    """Equal balanced accuracy: one is right in all good images, one in the rarest class."""
    first = Model.of(false_positive_rate=0.001, missed=(0.2, 0.2, 0.2, 0.2, 0.129))
    second = Model.of(false_positive_rate=0.08, missed=(0.2, 0.2, 0.2, 0.2, 0.05))
    return (first, second), Design(counts)


def _differing_by(metric: str, base: Model, design: Design) -> Model:
    """The base made better until the metric differs by the margin.

    Accuracies by naming defects correctly, so that both error rates stay equal.
    """
    sign = -1 if metric == MISSED else 1

    def better(gain: float) -> Model:
        if metric in (BALANCED, ACCURACY):
            return replace(base, naming=tuple(of + gain for of in base.naming))
        return base.better_by(gain)

    def lacking(gain: float) -> float:
        values = [true_value(model, metric, design) for model in (better(gain), base)]
        return sign * (values[0] - values[1]) - MARGIN

    return better(float(brentq(lacking, 0, 0.3 if metric in (BALANCED, ACCURACY) else 3)))
