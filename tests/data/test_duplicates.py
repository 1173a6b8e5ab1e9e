"""Near-duplicates: copies are grouped, different capsules are not, and nothing is chained."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data import duplicates
from capsule_inspection.data.duplicates import find_near_duplicates, group_near_duplicates
from capsule_inspection.data.reading import read_image
from capsule_inspection.synthetic.scene import draw_good
from capsule_inspection.types import ConfigurationError, DataError, DataIndex, ImageRecord

CAPSULES = 8


def saved_again(image: np.ndarray, quality: int) -> np.ndarray:
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))[..., ::-1].copy()


def shifted(image: np.ndarray, x: float, y: float) -> np.ndarray:
    matrix = np.array([[1.0, 0, x], [0, 1.0, y]])
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg 95": lambda image: saved_again(image, 95),
    "jpeg 75": lambda image: saved_again(image, 75),
    "jpeg 50": lambda image: saved_again(image, 50),
    "shifted": lambda image: shifted(image, 4, -3),
    "shifted by parts": lambda image: shifted(image, 2.5, 1.3),
    "shifted, jpeg 60": lambda image: saved_again(shifted(image, -3, 2), 60),
    "half the size": lambda image: cv2.resize(
        image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.05, beta=3),
}


@pytest.fixture(scope="module")
def capsules() -> list[np.ndarray]:
    return [draw_good(np.random.default_rng(i), size_px=400).image for i in range(CAPSULES)]


def write_index(root: Path, images: list[np.ndarray]) -> DataIndex:
    root.mkdir(parents=True, exist_ok=True)
    records = []
    for number, image in enumerate(images):
        path = root / f"{number:03d}.png"
        Image.fromarray(image).save(path, compress_level=1)
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        height, width = image.shape[:2]
        records.append(
            ImageRecord(path.name, 0, None, sha256, width, height, len(content), 0, path.name)
        )
    return DataIndex(root, ("good", "crack"), tuple(records))


Search = Callable[[list[np.ndarray]], set[frozenset[int]]]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Groups of near-duplicates among images."""

    def found(images: list[np.ndarray]) -> set[frozenset[int]]:
        index = write_index(tmp_path / "images", images)
        groups = find_near_duplicates(index, folder=tmp_path / "cache", workers=2)
        return {frozenset(group) for group in groups}

    return found


def test_each_kind_of_copy_is_grouped_with_its_original_only(
    search: Search, capsules: list[np.ndarray]
) -> None:
    copies = [make(image) for make, image in zip(COPIES.values(), capsules, strict=True)]
    expected = {frozenset((number, number + CAPSULES)) for number in range(CAPSULES)}
    found = search([*capsules, *copies])
    assert not [list(COPIES)[min(pair)] for pair in expected - found]
    assert found == expected


def test_copies_of_a_texture_are_grouped_without_a_part(search: Search) -> None:
    random = np.random.default_rng(0)
    textures = [
        cv2.GaussianBlur(random.normal(128, 400, (300, 300, 3)), (0, 0), 5).clip(0, 255)
        for _ in range(4)
    ]
    images = [texture.astype(np.uint8) for texture in textures]
    copy = saved_again(shifted(images[2], 1, 1), 70)
    assert search([*images, copy]) == {frozenset((2, 4))}


def test_few_images_equal_files_and_images_without_content_are_no_near_duplicates(
    search: Search, capsules: list[np.ndarray]
) -> None:
    for count in (0, 1, 2, CAPSULES):
        assert search(capsules[:count]) == set()
    assert search([*capsules[:2], capsules[0], capsules[0]]) == set()
    assert search([np.full((64, 64, 3), level, np.uint8) for level in (100, 150, 200)]) == set()


def test_two_copies_alone_and_more_than_neighbours_are_one_group(
    search: Search, capsules: list[np.ndarray]
) -> None:
    assert search([capsules[0], saved_again(capsules[0], 70)]) == {frozenset((0, 1))}
    copies = [saved_again(shifted(capsules[0], i % 3, i % 4), 90 - i) for i in range(9)]
    assert search([*capsules, *copies]) == {frozenset((0, *range(8, 17)))}


