"""Images of the kind that was trained on are let pass, others are marked with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from capsule_inspection.data.appearance import Appearance, describe
from capsule_inspection.data.appearance_entries import ENTRIES
from capsule_inspection.data.appearance_fit import FEWEST, fit_appearance
from capsule_inspection.data.preparation import Recipe, prepare
from capsule_inspection.data.reading import read_image
from capsule_inspection.synthetic.defects import DEFECTS, paint
from capsule_inspection.synthetic.scene import draw_good
from capsule_inspection.types import RunError

D = len(ENTRIES)
NAMES = [entry.name for entry in ENTRIES]
SIDE_PX = 192
RECIPE = Recipe("auto", 0.05, (48, 128))


def drawn(seed: int, kind: str | None = None) -> np.ndarray:
    """A drawn image of a good capsule, or of one with a defect."""
    rng = np.random.default_rng([7, seed])
    scene = draw_good(rng, size_px=SIDE_PX)
    return scene.image if kind is None else paint(scene.image, scene.foreground, kind, rng).image


def described(image: np.ndarray, recipe: Recipe = RECIPE) -> np.ndarray:
    seen = prepare(image, recipe)
    return describe(seen.image, seen.foreground)


def fit_to(descriptors: np.ndarray) -> Appearance:
    count = len(descriptors)
    return fit_appearance(descriptors, sizes=[(SIDE_PX, SIDE_PX)] * count, found=[True] * count)


def remarks_on(appearance: Appearance, image: np.ndarray) -> list[str]:
    seen = prepare(image, RECIPE)
    height, width = seen.size
    descriptor = describe(seen.image, seen.foreground)
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
    usual: dict = {"sizes": {"40x30": count}, "found": count, "count": count, "limit": 4.0}
    usual |= {"mean": (0.0,) * D, "scale": (2.0,) * D}
    usual["precision"] = tuple(map(tuple, np.eye(D).tolist()))
    return Appearance(**(usual | values))


def entry(**values: float) -> np.ndarray:
    """A descriptor that is 0 but for the entries that are named."""
    return np.array([values.get(name, 0.0) for name in NAMES])


def test_what_is_measured_of_a_black_bar_on_white() -> None:
    image, foreground = np.full((40, 80, 3), 255, np.uint8), np.zeros((40, 80), np.uint8)
    image[10:20, 20:60], foreground[10:20, 20:60] = 0, 1
    found = dict(zip(NAMES, describe(image, foreground), strict=True))
    expected = {
        "part_lightness": 0,
        "background_lightness": 100,
        "contrast": 100,
        "share": 10 * 40 / (40 * 80),
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
    assert describe(image, foreground)[NAMES.index("left_to_right")] == pytest.approx(100)


def test_a_crop_without_background_or_part_is_described_as_a_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    for level in (0, 1):
        found = describe(image, np.full((24, 48), level, np.uint8))
        assert (found.shape, found.dtype) == ((D,), np.float64)
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


def test_what_is_unusual_is_named_in_words_with_its_numbers() -> None:
    say = plain().remarks
    far = "far outside what was trained on: "
    assert say(entry(part_lightness=7.9), size=(40, 30), found=True) == []
    assert say(entry(part_lightness=-9.0, share=1.0), size=(40, 30), found=True) == [
        f"{far}the part is darker (lightness -9, usually -4 to 4)"
    ]
    assert say(entry(background_sharpness=10.0), size=(40, 30), found=True) == [
        f"{far}it is sharper or has more grain (sharpness of the background 1024.0, usually 0.1 to "
        "16.0)"
    ]
    assert say(entry(centre_x=10.0), size=(40, 30), found=True) == [
        f"{far}the part lies further right in the crop (place from left to right 1000%, usually "
        "-400% to 400%)"
    ]
    (sentence,) = say(np.full(D, 2.0), size=(40, 30), found=True)
    assert "many small differences at once" in sentence


def test_another_size_and_finding_are_given_with_their_counts_unless_training_varied() -> None:
    usual = plain(count=178, sizes={"1000x1000": 178})
    finding = "part was found on a plain background; in training one was found in"
    assert usual.remarks(entry(), size=(1000, 1000), found=True) == []
    assert usual.remarks(entry(share=99.0), size=(640, 480), found=False) == [
        "640x480 pixels; all 178 training photographs had 1000x1000",
        f"no {finding} 178 of 178",
    ]
    several = plain(count=100, sizes={"9x9": 10, "8x8": 60, "7x7": 20, "6x6": 6, "5x5": 4})
    assert several.remarks(entry(), size=(4, 4), found=True) == [
        "4x4 pixels; the 100 training photographs had 8x8 (60), 7x7 (20), 9x9 (10) and 2 other "
        "sizes"
    ]
    varied = plain(count=100, found=97, sizes={f"{side}x9": 1 for side in range(100)})
    assert varied.remarks(entry(), size=(640, 480), found=False) == []
    without = plain(found=0).remarks(entry(share=99.0), size=(40, 30), found=True)
    assert without == [f"a {finding} 0 of 10"]


def test_images_of_the_same_kind_and_defects_are_not_marked(
    good: np.ndarray, appearance: Appearance
) -> None:
    assert max(appearance.distance(descriptor) for descriptor in good[40:]) < appearance.limit
    other_half = fit_to(good[20:])
    assert max(other_half.distance(descriptor) for descriptor in good[:20]) < other_half.limit
    for kind in DEFECTS:  # although only good ones were trained on
        for seed in range(100, 104):
            assert remarks_on(appearance, drawn(seed, kind)) == [], (kind, seed)


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


def test_altered_images_are_marked_with_the_reason(appearance: Appearance) -> None:
    for alter, words in ALTERED:
        for seed in range(100, 104):
            remarks = remarks_on(appearance, np.ascontiguousarray(alter(drawn(seed))))
            assert any(words in sentence for sentence in remarks), (words, remarks)


def test_few_images_set_wide_limits_and_fewer_than_five_none(good: np.ndarray) -> None:
    for count in (FEWEST, 10):
        few = fit_to(good[:count])
        assert few.limit > fit_to(good).limit
        assert sum(few.distance(descriptor) > few.limit for descriptor in good[count:]) <= 1
        assert few.distance(described(255 - drawn(100))) > few.limit
    with pytest.raises(ValueError, match="4 descriptors; at least 5"):
        fit_to(good[:4])


def test_equal_images_leave_room_for_what_does_not_matter(good: np.ndarray) -> None:
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


def test_one_image_that_does_not_belong_does_not_let_others_in(good: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    alike = good.mean(0) + rng.normal(0, 1, (120, D)) * good.std(0)
    stray = described(255 - drawn(0))
    with_stray = fit_to(np.concatenate([alike, stray[None]]))
    assert with_stray.limit == pytest.approx(fit_to(alike).limit, rel=0.1)
    assert with_stray.distance(stray) > with_stray.limit


def test_the_images_with_a_part_decide_where_most_have_one(good: np.ndarray) -> None:
    without = np.full((3, D), 50.0)
    mixed = fit_appearance(
        np.concatenate([without, good[:40]]),
        sizes=[(SIDE_PX, SIDE_PX)] * 43,
        found=[False] * 3 + [True] * 40,
    )
    assert (mixed.found, mixed.count) == (40, 43)
    assert mixed.limit == fit_to(good[:40]).limit
    assert mixed.remarks(without[0], size=(SIDE_PX, SIDE_PX), found=False) == []


def test_the_same_images_give_the_same_to_the_last_bit_also_from_json(
    good: np.ndarray, appearance: Appearance
) -> None:
    assert fit_to(good[:40].copy()) == appearance
    again = Appearance.from_dict(json.loads(json.dumps(appearance.as_dict())))
    assert again == appearance
    assert again.distance(good[50]) == appearance.distance(good[50])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 99}, "format 99; this one reads 1"),
        ({"entries": ["part_lightness"]}, "written by another version"),
        *(
            ({name: value}, "is not whole")
            for name in ("mean", "precision")
            for value in ([], None)
        ),
        ({"scale": [float("nan")] * D}, "is not whole"),
        ({"sizes": [1]}, "is not whole"),
    ],
)
def test_foreign_and_damaged_files_are_refused(change: dict, expected: str) -> None:
    with pytest.raises(RunError, match=expected):
        Appearance.from_dict(plain().as_dict() | change)


@pytest.mark.slow
def test_of_real_images_that_were_not_seen_hardly_any_is_marked(real_capsules: Path) -> None:
    recipe = Recipe("auto", 0.05, (192, 512))
    images = [read_image(path) for path in sorted(real_capsules.glob("t*/*/*.jpg"))]
    descriptors = np.stack([described(image, recipe) for image in images])
    order = np.random.default_rng(0).permutation(len(descriptors))
    seen, held_out = order[:178], order[178:]
    appearance = fit_to(descriptors[seen])
    far = [appearance.distance(descriptors[i]) > appearance.limit for i in held_out]
    assert np.mean(far) < 0.02
    lamps = scaled(0.6, 0.6, 0.6), scaled(1.15, 1.0, 0.85)
    for number in held_out[:8]:
        for alter in (ALTERED[0][0], ALTERED[1][0], *lamps):
            altered = described(alter(images[number]), recipe)
            assert appearance.distance(altered) > appearance.limit
