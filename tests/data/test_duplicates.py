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

from capsule_inspection.contracts import ConfigurationError, DataError, DataIndex, ImageRecord
from capsule_inspection.data import comparison, duplicates
from capsule_inspection.data.duplicates import find_near_duplicates, group_near_duplicates
from capsule_inspection.data.reading import read_image
from capsule_inspection.data.roi import find_foreground
from capsule_inspection.synthesis.scene import draw_good

CAPSULES = 8


def saved_again(image: np.ndarray, quality: int) -> np.ndarray:
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))[..., ::-1].copy()


def shifted(image: np.ndarray, x: float, y: float) -> np.ndarray:
    matrix = np.array([[1.0, 0, x], [0, 1.0, y]])
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg 95": lambda image: saved_again(image, 95),
    "jpeg 75": lambda image: saved_again(image, 75),
    "jpeg 50": lambda image: saved_again(image, 50),
    "shifted": lambda image: shifted(image, 4, -3),
    "shifted by parts": lambda image: shifted(image, 2.5, 1.3),
    "shifted, jpeg 60": lambda image: saved_again(shifted(image, -3, 2), 60),
    "half the size": lambda image: resized(image, 0.5),
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


def found(index: DataIndex, folder: Path) -> set[frozenset[int]]:
    return {frozenset(group) for group in find_near_duplicates(index, folder=folder, workers=2)}


def test_different_capsules_are_not_grouped(tmp_path: Path, capsules: list[np.ndarray]) -> None:
    assert found(write_index(tmp_path / "images", capsules), tmp_path / "cache") == set()


def test_each_kind_of_copy_is_grouped_with_its_original_only(
    tmp_path: Path, capsules: list[np.ndarray]
) -> None:
    copies = [make(image) for make, image in zip(COPIES.values(), capsules, strict=True)]
    index = write_index(tmp_path / "images", [*capsules, *copies])
    expected = {frozenset((number, number + CAPSULES)) for number in range(CAPSULES)}
    missed = expected - found(index, tmp_path / "cache")
    assert not [list(COPIES)[min(pair)] for pair in missed]
    assert found(index, tmp_path / "cache") == expected


