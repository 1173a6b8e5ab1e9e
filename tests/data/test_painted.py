"""The pool of synthetic defects: what is in it, who lends, and what happens to its file."""

from __future__ import annotations

import errno
import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capsule_inspection.data import painted as painted_module
from capsule_inspection.data import painting
from capsule_inspection.data.painted import PaintedPool, open_painted
from capsule_inspection.data.painting import PaintingSettings
from capsule_inspection.synthetic.defects import DEFECTS
from capsule_inspection.synthetic.version import PAINTING_VERSION
from capsule_inspection.types import DataError

Good = tuple[np.ndarray, np.ndarray]
SETTINGS = PaintingSettings(variants=6, natural_share=0.5, seed=3)
NATURAL = replace(SETTINGS, natural_share=1.0)
ROWS = range(4)
NAMES = [f"{number:03d}.png" for number in range(6)]


@pytest.fixture(scope="module")
def good() -> Good:
    """Six striped bars made of whole numbers alone: the same bytes on every machine.

    They are read-only, as the decoded cache is.
    """
    rows, columns = np.mgrid[:96, :160]
    images, foregrounds = np.full((6, 96, 160, 3), 205, np.uint8), np.zeros((6, 96, 160), np.uint8)
    bar = np.s_[28:68, 20:140]
    for number, image in enumerate(images):
        image[bar] = ((rows * 3 + columns * 2 + number * 17) % 96 + 40)[bar][..., None]
        foregrounds[number][bar] = 1
    images.flags.writeable = foregrounds.flags.writeable = False
    return images, foregrounds


