"""Baseline of the localization metrics: all pixels of all images are sorted.

AUPRO as in MVTec's evaluation code; the other two by scikit-learn.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, roc_auc_score

FPR_LIMIT = 0.3


def direct_metrics(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Pixel AUROC, pixel average precision and AUPRO. Shapes: (N, H, W) both."""
    is_defect, score = (masks > 0).ravel(), maps.ravel().astype(np.float32)
    return {
        "pixel_auroc": float(roc_auc_score(is_defect, score)),
        "pixel_average_precision": float(average_precision_score(is_defect, score)),
        "aupro": direct_aupro(score, masks),
    }


def direct_aupro(score: np.ndarray, masks: np.ndarray) -> float:
    """AUPRO at 0.3 of flat scores (N * H * W,) and masks (N, H, W)."""
    false_positives, overlap, regions = _contributions(masks)
    order = np.argsort(score)[::-1]
    last_of_score = np.append(np.diff(score[order]) != 0, True)
    x = np.cumsum(false_positives.ravel()[order], dtype=np.float64)[last_of_score]
    x /= false_positives.sum()
    y = np.cumsum(overlap.ravel()[order])[last_of_score] / regions
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    at_limit = np.interp(FPR_LIMIT, x, y)
    x, y = np.append(x[x <= FPR_LIMIT], FPR_LIMIT), np.append(y[x <= FPR_LIMIT], at_limit)
    return float(np.trapezoid(y, x)) / FPR_LIMIT


def _contributions(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Contribution of each pixel to false positives and overlap, and the number of regions."""
    overlap, regions = np.zeros(masks.shape), 0
    for of_image, mask in zip(overlap, masks, strict=True):
        region, count = label(mask > 0, np.ones((3, 3)))
        regions += count
        size = np.bincount(region.ravel())
        of_image[:] = np.where(region > 0, 1.0 / size[region], 0.0)
    return masks == 0, overlap, regions
