"""One read of each image on a cold start, none on a warm one, and nothing half-written."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import find_mvtec_samples, load

from capsule_inspection.data import sample_reader
from capsule_inspection.types import DataError

WriteImage = Callable[..., Path]
CLASSES = ("good", "crack")
ALL: dict[str, Any] = {"near_duplicates": "report", "workers": 2}


def test_a_cold_start_reads_each_file_once_and_a_warm_one_none(
    mvtec: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    cold, cache = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    assert calls == {"read_content": 10, "sha256": 10, "decode_image": 7, "decode_mask": 3}
    calls.clear()
    warm, again = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    assert not calls
    assert (warm, again.path) == (cold, cache.path)


def test_verify_full_hashes_unchanged_files_and_decodes_none(
    mvtec: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    cold, _ = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    os.utime(mvtec / "train/good/000.png")
    calls.clear()
    full, _ = load(find_mvtec_samples(mvtec), tmp_path, verify="full", **ALL)
    assert calls == {"read_content": 10, "sha256": 10}
    assert [sample.sha256 for sample in full.samples] == [sample.sha256 for sample in cold.samples]
    calls.clear()
    load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    assert calls["read_content"] == 0


@pytest.mark.parametrize("changed", [{"image_size": (32, 32)}, {"near_duplicates": "off"}])
def test_another_setting_hashes_nothing_again(
    mvtec: Path, tmp_path: Path, calls: Counter[str], changed: dict[str, Any]
) -> None:
    load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    calls.clear()
    load(find_mvtec_samples(mvtec), tmp_path, **{**ALL, **changed})
    assert calls["decode_image"] == (7 if "image_size" in changed else 0)
    assert calls["sha256"] == 0


def test_a_changed_file_is_noticed_and_all_products_follow(
    mvtec: Path, tmp_path: Path, write_image: WriteImage
) -> None:
    before, cache = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    write_image(mvtec / "train/good/001.png", seed=99)
    index, later = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    changed = [a.path for a, b in zip(index.samples, before.samples, strict=True) if a != b]
    assert changed == ["train/good/001.png"]
    different = (cache.images[:] != later.images[:]).any(axis=(1, 2, 3))
    assert [index.samples[row].path for row in np.flatnonzero(different)] == changed


def test_a_file_of_equal_size_and_time_is_noticed(mvtec: Path, tmp_path: Path) -> None:
    paths = [mvtec / "train/good/000.png", mvtec / "train/good/001.png"]
    before, _ = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    size, moment = max(path.stat().st_size for path in paths), paths[0].stat().st_mtime_ns
    for round_ in range(2):  # all of one size and time, as unpacked from an archive
        for path, content in zip(paths, [path.read_bytes() for path in paths][::-1], strict=True):
            path.write_bytes(content.ljust(size, b"\0"))
            os.utime(path, ns=(moment, moment))
        index, _ = load(find_mvtec_samples(mvtec), tmp_path, **ALL)
        for sample in index.samples:
            found = hashlib.sha256((mvtec / sample.path).read_bytes()).hexdigest()
            assert sample.sha256 == found, f"{sample.path} in round {round_}"
    assert len(before) == len(index)


def test_a_file_whose_inode_alone_changed_is_hashed_and_not_decoded(
    mvtec: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    (mvtec / "train/good/000.png").chmod(0o600)
    calls.clear()
    load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    assert calls == {"read_content": 1, "sha256": 1}
    calls.clear()
    load(find_mvtec_samples(mvtec), tmp_path, **ALL)
    assert not calls


def test_bad_files_are_named_at_once_also_when_they_are_damaged_after_validation(
    mvtec: Path, tmp_path: Path
) -> None:
    load(find_mvtec_samples(mvtec), tmp_path)
    for name in ("train/good/000.png", "test/crack/000.png"):
        status = (mvtec / name).stat()
        content = (mvtec / name).read_bytes()
        (mvtec / name).write_bytes(content[:200] + bytes(len(content) - 200))
        os.utime(mvtec / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"(?s)2 of 7 .*crack/000\.png.*good/000\.png"):
        load(find_mvtec_samples(mvtec), tmp_path, image_size=(32, 32))
    left = [path for path in (tmp_path / "decoded").iterdir() if path.suffix == ".partial"]
    assert not left


def _load_and_wait(root: Path, folder: Path, started: Any) -> None:
    def wait(*_: object, **__: object) -> None:
        started.set()
        time.sleep(600)

    sample_reader.SampleReader._sample = wait  # type: ignore[assignment]
    load(find_mvtec_samples(root), folder, **ALL)


def test_a_killed_pass_leaves_nothing_and_the_next_one_succeeds(
    mvtec: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_load_and_wait, args=(mvtec, tmp_path / "cache", started))
    process.start()
    assert started.wait(timeout=120)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".lock", ".partial"}
    index, cache = load(find_mvtec_samples(mvtec), tmp_path / "cache", **ALL)
    expected, other = load(find_mvtec_samples(mvtec), tmp_path / "other", **ALL)
    assert index == expected
    assert cache.path.read_bytes() == other.path.read_bytes()
    assert not list((tmp_path / "cache").rglob("*.partial"))


def _load_and_count(root: Path, folder: Path, start: Any, results: Any) -> None:
    counts: Counter[str] = Counter()
    decode = sample_reader.decode_image

    def counted(*arguments: Any, **options: Any) -> np.ndarray:
        counts["decoded"] += 1
        return decode(*arguments, **options)

    sample_reader.decode_image = counted  # type: ignore[assignment]
    start.wait()
    _, cache = load(find_mvtec_samples(root), folder, **ALL)
    results.put((counts["decoded"], int(cache.images[:].sum())))


def test_of_two_runs_at_once_one_reads_and_the_other_waits(mvtec: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    arguments = (mvtec, tmp_path / "cache", start, results)
    processes = [context.Process(target=_load_and_count, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(decoded for decoded, _ in found) == [0, 7]
    assert len({total for _, total in found}) == 1