def test_copies_of_a_texture_are_grouped_without_a_part(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    textures = [
        cv2.GaussianBlur(random.normal(128, 400, (300, 300, 3)), (0, 0), 5).clip(0, 255)
        for _ in range(4)
    ]
    images = [texture.astype(np.uint8) for texture in textures]
    index = write_index(tmp_path / "images", [*images, saved_again(shifted(images[2], 1, 1), 70)])
    assert found(index, tmp_path / "cache") == {frozenset((2, 4))}


def test_images_without_content_are_not_copies_of_each_other(tmp_path: Path) -> None:
    images = [np.full((64, 64, 3), level, np.uint8) for level in (100, 150, 200)]
    assert found(write_index(tmp_path / "images", images), tmp_path / "cache") == set()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_are_no_problem(tmp_path: Path, capsules: list[np.ndarray], count: int) -> None:
    assert found(write_index(tmp_path / "images", capsules[:count]), tmp_path / "cache") == set()


def test_two_copies_alone_are_found(tmp_path: Path, capsules: list[np.ndarray]) -> None:
    images = [capsules[0], saved_again(capsules[0], 70)]
    assert found(write_index(tmp_path / "images", images), tmp_path / "cache") == {
        frozenset((0, 1))
    }


def test_more_copies_than_neighbours_are_one_group(
    tmp_path: Path, capsules: list[np.ndarray]
) -> None:
    copies = [saved_again(shifted(capsules[0], i % 3, i % 4), 90 - i) for i in range(9)]
    index = write_index(tmp_path / "images", [*capsules, *copies])
    assert found(index, tmp_path / "cache") == {frozenset((0, *range(8, 17)))}


def test_groups_are_not_chained() -> None:
    # 0-1, 1-2, 2-3, 3-4 are alike, but none further apart.
    copies = [(0, 1), (1, 2), (2, 3), (3, 4)]
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
    index = write_index(tmp_path / "images", [*capsules[:2], saved_again(capsules[0], 80)])
    with caplog.at_level(logging.INFO):
        assert group_near_duplicates(index, mode="off", folder=tmp_path / "cache") is index
        assert not (tmp_path / "cache").exists()
        assert group_near_duplicates(index, mode="report", folder=tmp_path / "cache") is index
    assert "000.png" in caplog.text
    assert "002.png" in caplog.text


def test_group_above_one_per_cent_is_an_error_that_names_the_setting(
    tmp_path: Path, capsules: list[np.ndarray]
) -> None:
    copies = [saved_again(capsules[0], quality) for quality in (90, 80)]
    index = write_index(tmp_path / "images", [*capsules, *copies])
    with pytest.raises(DataError, match=r"data\.near_duplicates.* 3 of 10 images"):
        group_near_duplicates(index, mode="group", folder=tmp_path / "cache")
    assert group_near_duplicates(index, mode="report", folder=tmp_path / "cache") is index


def test_equal_files_do_not_count_as_near_duplicates(
    tmp_path: Path, capsules: list[np.ndarray]
) -> None:
    index = write_index(tmp_path / "images", [*capsules[:2], capsules[0], capsules[0]])
    assert found(index, tmp_path / "cache") == set()


def test_unknown_mode_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.near_duplicates=on"):
        group_near_duplicates(DataIndex(tmp_path, ("good",), ()), mode="on", folder=tmp_path)


def test_second_search_reads_no_image(tmp_path: Path, capsules: list[np.ndarray]) -> None:
    index = write_index(tmp_path / "images", [*capsules[:2], saved_again(capsules[0], 80)])
    first = find_near_duplicates(index, folder=tmp_path / "cache")
    assert {frozenset(group) for group in first} == {frozenset((0, 2))}
    for record in index.records:
        index.path_of(record.path).unlink()
    assert find_near_duplicates(index, folder=tmp_path / "cache") == first


def test_damaged_result_is_searched_again(
    tmp_path: Path, capsules: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    index = write_index(tmp_path / "images", [*capsules[:2], saved_again(capsules[0], 80)])
    first = find_near_duplicates(index, folder=tmp_path / "cache")
    for damage in ('[[0, "', "[[0, 77]]", '{"a": 1}', "[5]"):
        (kept,) = (tmp_path / "cache").glob("*.json")
        kept.write_text(damage)
        assert find_near_duplicates(index, folder=tmp_path / "cache") == first


def test_blocks_give_the_neighbours_of_the_whole_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    descriptors = random.normal(1, 0.1, (50, 512))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    whole = duplicates._propose(descriptors.astype(np.float16))
    monkeypatch.setattr(duplicates, "_BLOCK_VALUES", 150)
    assert np.array_equal(duplicates._propose(descriptors.astype(np.float16)), whole)
    assert len(whole) >= 100


def test_projection_of_many_images_loses_no_near_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    descriptors = random.normal(0, 1, (300, 512))
    descriptors[200:] = descriptors[:100] + random.normal(0, 0.1, (100, 512))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    monkeypatch.setattr(duplicates, "_SAMPLE", 100)
    pairs = {tuple(pair) for pair in duplicates._propose(descriptors.astype(np.float16)).tolist()}
    assert {(number, number + 200) for number in range(100)} <= pairs


def test_standard_view_hardly_moves_with_the_image(capsules: list[np.ndarray]) -> None:
    images = (capsules[0], shifted(capsules[0], 7, -5), resized(capsules[0], 0.6))
    views = [
        comparison.make_thumbnail(image, find_foreground(image)).astype(float) for image in images
    ]
    assert views[0].shape == comparison.THUMBNAIL_SIZE
    for view in views[1:]:
        assert np.abs(views[0] - view).mean() < 2.5


@pytest.mark.slow
def test_real_photographs_have_no_near_duplicates_and_their_copies_are_found(
    tmp_path: Path, real_capsules: Path
) -> None:
    photographs = [read_image(path) for path in sorted(real_capsules.glob("t*/*/*.jpg"))]
    makers = list(COPIES.values())
    sources = range(0, len(photographs), 11)
    copies = [makers[i % len(makers)](photographs[source]) for i, source in enumerate(sources)]
    index = write_index(tmp_path / "images", [*photographs, *copies])
    expected = {frozenset((source, len(photographs) + i)) for i, source in enumerate(sources)}
    assert found(index, tmp_path / "cache") == expected
