"""Simulated studies: models of known error rates, tested on the same images.

The score of an image is a normal value plus the distance of its class; it is rejected above the
threshold, and a detected defect is named correctly with a known probability. A part of each value
is shared by all models, by the images of a group, and by the trainings of a model. No image and no
network is needed, so that thousands of studies take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison.pairs import Costs


@dataclass(frozen=True)
class Model:
    """The truth about a model.

    `separation` is the distance of each defect class from the good images, in standard deviations
    of the score. `naming` is the probability that a detected defect of the class gets its name.
    """

    threshold: float
    separation: tuple[float, ...]
    naming: tuple[float, ...]

    @classmethod
    def of(
        cls,
        *,
        false_positive_rate: float,
        missed: float | Sequence[float],
        naming: float | Sequence[float] = 1.0,
        classes: int = 5,
    ) -> Model:
        """A model with these error rates, of all defect classes or of each."""
        threshold = float(-ndtri(false_positive_rate))
        rates = np.broadcast_to(missed, classes)
        separation = tuple((threshold - ndtri(rates)).tolist())
        return cls(threshold, separation, tuple(np.broadcast_to(naming, classes).tolist()))

    @property
    def false_positive_rate(self) -> float:
        """Probability that a good image is rejected."""
        return float(ndtr(-self.threshold))

    @property
    def missed(self) -> np.ndarray:
        """Probability that a defect of each class is accepted."""
        return ndtr(self.threshold - np.array(self.separation))

    def better_by(self, gain: float) -> Model:
        """The model with all defects further from the good images."""
        return replace(self, separation=tuple(of + gain for of in self.separation))


@dataclass(frozen=True)
class Design:
    """The images of a study, and how alike predictions are.

    `counts` are good images and those of each defect class. `agreement` is the part of an image's
    difficulty that all models share, `group_agreement` the part that the images of a group share
    (1: the same prediction), `training_agreement` the part that the trainings of a model share.
    `common_defects`: each fold has good images of its own, but all defects, as in one-class runs.
    `training_spread` is the standard deviation of what chance adds to each training's separation.
    """

    counts: tuple[int, ...] = (175, 18, 18, 17, 17, 17)
    agreement: float = 0.5
    group_size: int = 1
    group_agreement: float = 1.0
    folds: int = 1
    common_defects: bool = False
    seeds: int = 1
    training_agreement: float = 0.7
    training_spread: float = 0.0

    @property
    def label(self) -> np.ndarray:
        """The class of each image, 0 for good, (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def group(self) -> np.ndarray:
        """The group of each image, of one class each, (N,)."""
        within = np.concatenate([np.arange(count) // self.group_size for count in self.counts])
        return np.unique(np.stack([self.label, within]), axis=1, return_inverse=True)[1].ravel()

    def weights(self) -> np.ndarray:
        """Fraction of each defect class among the defects, (K - 1,)."""
        return np.array(self.counts[1:]) / sum(self.counts[1:])


def true_value(model: Model, metric: str, design: Design, costs: Costs | None = None) -> float:
    """The metric of a model over endlessly many images like those of the design."""
    missed, naming = model.missed, np.array(model.naming)
    right = np.concatenate([[1 - model.false_positive_rate], (1 - missed) * naming])
    rates = {
        names.FALSE_NEGATIVE_RATE: float(design.weights() @ missed),
        names.FALSE_POSITIVE_RATE: model.false_positive_rate,
        names.ACCURACY: float(np.average(right, weights=design.counts)),
        names.BALANCED_ACCURACY: float(right.mean()),
        names.AUROC: float(design.weights() @ ndtr(np.array(model.separation) / np.sqrt(2))),
    }
    if costs is not None:
        rate = 1 - design.counts[0] / sum(design.counts)
        if costs.defect_rate is not None:
            rate = costs.defect_rate
        rates[names.EXPECTED_COST] = (
            costs.false_negative * rate * rates[names.FALSE_NEGATIVE_RATE]
            + costs.false_positive * (1 - rate) * model.false_positive_rate
        )
    return rates[metric]


@dataclass(frozen=True)
class Study:
    """Predictions of M models with S seeds in R rows: an image is in the rows of its folds.

    Shapes: label and group (N,) of the images; image and fold (R,); score, rejected, correct
    (M, S, R).
    """

    label: np.ndarray
    group: np.ndarray
    image: np.ndarray
    fold: np.ndarray
    score: np.ndarray
    rejected: np.ndarray
    correct: np.ndarray

    def of_images(self, predictions: np.ndarray) -> np.ndarray:
        """Means over seeds and folds: (M, S, R) to (M, N)."""
        of_rows = predictions.mean(axis=1)
        if len(self.image) == len(self.label):
            return of_rows
        sums = [np.bincount(self.image, weights=row) for row in of_rows]
        return np.stack(sums) / np.bincount(self.image)


def draw_study(models: Sequence[Model], design: Design, random: np.random.Generator) -> Study:
    """Predictions of all models on new images."""
    label, group = design.label, design.group
    image, fold = _rows(design, label, group, random)
    value, naming_value = (
        _draw_values(len(models), design, group, image, random) for _ in range(2)
    )
    label_of_row = label[image]
    distance = np.array([(0.0, *model.separation) for model in models])[:, None, label_of_row]
    naming = np.array([(1.0, *model.naming) for model in models])[:, None, label_of_row]
    threshold = np.array([model.threshold for model in models])[:, None, None]
    per_training = (len(models), design.seeds, design.folds)
    luck = design.training_spread * random.normal(size=per_training)[:, :, fold]
    evidence = value + np.where(label_of_row > 0, distance + luck, 0.0)
    rejected = evidence > threshold
    is_named = naming_value <= ndtri(naming)
    correct = np.where(label_of_row > 0, rejected & is_named, ~rejected)
    # Each training has a scale of its own, which decisions do not see.
    scale, shift = random.uniform(0.5, 2, per_training), random.normal(size=per_training)
    score = evidence * scale[:, :, fold] + shift[:, :, fold]
    return Study(label, group, image, fold, score, rejected, correct)


def _rows(
    design: Design, label: np.ndarray, group: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image and fold of each row; a group is in one fold, and each class in all of them."""
    label_of_group = label[np.unique(group, return_index=True)[1]]
    by_class = [random.permutation(np.flatnonzero(label_of_group == of)) for of in np.unique(label)]
    fold_of_group = np.empty(group.max() + 1, dtype=np.int64)
    fold_of_group[np.concatenate(by_class)] = np.arange(group.max() + 1) % design.folds
    fold = fold_of_group[group]
    image = np.arange(len(label))
    if not design.common_defects:
        return image, fold
    good, defects = image[label == 0], image[label > 0]
    in_all = np.repeat(np.arange(design.folds), len(defects))
    return (
        np.concatenate([good, np.tile(defects, design.folds)]),
        np.concatenate([fold[good], in_all]),
    )


def _draw_values(
    models: int, design: Design, group: np.ndarray, image: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Standard normal values (M, S, R) with the correlations of the design."""

    def draw(*shape: int) -> np.ndarray:
        own = random.normal(size=(*shape, len(group)))
        if design.group_size == 1:
            return own
        of_group = random.normal(size=(*shape, group.max() + 1))[..., group]
        part = design.group_agreement
        return np.sqrt(part) * of_group + np.sqrt(1 - part) * own

    repeats = design.folds if design.common_defects else 1
    of_training = draw(models, design.seeds, repeats)
    if repeats > 1:
        row_of_image = np.zeros(len(image), dtype=np.int64)
        is_repeated = np.flatnonzero(np.bincount(image)[image] > 1)
        row_of_image[is_repeated] = np.repeat(np.arange(repeats), len(is_repeated) // repeats)
        of_training = of_training[:, :, row_of_image, image]
    else:
        of_training = of_training[:, :, 0][:, :, image]
    if design.seeds * repeats > 1:
        of_model = draw(models, 1)[..., image]
        part = design.training_agreement
        of_training = np.sqrt(part) * of_model + np.sqrt(1 - part) * of_training
    of_all = draw(1, 1)[..., image]
    return np.sqrt(design.agreement) * of_all + np.sqrt(1 - design.agreement) * of_training
