from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.metrics import localisation, names
from capsule_inspection.metrics.localisation import localisation_figures, mean_localisation
from capsule_inspection.metrics.pixel_counts import RANGES, count_pixels
from capsule_inspection.types import Figure

ALL = {names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO}
IDENTITIES = [f"image {number}" for number in range(8)]


def drawn(seed: int, *, images: int = 8, decimals: int | None = None, shift: float = 1.0):
    """Maps and masks of random blobs; every other image is good."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, 24, 30), dtype=np.uint8)
    for mask in masks[::2]:
        for _ in range(3):
            row, column = generator.integers(0, (20, 26))
            mask[row : row + generator.integers(1, 6), column : column + 4] = 255
    maps = generator.normal(size=masks.shape) + shift * (masks > 0)
    maps = maps if decimals is None else maps.round(decimals)
    return maps.astype(np.float16), masks


def values(figures: dict[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


def values_of(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    return values(localisation_figures(count_pixels(maps, masks)))


def limits(figures: dict[str, Figure]) -> np.ndarray:
    return np.array([(figure.low, figure.high) for figure in figures.values()])


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


def test_figures_by_hand() -> None:
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
def test_figures_equal_direct_computation(seed: int, decimals: int | None, scale: float) -> None:
    """With ties, negative scores, tiny and large ones, and an image that is all defect."""
    maps, masks = drawn(seed, decimals=decimals)
    maps = (maps.astype(np.float32) * scale).astype(np.float16)
    masks[0] = 1
    found = values_of(maps, masks)
    truth, score = (masks > 0).ravel(), maps.ravel().astype(np.float64)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, score))
    average_precision = average_precision_score(truth, score)
    assert found["pixel_average_precision"] == pytest.approx(average_precision)
    assert found["aupro"] == pytest.approx(direct_aupro(maps, *regions_of(masks)))


def test_constant_maps_know_nothing_and_perfect_ones_reach_one() -> None:
    _, masks = drawn(2)
    found = localisation_figures(count_pixels(np.ones(masks.shape), masks))
    assert found["pixel_auroc"].value == 0.5
    assert found["pixel_average_precision"].value == pytest.approx((masks > 0).mean())
    assert found["aupro"].value == pytest.approx(0.15)
    assert found["pixel_auroc"].low is None
    assert values_of(masks > 0, masks) == pytest.approx(dict.fromkeys(ALL, 1.0))


def test_without_defects_or_without_good_pixels_there_is_nothing() -> None:
    maps, masks = drawn(2)
    counts, bare = count_pixels(maps, masks), count_pixels(maps, np.zeros_like(masks))
    assert localisation_figures(bare) == {}
    assert localisation_figures(count_pixels(maps, np.ones_like(masks))) == {}
    assert localisation_figures(count_pixels([], [])) == {}
    assert mean_localisation([]) == {}
    found = mean_localisation([(counts, IDENTITIES), (bare, IDENTITIES)])
    assert found == mean_localisation([(counts, IDENTITIES)])
    with pytest.raises(ValueError, match="both good and defect pixels"):
        localisation.pro_curve(bare)


def test_every_figure_lies_within_its_interval_that_repeats_with_its_seed() -> None:
    counts = count_pixels(*drawn(0))
    first, again, other = (localisation_figures(counts, seed=seed) for seed in (1, 1, 2))
    assert set(first) == ALL
    for name, figure in first.items():
        assert figure.n == 8
        assert 0 <= figure.low < figure.value < figure.high <= 1, name
    assert first == again
    assert first != other
    assert values(first) == values(other)


def test_intervals_are_those_of_drawing_whole_images() -> None:
    maps, masks = drawn(4, images=20)
    figures, parts = localisation_figures(count_pixels(maps, masks)), regions_of(masks)
    generator = np.random.default_rng(0)
    defect, good = np.arange(0, 20, 2), np.arange(1, 20, 2)
    areas, overlaps = [], []
    for _ in range(200):
        rows = np.concatenate([generator.choice(side, 10) for side in (defect, good)])
        areas.append(direct_auroc(maps[rows].ravel(), masks[rows].ravel() > 0))
        overlaps.append(direct_aupro(maps[rows], *(part[rows] for part in parts)))
    for name, resamples in (("pixel_auroc", areas), ("aupro", overlaps)):
        found = (figures[name].low, figures[name].high)
        assert found == pytest.approx(np.quantile(resamples, [0.025, 0.975]), abs=0.01), name


def test_ranges_of_scores_lose_next_to_nothing() -> None:
    counts = count_pixels(*drawn(0, images=40))
    coarse = localisation._resampled(counts, np.ones((1, 40)))
    assert len(counts.good) > 2 * RANGES
    assert counts.good_by_image.shape[1] <= RANGES
    for name, value in values(localisation_figures(counts)).items():
        assert coarse[name][0] == pytest.approx(value, abs=2e-3), name


def test_one_image_or_one_defect_has_no_interval() -> None:
    maps, masks = drawn(0)
    for images in (1, 2):
        figures = localisation_figures(count_pixels(maps[:images], masks[:images]))
        assert all((f.low, f.high) == (None, None) for f in figures.values())


def test_an_image_in_five_folds_is_one_image_and_others_make_surer() -> None:
    counts = count_pixels(*drawn(0))
    own = [(counts, [f"{fold} {image}" for image in range(8)]) for fold in range(5)]
    once, same, others = (mean_localisation(folds) for folds in (own[:1], own[:1] * 5, own))
    assert (once["aupro"].n, same["aupro"].n, others["aupro"].n) == (8, 8, 40)
    np.testing.assert_allclose(limits(same), limits(once))
    assert (np.ptp(limits(others), axis=1) < 0.6 * np.ptp(limits(once), axis=1)).all()


def test_the_mean_over_folds_is_that_of_their_figures_and_pools_no_scores() -> None:
    other_maps, other_masks = drawn(1)
    folds = [count_pixels(*drawn(0)), count_pixels(other_maps * 50 - 300, other_masks)]
    found = values(mean_localisation([(counts, IDENTITIES) for counts in folds]))
    first, second = (values(localisation_figures(counts)) for counts in folds)
    assert found == pytest.approx({name: (first[name] + second[name]) / 2 for name in ALL})
    with pytest.raises(ValueError, match="8 images need as many identities, found 2"):
        mean_localisation([(folds[0], ["a", "b"])])


def test_curves_are_thin_and_keep_their_area() -> None:
    counts = count_pixels(*drawn(0, images=40, shift=2.0))
    figures = values(localisation_figures(counts))
    pro, roc = localisation.pro_curve(counts), localisation.roc_curve(counts)
    for x, y in (pro, roc):
        assert 100 < len(x) == len(y) <= localisation.CURVE_POINTS
        assert (x[0], y[0]) == (0, 0)
        assert (x[-1], y[-1]) == pytest.approx((1, 1))
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
    aupro = localisation.area_below(*pro, limit=0.3) / 0.3
    assert aupro == pytest.approx(figures["aupro"], abs=1e-3)
    assert localisation.area_below(*roc) == pytest.approx(figures["pixel_auroc"], abs=1e-3)
