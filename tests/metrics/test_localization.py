from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.metrics import localization, names
from capsule_inspection.metrics.detection import area_under_curve
from capsule_inspection.metrics.localization import localization_metrics, mean_localization_metrics
from capsule_inspection.metrics.pixel_counts import RANGES, count_pixels
from capsule_inspection.types import Estimate

ALL = {names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO}
IDENTITIES = np.array([f"image {number}" for number in range(8)])


def draw(seed: int, *, images: int = 8, decimals: int | None = None, shift: float = 1.0):
    """Maps and masks of random blobs; every other image is good."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, 24, 30), dtype=np.uint8)
    for mask in masks[::2]:
        for _ in range(3):
            row, column = generator.integers(0, (20, 26))
            mask[row : row + generator.integers(1, 6), column : column + 4] = 1
    maps = generator.normal(size=masks.shape) + shift * (masks > 0)
    maps = maps if decimals is None else maps.round(decimals)
    return maps.astype(np.float16), masks


def values(metrics: dict[str, Estimate]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in metrics.items()}


def values_of(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    return values(localization_metrics(count_pixels(maps, masks)))


def limits(metrics: dict[str, Estimate]) -> np.ndarray:
    return np.array([(estimate.ci_low, estimate.ci_high) for estimate in metrics.values()])


def direct_auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """From the ranks of scores: scikit-learn takes many times as long."""
    found, missed = int(truth.sum()), int((~truth).sum())
    ranks = rankdata(scores.astype(np.float32))[truth].sum()
    return float((ranks - found * (found + 1) / 2) / (found * missed))


def regions_of(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each image its good pixels, 1 / size of its region for each other, and its regions."""
    good, overlap, regions = np.zeros(masks.shape), np.zeros(masks.shape), np.zeros(len(masks))
    for image, mask in enumerate(masks):
        labelled, regions[image] = label(mask, np.ones((3, 3)))
        good[image] = labelled == 0
        for region in range(1, int(regions[image]) + 1):
            overlap[image][labelled == region] = 1 / (labelled == region).sum()
    return good, overlap, regions


def direct_aupro(
    maps: np.ndarray,
    good: np.ndarray,
    overlap: np.ndarray,
    regions: np.ndarray,
    *,
    limit: float = 0.3,
) -> float:
    """AUPRO by sorting every pixel, in the manner of MVTec's pro_curve_util.compute_pro."""
    scores = maps.ravel().astype(np.float64)
    order = np.argsort(scores, kind="stable")[::-1]
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    x = np.cumsum(good.ravel()[order])[last_of_score] / good.sum()
    y = np.cumsum(overlap.ravel()[order])[last_of_score] / regions.sum()
    x, y = np.concatenate([[0], x, [1]]), np.concatenate([[0], y, [1]])
    inside = x <= limit
    x, y = np.append(x[inside], limit), np.append(y[inside], np.interp(limit, x, y))
    return float(np.trapezoid(y, x)) / limit


def test_metrics_by_hand() -> None:
    # Two regions: of one pixel (score 4) and of two (scores 3 and 1); good pixels score 3, 2, 0, 0.
    found = values_of(
        np.array([[[4, 3, 0, 1, 3, 2, 0]]], dtype=np.float32), np.array([[[1, 0, 0, 1, 1, 0, 0]]])
    )
    # From the top (false positives of 4, found of 3): 4 (0, 1), 3 (1, 2), 2 (2, 2), 1 (2, 3), 0.
    assert found["pixel_auroc"] == pytest.approx((1 / 3 + 2 / 3) / 8 + (2 / 3) / 4 + 1 / 2)
    assert found["pixel_average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # Overlap: (0, 1/2), (1/4, 3/4), (1/2, 3/4), ...: cut at 0.3.
    assert found["aupro"] == pytest.approx((0.25 * (1 / 2 + 3 / 4) / 2 + 0.05 * 3 / 4) / 0.3)


@pytest.mark.parametrize(("seed", "decimals", "scale"), [(0, None, 1e4), (1, 1, 1), (2, 0, 1e-6)])
def test_metrics_equal_direct_computation(seed: int, decimals: int | None, scale: float) -> None:
    """With ties, negative scores, tiny and large ones, and an image that is all defect."""
    maps, masks = draw(seed, decimals=decimals)
    maps = (maps.astype(np.float32) * scale).astype(np.float16)
    masks[0] = 1
    found = values_of(maps, masks)
    truth, score = (masks > 0).ravel(), maps.ravel().astype(np.float64)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, score))
    average_precision = average_precision_score(truth, score)
    assert found["pixel_average_precision"] == pytest.approx(average_precision)
    assert found["aupro"] == pytest.approx(direct_aupro(maps, *regions_of(masks)))


def test_constant_maps_know_nothing_and_perfect_ones_reach_one() -> None:
    _, masks = draw(2)
    found = localization_metrics(count_pixels(np.ones(masks.shape), masks))
    assert found["pixel_auroc"].value == 0.5
    assert found["pixel_average_precision"].value == pytest.approx((masks > 0).mean())
    assert found["aupro"].value == pytest.approx(0.15)
    assert found["pixel_auroc"].ci_low is None
    assert values_of(masks > 0, masks) == pytest.approx(dict.fromkeys(ALL, 1.0))


