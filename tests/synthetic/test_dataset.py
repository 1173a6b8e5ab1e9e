"""A rendered data set has the MVTec layout, is repeatable, and appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from quick import content

from capsule_inspection.synthetic import CAPSULE_VERSION, dataset
from capsule_inspection.synthetic.dataset import render_dataset
from capsule_inspection.types import DataError

COUNTS = {"good": 3, "crack": 2, "faulty_imprint": 1, "poke": 2, "scratch": 1, "squeeze": 1}


def read(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "capsule"
    render_dataset(folder, seed=4, size_px=96, counts=COUNTS, workers=0, progress=None)
    return folder


def test_layout_counts_and_masks_are_those_of_the_real_data(rendered: Path) -> None:
    expected = [f"train/good/{i:03d}.png" for i in range(COUNTS["good"])]
    for defect_type in COUNTS.keys() - {"good"}:
        for i in range(COUNTS[defect_type]):
            expected += [
                f"test/{defect_type}/{i:03d}.png",
                f"ground_truth/{defect_type}/{i:03d}_mask.png",
            ]
    assert sorted(content(rendered)) == sorted(expected)
    for path in rendered.glob("ground_truth/*/*.png"):
        mask = read(path)
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) == {0, 255}


def test_workers_and_further_images_change_no_byte_and_another_seed_does(
    rendered: Path, tmp_path: Path
) -> None:
    again = tmp_path / "膠囊 again"
    render_dataset(again, seed=4, size_px=96, counts=COUNTS, workers=2, progress=None)
    same = content(rendered)
    assert content(again) == same
    calls: list[tuple[int, int]] = []
    render_dataset(
        tmp_path / "more",
        seed=4,
        size_px=96,
        counts={"good": 4, "poke": 1},
        progress=lambda *now: calls.append(now),
    )
    more = content(tmp_path / "more")
    assert calls == [(number, 5) for number in range(1, 6)]
    assert len(more.keys() & same.keys()) == 5
    assert all(more[name] == same[name] for name in more.keys() & same.keys())
    render_dataset(tmp_path / "other", seed=5, size_px=96, counts={"good": 1})
    assert content(tmp_path / "other")["train/good/000.png"] != same["train/good/000.png"]


def test_nothing_is_left_of_a_rendering_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(dataset, "_render", fail)
    with pytest.raises(OSError, match="disk full"):
        render_dataset(tmp_path / "a", seed=0, size_px=64, counts={"good": 1})
    assert list(tmp_path.iterdir()) == []


def test_unknown_classes_and_negative_counts_are_errors(tmp_path: Path) -> None:
    for counts, message in (
        ({"melted": 1}, r"data\.counts: melted cannot be rendered; expected classes from good"),
        ({"good": -1}, r"data\.counts: good is -1"),
    ):
        with pytest.raises(DataError, match=message):
            render_dataset(tmp_path / "a", seed=0, size_px=64, counts=counts)


def test_the_capsule_version_stands_for_these_very_images(tmp_path: Path) -> None:
    """Other images for the same seed: raise CAPSULE_VERSION, then set the new means here."""
    counts = dict.fromkeys(COUNTS, 1)
    render_dataset(tmp_path / "rendered", seed=0, size_px=96, counts=counts)
    means = [read(path).mean() for path in sorted((tmp_path / "rendered").rglob("*.png"))]
    assert CAPSULE_VERSION == 3
    np.testing.assert_allclose(
        means,
        [2.435, 0.443, 0.858, 2.407, 0.747, 167.54, 169.097, 165.336, 162.565, 175.841, 164.846],
        atol=0.02,
    )
