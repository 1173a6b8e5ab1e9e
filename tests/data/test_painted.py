"""The pool of painted defects: what is in it, who lends, and what happens to its file."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.data import painted as painted_module
from capsule_inspection.data import painting
from capsule_inspection.data.painted import PaintedPool, open_painted
from capsule_inspection.data.painting import PaintingSettings
from capsule_inspection.synthesis.defects import DEFECTS
from capsule_inspection.synthesis.scene import draw_good
from capsule_inspection.synthesis.version import PAINTING_VERSION

Good = tuple[np.ndarray, np.ndarray]
SETTINGS = PaintingSettings(variants=6, natural_share=0.5, seed=3)
ROWS = range(4)


@pytest.fixture(scope="module")
def good() -> Good:
    """Six drawn capsules, 72 high and 120 wide, read-only as the decoded cache is."""
    scenes = [draw_good(np.random.default_rng(seed), size_px=120) for seed in range(6)]
    images = np.stack([scene.image[24:96] for scene in scenes])
    foregrounds = np.stack([scene.foreground[24:96] for scene in scenes])
    images.flags.writeable = foregrounds.flags.writeable = False
    return images, foregrounds


def build(good: Good, folder: Path, **other: object) -> PaintedPool:
    usual = {"rows": ROWS, "sources": ROWS, "key": "k", "settings": SETTINGS, "workers": 1}
    arguments = {**usual, **other}
    return open_painted(*good, arguments.pop("rows"), folder=folder, **arguments)  # type: ignore[arg-type]


def paint_all(pool: PaintedPool, good: Good, row: int) -> list[Good]:
    """Image and mask of every variant of a row."""
    variants = []
    for number in range(len(pool.of_row(row))):
        image, mask = good[0][row].copy(), np.zeros(good[0].shape[1:3], np.uint8)
        assert pool.paint(image, mask, row, (number + 0.5) / len(pool.of_row(row)))
        variants.append((image, mask))
    return variants


def pixels_of(pool: PaintedPool, good: Good, row: int) -> list[bytes]:
    return [image.tobytes() + mask.tobytes() for image, mask in paint_all(pool, good, row)]


def test_every_row_has_its_variants_of_all_kinds(good: Good, tmp_path: Path) -> None:
    pool = build(good, tmp_path)
    assert len(pool) == 24
    assert [len(pool.of_row(row)) for row in range(6)] == [6, 6, 6, 6, 0, 0]
    assert pool.kinds["natural"] == 12
    assert sum(pool.kinds.values()) == 24
    assert set(pool.kinds) <= {"natural", *DEFECTS}


@pytest.mark.parametrize(("share", "kinds"), [(0.0, {*DEFECTS}), (1.0, {"natural"})])
def test_share_of_natural_patches_is_kept(
    share: float, kinds: set[str], good: Good, tmp_path: Path
) -> None:
    pool = build(good, tmp_path, settings=replace(SETTINGS, natural_share=share))
    assert set(pool.kinds) == kinds


def test_image_changes_within_the_mask_and_the_mask_covers_the_change(
    good: Good, tmp_path: Path
) -> None:
    pool = build(good, tmp_path)
    for row in ROWS:
        for image, mask in paint_all(pool, good, row):
            changed = (image != good[0][row]).any(axis=2)
            assert not changed[mask == 0].any()
            assert changed[mask == 1].mean() > 0.3
            assert set(np.unique(mask)) == {0, 1}


def test_uniform_numbers_choose_variants(good: Good, tmp_path: Path) -> None:
    pool = build(good, tmp_path)
    (first, first_mask), *_, (last, last_mask) = paint_all(pool, good, 1)
    image, mask = good[0][1].copy(), np.zeros_like(first_mask)
    assert pool.paint(image, mask, 1, [0.0, 0.999])
    assert np.array_equal(mask, first_mask | last_mask)
    assert np.array_equal(image[last_mask > 0], last[last_mask > 0])
    only_first = (first_mask > 0) & (last_mask == 0)
    assert np.array_equal(image[only_first], first[only_first])


def test_marks_that_are_there_stay(good: Good, tmp_path: Path) -> None:
    image, mask = good[0][0].copy(), np.ones(good[0].shape[1:3], np.uint8)
    assert build(good, tmp_path).paint(image, mask, 0, 0.2)
    assert (mask == 1).all()


def test_same_settings_paint_the_same_bytes(good: Good, tmp_path: Path) -> None:
    first, second = build(good, tmp_path / "a"), build(good, tmp_path / "b")
    assert first.path.name == second.path.name
    assert first.path.read_bytes() == second.path.read_bytes()


def test_number_of_workers_does_not_change_a_byte(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "_SMALL_JOB", 0)
    one, two = build(good, tmp_path / "a"), build(good, tmp_path / "b", workers=2)
    assert one.path.read_bytes() == two.path.read_bytes()


def test_small_jobs_start_no_processes(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "ProcessPoolExecutor", None)
    assert len(build(good, tmp_path, workers=2)) == 24


def test_order_of_the_images_does_not_matter(good: Good, tmp_path: Path) -> None:
    turned = (good[0][::-1], good[1][::-1])
    pool = build(good, tmp_path)
    other = build(turned, tmp_path, rows=range(2, 6), sources=[5, 4, 3, 2], key="turned")
    for row in ROWS:
        assert pixels_of(pool, good, row) == pixels_of(other, turned, 5 - row)


def test_only_sources_lend_patches(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsule_inspection.synthesis import patches

    lent = []

    def spy(image: np.ndarray, foreground: np.ndarray, source: np.ndarray, *rest: object) -> object:
        (own,) = np.flatnonzero((good[0] == image).all(axis=(1, 2, 3)))
        (lender,) = np.flatnonzero((good[0] == source).all(axis=(1, 2, 3)))
        lent.append((int(own), int(lender)))
        return paste(image, foreground, source, *rest)  # type: ignore[arg-type]

    paste = patches.paste_patch
    monkeypatch.setattr(patches, "paste_patch", spy)
    natural = replace(SETTINGS, natural_share=1.0)
    build(good, tmp_path, rows=range(6), sources=[0, 1, 2], settings=natural)
    assert {own for own, _ in lent} == set(range(6))
    assert {lender for _, lender in lent} == {0, 1, 2}
    assert all(own != lender for own, lender in lent)


def test_a_validation_image_changes_nothing_in_training(good: Good, tmp_path: Path) -> None:
    without = build(good, tmp_path)
    with_it = build(good, tmp_path, rows=range(6))
    assert len(with_it) == 36
    for row in ROWS:
        assert pixels_of(without, good, row) == pixels_of(with_it, good, row)


def test_an_only_image_lends_to_itself(good: Good, tmp_path: Path) -> None:
    natural = replace(SETTINGS, natural_share=1.0)
    assert len(build(good, tmp_path, rows=[2], sources=[2], settings=natural)) == 6


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"rows": range(3)},
        {"sources": range(6)},
        {"settings": replace(SETTINGS, seed=4)},
        {"settings": replace(SETTINGS, variants=5)},
        {"settings": replace(SETTINGS, natural_share=0.4)},
    ],
)
def test_other_settings_have_another_file(
    change: dict[str, object], good: Good, tmp_path: Path
) -> None:
    assert build(good, tmp_path).path != build(good, tmp_path, **change).path


def test_other_foregrounds_have_another_file_and_their_form_does_not_matter(
    good: Good, tmp_path: Path
) -> None:
    images, foregrounds = good
    first = build(good, tmp_path)
    assert build((images, foregrounds > 0), tmp_path).path == first.path
    assert build((images, foregrounds * np.uint8(255)), tmp_path).path == first.path
    smaller = foregrounds.copy()
    smaller[1, :, :60] = 0
    assert build((images, smaller), tmp_path).path != first.path


def test_second_opening_reads_the_file(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(good, tmp_path)
    before = first.path.stat().st_mtime_ns
    monkeypatch.setattr(painting, "_paint", None)
    second = build(good, tmp_path)
    assert second.path.stat().st_mtime_ns == before
    assert np.array_equal(second.entries, first.entries)
    assert np.array_equal(second.pixels, first.pixels)
    assert not second.pixels.flags.writeable


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_header(path: Path) -> None:
    path.write_bytes(b"")


def damage_form(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.zeros(24, np.uint8))
    path.with_suffix(".npy").replace(path)


def damage_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [damage_cut, damage_header, damage_form, damage_tail])
def test_damaged_file_is_painted_anew_with_a_warning(
    good: Good, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    pool = build(good, tmp_path)
    expected, path = pool.pixels.copy(), pool.path
    del pool
    damage(path)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        again = build(good, tmp_path)
    assert np.array_equal(again.pixels, expected)
    assert "painted anew" in caplog.text


def test_folder_that_is_a_file_is_a_data_error(good: Good, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(good, tmp_path / "cache")


def test_full_disk_is_a_data_error_and_leaves_nothing(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(painted_module, "_fill_in", no_space)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(good, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_what_a_killed_process_left_of_the_same_pool_is_removed(good: Good, tmp_path: Path) -> None:
    path = build(good, tmp_path).path
    path.unlink()
    left, others = tmp_path / f".{path.name}.x7.part", tmp_path / ".other.painted.x7.part"
    for unfinished in (left, others):
        unfinished.write_bytes(b"half")
    assert build(good, tmp_path).path.is_file()
    assert [left.exists(), others.exists()] == [False, True]


def test_rows_without_a_part_stay_clean_and_are_counted(
    good: Good, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foregrounds = good[1].copy()
    foregrounds[[1, 3]] = 0
    names = [f"{number:03d}.png" for number in range(6)]
    with caplog.at_level(logging.WARNING):
        pool = build((good[0], foregrounds), tmp_path, names=names)
    image, mask = good[0][1].copy(), np.zeros(good[0].shape[1:3], np.uint8)
    assert not pool.paint(image, mask, 1, 0.5)
    assert np.array_equal(image, good[0][1])
    assert not mask.any()
    assert len(pool) == 12
    assert len(caplog.records) == 1
    assert "on 2 of 4 good images (001.png, 003.png)" in caplog.text
    assert "data.roi" in caplog.text


def test_where_no_part_was_found_nothing_is_painted_on_the_whole_image(
    good: Good, tmp_path: Path
) -> None:
    foregrounds, found = np.ones_like(good[1]), np.array([True, False, True, False, True, True])
    pool = build((good[0], foregrounds), tmp_path, found=found)
    assert [len(pool.of_row(row)) for row in ROWS] == [6, 0, 6, 0]
    assert build((good[0], foregrounds), tmp_path).path != pool.path


def test_a_part_found_on_all_is_the_usual_file(good: Good, tmp_path: Path) -> None:
    assert build(good, tmp_path, found=np.ones(6, bool)).path == build(good, tmp_path).path


def test_no_part_anywhere_is_an_error_that_names_images_and_remedies(
    good: Good, tmp_path: Path
) -> None:
    nothing, names = np.zeros_like(good[1]), [f"{number:03d}.png" for number in range(6)]
    with pytest.raises(
        DataError, match=r"(?s)000\.png.*data\.roi.*data\.painted=0.*model\.corruption=cutout"
    ):
        build((good[0], nothing), tmp_path, names=names)
    assert not list(tmp_path.glob("*.painted"))


def test_progress_counts_every_row(good: Good, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build(good, tmp_path, progress=lambda *now: seen.append(now))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def patterned(number: int) -> Good:
    """A striped bar made of whole numbers alone: the same bytes on every machine."""
    rows, columns = np.mgrid[:96, :160]
    image = np.full((96, 160, 3), 205, np.uint8)
    bar = (slice(28, 68), slice(20, 140))
    image[bar] = ((rows * 3 + columns * 2 + number * 17) % 96 + 40)[bar][..., None]
    foreground = np.zeros((96, 160), np.uint8)
    foreground[bar] = 1
    return image, foreground


def test_the_painting_version_stands_for_these_very_defects(tmp_path: Path) -> None:
    """Other defects for the same seed: raise PAINTING_VERSION, then set the new means here."""
    pairs = [patterned(number) for number in range(3)]
    bars = (np.stack([image for image, _ in pairs]), np.stack([part for _, part in pairs]))
    settings = PaintingSettings(variants=8, natural_share=0.5, seed=0)
    pool = build(bars, tmp_path, rows=range(3), sources=range(3), settings=settings)
    means = [pool.pixels.reshape(-1, 4)[:, channel].mean() for channel in range(4)]
    assert PAINTING_VERSION == 2
    np.testing.assert_allclose(means, [98.559, 98.441, 98.208, 0.588], atol=0.2)
