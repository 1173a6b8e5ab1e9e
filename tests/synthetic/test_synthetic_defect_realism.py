"""The benchmark of synthetic defects against real ones gives known results."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import synthetic_defect_realism
from benchmarks.synthetic_defect_realism import compare, measure


def rows(count: int, *, shift: float, seed: int) -> list[dict[str, float]]:
    values = np.random.default_rng(seed).standard_normal((count, 2))
    return [{"plain": float(a), "shifted": float(b + shift)} for a, b in values]


def test_features_that_differ_are_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_defect_realism, "_REPEATS", 1)
    auroc, ranked = compare(rows(12, shift=9, seed=0), rows(30, shift=0, seed=1), seed=0)
    assert auroc == pytest.approx(1.0)
    assert ranked[0][0] == "shifted"


def test_the_features_of_a_square() -> None:
    image = np.full((40, 80, 3), 90, np.uint8)
    foreground, mask = (np.zeros((40, 80), np.uint8) for _ in range(2))
    foreground[5:35, 10:70] = 1
    mask[10:20, 30:50] = 1
    image[mask > 0] = 160
    features = measure(image, foreground, mask)
    assert features["area"] == 200
    assert features["length"] == pytest.approx(20, abs=0.1)
    assert features["aspect"] == pytest.approx(0.5, abs=0.01)
    assert features["visible"] == 1
    assert features["along"] == pytest.approx((39.5 - 10) / 60)
