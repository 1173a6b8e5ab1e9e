"""Photographs of the kind that was trained on are let pass, others are marked and told why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from capsule_inspection.contracts import RunError
from capsule_inspection.data.appearance import Appearance, describe
from capsule_inspection.data.appearance_entries import ENTRIES
from capsule_inspection.data.appearance_fit import FEWEST, fit_appearance
from capsule_inspection.data.preparation import Prepared, Recipe, prepare
from capsule_inspection.data.reading import read_image
from capsule_inspection.synthesis.defects import DEFECTS, paint
from capsule_inspection.synthesis.scene import draw_good

D = len(ENTRIES)
NAMES = [entry.name for entry in ENTRIES]
SIDE_PX = 192
RECIPE = Recipe("auto", 0.05, (48, 128))


def drawn(seed: int, kind: str | None = None) -> np.ndarray:
    """A drawn photograph of a good capsule, or of one with a defect."""
    rng = np.random.default_rng([7, seed])
    scene = draw_good(rng, size_px=SIDE_PX)
    return scene.image if kind is None else paint(scene.image, scene.foreground, kind, rng).image


def described(photograph: np.ndarray, recipe: Recipe = RECIPE) -> np.ndarray:
    seen = prepare(photograph, recipe)
    return describe(seen.image, seen.foreground)


def fit_to(descriptors: np.ndarray) -> Appearance:
    count = len(descriptors)
    return fit_appearance(descriptors, sizes=[(SIDE_PX, SIDE_PX)] * count, found=[True] * count)


def remarks_on(appearance: Appearance, photograph: np.ndarray) -> list[str]:
    seen: Prepared = prepare(photograph, RECIPE)
    descriptor = describe(seen.image, seen.foreground)
    height, width = seen.size
    return appearance.remarks(descriptor, size=(width, height), found=seen.found)


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    """Descriptors of sixty drawn good capsules."""
    return np.stack([described(drawn(seed)) for seed in range(60)])


@pytest.fixture(scope="module")
def appearance(good: np.ndarray) -> Appearance:
    return fit_to(good[:40])


def plain(*, count: int = 10, **values: object) -> Appearance:
    """An appearance whose distances are easily computed: mean 0, scale 2, nothing correlated."""
    settings: dict = {
        "sizes": {"40x30": count},
        "found": count,
        "count": count,
        "mean": (0.0,) * D,
        "scale": (2.0,) * D,
        "precision": tuple(map(tuple, np.eye(D).tolist())),
        "limit": 4.0,
    }
    return Appearance(**(settings | values))


def entry(**values: float) -> np.ndarray:
    """A descriptor that is 0 but for the entries that are named."""
    return np.array([values.get(name, 0.0) for name in NAMES])


def test_what_is_measured_of_a_black_bar_on_white() -> None:
    image, foreground = np.full((40, 80, 3), 255, np.uint8), np.zeros((40, 80), np.uint8)
    image[10:20, 20:60], foreground[10:20, 20:60] = 0, 1
    found = dict(zip(NAMES, describe(image, foreground), strict=True))
    assert found["part_lightness"] == pytest.approx(0)
    assert found["background_lightness"] == pytest.approx(100)
    assert found["contrast"] == pytest.approx(100)
    assert found["share"] == pytest.approx(10 * 40 / (40 * 80))
    assert found["extent"] == pytest.approx(1)
    assert found["elongation"] == pytest.approx(2)  # four times as long as broad
    assert (found["centre_x"], found["centre_y"]) == pytest.approx((40 / 80, 15 / 40))
    assert found["part_colour_spread"] == pytest.approx(0)
    assert found["left_to_right"] == found["top_to_bottom"] == 0
    image[10:20, 40:60] = 255
    assert describe(image, foreground)[NAMES.index("left_to_right")] == pytest.approx(100)


@pytest.mark.parametrize("level", [0, 1])
def test_a_crop_without_background_or_part_is_described_as_a_whole(level: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    found = describe(image, np.full((24, 48), level, np.uint8))
    assert found.shape == (D,)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert found[NAMES.index("share")] == 1
    assert found[NAMES.index("contrast")] == 0


def test_distance_is_that_of_mahalanobis() -> None:
    assert plain().distance(entry()) == 0
    assert plain().distance(entry(share=6.0)) == pytest.approx(3)
    assert plain().distance(entry(share=6.0, extent=8.0)) == pytest.approx(5)
    precision = np.eye(D)
    first, second = NAMES.index("share"), NAMES.index("extent")
    precision[first, second] = precision[second, first] = 0.5
    correlated = plain(precision=tuple(map(tuple, precision.tolist())))
    assert correlated.distance(entry(share=6.0, extent=8.0)) == pytest.approx(37**0.5)


def test_the_entry_that_adds_most_is_named_in_words() -> None:
    say = plain().remarks
    assert say(entry(part_lightness=7.9), size=(40, 30), found=True) == []
    assert say(entry(part_lightness=-9.0, share=1.0), size=(40, 30), found=True) == [
        "far outside what was trained on: the part is darker (lightness -9, usually -4 to 4)"
    ]
    assert say(entry(background_sharpness=10.0), size=(40, 30), found=True) == [
        "far outside what was trained on: it is sharper or has more grain (sharpness of the "
        "background 1024.0, usually 0.1 to 16.0)"
    ]


def test_many_small_differences_are_not_put_down_to_one() -> None:
    (sentence,) = plain().remarks(np.full(D, 2.0), size=(40, 30), found=True)
    assert "many small differences at once" in sentence


def test_another_size_and_a_missing_part_are_told_with_their_counts() -> None:
    usual = plain(count=178, sizes={"1000x1000": 178})
    assert usual.remarks(entry(), size=(1000, 1000), found=True) == []
    assert usual.remarks(entry(share=99.0), size=(640, 480), found=False) == [
        "640x480 pixels; all 178 training photographs had 1000x1000",
        "no part was found on a plain background; in training one was found in 178 of 178",
    ]
    several = plain(count=100, sizes={"9x9": 10, "8x8": 60, "7x7": 20, "6x6": 6, "5x5": 4})
    assert several.remarks(entry(), size=(4, 4), found=True) == [
        "4x4 pixels; the 100 training photographs had 8x8 (60), 7x7 (20), 9x9 (10) and 2 other "
        "sizes"
    ]


def test_where_training_varied_variety_is_not_remarkable() -> None:
    varied = plain(count=100, found=97, sizes={f"{side}x9": 1 for side in range(100)})
    assert varied.remarks(entry(), size=(640, 480), found=False) == []


def test_a_part_is_remarkable_where_training_photographs_had_none() -> None:
    (sentence,) = plain(found=0).remarks(entry(share=99.0), size=(40, 30), found=True)
    assert sentence.startswith("a part was found")
    assert sentence.endswith("in training one was found in 0 of 10")


def test_photographs_of_the_same_kind_are_not_marked(
    good: np.ndarray, appearance: Appearance
) -> None:
    assert max(appearance.distance(descriptor) for descriptor in good[40:]) < appearance.limit
    other_half = fit_to(good[20:])
    assert max(other_half.distance(descriptor) for descriptor in good[:20]) < other_half.limit


@pytest.mark.parametrize("kind", DEFECTS)
def test_defects_are_not_marked_even_where_only_good_ones_were_trained_on(
    appearance: Appearance, kind: str
) -> None:
    for seed in range(100, 104):
        assert remarks_on(appearance, drawn(seed, kind)) == []


def scaled(*factors: float) -> Callable[[np.ndarray], np.ndarray]:
    """Channels multiplied, as another lamp does."""
    return lambda image: np.clip(image * np.array(factors), 0, 255).astype(np.uint8)


def with_ball(image: np.ndarray) -> np.ndarray:
    """A blue ball on the same paper."""
    paper = np.tile(image[: SIDE_PX // 6], (6, 1, 1))
    return cv2.circle(paper, (SIDE_PX // 2, SIDE_PX // 2), SIDE_PX // 4, (70, 110, 160), -1)


def smeared(image: np.ndarray) -> np.ndarray:
    """As through a lens with a thumb's grease on its left."""
    across = np.linspace(0.8, 0, SIDE_PX)[None, :, None]
    blurred = cv2.GaussianBlur(image, (0, 0), 5).astype(np.float32)
    return (image * (1 - across) + (0.6 * blurred + 80) * across).astype(np.uint8)


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        pytest.param(lambda image: cv2.GaussianBlur(image, (0, 0), 2), "blurred", id="blurred"),
        pytest.param(lambda image: 255 - image, "is lighter", id="inverted"),
        pytest.param(scaled(0.5, 0.5, 0.5), "is darker", id="darker"),
        pytest.param(scaled(1.2, 1.0, 0.8), "is yellower", id="another lamp"),
        pytest.param(lambda image: image[:, ::-1], "right half is darker", id="turned"),
        pytest.param(with_ball, "is bluer", id="another product"),
        pytest.param(smeared, "far outside", id="dirty lens"),
        pytest.param(lambda image: cv2.resize(image, (96, 96)), "96x96 pixels; all 40", id="small"),
        pytest.param(
            lambda image: np.tile(image[: SIDE_PX // 6], (6, 1, 1)), "no part", id="empty"
        ),
    ],
)
def test_altered_photographs_are_marked_and_told_why(
    appearance: Appearance, alter: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    for seed in range(100, 104):
        told = remarks_on(appearance, np.ascontiguousarray(alter(drawn(seed))))
        assert any(words in sentence for sentence in told), told


def test_a_crop_beside_the_part_is_marked(appearance: Appearance) -> None:
    seen = prepare(drawn(100), RECIPE)
    shift = np.array([[1, 0, 32], [0, 1, 0]], np.float32)
    image, foreground = (
        cv2.warpAffine(of, shift, (128, 48), borderMode=cv2.BORDER_REPLICATE)
        for of in (seen.image, seen.foreground)
    )
    (sentence,) = appearance.remarks(
        describe(image, foreground), size=(SIDE_PX, SIDE_PX), found=True
    )
    assert "further right" in sentence


@pytest.mark.parametrize("count", [FEWEST, 10])
def test_few_photographs_set_wide_limits(good: np.ndarray, count: int) -> None:
    few = fit_to(good[:count])
    assert few.limit > fit_to(good).limit
    assert sum(few.distance(descriptor) > few.limit for descriptor in good[count:]) <= 1
    assert few.distance(described(255 - drawn(100))) > few.limit


def test_fewer_than_five_are_refused(good: np.ndarray) -> None:
    with pytest.raises(ValueError, match="4 descriptors; at least 5"):
        fit_to(good[:4])


def test_equal_photographs_leave_room_for_what_does_not_matter(good: np.ndarray) -> None:
    equal = fit_to(np.repeat(good[:1], 8, axis=0))
    assert equal.distance(good[0]) == pytest.approx(0)
    nearly = good[0] + np.array([entry.tolerance for entry in ENTRIES]) / 2
    assert equal.distance(nearly) < equal.limit
    assert equal.distance(described(255 - drawn(0))) > equal.limit


def test_of_a_normal_distribution_hardly_any_is_far() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 20, (D, D))
    many = fit_to(rng.normal(0, 1, (200, D)) @ mixing)
    new = rng.normal(0, 1, (2000, D)) @ mixing
    assert np.mean([many.distance(row) > many.limit for row in new]) <= 0.002


