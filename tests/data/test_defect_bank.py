"""The bank of synthetic defects: its content, the NSA sources, and its file."""

from __future__ import annotations

import errno
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsule_inspection.data import defect_bank, defect_rendering
from capsule_inspection.data.defect_bank import SyntheticDefectBank, load_or_render
from capsule_inspection.data.defect_rendering import GoodImages, SynthesisConfig
from capsule_inspection.synthetic import DEFECT_VERSION
from capsule_inspection.synthetic.defects import DEFECT_TYPES
from capsule_inspection.types import DataError

Good = tuple[np.ndarray, np.ndarray]
SETTINGS = SynthesisConfig(variants=6, nsa_fraction=0.5, seed=3)
NSA = replace(SETTINGS, nsa_fraction=1.0)
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


def build(good: Good, folder: Path, **other: Any) -> SyntheticDefectBank:
    usual = {"rows": ROWS, "sources": ROWS, "roi_found": None, "names": None}
    chosen = {**usual, "config": SETTINGS, "key": "k", "workers": 1, **other}
    found, rows, sources, names = (
        chosen.pop(key) for key in ("roi_found", "rows", "sources", "names")
    )
    found = np.ones(len(good[0]), bool) if found is None else found
    names = names or [f"row {row}" for row in range(len(good[0]))]
    images = GoodImages(*good, found, sorted(rows), sorted(sources), names)
    return load_or_render(images, chosen.pop("config"), folder=folder, **chosen)


@pytest.fixture(scope="module")
def bank(good: Good, tmp_path_factory: pytest.TempPathFactory) -> SyntheticDefectBank:
    """That of the usual settings, to look at."""
    return build(good, tmp_path_factory.mktemp("bank"))


def variants_of(bank: SyntheticDefectBank, good: Good, row: int) -> list[Good]:
    """Image and mask of every variant of a row."""
    variants = []
    for number in range(len(bank.of_row(row))):
        image, mask = good[0][row].copy(), np.zeros(good[0].shape[1:3], np.uint8)
        assert bank.add(image, mask, row, [(number + 0.5) / len(bank.of_row(row))])
        variants.append((image, mask))
    return variants


def assert_same_variants(one: tuple[SyntheticDefectBank, Good, int], other: tuple) -> None:
    for pairs in zip(variants_of(*one), variants_of(*other), strict=True):
        assert np.array_equal(*(np.dstack(pair) for pair in pairs))


def test_every_row_has_its_variants_and_the_nsa_fraction_holds(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path
) -> None:
    assert [len(bank.of_row(row)) for row in range(6)] == [6, 6, 6, 6, 0, 0]
    assert bank.type_counts["nsa"] == 12
    assert len(bank) == sum(bank.type_counts.values()) == 24
    assert set(bank.type_counts) <= {"nsa", *DEFECT_TYPES}
    assert set(build(good, tmp_path, config=NSA).type_counts) == {"nsa"}
    drawn = build(good, tmp_path, config=replace(SETTINGS, nsa_fraction=0.0))
    assert set(drawn.type_counts) == {*DEFECT_TYPES}


def test_the_mask_covers_the_change_and_uniform_numbers_choose_variants(
    good: Good, bank: SyntheticDefectBank
) -> None:
    for row in ROWS:
        for image, mask in variants_of(bank, good, row):
            changed = (image != good[0][row]).any(axis=2)
            assert not changed[mask == 0].any()
            assert changed[mask == 1].mean() > 0.3
            assert set(np.unique(mask)) == {0, 1}
    (first, first_mask), *_, (last, last_mask) = variants_of(bank, good, 1)
    image, mask = good[0][1].copy(), np.zeros_like(first_mask)
    assert bank.add(image, mask, 1, [0.0, 0.999])
    assert np.array_equal(mask, first_mask | last_mask)
    assert np.array_equal(image[last_mask > 0], last[last_mask > 0])
    only_first = (first_mask > 0) & (last_mask == 0)
    assert np.array_equal(image[only_first], first[only_first])
    full = np.ones_like(mask)
    assert bank.add(image, full, 1, [0.2])
    assert (full == 1).all()  # labels that are there stay


def test_the_same_settings_give_the_same_bytes_whatever_the_number_of_workers(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            defect_rendering, "ProcessPoolExecutor", None
        )  # small jobs start no processes
        again = build(good, tmp_path / "a", workers=2)
    monkeypatch.setattr(defect_rendering, "_SMALL_JOB", 0)
    two = build(good, tmp_path / "b", workers=2)
    assert again.path.name == two.path.name == bank.path.name
    assert again.path.read_bytes() == two.path.read_bytes() == bank.path.read_bytes()


def test_neither_the_order_of_images_nor_a_validation_image_changes_training(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path
) -> None:
    turned = (good[0][::-1], good[1][::-1])
    other = build(turned, tmp_path, rows=range(2, 6), sources=[5, 4, 3, 2], key="turned")
    with_more = build(good, tmp_path, rows=range(6))
    assert len(with_more) == 36
    for row in ROWS:
        assert_same_variants((bank, good, row), (other, turned, 5 - row))
        assert_same_variants((bank, good, row), (with_more, good, row))


