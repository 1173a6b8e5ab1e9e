"""What marked pixels say of the class of their image, as probabilities. Arrays only."""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics.marking import exceeds
from capsule_inspection.types import GOOD_LABEL


def image_probabilities(
    foreground: np.ndarray,
    kinds: np.ndarray,
    *,
    score: np.ndarray,
    called: np.ndarray,
    threshold: float,
    num_classes: int,
) -> np.ndarray:
    """Probabilities of the classes of N images, (N, C), rows sum to 1.

    The score, stretched so that the threshold becomes a half, is shared among the defects as their
    pixels share the foreground; the rest is the good class's. What is decided is `called`, not the
    largest of them. Shapes: foreground (N, H, W) in [0, 1], the probability of any defect; kinds
    (N, C - 1, H, W) uint8, how it is shared among them; score and called (N,).
    """
    above = 0.5 + 0.5 * (score - threshold) / (1 - threshold)
    share = np.where(score > threshold, above, 0.5 * score / threshold).clip(0, 1)
    shares = np.zeros((len(score), num_classes))
    for row, (probability, shared) in enumerate(zip(foreground, kinds, strict=True)):
        counted = exceeds(probability, threshold if called[row] != GOOD_LABEL else 0)
        weights = np.where(counted, probability, 0).astype(np.float64)
        shares[row, GOOD_LABEL + 1 :] = shared.reshape(len(shared), -1) @ weights.ravel()
        if not shares[row].any():
            shares[row, GOOD_LABEL + 1 :] = 1
    shares *= (share / shares.sum(1))[:, None]
    shares[:, GOOD_LABEL] = 1 - share
    return shares