def test_one_photograph_that_does_not_belong_does_not_let_others_in(good: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    alike = good.mean(0) + rng.normal(0, 1, (120, D)) * good.std(0)
    stray = described(255 - drawn(0))
    with_stray = fit_to(np.concatenate([alike, stray[None]]))
    assert with_stray.limit == pytest.approx(fit_to(alike).limit, rel=0.1)
    assert with_stray.distance(stray) > with_stray.limit


def test_the_same_photographs_give_the_same_to_the_last_bit(
    good: np.ndarray, appearance: Appearance
) -> None:
    assert fit_to(good[:40].copy()) == appearance


def test_the_photographs_with_a_part_decide_where_most_have_one(good: np.ndarray) -> None:
    without = np.full((3, D), 50.0)
    mixed = fit_appearance(
        np.concatenate([without, good[:40]]),
        sizes=[(SIDE_PX, SIDE_PX)] * 43,
        found=[False] * 3 + [True] * 40,
    )
    assert (mixed.found, mixed.count) == (40, 43)
    assert mixed.limit == fit_to(good[:40]).limit
    assert mixed.remarks(without[0], size=(SIDE_PX, SIDE_PX), found=False) == []


def test_what_is_kept_as_json_judges_alike(good: np.ndarray, appearance: Appearance) -> None:
    again = Appearance.from_dict(json.loads(json.dumps(appearance.as_dict())))
    assert again == appearance
    assert again.distance(good[50]) == appearance.distance(good[50])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 99}, "format 99; this one reads 1"),
        ({"entries": ["part_lightness"]}, "written by another version"),
        ({"mean": [0.0]}, "is not whole"),
        ({"scale": [float("nan")] * D}, "is not whole"),
        ({"precision": None}, "is not whole"),
        ({"sizes": [1]}, "is not whole"),
    ],
)
def test_foreign_and_damaged_files_are_refused(
    appearance: Appearance, change: dict, expected: str
) -> None:
    with pytest.raises(RunError, match=expected):
        Appearance.from_dict(appearance.as_dict() | change)


@pytest.mark.slow
def test_of_real_photographs_that_were_not_seen_hardly_any_is_marked(real_capsules: Path) -> None:
    recipe = Recipe("auto", 0.05, (192, 512))
    photographs = [read_image(path) for path in sorted(real_capsules.glob("t*/*/*.jpg"))]
    descriptors = np.stack([described(photograph, recipe) for photograph in photographs])
    order = np.random.default_rng(0).permutation(len(descriptors))
    seen, held_out = order[:178], order[178:]
    appearance = fit_to(descriptors[seen])
    assert (
        np.mean([appearance.distance(descriptors[i]) > appearance.limit for i in held_out]) < 0.02
    )
    for number in held_out[:8]:
        photograph = photographs[number]
        for altered in (
            cv2.GaussianBlur(photograph, (0, 0), 2),
            255 - photograph,
            scaled(0.6, 0.6, 0.6)(photograph),
            scaled(1.15, 1.0, 0.85)(photograph),
        ):
            assert appearance.distance(described(altered, recipe)) > appearance.limit