def build(good: Good, folder: Path, **other: object) -> PaintedPool:
    usual = {"rows": ROWS, "sources": ROWS, "key": "k", "settings": SETTINGS, "workers": 1}
    arguments = {**usual, **other}
    return open_painted(*good, arguments.pop("rows"), folder=folder, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pool(good: Good, tmp_path_factory: pytest.TempPathFactory) -> PaintedPool:
    """That of the usual settings, to look at."""
    return build(good, tmp_path_factory.mktemp("pool"))


def variants_of(pool: PaintedPool, good: Good, row: int) -> list[Good]:
    """Image and mask of every variant of a row."""
    variants = []
    for number in range(len(pool.of_row(row))):
        image, mask = good[0][row].copy(), np.zeros(good[0].shape[1:3], np.uint8)
        assert pool.paint(image, mask, row, (number + 0.5) / len(pool.of_row(row)))
        variants.append((image, mask))
    return variants


def assert_same_variants(one: tuple[PaintedPool, Good, int], other: tuple) -> None:
    for pairs in zip(variants_of(*one), variants_of(*other), strict=True):
        assert np.array_equal(*(np.dstack(pair) for pair in pairs))


def test_every_row_has_its_variants_and_the_natural_ones_their_share(
    good: Good, pool: PaintedPool, tmp_path: Path
) -> None:
    assert [len(pool.of_row(row)) for row in range(6)] == [6, 6, 6, 6, 0, 0]
    assert pool.kinds["natural"] == 12
    assert len(pool) == sum(pool.kinds.values()) == 24
    assert set(pool.kinds) <= {"natural", *DEFECTS}
    assert set(build(good, tmp_path, settings=NATURAL).kinds) == {"natural"}
    drawn = build(good, tmp_path, settings=replace(SETTINGS, natural_share=0.0))
    assert set(drawn.kinds) == {*DEFECTS}


def test_the_mask_covers_the_change_and_uniform_numbers_choose_variants(
    good: Good, pool: PaintedPool
) -> None:
    for row in ROWS:
        for image, mask in variants_of(pool, good, row):
            changed = (image != good[0][row]).any(axis=2)
            assert not changed[mask == 0].any()
            assert changed[mask == 1].mean() > 0.3
            assert set(np.unique(mask)) == {0, 1}
    (first, first_mask), *_, (last, last_mask) = variants_of(pool, good, 1)
    image, mask = good[0][1].copy(), np.zeros_like(first_mask)
    assert pool.paint(image, mask, 1, [0.0, 0.999])
    assert np.array_equal(mask, first_mask | last_mask)
    assert np.array_equal(image[last_mask > 0], last[last_mask > 0])
    only_first = (first_mask > 0) & (last_mask == 0)
    assert np.array_equal(image[only_first], first[only_first])
    marked = np.ones_like(mask)
    assert pool.paint(image, marked, 1, 0.2)
    assert (marked == 1).all()  # marks that are there stay


def test_the_same_settings_give_the_same_bytes_whatever_the_number_of_workers(
    good: Good, pool: PaintedPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(painting, "ProcessPoolExecutor", None)  # small jobs start no processes
        again = build(good, tmp_path / "a", workers=2)
    monkeypatch.setattr(painting, "_SMALL_JOB", 0)
    two = build(good, tmp_path / "b", workers=2)
    assert again.path.name == two.path.name == pool.path.name
    assert again.path.read_bytes() == two.path.read_bytes() == pool.path.read_bytes()


def test_neither_the_order_of_images_nor_a_validation_image_changes_training(
    good: Good, pool: PaintedPool, tmp_path: Path
) -> None:
    turned = (good[0][::-1], good[1][::-1])
    other = build(turned, tmp_path, rows=range(2, 6), sources=[5, 4, 3, 2], key="turned")
    with_more = build(good, tmp_path, rows=range(6))
    assert len(with_more) == 36
    for row in ROWS:
        assert_same_variants((pool, good, row), (other, turned, 5 - row))
        assert_same_variants((pool, good, row), (with_more, good, row))


def test_only_sources_lend_patches_and_an_only_image_to_itself(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsule_inspection.synthetic import patches

    lent = []

    def spy(image: np.ndarray, foreground: np.ndarray, source: np.ndarray, *rest: object) -> object:
        (own,) = np.flatnonzero((good[0] == image).all(axis=(1, 2, 3)))
        (lender,) = np.flatnonzero((good[0] == source).all(axis=(1, 2, 3)))
        lent.append((int(own), int(lender)))
        return paste(image, foreground, source, *rest)  # type: ignore[arg-type]

    paste = patches.paste_patch
    monkeypatch.setattr(patches, "paste_patch", spy)
    build(good, tmp_path, rows=range(6), sources=[0, 1, 2], settings=NATURAL)
    assert {own for own, _ in lent} == set(range(6))
    assert {lender for _, lender in lent} == {0, 1, 2}
    assert all(own != lender for own, lender in lent)
    assert len(build(good, tmp_path, rows=[2], sources=[2], settings=NATURAL)) == 6


def test_each_setting_and_another_part_has_another_file(
    good: Good, pool: PaintedPool, tmp_path: Path
) -> None:
    images, foregrounds = good
    changes: list[dict] = [
        {"key": "other"},
        {"rows": range(3)},
        {"sources": range(6)},
        *({"settings": replace(SETTINGS, **of)} for of in ({"seed": 4}, {"variants": 5})),
        {"settings": replace(SETTINGS, natural_share=0.4)},
        {"found": np.array([True, False, True, True, True, True])},
    ]
    paths = [build(good, tmp_path, **change).path for change in changes]
    smaller = foregrounds.copy()
    smaller[1, :, :60] = 0
    paths.append(build((images, smaller), tmp_path).path)
    assert len({path.name for path in (*paths, pool.path)}) == len(changes) + 2
    for form in (foregrounds > 0, foregrounds * np.uint8(255)):
        assert build((images, form), tmp_path).path.name == pool.path.name
    assert build(good, tmp_path, found=np.ones(6, bool)).path.name == pool.path.name


def test_second_opening_reads_the_file(
    good: Good, pool: PaintedPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pool.path.stat().st_mtime_ns
    monkeypatch.setattr(painting, "_paint", None)
    second = build(good, pool.path.parent)
    assert second.path.stat().st_mtime_ns == before
    assert np.array_equal(second.entries, pool.entries)
    assert np.array_equal(second.pixels, pool.pixels)
    assert not second.pixels.flags.writeable


def test_a_damaged_file_is_made_anew_with_a_warning(
    good: Good, pool: PaintedPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, path = pool.path.read_bytes(), tmp_path / pool.path.name
    other_form = io.BytesIO()
    np.save(other_form, np.zeros(24, np.uint8))
    for damaged in (whole[:-100], b"", whole + b"more", other_form.getvalue()):
        path.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(build(good, tmp_path).pixels, pool.pixels)
        assert "painted anew" in caplog.text
        assert path.read_bytes() == whole


def test_a_file_for_a_folder_and_a_full_disk_are_data_errors_and_leave_nothing(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(good, tmp_path / "file")
    monkeypatch.setattr(painted_module, "_fill_in", no_space)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(good, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_what_a_killed_process_left_of_the_same_pool_is_removed(
    good: Good, pool: PaintedPool, tmp_path: Path
) -> None:
    left, others = tmp_path / f".{pool.path.name}.x7.part", tmp_path / ".other.painted.x7.part"
    for unfinished in (left, others):
        unfinished.write_bytes(b"half")
    assert build(good, tmp_path).path.is_file()
    assert [left.exists(), others.exists()] == [False, True]


def test_images_without_a_part_stay_clean_and_are_counted_and_none_at_all_is_an_error(
    good: Good, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foregrounds = good[1].copy()
    foregrounds[[1, 3]] = 0
    with caplog.at_level(logging.WARNING):
        pool = build((good[0], foregrounds), tmp_path, names=NAMES)
    image = good[0][1].copy()
    assert not pool.paint(image, np.zeros(image.shape[:2], np.uint8), 1, 0.5)
    assert np.array_equal(image, good[0][1])
    assert len(pool) == 12
    assert len(caplog.records) == 1
    assert "on 2 of 4 good images (001.png, 003.png)" in caplog.text
    assert "data.roi" in caplog.text
    # Where no part was found, the foreground of the whole image is none.
    found = np.array([True, False, True, False, True, True])
    pool = build((good[0], np.ones_like(foregrounds)), tmp_path, found=found)
    assert [len(pool.of_row(row)) for row in ROWS] == [6, 0, 6, 0]
    remedies = r"(?s)000\.png.*data\.roi.*data\.painted=0.*model\.corruption=cutout"
    with pytest.raises(DataError, match=remedies):
        build((good[0], np.zeros_like(good[1])), tmp_path / "none", names=NAMES)
    assert not list((tmp_path / "none").glob("*.painted"))


def test_the_painting_version_stands_for_these_very_defects(good: Good, tmp_path: Path) -> None:
    """Other defects for the same seed: raise PAINTING_VERSION, then set the new means here."""
    settings = PaintingSettings(variants=8, natural_share=0.5, seed=0)
    seen: list[tuple[int, int]] = []
    first = {"rows": range(3), "sources": range(3), "settings": settings}
    pool = build(good, tmp_path, **first, progress=lambda *now: seen.append(now))
    means = [pool.pixels.reshape(-1, 4)[:, channel].mean() for channel in range(4)]
    assert PAINTING_VERSION == 2
    np.testing.assert_allclose(means, [98.559, 98.441, 98.208, 0.588], atol=0.2)
    assert seen == [(1, 3), (2, 3), (3, 3)]
