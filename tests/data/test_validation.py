from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import find_mvtec_samples
from PIL import Image

from capsule_inspection.data import file_facts, sample_reader
from capsule_inspection.data.image_io import DecodeConfig, read_content
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples, sort_samples
from capsule_inspection.data.validation import fingerprint, validate_samples
from capsule_inspection.types import DataError, DataIndex

WriteImage = Callable[..., Path]
Build = Callable[..., DataIndex]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`validate_samples` of a folder or found samples, with the settings that most tests share."""

    def build(source: Path | FoundSamples, **settings: Any) -> DataIndex:
        found = source if isinstance(source, FoundSamples) else find_mvtec_samples(source)
        settings = {"index_folder": tmp_path / "index", "on_bad_file": "error"} | settings
        return validate_samples(found, workers=2, **settings)

    return build


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read from now on."""
    read: list[Path] = []

    def read_and_note(path: Path) -> bytes:
        read.append(path)
        return read_content(path)

    monkeypatch.setattr(sample_reader, "read_content", read_and_note)
    return read


def test_the_index_has_a_sample_for_each_image_in_order(mvtec: Path, build: Build) -> None:
    calls: list[tuple[int, int]] = []
    index = build(mvtec, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (7, 7)
    assert (index.root, index.classes) == (mvtec, ("good", "crack", "poke"))
    assert index.skipped == ()
    assert [sample.path for sample in index.samples] == [
        e.path for e in find_mvtec_samples(mvtec).samples
    ]
    sample = index.samples[3]
    status = (mvtec / sample.path).stat()
    assert (sample.path, sample.label) == ("test/poke/000.png", 2)
    assert sample.mask == "ground_truth/poke/000_mask.png"
    assert (sample.width, sample.height) == (24, 16)
    assert (sample.size_bytes, sample.modified_ns) == (status.st_size, status.st_mtime_ns)
    assert sample.group == sample.sha256[:16]
    assert sample.split == "test"
    assert len({sample.sha256 for sample in index.samples}) == len(index)


def test_splits_are_kept_and_equal_files_join_the_groups_of_a_manifest(
    mvtec: Path, build: Build
) -> None:
    assert not build(mvtec).warnings
    shutil.copy(mvtec / "train/good/000.png", mvtec / "train/good/copy.png")
    index = build(mvtec)
    assert "copies of others (the first is train/good/copy.png, as train/good/000.png)" in str(
        index.warnings
    )
    groups = {sample.path: sample.group for sample in index.samples}
    assert groups["train/good/000.png"] == groups["train/good/copy.png"]
    assert len(set(groups.values())) == len(groups) - 1
    given = {"000": "a", "001": "a", "copy": "b", "002": "lot 1"}
    samples = [
        FoundSample(f"train/good/{n}.png", "good", None, "train", g) for n, g in given.items()
    ]
    samples.append(FoundSample("test/poke/000.png", "poke", split="test"))
    poke, *good = build(sort_samples(mvtec, samples, good_class="good")).samples
    assert (poke.split, poke.group) == ("test", poke.sha256[:16])
    found = {Path(sample.path).stem: sample.group for sample in good}
    assert found["000"] == found["001"] == found["copy"] != found["002"] == "lot 1"
    assert {sample.split for sample in good} == {"train"}


def test_a_data_set_without_images_is_an_error(tmp_path: Path, build: Build) -> None:
    with pytest.raises(DataError, match=r"has no images\. Check data\.root"):
        build(FoundSamples(tmp_path, ("good",), ()))


def write_values(path: Path, *values: int) -> Path:
    """A mask with a square of 4x4 pixels for each value, and 0 around them."""
    pixels = np.zeros((16, 24), np.uint8)
    for place, value in enumerate(values):
        pixels[4:8, 1 + 6 * place : 5 + 6 * place] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def damage(root: Path, write_image: WriteImage) -> dict[str, str]:
    """Make one file of each bad kind; returns the reason expected for each."""
    good, masks = root / "train/good", root / "ground_truth"
    for number in range(3, 10):
        write_image(root / f"test/crack/00{number}.png", seed=50 + number)
    cut = root / "test/crack/003.png"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (good / "000.png").write_bytes(b"")
    (good / "001.png").write_text("no image")
    Image.new("RGB", (1, 1)).save(good / "tiny.png")
    write_image(good / "big.png", width=40, height=30)
    (root / "test/poke/gone.png").symlink_to(root / "nowhere")
    (masks / "crack/000_mask.png").unlink()
    Image.new("L", (16, 24), 255).save(masks / "crack/001_mask.png")
    marks = {4: (), 5: (255,), 6: (128, 255), 7: (1, 2, 7), 8: (2, 3), 9: (255,)}
    for number, values in marks.items():
        write_values(masks / f"crack/00{number}_mask.png", *values)
    (masks / "crack/005_mask.png").write_text("x")
    for name, values in (("good/009", ()), ("scratch/009", (3,))):
        write_values(masks / f"{name}_mask.png", *values)
        shutil.copy(root / "test/crack/009.png", write_image(root / f"test/{name}.png"))
    for number, values in ((10, (255,)), (11, (1, 2))):
        write_image(root / f"test/good/0{number}.png", seed=80 + number)
        write_values(masks / f"good/0{number}_mask.png", *values)

    def of_mask(number: str, reason: str) -> str:
        return f"mask ground_truth/crack/{number}_mask.png: {reason}"

    say = "say what they mean with 'data.mask_values={{{}}}' (? is crack, poke, scratch or null)"
    three = "1: ?, 2: ?, 7: ?"
    areas = "has the values 0, 128 and 255 over whole areas"
    size = "mask is 16x24, its image is 24x16 pixels. Export masks at the image's size."
    shows = "shows crack, but its mask ground_truth/crack/"
    only = "marks 2 poke, 3 scratch only, not 1 crack; if the masks number"
    twice = "is labelled {}, but has the same content as test/{}/009.png, labelled {}\n"
    marks_one = "is a good image, but ground_truth/good/{}_mask.png marks a defect"
    return {
        "test/crack/000.png": of_mask("000", "there is no such file"),
        "test/crack/001.png": of_mask("001", size),
        "test/crack/003.png": "is damaged",
        "test/crack/004.png": f"{shows}004_mask.png is empty",
        "test/crack/005.png": of_mask("005", "is not a PNG"),
        "test/crack/006.png": of_mask("006", f"{areas}; {say.format('128: ?, 255: ?')}"),
        "test/crack/007.png": of_mask("007", f"has the values 0, 1, 2 and 7; {say.format(three)}"),
        "test/crack/008.png": f"{shows}008_mask.png {only}",
        "test/crack/009.png": twice.format("crack", "good", "good"),
        "test/good/009.png": twice.format("good", "crack", "crack"),
        "test/good/010.png": marks_one.format("010"),
        "test/good/011.png": marks_one.format("011"),
        "test/poke/gone.png": "there is no such file",
        "test/scratch/009.png": twice.format("scratch", "crack", "crack"),
        "train/good/000.png": "is empty (0 bytes)\n",
        "train/good/001.png": "is not a PNG, JPEG",
        "train/good/big.png": "is 40x30 pixels; data.max_pixels allows 500",
        "train/good/tiny.png": "is 1x1 pixels; at least 8x8 are needed",
    }


def test_all_bad_files_are_named_at_once_or_left_out(
    mvtec: Path, build: Build, write_image: WriteImage
) -> None:
    expected = damage(mvtec, write_image)
    sound = ["test/good/000.png", "test/poke/000.png", "train/good/002.png"]
    for _ in range(2):  # the second time from the store
        with pytest.raises(DataError) as caught:
            build(mvtec, decode=DecodeConfig(max_pixels=500))
        message = str(caught.value)
        assert f"{len(expected)} of {len(expected) + 3} images cannot be used" in message
        for path, reason in expected.items():
            assert f"\n  {path}: {reason}" in message
        assert "without them no image of crack, scratch is left." in message
        assert len(message.splitlines()) == len(expected) + 2
        index = build(mvtec, decode=DecodeConfig(max_pixels=500), on_bad_file="skip")
        assert [skipped.path for skipped in index.skipped] == sorted(expected)
        for skipped in index.skipped:
            assert skipped.reason.startswith(expected[skipped.path].rstrip())
        assert [sample.path for sample in index.samples] == sound
        assert index.warnings[-1] == "data.on_bad_file=skip leaves no image of crack, scratch."


def test_more_than_twenty_bad_files_are_counted_and_something_has_to_be_left(
    mvtec: Path, build: Build
) -> None:
    for i in range(25):
        (mvtec / f"test/poke/x{i:02d}.png").touch()
    with pytest.raises(DataError, match="25 of 32 images") as caught:
        build(mvtec)
    assert "x19.png" in str(caught.value)
    assert "x20.png" not in str(caught.value)
    assert "and 5 more" in str(caught.value)
    assert "or leave them out with data.on_bad_file=skip" in str(caught.value)
    found = find_mvtec_samples(mvtec)
    for sample in found.samples:
        (mvtec / sample.path).write_bytes(b"")
    with pytest.raises(DataError, match="32 of 32 images cannot be used") as caught:
        build(found, on_bad_file="skip")
    assert "no image is left" in str(caught.value)


def test_a_mask_of_several_classes_is_read_again_for_another_number_of_classes(
    mvtec: Path, build: Build, readings: list[Path]
) -> None:
    mask = write_values(mvtec / "ground_truth/crack/000_mask.png", 1, 2)
    index = build(mvtec)
    assert len(index) == 7
    assert build(mvtec) == index
    samples = [
        sample for sample in find_mvtec_samples(mvtec).samples if sample.class_name != "poke"
    ]
    readings.clear()
    with pytest.raises(DataError, match=r"has the values 0, 1 and 2; .*0 background, 1 crack\)"):
        build(sort_samples(mvtec, samples, good_class="good"))
    assert mask in readings
    assert all("ground_truth" in path.parts for path in readings)


def test_masks_of_good_images_are_empty_or_missing_and_defects_need_none(
    mvtec: Path, build: Build, write_mask: WriteImage
) -> None:
    write_mask(mvtec / "ground_truth/good/001_mask.png", empty=True)
    assert all(sample.mask is None for sample in build(mvtec).samples if sample.label == 0)
    shutil.rmtree(mvtec / "ground_truth")
    assert all(sample.mask is None for sample in build(mvtec).samples)


def test_any_name_of_a_file_is_kept_and_found_again(mvtec: Path, build: Build) -> None:
    root = mvtec.rename(mvtec.with_name("my 膠囊, a=1 (2)"))
    names = ["照 片\n1.png", os.fsdecode(b"caf\xe9.png")]
    for number, name in enumerate(names):
        (root / f"train/good/00{number}.png").rename(root / "train/good" / name)
    index = build(root)
    assert {f"train/good/{name}" for name in names} < {sample.path for sample in index.samples}
    assert build(root) == index


def test_a_warm_start_reads_changed_files_alone(
    mvtec: Path, build: Build, tmp_path: Path, readings: list[Path], write_image: WriteImage
) -> None:
    cold = build(mvtec)
    assert len(readings) == 7 + 3
    readings.clear()
    store = next((tmp_path / "index").iterdir())
    before = store.stat().st_mtime_ns, store.stat().st_ino
    assert build(mvtec) == cold
    assert readings == []
    assert (store.stat().st_mtime_ns, store.stat().st_ino) == before
    path = write_image(mvtec / "train/good/001.png", seed=99)
    warm = build(mvtec)
    assert readings == [path]
    changed = [a.path for a, b in zip(cold.samples, warm.samples, strict=True) if a != b]
    assert changed == ["train/good/001.png"]
    with pytest.raises(DataError, match="7 of 7 images cannot be used"):
        build(mvtec, decode=DecodeConfig(max_pixels=24 * 16 - 1))  # holds for known files too


def test_the_store_forgets_files_that_are_gone_and_not_those_of_other_data_sets(
    mvtec: Path, build: Build, tmp_path: Path, readings: list[Path]
) -> None:
    build(mvtec)
    (mvtec / "train/good/001.png").rename(mvtec / "train/good/new.png")
    one = sort_samples(mvtec, [FoundSample("train/good/new.png", "good")], good_class="good")
    build(one)
    known = file_facts.load_facts(next((tmp_path / "index").iterdir()))
    assert "train/good/001.png" not in known
    assert "train/good/new.png" in known
    readings.clear()
    build(mvtec)
    build(one)
    assert readings == []


def hashes(index: DataIndex) -> list[tuple[str, str | None]]:
    return [(sample.sha256, sample.mask_sha256) for sample in index.samples]


@pytest.mark.parametrize("name", ["train/good/part.bmp", "ground_truth/poke/000_mask.bmp"])
@pytest.mark.parametrize("verify", ["fast", "full"])
def test_a_change_that_keeps_size_and_time_is_noticed(
    mvtec: Path,
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    verify: str,
) -> None:
    (mvtec / "ground_truth/poke/000_mask.png").unlink()
    write_values(mvtec / name, 2)
    write_values(mvtec / "ground_truth/poke/000_mask.bmp", 1)
    cold, status = build(mvtec), (mvtec / name).stat()
    for sample in cold.samples:
        of_mask = sample.mask and hashlib.sha256((mvtec / sample.mask).read_bytes()).hexdigest()
        assert sample.mask_sha256 == of_mask
    write_values(mvtec / name, 0, 1)
    assert (mvtec / name).stat().st_size == status.st_size
    os.utime(mvtec / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    if verify == "full":  # as on a file system without a time of change
        monkeypatch.setattr(sample_reader, "_is_unchanged", lambda *_: True)
        assert hashes(build(mvtec, verify="fast")) == hashes(cold)
    changed = build(mvtec, verify=verify)
    assert sum(a != b for a, b in zip(hashes(changed), hashes(cold), strict=True)) == 1
    assert changed == build(mvtec, index_folder=tmp_path / "other")
    assert build(mvtec, verify="fast") == changed


def test_a_damaged_store_is_rebuilt_with_a_warning(
    mvtec: Path, build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cold = build(mvtec)
    store = next((tmp_path / "index").iterdir())
    sound, facts = store.read_bytes(), file_facts.load_facts(store)
    damages = {
        "cut short": sound[: len(sound) // 2],
        "another version": gzip.compress(b"[1, []]"),
        "another form": gzip.compress(b'{"a": 1}'),
        "one byte": sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:],
        "empty": b"",
        "noise": b"\xff\x00" * 99,
        "zeros": bytes(len(sound)),
        "twice": sound + sound,
        "more": sound + b"more",
        "nested": gzip.compress(b"[" * 100_000),
        "a bomb": gzip.compress(bytes(10**7)),
        "another version and form": gzip.compress(b"7"),
        "rows of one value": gzip.compress(f"[{file_facts._VERSION}, [1, 2]]".encode()),
        "short rows": gzip.compress(f'[{file_facts._VERSION}, [["a.png", 1]]]'.encode()),
    }
    for name, damaged in damages.items():
        store.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert build(mvtec) == cold, name
        assert "all files are read again" in caplog.text, name
        assert file_facts.load_facts(store) == facts, name


def test_a_store_that_cannot_be_written_is_an_error_and_leaves_no_rest(
    mvtec: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written .*data\.cache_folder"):
        build(mvtec, index_folder=tmp_path / "file" / "index")
    monkeypatch.setattr(file_facts.gzip, "open", fail)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        build(mvtec)
    assert list((tmp_path / "index").iterdir()) == []


def test_several_runs_at_once_get_the_same_index(mvtec: Path, build: Build) -> None:
    with ThreadPoolExecutor(4) as pool:
        indexes = list(pool.map(lambda _: build(mvtec), range(4)))
    assert all(index == indexes[0] for index in indexes)


def test_the_fingerprint_does_not_depend_on_names_and_order(mvtec: Path, build: Build) -> None:
    before = build(mvtec)
    (mvtec / "train/good/000.png").rename(mvtec / "train/good/zzz.png")
    index = build(mvtec)
    assert fingerprint(index) == fingerprint(before)


def test_the_fingerprint_tells_every_change(mvtec: Path, build: Build) -> None:
    image, masks = mvtec / "train/good/000.png", mvtec / "ground_truth"

    def relabel() -> None:
        (mvtec / "test/poke/000.png").rename(mvtec / "test/crack/009.png")
        (masks / "poke/000_mask.png").rename(masks / "crack/009_mask.png")

    seen = [fingerprint(build(mvtec))]
    for change in (
        lambda: Image.new("RGB", (24, 16), "red").save(image),
        relabel,
        lambda: Image.new("L", (24, 16), 255).save(masks / "crack/009_mask.png"),
        lambda: shutil.copy(image, mvtec / "train/good/copy.png"),
    ):
        change()
        seen.append(fingerprint(build(mvtec)))
    assert len(set(seen)) == 5


def test_the_real_images_are_all_sound(real_capsules: Path, build: Build) -> None:
    index = build(real_capsules)
    assert index.classes == ("good", "crack", "faulty_imprint", "poke", "scratch", "squeeze")
    assert len(index) == 262
    assert sum(sample.mask is not None for sample in index.samples) == 87
    assert {(sample.width, sample.height) for sample in index.samples} == {(800, 800)}


def test_a_good_image_with_a_white_mask_names_the_setting(mvtec: Path, build: Build) -> None:
    path = mvtec / "ground_truth/good/000_mask.png"
    path.parent.mkdir()
    Image.new("L", (24, 16), 255).save(path)
    with pytest.raises(
        DataError, match=r"marks a defect everywhere: .* Try data\.mask_inverted=true"
    ):
        build(mvtec)


def test_more_classes_than_a_mask_can_hold_are_refused(mvtec: Path, build: Build) -> None:
    found = find_mvtec_samples(mvtec)
    classes = (*found.classes, *map(str, range(300)))
    with pytest.raises(DataError, match=r"at most 254 classes of defects, the data set has 302\."):
        build(replace(found, classes=classes))


def test_a_long_reason_is_given_once(mvtec: Path, build: Build) -> None:
    for number in range(2):
        write_values(mvtec / f"ground_truth/crack/00{number}_mask.png", 1, 255)
    with pytest.raises(DataError) as caught:
        build(mvtec)
    message = str(caught.value)
    assert message.count("set data.mask_ignore=255") == 1
    mask = "mask ground_truth/crack/001_mask.png"
    assert f"\n  test/crack/001.png: {mask}: the same as test/crack/000.png\n" in message


def test_a_reason_of_several_images_is_given_once(mvtec: Path, build: Build) -> None:
    for number in (0, 2):
        (mvtec / f"test/crack/00{number}.png").write_text("x")
    with pytest.raises(DataError) as caught:
        build(mvtec)
    assert str(caught.value).count("is not a PNG, JPEG") == 1
    assert "\n  test/crack/002.png: the same as test/crack/000.png\n" in str(caught.value)
