from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.contracts import Figure
from capsule_inspection.metrics import localisation, names
from capsule_inspection.metrics.localisation import localisation_figures, mean_localisation
from capsule_inspection.metrics.pixel_counts import RANGES, count_pixels

ALL = {names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO}


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


def direct_aupro(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3) -> float:
    """AUPRO by sorting every pixel, in the manner of MVTec's pro_curve_util.compute_pro."""
    false_positive, overlap = np.zeros(maps.shape), np.zeros(maps.shape)
    regions = 0
    for image, mask in enumerate(masks):
        labelled, count = label(mask, np.ones((3, 3)))
        regions += count
        false_positive[image] = labelled == 0
        for region in range(1, count + 1):
            overlap[image][labelled == region] = 1 / (labelled == region).sum()
    order = np.argsort(maps.ravel().astype(np.float64), kind="stable")[::-1]
    last_of_score = np.append(np.diff(maps.ravel()[order].astype(np.float64)) != 0, True)
    x = np.cumsum(false_positive.ravel()[order])[last_of_score] / false_positive.sum()
    y = np.cumsum(overlap.ravel()[order])[last_of_score] / regions
    x, y = np.concatenate([[0], x, [1]]), np.concatenate([[0], y, [1]])
    inside = x <= limit
    x, y = np.append(x[inside], limit), np.append(y[inside], np.interp(limit, x, y))
    return float(np.trapezoid(y, x)) / limit


# --- values


def test_figures_by_hand() -> None:
    # Two regions: of one pixel (score 4) and of two (scores 3 and 1); good pixels score 3, 2, 0, 0.
    maps = np.array([[[4, 3, 0, 1, 3, 2, 0]]], dtype=np.float32)
    masks = np.array([[[1, 0, 0, 1, 1, 0, 0]]])

    found = values(localisation_figures(count_pixels(maps, masks)))

    # From the top (false positives of 4, found of 3): 4 (0, 1), 3 (1, 2), 2 (2, 2), 1 (2, 3), 0.
    assert found["pixel_auroc"] == pytest.approx((1 / 3 + 2 / 3) / 8 + (2 / 3) / 4 + 1 / 2)
    assert found["pixel_average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # Overlap: (0, 1/2), (1/4, 3/4), (1/2, 3/4), ...: cut at 0.3.
    assert found["aupro"] == pytest.approx((0.25 * (1 / 2 + 3 / 4) / 2 + 0.05 * 3 / 4) / 0.3)


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_direct_computation(seed: int, decimals: int | None) -> None:
    maps, masks = drawn(seed, decimals=decimals)

    found = values(localisation_figures(count_pixels(maps, masks)))

    truth, score = (masks > 0).ravel(), maps.ravel().astype(np.float64)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, score))
    average_precision = average_precision_score(truth, score)
    assert found["pixel_average_precision"] == pytest.approx(average_precision)
    assert found["aupro"] == pytest.approx(direct_aupro(maps, masks))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_negative_tiny_and_large_scores_keep_their_order(scale: float) -> None:
    maps, masks = drawn(3)
    maps = (maps.astype(np.float32) * scale).astype(np.float16)

    found = values(localisation_figures(count_pixels(maps, masks)))

    score = maps.ravel().astype(np.float64)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score((masks > 0).ravel(), score))


def test_a_small_region_weighs_as_much_as_a_large_one() -> None:
    masks = np.zeros((1, 10, 10), dtype=int)
    masks[0, :6] = 1
    masks[0, 9, 9] = 1
    only_large, only_small = np.zeros((2, 1, 10, 10))
    only_large[0, :6] = 1
    only_small[0, 9, 9] = 1

    found = [
        values(localisation_figures(count_pixels(maps, masks))) for maps in (only_large, only_small)
    ]

    assert found[0]["aupro"] == pytest.approx(found[1]["aupro"])
    assert found[0]["pixel_auroc"] > 0.9 > found[1]["pixel_auroc"]


# --- edges


def test_constant_maps_know_nothing() -> None:
    _, masks = drawn(2)

    found = localisation_figures(count_pixels(np.ones(masks.shape), masks))

    assert found["pixel_auroc"].value == 0.5
    assert found["pixel_average_precision"].value == pytest.approx((masks > 0).mean())
    assert found["aupro"].value == pytest.approx(0.15)
    assert found["pixel_auroc"].low is None


def test_without_defects_or_without_good_pixels_there_is_nothing() -> None:
    maps, masks = drawn(2)

    assert localisation_figures(count_pixels(maps, np.zeros_like(masks))) == {}
    assert localisation_figures(count_pixels(maps, np.ones_like(masks))) == {}
    assert localisation_figures(count_pixels([], [])) == {}
    assert mean_localisation([]) == {}


def test_an_image_that_is_all_defect_counts_as_one_region() -> None:
    maps, masks = drawn(2)
    masks[0] = 1

    found = values(localisation_figures(count_pixels(maps, masks)))

    assert found["aupro"] == pytest.approx(direct_aupro(maps, masks))


def test_perfect_maps_reach_one() -> None:
    _, masks = drawn(2)

    found = values(localisation_figures(count_pixels(masks > 0, masks)))

    assert found == pytest.approx(dict.fromkeys(ALL, 1.0))


