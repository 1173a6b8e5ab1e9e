"""Images like those of the training have no warning, others have one with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from capsule_inspection.data.image_io import read_image
from capsule_inspection.data.ood import MIN_IMAGES, OODDetector, fit_detector, read_detector
from capsule_inspection.data.ood_features import FEATURES, extract_features
from capsule_inspection.data.preprocessing import PreprocessConfig, preprocess
from capsule_inspection.synthetic.defects import DEFECT_TYPES, render_defect
from capsule_inspection.synthetic.scene import render_capsule
from capsule_inspection.types import RunError

D = len(FEATURES)
NAMES = [feature.name for feature in FEATURES]
SIDE_PX = 192
RECIPE = PreprocessConfig("auto", 0.05, (48, 128))


def rendered(seed: int, defect_type: str | None = None) -> np.ndarray:
    """A rendered image of a good capsule, or of one with a defect."""
    rng = np.random.default_rng([7, seed])
    scene = render_capsule(rng, size_px=SIDE_PX)
    return (
        scene.image
        if defect_type is None
        else render_defect(scene.image, scene.foreground, defect_type, rng).image
    )


def features_of(image: np.ndarray, recipe: PreprocessConfig = RECIPE) -> np.ndarray:
    seen = preprocess(image, recipe)
    return extract_features(seen.image, seen.foreground)


def fit_to(features: np.ndarray) -> OODDetector:
    count = len(features)
    return fit_detector(features, sizes=[(SIDE_PX, SIDE_PX)] * count, roi_found=[True] * count)


def warnings_on(detector: OODDetector, image: np.ndarray) -> list[str]:
    seen = preprocess(image, RECIPE)
    height, width = seen.size
    features = extract_features(seen.image, seen.foreground)
    return detector.ood_warnings(features, size=(width, height), roi_found=seen.roi_found)


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    """Features of sixty rendered good capsules."""
    return np.stack([features_of(rendered(seed)) for seed in range(60)])


@pytest.fixture(scope="module")
def detector(good: np.ndarray) -> OODDetector:
    return fit_to(good[:40])


def plain(*, count: int = 10, **values: object) -> OODDetector:
    """A detector whose distances are easily computed: mean 0, scale 2, nothing correlated."""
    usual: dict = {
        "sizes": {"40x30": count},
        "num_roi_found": count,
        "num_images": count,
        "threshold": 4.0,
    }
    usual |= {"mean": (0.0,) * D, "scale": (2.0,) * D}
    usual["precision"] = tuple(map(tuple, np.eye(D).tolist()))
    return OODDetector(**(usual | values))


def feature(**values: float) -> np.ndarray:
    """A features that is 0 but for the entries that are named."""
    return np.array([values.get(name, 0.0) for name in NAMES])


def test_features_of_a_black_bar_on_white() -> None:
    image, foreground = np.full((40, 80, 3), 255, np.uint8), np.zeros((40, 80), np.uint8)
    image[10:20, 20:60], foreground[10:20, 20:60] = 0, 1
    found = dict(zip(NAMES, extract_features(image, foreground), strict=True))
    expected = {
        "part_lightness": 0,
        "background_lightness": 100,
        "contrast": 100,
        "area_fraction": 10 * 40 / (40 * 80),
        "extent": 1,
        "centre_x": 40 / 80,
        "centre_y": 15 / 40,
        "elongation": 2,  # four times as long as broad
        "part_colour_spread": 0,
        "left_to_right": 0,
        "top_to_bottom": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    image[10:20, 40:60] = 255
    assert extract_features(image, foreground)[NAMES.index("left_to_right")] == pytest.approx(100)


def test_a_crop_without_background_or_part_is_described_as_a_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    for level in (0, 1):
        found = extract_features(image, np.full((24, 48), level, np.uint8))
        assert (found.shape, found.dtype) == ((D,), np.float64)
        assert np.isfinite(found).all()
        assert found[NAMES.index("area_fraction")] == 1
        assert found[NAMES.index("contrast")] == 0


def test_distance_is_that_of_mahalanobis() -> None:
    assert plain().distance(feature()) == 0
    assert plain().distance(feature(area_fraction=6.0)) == pytest.approx(3)
    assert plain().distance(feature(area_fraction=6.0, extent=8.0)) == pytest.approx(5)
    precision = np.eye(D)
    first, second = NAMES.index("area_fraction"), NAMES.index("extent")
    precision[first, second] = precision[second, first] = 0.5
    correlated = plain(precision=tuple(map(tuple, precision.tolist())))
    assert correlated.distance(feature(area_fraction=6.0, extent=8.0)) == pytest.approx(37**0.5)


def test_what_is_unusual_is_named_in_words_with_its_numbers() -> None:
    say = plain().ood_warnings
    far = "far from the training images: "
    assert say(feature(part_lightness=7.9), size=(40, 30), roi_found=True) == []
    assert say(feature(part_lightness=-9.0, area_fraction=1.0), size=(40, 30), roi_found=True) == [
        f"{far}the part is darker (lightness -9, usually -4 to 4)"
    ]
    assert say(feature(background_sharpness=10.0), size=(40, 30), roi_found=True) == [
        f"{far}it is sharper or has more grain (sharpness of the background 1024.0, usually 0.1 to "
        "16.0)"
    ]
    assert say(feature(centre_x=10.0), size=(40, 30), roi_found=True) == [
        f"{far}the part lies further right in the crop (position from left to right 1000%, usually "
        "-400% to 400%)"
    ]
    (sentence,) = say(np.full(D, 2.0), size=(40, 30), roi_found=True)
    assert "many small differences at once" in sentence


def test_another_size_and_finding_are_given_with_their_counts_unless_training_varied() -> None:
    usual = plain(count=178, sizes={"1000x1000": 178})
    finding = "part was found on a plain background; in training one was found in"
    assert usual.ood_warnings(feature(), size=(1000, 1000), roi_found=True) == []
    assert usual.ood_warnings(feature(area_fraction=99.0), size=(640, 480), roi_found=False) == [
        "640x480 pixels; all 178 training images had 1000x1000",
        f"no {finding} 178 of 178",
    ]
    several = plain(count=100, sizes={"9x9": 10, "8x8": 60, "7x7": 20, "6x6": 6, "5x5": 4})
    assert several.ood_warnings(feature(), size=(4, 4), roi_found=True) == [
        "4x4 pixels; the 100 training images had 8x8 (60), 7x7 (20), 9x9 (10) and 2 other sizes"
    ]
    varied = plain(count=100, num_roi_found=97, sizes={f"{side}x9": 1 for side in range(100)})
    assert varied.ood_warnings(feature(), size=(640, 480), roi_found=False) == []
    without = plain(num_roi_found=0).ood_warnings(
        feature(area_fraction=99.0), size=(40, 30), roi_found=True
    )
    assert without == [f"a {finding} 0 of 10"]


def test_new_good_images_and_defects_have_no_warning(
    good: np.ndarray, detector: OODDetector
) -> None:
    assert max(detector.distance(features) for features in good[40:]) < detector.threshold
    other_half = fit_to(good[20:])
    assert max(other_half.distance(features) for features in good[:20]) < other_half.threshold
    for defect_type in DEFECT_TYPES:  # although only good ones were trained on
        for seed in range(100, 104):
            assert warnings_on(detector, rendered(seed, defect_type)) == [], (defect_type, seed)


def scaled(*factors: float) -> Callable[[np.ndarray], np.ndarray]:
    """Channels multiplied, as another lamp does."""
    return lambda image: np.clip(image * np.array(factors), 0, 255).astype(np.uint8)


ALTERED: list[tuple[Callable[[np.ndarray], np.ndarray], str]] = [
    (lambda image: cv2.GaussianBlur(image, (0, 0), 2), "blurred"),
    (lambda image: 255 - image, "is lighter"),
    (scaled(0.5, 0.5, 0.5), "is darker"),
    (scaled(1.2, 1.0, 0.8), "is yellower"),
    (lambda image: image[:, ::-1], "right half is darker"),
    (lambda image: cv2.resize(image, (96, 96)), "96x96 pixels; all 40"),
    (lambda image: np.tile(image[: SIDE_PX // 6], (6, 1, 1)), "no part"),
]


def test_altered_images_have_a_warning_with_the_reason(detector: OODDetector) -> None:
    for alter, words in ALTERED:
        for seed in range(100, 104):
            ood_warnings = warnings_on(detector, np.ascontiguousarray(alter(rendered(seed))))
            assert any(words in sentence for sentence in ood_warnings), (words, ood_warnings)


def test_few_images_have_a_wide_threshold(good: np.ndarray) -> None:
    for count in (MIN_IMAGES, 10):
        few = fit_to(good[:count])
        assert few.threshold > fit_to(good).threshold
        assert sum(few.distance(features) > few.threshold for features in good[count:]) <= 1
        assert few.distance(features_of(255 - rendered(100))) > few.threshold


def test_equal_images_leave_room_for_the_tolerances(good: np.ndarray) -> None:
    equal = fit_to(np.repeat(good[:1], 8, axis=0))
    assert equal.distance(good[0]) == pytest.approx(0)
    nearly = good[0] + np.array([feature.tolerance for feature in FEATURES]) / 2
    assert equal.distance(nearly) < equal.threshold
    assert equal.distance(features_of(255 - rendered(0))) > equal.threshold


def test_of_a_normal_distribution_hardly_any_is_far() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 20, (D, D))
    many = fit_to(rng.normal(0, 1, (200, D)) @ mixing)
    new = rng.normal(0, 1, (2000, D)) @ mixing
    assert np.mean([many.distance(row) > many.threshold for row in new]) <= 0.002


def test_one_image_that_does_not_belong_does_not_let_others_in(good: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    alike = good.mean(0) + rng.normal(0, 1, (120, D)) * good.std(0)
    stray = features_of(255 - rendered(0))
    with_stray = fit_to(np.concatenate([alike, stray[None]]))
    assert with_stray.threshold == pytest.approx(fit_to(alike).threshold, rel=0.1)
    assert with_stray.distance(stray) > with_stray.threshold


def test_the_images_with_a_part_decide_where_most_have_one(good: np.ndarray) -> None:
    without = np.full((3, D), 50.0)
    mixed = fit_detector(
        np.concatenate([without, good[:40]]),
        sizes=[(SIDE_PX, SIDE_PX)] * 43,
        roi_found=[False] * 3 + [True] * 40,
    )
    assert (mixed.num_roi_found, mixed.num_images) == (40, 43)
    assert mixed.threshold == fit_to(good[:40]).threshold
    assert mixed.ood_warnings(without[0], size=(SIDE_PX, SIDE_PX), roi_found=False) == []


def test_the_same_images_give_the_same_to_the_last_bit_also_from_json(
    good: np.ndarray, detector: OODDetector
) -> None:
    assert fit_to(good[:40].copy()) == detector
    again = OODDetector.from_dict(json.loads(json.dumps(detector.as_dict())))
    assert again == detector
    assert again.distance(good[50]) == detector.distance(good[50])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"features": None}, "of another version"),
        ({"features": ["part_lightness"]}, "expected the features part_lightness, "),
        *(
            ({name: value}, "ood.json: damaged")
            for name in ("mean", "precision")
            for value in ([], None)
        ),
        ({"scale": [float("nan")] * D}, "ood.json: damaged"),
        ({"sizes": [1]}, "ood.json: damaged"),
        ({"sizes": {}}, "ood.json: damaged"),
        ({"sizes": {"40x30": 9}}, "out of range in num_images"),
        ({"sizes": {"40 by 30": 10}}, "out of range in sizes"),
        ({"num_roi_found": 11}, "out of range in num_roi_found"),
        ({"num_images": float("inf")}, "ood.json: damaged"),
        ({"scale": [0.0] * D}, "out of range in scale"),
        ({"scale": [-1.0] * D}, "out of range in scale"),
        ({"precision": np.triu(np.ones((D, D))).tolist()}, "out of range in precision"),
        ({"precision": (-np.eye(D)).tolist()}, "out of range in precision"),
        ({"threshold": 0.0}, "out of range in threshold"),
        ({"threshold": float("nan")}, "expected finite numbers"),
    ],
)
def test_foreign_and_damaged_files_are_refused(change: dict, expected: str) -> None:
    with pytest.raises(RunError, match=expected):
        OODDetector.from_dict(plain().as_dict() | change)


def test_a_file_is_named_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ood.json"
    assert read_detector(path) is None
    path.write_text(json.dumps(plain().as_dict()))
    read = read_detector(path)
    assert read is not None
    assert read.as_dict() == json.loads(path.read_text())
    for content in ("[" * 100_000, "[1]", "", '{"features": 1}', "\udcff"):
        path.write_text(content, errors="surrogateescape")
        with pytest.raises(RunError, match=r"ood\.json: (cannot be read|damaged)"):
            read_detector(path)


@pytest.mark.slow
def test_hardly_any_new_real_image_is_far(real_capsules: Path) -> None:
    recipe = PreprocessConfig("auto", 0.05, (192, 512))
    images = [read_image(path).pixels for path in sorted(real_capsules.glob("t*/*/*.jpg"))]
    features = np.stack([features_of(image, recipe) for image in images])
    order = np.random.default_rng(0).permutation(len(features))
    seen, held_out = order[:178], order[178:]
    detector = fit_to(features[seen])
    far = [detector.distance(features[i]) > detector.threshold for i in held_out]
    assert np.mean(far) < 0.02
    lamps = scaled(0.6, 0.6, 0.6), scaled(1.15, 1.0, 0.85)
    for number in held_out[:8]:
        for alter in (ALTERED[0][0], ALTERED[1][0], *lamps):
            altered = features_of(alter(images[number]), recipe)
            assert detector.distance(altered) > detector.threshold
