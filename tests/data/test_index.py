from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capsule_inspection.contracts import DataError, DataIndex
from capsule_inspection.data import checking, index_store
from capsule_inspection.data.index import build_index, fingerprint
from capsule_inspection.data.layouts import Entry, Listing, list_mvtec, make_listing

WriteImage = Callable[..., Path]
Build = Callable[..., DataIndex]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`build_index` of a folder or listing, with the settings that most tests share."""

    def build(source: Path | Listing, **settings: Any) -> DataIndex:
        listing = source if isinstance(source, Listing) else list_mvtec(source)
        folder = settings.pop("index_folder", tmp_path / "index")
        on_bad_file = settings.pop("on_bad_file", "error")
        return build_index(
            listing, index_folder=folder, on_bad_file=on_bad_file, workers=2, **settings
        )

    return build


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read in full from now on."""
    read: list[Path] = []

    def spy(inspect: Callable[..., Any]) -> Callable[..., Any]:
        def inspect_and_tell(path: Path, **settings: Any) -> Any:
            read.append(path)
            return inspect(path, **settings)

        return inspect_and_tell

    for name in ("inspect_image", "inspect_mask"):
        monkeypatch.setattr(checking, name, spy(getattr(checking, name)))
    return read


def test_the_index_has_a_record_for_each_image_in_order(mvtec: Path, build: Build) -> None:
    index = build(mvtec)
    assert index.root == mvtec
    assert index.classes == ("good", "crack", "poke")
    assert index.skipped == ()
    assert [record.path for record in index.records] == [e.path for e in list_mvtec(mvtec).entries]
    record = index.records[3]
    status = (mvtec / record.path).stat()
    assert (record.path, record.label) == ("test/poke/000.png", 2)
    assert record.mask == "ground_truth/poke/000_mask.png"
    assert (record.width, record.height) == (24, 16)
    assert (record.size_bytes, record.modified_ns) == (status.st_size, status.st_mtime_ns)
    assert record.group == record.sha256[:16]
    assert record.split == ""
    assert len({record.sha256 for record in index.records}) == len(index)


def test_sizes_are_those_after_exif_orientation(mvtec: Path, build: Build) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(mvtec / "train/good/turned.jpg", exif=exif)
    record = next(r for r in build(mvtec).records if r.path.endswith("turned.jpg"))
    assert (record.width, record.height) == (20, 30)


def test_split_and_group_of_a_listing_are_kept(mvtec: Path, build: Build) -> None:
    entries = [
        Entry("train/good/000.png", "good", split="train", group="lot 1"),
        Entry("test/poke/000.png", "poke", split="test"),
    ]
    index = build(make_listing(mvtec, entries, good_class="good"))
    assert [(r.split, r.group) for r in index.records] == [
        ("test", index.records[0].sha256[:16]),
        ("train", "lot 1"),
    ]


def test_equal_files_share_a_group(mvtec: Path, build: Build) -> None:
    shutil.copy(mvtec / "train/good/000.png", mvtec / "train/good/copy.png")
    groups = {record.path: record.group for record in build(mvtec).records}
    assert groups["train/good/000.png"] == groups["train/good/copy.png"]
    assert len(set(groups.values())) == len(groups) - 1


def test_equal_files_join_the_groups_that_a_listing_gave_them(mvtec: Path, build: Build) -> None:
    shutil.copy(mvtec / "train/good/000.png", mvtec / "train/good/copy.png")
    groups = {"000": "a", "001": "a", "copy": "b", "002": "c"}
    entries = [Entry(f"train/good/{n}.png", "good", group=g) for n, g in groups.items()]
    index = build(make_listing(mvtec, entries, good_class="good"))
    found = {Path(record.path).stem: record.group for record in index.records}
    assert found["000"] == found["001"] == found["copy"] != found["002"]


