"""A drawn data set has the MVTec layout, is repeatable, and appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from quick import content

from capsule_inspection.synthetic import dataset
from capsule_inspection.synthetic.dataset import DEFAULT_COUNTS, draw_dataset
from capsule_inspection.synthetic.version import DRAWING_VERSION
from capsule_inspection.types import DataError

COUNTS = {"good": 3, "crack": 2, "faulty_imprint": 1, "poke": 2, "scratch": 1, "squeeze": 1}


def read(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "capsule"
    draw_dataset(folder, seed=4, size_px=96, counts=COUNTS, workers=0, progress=None)
    return folder


def test_layout_counts_and_masks_are_those_of_the_real_data(drawn: Path) -> None:
    assert sum(DEFAULT_COUNTS.values()) == 328
    assert DEFAULT_COUNTS["good"] == 219
    expected = [f"train/good/{i:03d}.png" for i in range(COUNTS["good"])]
    for kind in COUNTS.keys() - {"good"}:
        for i in range(COUNTS[kind]):
            expected += [f"test/{kind}/{i:03d}.png", f"ground_truth/{kind}/{i:03d}_mask.png"]
    assert sorted(content(drawn)) == sorted(expected)
    for path in drawn.glob("ground_truth/*/*.png"):
        mask = read(path)
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) == {0, 255}


def test_workers_and_further_images_change_no_byte_and_another_seed_does(
    drawn: Path, tmp_path: Path
) -> None:
    again = tmp_path / "膠囊 again"
    draw_dataset(again, seed=4, size_px=96, counts=COUNTS, workers=2, progress=None)
    same = content(drawn)
    assert content(again) == same
    heard: list[tuple[int, int]] = []
    draw_dataset(
        tmp_path / "more",
        seed=4,
        size_px=96,
        counts={"good": 4, "poke": 1},
        progress=lambda done, total: heard.append((done, total)),
    )
    more = content(tmp_path / "more")
    assert heard == [(number, 5) for number in range(1, 6)]
    assert len(more.keys() & same.keys()) == 5
    assert all(more[name] == same[name] for name in more.keys() & same.keys())
    draw_dataset(tmp_path / "other", seed=5, size_px=96, counts={"good": 1})
    assert content(tmp_path / "other")["train/good/000.png"] != same["train/good/000.png"]


def test_nothing_is_left_of_a_drawing_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(dataset, "_draw", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_dataset(tmp_path / "a", seed=0, size_px=64, counts={"good": 1})
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_drawings_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a"

    def meanwhile(done: int, total: int) -> None:
        if not folder.exists():
            draw_dataset(folder, seed=1, size_px=64, counts={"good": 1})

    draw_dataset(folder, seed=2, size_px=64, counts={"good": 2}, progress=meanwhile)
    assert list(content(folder)) == ["train/good/000.png"]
    assert list(tmp_path.iterdir()) == [folder]


def test_occupied_folders_and_impossible_counts_are_errors(drawn: Path, tmp_path: Path) -> None:
    for folder, counts, message in (
        (drawn, {"good": 1}, "exists already"),
        (tmp_path / "a", {"melted": 1}, "melted cannot be drawn"),
        (tmp_path / "a", {"good": -1}, "is -1"),
    ):
        with pytest.raises(DataError, match=message):
            draw_dataset(folder, seed=0, size_px=64, counts=counts)


def test_the_drawing_version_stands_for_these_very_images(tmp_path: Path) -> None:
    """Other images for the same seed: raise DRAWING_VERSION, then set the new means here."""
    counts = dict.fromkeys(DEFAULT_COUNTS, 1)
    draw_dataset(tmp_path / "drawn", seed=0, size_px=96, counts=counts)
    means = [read(path).mean() for path in sorted((tmp_path / "drawn").rglob("*.png"))]
    assert DRAWING_VERSION == 3
    np.testing.assert_allclose(
        means,
        [2.435, 0.443, 0.858, 2.407, 0.747, 167.54, 169.097, 165.336, 162.565, 175.841, 164.846],
        atol=0.02,
    )
