"""Intervals cover a known truth where each part has one to eight images, alike or not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.classification import balanced_accuracy
from capsule_inspection.metrics.detection import detection_metrics
from capsule_inspection.metrics.segmentation import overlap_metrics
from capsule_inspection.types import Estimate

APART, CUT = 2.0, 1.0
PARTS = {0: 30, 1: 11, 2: 11}
"""Parts by class, of which the first is good."""
TRIALS = 100

Images = dict[str, np.ndarray]


def draw(generator: np.random.Generator, *, correlation: float, mixed: bool) -> Images:
    """Label, group and score of images; of a mixed part every second image is good."""
    sizes = generator.integers(1, 9, sum(PARTS.values()))
    group = np.repeat(np.arange(sum(PARTS.values())), sizes)
    label = np.repeat(list(PARTS), list(PARTS.values()))[group]
    if mixed:
        label = np.where(generator.random(len(label)) < 0.5, label, 0)
    of_part = generator.normal(size=sum(PARTS.values()))[group]
    of_image = generator.normal(size=len(group))
    noise = np.sqrt(correlation) * of_part + np.sqrt(1 - correlation) * of_image
    return {"label": label, "group": group, "score": noise + APART * (label > 0), "noise": noise}


def dice_matrices(images: Images) -> np.ndarray:
    """Pixels of a mask of 60 that a model covers the better the higher the noise; (N, 2, 2)."""
    truth = 60 * (images["label"] > 0)
    hit = (truth * norm.cdf(0.8 + images["noise"])).round()
    false_positives = (20 * norm.cdf(images["noise"])).round()
    rest = 1000 - truth - false_positives
    return np.stack([rest, false_positives, truth - hit, hit], axis=1).reshape(-1, 2, 2)


def measure(images: Images) -> dict[str, Estimate]:
    label, group, score = images["label"], images["group"], images["score"]
    predicted = np.where(score > CUT, np.maximum(label, 1), 0)
    right = predicted == label
    overlap = overlap_metrics(dice_matrices(images), classes=("good", "defect"), group=group)
    return {
        "accuracy": intervals.proportion(int(right.sum()), len(right), group=group),
        "balanced_accuracy": balanced_accuracy(label, predicted, group),
        **detection_metrics(label > 0, score > CUT, score, group=group),
        "binary_dice_global": overlap["binary_dice_global"],
    }


def truth_of(*, mixed: bool) -> dict[str, float]:
    """What very many parts would show."""
    noise = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    hit = (60 * norm.cdf(0.8 + noise)).round().mean()
    false_positives = (20 * norm.cdf(noise)).round().mean()
    defects = 22 / 52 / (2 if mixed else 1)
    return {
        "accuracy": norm.cdf(CUT),  # as far from the good scores as from those of defects
        "balanced_accuracy": norm.cdf(CUT),
        "false_negative_rate": norm.cdf(CUT - APART),
        "false_positive_rate": norm.sf(CUT),
        "auroc": norm.cdf(APART / np.sqrt(2)),
        "binary_dice_global": 2 * defects * hit / (defects * (60 + hit) + false_positives),
    }


def coverage(*, correlation: float, mixed: bool, ignore: bool = False) -> dict[str, float]:
    generator, truth, covered = np.random.default_rng(0), truth_of(mixed=mixed), []
    for _ in range(TRIALS):
        images = draw(generator, correlation=correlation, mixed=mixed)
        if ignore:
            images["group"] = np.arange(len(images["label"]))
        found = measure(images)
        covered.append({n: found[n].ci_low <= truth[n] <= found[n].ci_high for n in truth})
    return {name: float(np.mean([of_trial[name] for of_trial in covered])) for name in truth}


@pytest.mark.parametrize(("correlation", "mixed"), [(1.0, False), (0.5, True)], ids=str)
def test_intervals_cover_a_known_truth_though_images_of_a_part_are_alike(
    correlation: float, mixed: bool
) -> None:
    found = coverage(correlation=correlation, mixed=mixed)
    assert min(found.values()) >= 0.88, found  # 95%, less 3 standard errors


def test_without_groups_the_same_images_claim_far_too_much() -> None:
    found = coverage(correlation=1.0, mixed=False, ignore=True)
    assert max(found.values()) < 0.8, found