def test_groups_are_not_chained() -> None:
    copies = [(0, 1), (1, 2), (2, 3), (3, 4)]  # and none further apart
    groups = duplicates._stars(copies, lambda pair: abs(pair[0] - pair[1]) == 1)
    assert groups == [(1, 0, 2), (3, 4)]


def test_group_mode_joins_copies_and_whatever_was_with_them(
    tmp_path: Path, capsules: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    index = write_index(tmp_path / "images", [*capsules, saved_again(capsules[3], 80)])
    records = list(index.records)
    records[7] = replace(records[7], group=records[8].group)
    index = replace(index, records=tuple(records))
    with caplog.at_level(logging.INFO):
        grouped = group_near_duplicates(index, mode="group", folder=tmp_path / "cache")
    groups = [record.group for record in grouped.records]
    assert groups[3] == groups[7] == groups[8]
    assert len(set(groups)) == 7
    assert "1 groups of near-duplicates: " in caplog.text


def test_report_and_off_leave_the_index_as_it_is(
    tmp_path: Path, capsules: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    index, folder = write_index(tmp_path / "images", capsules[:2]), tmp_path / "cache"
    with pytest.raises(ConfigurationError, match=r"data\.near_duplicates=on"):
        group_near_duplicates(index, mode="on", folder=folder)
    assert group_near_duplicates(index, mode="off", folder=folder) is index
    assert not folder.exists()
    copies = [saved_again(capsules[0], quality) for quality in (90, 80)]
    index = write_index(tmp_path / "images", [*capsules, *copies])
    assert group_near_duplicates(index, mode="report", folder=folder) is index
    assert all(f"{name}.png" in caplog.text for name in ("000", "008", "009"))
    # More than one per cent of the images in one group is not believed.
    with pytest.raises(DataError, match=r"data\.near_duplicates.* 3 of 10 images"):
        group_near_duplicates(index, mode="group", folder=folder)


def test_second_search_reads_no_image_unless_the_result_is_damaged(
    tmp_path: Path, capsules: list[np.ndarray]
) -> None:
    index = write_index(tmp_path / "images", [*capsules[:2], saved_again(capsules[0], 80)])
    first = find_near_duplicates(index, folder=tmp_path / "cache")
    assert {frozenset(group) for group in first} == {frozenset((0, 2))}
    for damage in ('[[0, "', "[[0, 77]]", '{"a": 1}', "[5]"):
        (kept,) = (tmp_path / "cache").glob("*.json")
        kept.write_text(damage)
        assert find_near_duplicates(index, folder=tmp_path / "cache") == first
    for record in index.records:
        index.path_of(record.path).unlink()
    assert find_near_duplicates(index, folder=tmp_path / "cache") == first


def proposed(descriptions: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(descriptions, axis=1, keepdims=True)
    return duplicates._propose((descriptions / lengths).astype(np.float16))


def test_blocks_and_projections_lose_no_near_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    some = np.random.default_rng(0).normal(1, 0.1, (50, 512))
    whole = proposed(some)
    monkeypatch.setattr(duplicates, "_BLOCK_VALUES", 150)
    assert np.array_equal(proposed(some), whole)
    assert len(whole) >= 100
    assert (whole[:, 0] < whole[:, 1]).all()
    monkeypatch.undo()
    random = np.random.default_rng(0)
    many = random.normal(0, 1, (300, 512))
    many[200:] = many[:100] + random.normal(0, 0.1, (100, 512))
    monkeypatch.setattr(duplicates, "_SAMPLE", 100)
    pairs = {tuple(pair) for pair in proposed(many).tolist()}
    assert {(number, number + 200) for number in range(100)} <= pairs


@pytest.mark.slow
def test_real_images_have_no_near_duplicates_and_their_copies_are_found(
    search: Search, real_capsules: Path
) -> None:
    images = [read_image(path) for path in sorted(real_capsules.glob("t*/*/*.jpg"))]
    makers = list(COPIES.values())
    sources = range(0, len(images), 11)
    copies = [makers[i % len(makers)](images[source]) for i, source in enumerate(sources)]
    expected = {frozenset((source, len(images) + i)) for i, source in enumerate(sources)}
    assert search([*images, *copies]) == expected