def test_progress_ends_with_all_images(mvtec: Path, build: Build) -> None:
    calls: list[tuple[int, int]] = []
    build(mvtec, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (7, 7)


def test_an_empty_listing_is_an_error(tmp_path: Path, build: Build) -> None:
    with pytest.raises(DataError, match=r"has no images\. Check data\.root"):
        build(Listing(tmp_path, ("good",), ()))


def spoil(root: Path) -> dict[str, str]:
    """Make one file of each bad kind; returns the reason expected for each."""
    poke = (root / "test/poke/000.png").read_bytes()
    (root / "test/poke/001.png").write_bytes(poke[: len(poke) // 2])
    (root / "train/good/000.png").write_bytes(b"")
    (root / "train/good/001.png").write_text("no image")
    Image.new("RGB", (1, 1)).save(root / "train/good/tiny.png")
    (root / "test/crack/002.png").write_bytes(poke + b"\0")
    (root / "ground_truth/crack/000_mask.png").unlink()
    Image.new("L", (16, 24), 255).save(root / "ground_truth/crack/001_mask.png")
    Image.new("L", (24, 16), 0).save(root / "ground_truth/crack/002_mask.png")
    (root / "test/poke/gone.png").symlink_to(root / "nowhere")
    return {
        "test/poke/001.png": "is damaged",
        "train/good/000.png": "is empty (0 bytes)",
        "train/good/001.png": "is not a PNG, JPEG, BMP, TIFF or WebP image",
        "train/good/tiny.png": "is 1x1 pixels; at least 8x8 are needed",
        "test/crack/000.png": "mask ground_truth/crack/000_mask.png: there is no such file",
        "test/crack/001.png": "mask ground_truth/crack/001_mask.png: mask is 16x24, its image is",
        "test/crack/002.png": "shows crack, but its mask ground_truth/crack/002_mask.png is empty",
        "test/poke/gone.png": "there is no such file",
    }


def test_all_bad_files_are_named_at_once(mvtec: Path, build: Build) -> None:
    expected = spoil(mvtec)
    with pytest.raises(DataError) as caught:
        build(mvtec)
    message = str(caught.value)
    assert f"{len(expected)} of 11 images cannot be used" in message
    for path, reason in expected.items():
        assert f"\n  {path}: {reason}" in message
    assert "data.on_bad_file=skip" in message
    assert len(message.splitlines()) == len(expected) + 2


def test_skip_leaves_all_bad_files_out_and_lists_them(mvtec: Path, build: Build) -> None:
    expected = spoil(mvtec)
    index = build(mvtec, on_bad_file="skip")
    assert {skipped.path for skipped in index.skipped} == set(expected)
    for skipped in index.skipped:
        assert skipped.reason.startswith(expected[skipped.path])
    assert [record.path for record in index.records] == [
        "test/good/000.png",
        "test/poke/000.png",
        "train/good/002.png",
    ]


def test_bad_files_are_found_again_by_a_warm_start(mvtec: Path, build: Build) -> None:
    spoil(mvtec)
    assert build(mvtec, on_bad_file="skip") == build(mvtec, on_bad_file="skip")


def test_more_than_twenty_bad_files_are_counted(mvtec: Path, build: Build) -> None:
    for i in range(25):
        (mvtec / f"test/poke/x{i:02d}.png").touch()
    with pytest.raises(DataError, match="25 of 32 images") as caught:
        build(mvtec)
    assert "x19.png" in str(caught.value)
    assert "x20.png" not in str(caught.value)
    assert "and 5 more" in str(caught.value)


def test_skip_with_nothing_left_is_an_error(mvtec: Path, build: Build) -> None:
    listing = list_mvtec(mvtec)
    for entry in listing.entries:
        (mvtec / entry.path).write_bytes(b"")
    with pytest.raises(DataError, match="7 of 7 images cannot be used") as caught:
        build(listing, on_bad_file="skip")
    assert "no image is left" in str(caught.value)


def test_a_bomb_is_among_the_bad_files(mvtec: Path, build: Build, write_image: WriteImage) -> None:
    write_image(mvtec / "train/good/big.png", width=40, height=30)
    with pytest.raises(DataError, match=r"big\.png: is 40x30 pixels; data\.max_pixels allows 500"):
        build(mvtec, max_pixels=500)


def test_a_lower_max_pixels_holds_for_known_files_too(mvtec: Path, build: Build) -> None:
    build(mvtec)
    with pytest.raises(DataError, match="7 of 7 images cannot be used"):
        build(mvtec, max_pixels=24 * 16 - 1)


def test_equal_content_in_different_classes_names_both_files(mvtec: Path, build: Build) -> None:
    shutil.copy(mvtec / "train/good/000.png", mvtec / "test/crack/000.png")
    first = (
        "test/crack/000.png: is labelled crack, but has the same content as "
        "train/good/000.png, labelled good"
    )
    second = "train/good/000.png: is labelled good, but has the same content as test/crack/000.png"
    with pytest.raises(DataError) as caught:
        build(mvtec)
    assert first in str(caught.value)
    assert second in str(caught.value)
    index = build(mvtec, on_bad_file="skip")
    assert [skipped.path for skipped in index.skipped] == [
        "test/crack/000.png",
        "train/good/000.png",
    ]
    assert len(index) == 5


def test_a_mask_that_marks_something_on_a_good_image_is_an_error(
    mvtec: Path, build: Build, write_mask: WriteImage
) -> None:
    write_mask(mvtec / "ground_truth/good/001_mask.png")
    with pytest.raises(DataError, match=r"001\.png: is a good image, but ground_truth/good/001"):
        build(mvtec)


def write_values(path: Path, *values: int) -> Path:
    """A mask with a square of 4x4 pixels for each value, and 0 around them."""
    pixels = np.zeros((16, 24), np.uint8)
    for place, value in enumerate(values):
        pixels[4:8, 1 + 6 * place : 5 + 6 * place] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_mask_may_mark_several_classes(mvtec: Path, build: Build) -> None:
    write_values(mvtec / "ground_truth/poke/000_mask.png", 1, 2)
    index = build(mvtec)
    assert len(index) == 7
    assert build(mvtec) == index


def test_a_mask_without_the_class_of_its_image_is_an_error(
    mvtec: Path, build: Build, write_image: WriteImage
) -> None:
    write_image(mvtec / "test/scratch/000.png", seed=50)
    write_values(mvtec / "ground_truth/scratch/000_mask.png", 1, 2)
    reason = (
        "test/scratch/000.png: shows scratch, but its mask ground_truth/scratch/000_mask.png "
        "marks 1 crack, 2 poke only, not 3 scratch"
    )
    for _ in range(2):  # the second time from the store
        with pytest.raises(DataError) as caught:
            build(mvtec)
        assert f"  {reason}\n" in str(caught.value)
    assert len(build(mvtec, on_bad_file="skip")) == 7


def test_a_good_image_whose_mask_marks_several_classes_is_an_error(
    mvtec: Path, build: Build
) -> None:
    write_values(mvtec / "ground_truth/good/001_mask.png", 1, 2)
    with pytest.raises(DataError, match=r"001\.png: is a good image, but ground_truth/good/001"):
        build(mvtec)


def test_unclear_masks_are_named_with_the_numbers_of_the_classes(mvtec: Path, build: Build) -> None:
    write_values(mvtec / "ground_truth/crack/000_mask.png", 128, 255)
    write_values(mvtec / "ground_truth/poke/000_mask.png", 1, 2, 7)
    (mvtec / "train/good/000.png").write_bytes(b"")
    remedy = (
        "; re-export it as PNG with two values (0 and another), or with the numbers of the "
        "classes (0 background, 1 crack, 2 poke)\n"
    )
    with pytest.raises(DataError, match="3 of 7 images cannot be used") as caught:
        build(mvtec)
    for mask, values in (
        ("crack/000", "0, 128 and 255 over whole areas"),
        ("poke/000", "0, 1, 2 and 7"),
    ):
        reason = f"mask ground_truth/{mask}_mask.png: has the values {values}{remedy}"
        assert f"\n  test/{mask}.png: {reason}" in str(caught.value)
    assert "train/good/000.png: is empty (0 bytes)" in str(caught.value)


def test_skip_leaves_images_with_unclear_masks_out(mvtec: Path, build: Build) -> None:
    write_values(mvtec / "ground_truth/crack/000_mask.png", 128, 255)
    for _ in range(2):
        index = build(mvtec, on_bad_file="skip")
        assert [skipped.path for skipped in index.skipped] == ["test/crack/000.png"]
        assert len(index) == 6


def test_masks_that_depend_on_the_number_of_classes_are_read_again_for_another(
    mvtec: Path, build: Build, readings: list[Path]
) -> None:
    mask = write_values(mvtec / "ground_truth/crack/000_mask.png", 1, 2)
    build(mvtec)
    entries = [entry for entry in list_mvtec(mvtec).entries if entry.class_name != "poke"]
    readings.clear()
    with pytest.raises(DataError, match=r"has the values 0, 1 and 2; .*0 background, 1 crack\)"):
        build(make_listing(mvtec, entries, good_class="good"))
    assert readings == [mask]


def test_good_images_may_have_empty_masks_or_none(
    mvtec: Path, build: Build, write_mask: WriteImage
) -> None:
    write_mask(mvtec / "ground_truth/good/001_mask.png", empty=True)
    assert all(record.mask is None for record in build(mvtec).records if record.label == 0)


def test_defects_without_any_masks_are_fine(mvtec: Path, build: Build) -> None:
    shutil.rmtree(mvtec / "ground_truth")
    assert all(record.mask is None for record in build(mvtec).records)


def test_a_damaged_mask_is_an_error_of_its_image(mvtec: Path, build: Build) -> None:
    (mvtec / "ground_truth/poke/000_mask.png").write_text("x")
    expected = r"test/poke/000\.png: mask ground_truth/poke/000_mask\.png: is not a PNG"
    with pytest.raises(DataError, match=expected):
        build(mvtec)


def test_missing_permission_is_among_the_bad_files(
    mvtec: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_path = Path.open

    def deny_one(path: Path, *args: Any, **options: Any) -> Any:
        if path.as_posix().endswith("train/good/001.png"):
            raise PermissionError(13, "Permission denied")
        return open_path(path, *args, **options)

    monkeypatch.setattr(Path, "open", deny_one)
    with pytest.raises(DataError, match=r"train/good/001\.png: may not be read \(permission"):
        build(mvtec)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_among_the_bad_files(mvtec: Path, build: Build) -> None:
    (mvtec / "train/good/001.png").chmod(0)
    with pytest.raises(DataError, match=r"train/good/001\.png: may not be read"):
        build(mvtec)


def test_spaces_and_other_scripts_in_paths_work(mvtec: Path, build: Build) -> None:
    root = mvtec.rename(mvtec.with_name("my 膠囊, a=1 (2)"))
    (root / "train/good/000.png").rename(root / "train/good/照 片\n1.png")
    index = build(root)
    assert "train/good/照 片\n1.png" in {record.path for record in index.records}
    assert build(root) == index


def test_file_names_that_are_no_valid_text_work(mvtec: Path, build: Build) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (mvtec / "train/good/000.png").rename(mvtec / "train/good" / name)
    index = build(mvtec)
    assert f"train/good/{name}" in {record.path for record in index.records}
    assert build(mvtec) == index


def test_a_warm_start_reads_nothing_and_finds_the_same(
    mvtec: Path, build: Build, readings: list[Path]
) -> None:
    cold = build(mvtec)
    assert len(readings) == 7 + 3
    readings.clear()
    assert build(mvtec) == cold
    assert readings == []


def test_a_warm_start_leaves_the_store_alone(mvtec: Path, build: Build, tmp_path: Path) -> None:
    build(mvtec)
    store = next((tmp_path / "index").iterdir())
    before = store.stat().st_mtime_ns, store.stat().st_ino
    build(mvtec)
    assert (store.stat().st_mtime_ns, store.stat().st_ino) == before


def test_changed_files_alone_are_read_again(
    mvtec: Path, build: Build, readings: list[Path], write_image: WriteImage
) -> None:
    cold = build(mvtec)
    readings.clear()
    path = write_image(mvtec / "train/good/001.png", seed=99)
    warm = build(mvtec)
    assert readings == [path]
    changed = [a.path for a, b in zip(cold.records, warm.records, strict=True) if a != b]
    assert changed == ["train/good/001.png"]


def test_verify_full_notices_a_change_that_keeps_size_and_time(
    mvtec: Path, build: Build, tmp_path: Path
) -> None:
    path = mvtec / "train/good/photo.bmp"
    Image.new("RGB", (24, 16), "red").save(path)
    cold, status = build(mvtec), path.stat()
    Image.new("RGB", (24, 16), "blue").save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build(mvtec, verify="fast") == cold
    full = build(mvtec, verify="full")
    assert full != cold
    assert full == build(mvtec, index_folder=tmp_path / "other")
    assert build(mvtec, verify="fast") == full


def test_records_know_the_content_of_their_masks(
    mvtec: Path, build: Build, write_mask: WriteImage
) -> None:
    path = mvtec / "ground_truth/poke/000_mask.png"
    found = build(mvtec)
    for record in found.records:
        of_mask = record.mask and hashlib.sha256((mvtec / record.mask).read_bytes()).hexdigest()
        assert record.mask_sha256 == of_mask
    status, marked = path.stat(), np.zeros((16, 24), np.uint8)
    marked[5:10, 5:11] = 255  # a row lower: as many bytes, as it will be seen to be
    Image.fromarray(marked).save(path)
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashes(build(mvtec)) == hashes(found)
    assert hashes(build(mvtec, verify="full")) != hashes(found)


def hashes(index: DataIndex) -> list[str | None]:
    return [record.mask_sha256 for record in index.records]


def test_files_that_are_gone_are_forgotten(mvtec: Path, build: Build, tmp_path: Path) -> None:
    build(mvtec)
    (mvtec / "train/good/001.png").rename(mvtec / "train/good/new.png")
    build(mvtec)
    text = next((tmp_path / "index").iterdir()).read_text(encoding="utf-8")
    assert "good/001.png" not in text
    assert "good/new.png" in text


def test_two_data_sets_of_one_root_keep_what_is_known_of_both(
    mvtec: Path, build: Build, readings: list[Path]
) -> None:
    one = make_listing(mvtec, [Entry("train/good/000.png", "good")], good_class="good")
    build(one)
    build(mvtec)
    readings.clear()
    build(one)
    build(mvtec)
    assert readings == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"index 2", b"index 1"),
        lambda content: content[:-9] + b"X" + content[-8:],
        lambda content: b"",
        lambda content: b"\xff\x00" * 99,
    ],
    ids=["cut short", "an older version", "one byte", "empty", "noise"],
)
def test_a_damaged_store_is_rebuilt_with_a_warning(
    mvtec: Path,
    build: Build,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    cold = build(mvtec)
    store = next((tmp_path / "index").iterdir())
    sound = store.read_bytes()
    store.write_bytes(damage(sound))
    with caplog.at_level(logging.WARNING):
        assert build(mvtec) == cold
    assert "all files are read again" in caplog.text
    assert sorted(store.read_bytes().splitlines()[1:]) == sorted(sound.splitlines()[1:])


def test_a_store_that_cannot_be_written_is_an_error_that_names_the_setting(
    mvtec: Path, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written .*data\.cache_folder"):
        build(mvtec, index_folder=tmp_path / "file" / "index")


def test_a_store_on_a_full_disk_is_an_error_and_leaves_no_rest(
    mvtec: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_store, "_write", fail)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        build(mvtec)
    assert list((tmp_path / "index").iterdir()) == []


def test_several_runs_at_once_get_the_same_index(mvtec: Path, build: Build) -> None:
    with ThreadPoolExecutor(4) as pool:
        indexes = list(pool.map(lambda _: build(mvtec), range(4)))
    assert all(index == indexes[0] for index in indexes)


def test_the_fingerprint_does_not_depend_on_names_and_order(mvtec: Path, build: Build) -> None:
    before = fingerprint(build(mvtec))
    (mvtec / "train/good/000.png").rename(mvtec / "train/good/zzz.png")
    assert fingerprint(build(mvtec)) == before


@pytest.mark.parametrize("change", ["image", "label", "mask", "number"])
def test_the_fingerprint_tells_every_change(mvtec: Path, build: Build, change: str) -> None:
    before = fingerprint(build(mvtec))
    if change == "image":
        Image.new("RGB", (24, 16), "red").save(mvtec / "train/good/000.png")
    elif change == "label":
        (mvtec / "test/poke/000.png").rename(mvtec / "test/crack/009.png")
        mask = mvtec / "ground_truth/poke/000_mask.png"
        mask.rename(mvtec / "ground_truth/crack/009_mask.png")
    elif change == "mask":
        Image.new("L", (24, 16), 255).save(mvtec / "ground_truth/poke/000_mask.png")
    else:
        shutil.copy(mvtec / "train/good/000.png", mvtec / "train/good/copy.png")
    assert fingerprint(build(mvtec)) != before


def test_the_fingerprint_is_the_same_with_and_without_the_store(
    mvtec: Path, build: Build, tmp_path: Path
) -> None:
    index = build(mvtec)
    assert fingerprint(index) == fingerprint(index, index_folder=tmp_path / "index")


def test_the_fingerprint_of_a_changed_mask_does_not_trust_the_store(
    mvtec: Path, build: Build, tmp_path: Path
) -> None:
    index = build(mvtec)
    Image.new("L", (24, 16), 255).save(mvtec / "ground_truth/poke/000_mask.png")
    assert fingerprint(index) == fingerprint(index, index_folder=tmp_path / "index")


def test_the_real_photographs_are_all_sound(real_capsules: Path, build: Build) -> None:
    index = build(real_capsules)
    assert len(index) == 262
    assert sum(record.mask is not None for record in index.records) == 87
    assert {(record.width, record.height) for record in index.records} == {(800, 800)}