def test_patches_come_from_sources_alone_and_an_only_image_is_its_own(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsule_inspection.synthetic import nsa

    pairs = []

    def spy(image: np.ndarray, foreground: np.ndarray, source: np.ndarray, *rest: object) -> object:
        (own,) = np.flatnonzero((good[0] == image).all(axis=(1, 2, 3)))
        (source_row,) = np.flatnonzero((good[0] == source).all(axis=(1, 2, 3)))
        pairs.append((int(own), int(source_row)))
        return paste(image, foreground, source, *rest)  # type: ignore[arg-type]

    paste = nsa.render_nsa_patch
    monkeypatch.setattr(nsa, "render_nsa_patch", spy)
    build(good, tmp_path, rows=range(6), sources=[0, 1, 2], config=NSA)
    assert {own for own, _ in pairs} == set(range(6))
    assert {source_row for _, source_row in pairs} == {0, 1, 2}
    assert all(own != source_row for own, source_row in pairs)
    assert len(build(good, tmp_path, rows=[2], sources=[2], config=NSA)) == 6


def test_each_setting_and_another_part_has_another_file(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path
) -> None:
    images, foregrounds = good
    changes: list[dict] = [
        {"key": "other"},
        {"rows": range(3)},
        {"sources": range(6)},
        *({"config": replace(SETTINGS, **of)} for of in ({"seed": 4}, {"variants": 5})),
        {"config": replace(SETTINGS, nsa_fraction=0.4)},
        {"roi_found": np.array([True, False, True, True, True, True])},
    ]
    paths = [build(good, tmp_path, **change).path for change in changes]
    smaller = foregrounds.copy()
    smaller[1, :, :60] = 0
    paths.append(build((images, smaller), tmp_path).path)
    assert len({path.name for path in (*paths, bank.path)}) == len(changes) + 2
    for form in (foregrounds > 0, foregrounds * np.uint8(255)):
        assert build((images, form), tmp_path).path.name == bank.path.name
    assert build(good, tmp_path, roi_found=np.ones(6, bool)).path.name == bank.path.name


def test_second_opening_reads_the_file(
    good: Good, bank: SyntheticDefectBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bank.path.stat().st_mtime_ns
    monkeypatch.setattr(defect_rendering, "_render_job", None)
    second = build(good, bank.path.parent)
    assert second.path.stat().st_mtime_ns == before
    assert np.array_equal(second.entries, bank.entries)
    assert np.array_equal(second.pixels, bank.pixels)
    assert not second.pixels.flags.writeable


def test_a_damaged_file_is_made_anew_with_a_warning(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, path = bank.path.read_bytes(), tmp_path / bank.path.name
    other_form = io.BytesIO()
    np.save(other_form, np.zeros(24, np.uint8))
    forms = [whole[:-100], b"", whole + b"more", bytes(len(whole)), other_form.getvalue()]
    places = (3, len(whole) // 2, len(whole) - 1)  # table, pixels, checksum
    flipped = [whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in places]
    for damaged in (*forms, whole[:3], *flipped):
        path.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(build(good, tmp_path).pixels, bank.pixels)
        assert "rendered again" in caplog.text
        assert path.read_bytes() == whole


def test_a_file_for_a_folder_and_a_full_disk_are_data_errors_and_leave_nothing(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(good, tmp_path / "file")
    monkeypatch.setattr(defect_bank, "render_patches", no_space)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(good, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_what_a_killed_process_left_of_the_same_pool_is_removed(
    good: Good, bank: SyntheticDefectBank, tmp_path: Path
) -> None:
    left, others = tmp_path / f".{bank.path.name}.x7.part", tmp_path / ".other.defects.x7.part"
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
        bank = build((good[0], foregrounds), tmp_path, names=NAMES)
    image = good[0][1].copy()
    assert not bank.add(image, np.zeros(image.shape[:2], np.uint8), 1, [0.5])
    assert np.array_equal(image, good[0][1])
    assert len(bank) == 12
    assert len(caplog.records) == 1
    assert "on 2 of 4 good images (001.png, 003.png)" in caplog.text
    assert "data.roi" in caplog.text
    # Where no part was found, the foreground of the whole image is none.
    found = np.array([True, False, True, False, True, True])
    bank = build((good[0], np.ones_like(foregrounds)), tmp_path, roi_found=found)
    assert [len(bank.of_row(row)) for row in ROWS] == [6, 0, 6, 0]
    remedies = r"(?s)000\.png.*data\.roi.*data\.synthetic_defects=0.*model\.corruption=cutout"
    with pytest.raises(DataError, match=remedies):
        build((good[0], np.zeros_like(good[1])), tmp_path / "none", names=NAMES)
    assert not list((tmp_path / "none").glob("*.defects"))


def test_the_defect_version_stands_for_these_very_defects(good: Good, tmp_path: Path) -> None:
    """Other defects for the same seed: raise DEFECT_VERSION, then set the new means here."""
    config = SynthesisConfig(variants=8, nsa_fraction=0.5, seed=0)
    seen: list[tuple[int, int]] = []
    first = {"rows": range(3), "sources": range(3), "config": config}
    bank = build(good, tmp_path, **first, progress=lambda *now: seen.append(now))
    means = [bank.pixels.reshape(-1, 4)[:, channel].mean() for channel in range(4)]
    assert DEFECT_VERSION == 2
    np.testing.assert_allclose(means, [98.559, 98.441, 98.208, 0.588], atol=0.2)
    assert seen == [(1, 3), (2, 3), (3, 3)]