# --- intervals


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_lies_within_its_interval(seed: int) -> None:
    maps, masks = drawn(seed)

    figures = localisation_figures(count_pixels(maps, masks))

    assert set(figures) == ALL
    for name, figure in figures.items():
        assert figure.n == 8
        assert figure.low is not None
        assert figure.high is not None
        assert 0 <= figure.low < figure.value < figure.high <= 1, name


def test_intervals_are_those_of_drawing_whole_images() -> None:
    maps, masks = drawn(4, images=20)
    figures = localisation_figures(count_pixels(maps, masks))

    generator = np.random.default_rng(0)
    defect, good = np.arange(0, 20, 2), np.arange(1, 20, 2)
    areas, overlaps = [], []
    for _ in range(200):
        rows = np.concatenate([generator.choice(side, 10) for side in (defect, good)])
        areas.append(roc_auc_score((masks[rows] > 0).ravel(), maps[rows].ravel()))
        overlaps.append(direct_aupro(maps[rows], masks[rows]))
    for name, resamples in (("pixel_auroc", areas), ("aupro", overlaps)):
        limits = (figures[name].low, figures[name].high)
        assert limits == pytest.approx(np.quantile(resamples, [0.025, 0.975]), abs=0.01), name


def test_ranges_of_scores_lose_next_to_nothing() -> None:
    maps, masks = drawn(0, images=40)
    counts = count_pixels(maps, masks)

    coarse = localisation._resampled(counts, np.ones((1, 40)))

    assert len(counts.good) > 2 * RANGES
    assert counts.good_by_image.shape[1] <= RANGES
    for name, value in values(localisation_figures(counts)).items():
        assert coarse[name][0] == pytest.approx(value, abs=2e-3), name


def test_intervals_repeat_with_their_seed() -> None:
    counts = count_pixels(*drawn(0))

    first, again, other = (localisation_figures(counts, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert values(first) == values(other)


def test_one_image_or_one_defect_has_no_interval() -> None:
    maps, masks = drawn(0)
    one = localisation_figures(count_pixels(maps[:1], masks[:1]))
    one_defect = localisation_figures(count_pixels(maps[:2], masks[:2]))

    for figures in (one, one_defect):
        assert all((f.low, f.high) == (None, None) for f in figures.values())


def limits(figures: dict[str, Figure]) -> np.ndarray:
    return np.array([(figure.low, figure.high) for figure in figures.values()])


def test_an_image_in_five_folds_is_one_image() -> None:
    counts = count_pixels(*drawn(0))
    identities = [f"image {number}" for number in range(8)]

    once, five_times = (mean_localisation([(counts, identities)] * folds) for folds in (1, 5))

    assert five_times["aupro"].n == once["aupro"].n == 8
    np.testing.assert_allclose(limits(five_times), limits(once))


def test_five_folds_of_other_images_are_surer_than_one() -> None:
    counts = count_pixels(*drawn(0))
    folds = [(counts, [f"{fold} {image}" for image in range(8)]) for fold in range(5)]

    one, five = mean_localisation(folds[:1]), mean_localisation(folds)

    assert five["aupro"].n == 40
    width = np.ptp(limits(five), axis=1) / np.ptp(limits(one), axis=1)
    assert (width < 0.6).all()


def test_the_mean_over_folds_is_that_of_their_figures_and_pools_no_scores() -> None:
    maps, masks = drawn(0)
    other_maps, other_masks = drawn(1)
    folds = [count_pixels(maps, masks), count_pixels(other_maps * 50 - 300, other_masks)]
    identities = [str(number) for number in range(8)]

    found = values(mean_localisation([(counts, identities) for counts in folds]))

    each = [values(localisation_figures(counts)) for counts in folds]
    for name in ALL:
        assert found[name] == pytest.approx((each[0][name] + each[1][name]) / 2)


def test_folds_without_defects_do_not_count() -> None:
    maps, masks = drawn(0)
    counts, bare = count_pixels(maps, masks), count_pixels(maps, np.zeros_like(masks))
    identities = [str(number) for number in range(8)]

    found = mean_localisation([(counts, identities), (bare, identities)])

    assert found == mean_localisation([(counts, identities)])


def test_identities_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="8 images need as many identities, found 2"):
        mean_localisation([(count_pixels(*drawn(0)), ["a", "b"])])


# --- curves


def test_curves_are_thin_and_keep_their_area() -> None:
    counts = count_pixels(*drawn(0, images=40, shift=2.0))
    figures = values(localisation_figures(counts))

    false_positive, overlap = localisation.pro_curve(counts)
    roc = localisation.roc_curve(counts)

    for x, y in ((false_positive, overlap), roc):
        assert 100 < len(x) == len(y) <= localisation.CURVE_POINTS
        assert (x[0], y[0]) == (0, 0)
        assert (x[-1], y[-1]) == pytest.approx((1, 1))
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
    aupro = localisation.area_below(false_positive, overlap, limit=0.3) / 0.3
    assert aupro == pytest.approx(figures["aupro"], abs=1e-3)
    assert localisation.area_below(*roc) == pytest.approx(figures["pixel_auroc"], abs=1e-3)


def test_a_curve_without_defects_is_refused() -> None:
    maps, masks = drawn(0)

    with pytest.raises(ValueError, match="both good and defect pixels"):
        localisation.pro_curve(count_pixels(maps, np.zeros_like(masks)))
