"""A drawn data set has the MVTec layout, is repeatable, and appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.synthesis import dataset
from capsule_inspection.synthesis.dataset import DEFAULT_COUNTS, draw_dataset
from capsule_inspection.synthesis.version import DRAWING_VERSION

COUNTS = {"good": 3, "crack": 2, "faulty_imprint": 1, "poke": 2, "scratch": 1, "squeeze": 1}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "capsule"
    draw_dataset(folder, seed=4, size_px=96, counts=COUNTS, workers=0, progress=None)
    return folder


def test_default_counts_are_those_of_the_origin() -> None:
    assert sum(DEFAULT_COUNTS.values()) == 328
    assert DEFAULT_COUNTS["good"] == 219


def test_layout_and_counts(drawn: Path) -> None:
    names = sorted(contents(drawn))
    expected = [f"train/good/{i:03d}.png" for i in range(COUNTS["good"])]
    for kind in COUNTS.keys() - {"good"}:
        for i in range(COUNTS[kind]):
            expected += [f"test/{kind}/{i:03d}.png", f"ground_truth/{kind}/{i:03d}_mask.png"]
    assert names == sorted(expected)


def test_masks_are_black_and_white_and_of_the_image_size(drawn: Path) -> None:
    for path in drawn.glob("ground_truth/*/*.png"):
        mask = read(path)
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) == {0, 255}


def test_workers_do_not_change_a_byte(drawn: Path, tmp_path: Path) -> None:
    again = tmp_path / "膠囊 again"
    draw_dataset(again, seed=4, size_px=96, counts=COUNTS, workers=2, progress=None)
    assert contents(again) == contents(drawn)


def test_more_images_leave_the_first_ones_as_they_were(drawn: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    draw_dataset(more, seed=4, size_px=96, counts={"good": 4, "poke": 1})
    same = contents(drawn)
    shared = contents(more).keys() & same.keys()
    assert len(shared) == 5
    assert all(contents(more)[name] == same[name] for name in shared)


def test_another_seed_draws_other_images(drawn: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    draw_dataset(other, seed=5, size_px=96, counts={"good": 1})
    assert contents(other)["train/good/000.png"] != contents(drawn)["train/good/000.png"]


def test_progress_counts_every_image(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    draw_dataset(
        tmp_path / "a",
        seed=0,
        size_px=64,
        counts={"good": 2, "poke": 1},
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(1, 3), (2, 3), (3, 3)]


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
    assert list(contents(folder)) == ["train/good/000.png"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_occupied_folder_is_an_error(drawn: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        draw_dataset(drawn, seed=0, size_px=64, counts={"good": 1})


@pytest.mark.parametrize(
    ("counts", "message"), [({"melted": 1}, "melted cannot be drawn"), ({"good": -1}, "is -1")]
)
def test_impossible_counts_are_errors(counts: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        draw_dataset(tmp_path / "a", seed=0, size_px=64, counts=counts)


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