def test_without_defects_or_without_good_pixels_there_is_nothing() -> None:
    maps, masks = draw(2)
    counts, bare = count_pixels(maps, masks), count_pixels(maps, np.zeros_like(masks))
    assert localization_metrics(bare) == {}
    assert localization_metrics(count_pixels(maps, np.ones_like(masks))) == {}
    assert localization_metrics(count_pixels([], [])) == {}
    assert mean_localization_metrics([]) == {}
    found = mean_localization_metrics([(counts, IDENTITIES), (bare, IDENTITIES)])
    assert found == mean_localization_metrics([(counts, IDENTITIES)])


def test_every_metric_lies_within_its_interval_that_repeats_with_its_seed() -> None:
    counts = count_pixels(*draw(0))
    first, again, other = (localization_metrics(counts, seed=seed) for seed in (1, 1, 2))
    assert set(first) == ALL
    for name, estimate in first.items():
        assert estimate.n == 8
        assert 0 <= estimate.ci_low < estimate.value < estimate.ci_high <= 1, name
    assert first == again
    assert first != other
    assert values(first) == values(other)


def test_intervals_are_those_of_drawing_whole_images() -> None:
    maps, masks = draw(4, images=20)
    metrics, parts = localization_metrics(count_pixels(maps, masks)), regions_of(masks)
    generator = np.random.default_rng(0)
    defect, good = np.arange(0, 20, 2), np.arange(1, 20, 2)
    areas, overlaps = [], []
    for _ in range(200):
        rows = np.concatenate([generator.choice(side, 10) for side in (defect, good)])
        areas.append(direct_auroc(maps[rows].ravel(), masks[rows].ravel() > 0))
        overlaps.append(direct_aupro(maps[rows], *(part[rows] for part in parts)))
    for name, resamples in (("pixel_auroc", areas), ("aupro", overlaps)):
        found = (metrics[name].ci_low, metrics[name].ci_high)
        assert found == pytest.approx(np.quantile(resamples, [0.025, 0.975]), abs=0.01), name


def test_ranges_of_scores_lose_next_to_nothing() -> None:
    counts = count_pixels(*draw(0, images=40))
    coarse = localization._resampled(counts, np.ones((1, 40)))
    assert len(counts.good) > 2 * RANGES
    assert counts.good_by_image.shape[1] <= RANGES
    for name, value in values(localization_metrics(counts)).items():
        assert coarse[name][0] == pytest.approx(value, abs=2e-3), name


def test_one_image_or_one_defect_has_no_interval() -> None:
    maps, masks = draw(0)
    for images in (1, 2):
        metrics = localization_metrics(count_pixels(maps[:images], masks[:images]))
        assert all((f.ci_low, f.ci_high) == (None, None) for f in metrics.values())


def test_an_image_in_five_folds_is_one_image_and_others_make_surer() -> None:
    counts = count_pixels(*draw(0))
    own = [(counts, np.char.add(IDENTITIES, f" {fold}")) for fold in range(5)]
    once, same, others = (mean_localization_metrics(folds) for folds in (own[:1], own[:1] * 5, own))
    assert (once["aupro"].n, same["aupro"].n, others["aupro"].n) == (8, 8, 40)
    np.testing.assert_allclose(limits(same), limits(once))
    assert (np.ptp(limits(others), axis=1) < 0.6 * np.ptp(limits(once), axis=1)).all()


def test_the_mean_over_folds_is_that_of_their_metrics_and_pools_no_scores() -> None:
    other_maps, other_masks = draw(1)
    folds = [count_pixels(*draw(0)), count_pixels(other_maps * 50 - 300, other_masks)]
    found = values(mean_localization_metrics([(counts, IDENTITIES) for counts in folds]))
    first, second = (values(localization_metrics(counts)) for counts in folds)
    assert found == pytest.approx({name: (first[name] + second[name]) / 2 for name in ALL})


def test_curves_are_thin_and_keep_their_area() -> None:
    counts = count_pixels(*draw(0, images=40, shift=2.0))
    metrics = values(localization_metrics(counts))
    pro, roc = localization.pro_curve(counts), localization.roc_curve(counts)
    for x, y in (pro, roc):
        assert 100 < len(x) == len(y) <= localization.CURVE_POINTS
        assert (x[0], y[0]) == (0, 0)
        assert (x[-1], y[-1]) == pytest.approx((1, 1))
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
    aupro = area_under_curve(*pro, limit=0.3) / 0.3
    assert aupro == pytest.approx(metrics["aupro"], abs=1e-3)
    assert area_under_curve(*roc) == pytest.approx(metrics["pixel_auroc"], abs=1e-3)


def test_images_of_one_group_are_one_observation() -> None:
    maps, masks = draw(0)
    once = localization_metrics(count_pixels(maps, masks))
    views = np.repeat(np.arange(8), 2)
    counts = count_pixels(maps[views], masks[views])
    twice = localization_metrics(counts, group=np.array(list("hgfedcba"))[views])
    for name, estimate in once.items():
        assert vars(twice[name]) == pytest.approx(vars(estimate)), name
    one_part = localization_metrics(counts, group=np.where(masks[views].any(axis=(1, 2)), 0, views))
    assert all(estimate.ci_low is None for estimate in one_part.values())
    assert {estimate.n for estimate in one_part.values()} == {5}
