"""Splits that are given: frozen tables, and what they separate."""

from __future__ import annotations

import hashlib
import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest

from capsule_inspection.data.given_split import from_manifest
from capsule_inspection.data.manifest import write_split_csv
from capsule_inspection.data.splits import holdout
from capsule_inspection.types import DataError, DataIndex, Sample


def make_index(*counts: int, groups: dict[int, str] | None = None) -> DataIndex:
    """`counts[label]` images of each label; `groups` names the group of some rows."""
    samples = []
    for label in (label for label, count in enumerate(counts) for _ in range(count)):
        row = len(samples)
        path, sha256 = f"{label}/{row:05d}.png", hashlib.sha256(str(row).encode()).hexdigest()
        group = (groups or {}).get(row, path)
        samples.append(Sample(path, label, None, sha256, 10, 10, 1, 0, group))
    classes = tuple(f"class{label}" for label in range(len(counts)))
    return DataIndex(Path("/images"), classes, tuple(samples))


def stages(index: DataIndex) -> dict[str, str]:
    return {sample.sha256: sample.split for sample in index.samples}


def shuffled(index: DataIndex) -> DataIndex:
    samples = random.Random(1).sample(index.samples, len(index.samples))
    return replace(index, samples=tuple(samples))


@pytest.fixture
def frozen(tmp_path: Path) -> tuple[DataIndex, Path]:
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    split = holdout(make_index(10, 6), fractions=fractions, seed=0)
    write_split_csv(split, tmp_path / "split.csv")
    return split, tmp_path / "split.csv"


def test_manifest_gives_back_its_split_by_content_else_by_path(
    frozen: tuple[DataIndex, Path], caplog: pytest.LogCaptureFixture
) -> None:
    split, path = frozen
    bare = replace(split, samples=tuple(replace(r, split="") for r in split.samples))
    assert from_manifest(bare, path) == split
    assert stages(from_manifest(shuffled(bare), path)) == stages(split)
    renamed = tuple(replace(r, path=f"new/{r.path}") for r in bare.samples)
    assert stages(from_manifest(replace(split, samples=renamed), path)) == stages(split)
    assert not caplog.records
    first, *rest = bare.samples
    changed = replace(split, samples=(replace(first, sha256="0" * 64), *rest))
    with caplog.at_level(logging.WARNING):
        assert from_manifest(changed, path).samples[0].split == split.samples[0].split
        from_manifest(replace(split, samples=split.samples[1:]), path)
    assert "1 images have changed" in caplog.text
    assert "has 16 rows, the data set 15 images" in caplog.text


def test_an_image_replaced_by_a_copy_of_another_is_a_warning(
    frozen: tuple[DataIndex, Path], caplog: pytest.LogCaptureFixture
) -> None:
    split, path = frozen
    first, second, *rest = split.samples
    with caplog.at_level(logging.WARNING):
        from_manifest(
            replace(split, samples=(replace(first, sha256=second.sha256), second, *rest)), path
        )
    assert (
        f"the content of 1 of its 16 images is not in the data set any more ({first.path})"
        in caplog.text
    )


def test_images_without_a_row_unknown_stages_and_missing_files_are_errors(
    frozen: tuple[DataIndex, Path],
) -> None:
    split, path = frozen
    new = [replace(split.samples[0], path=f"new/{i}.png", sha256=str(i) * 64) for i in range(2)]
    with pytest.raises(DataError, match=r"(?s)2 of 18 images.*new/0\.png.*new/1\.png"):
        from_manifest(replace(split, samples=(*split.samples, *new)), path)
    with pytest.raises(DataError, match="no such file"):
        from_manifest(split, path.with_name("none.csv"))
    path.write_text(path.read_text().replace(",train\n", ",third\n"))
    with pytest.raises(DataError, match="third"):
        from_manifest(split, path)


def test_plain_manifest_is_matched_by_path(tmp_path: Path) -> None:
    index = replace(make_index(2, 1), root=tmp_path)
    lines = ["path,label,split"]
    for sample, stage in zip(index.samples, ("train", "val", "test"), strict=True):
        index.path_of(sample.path).parent.mkdir(exist_ok=True)
        index.path_of(sample.path).write_bytes(b"x")
        lines.append(f"{sample.path},{index.classes[sample.label]},{stage}")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    split = from_manifest(index, tmp_path / "split.csv")
    assert [sample.split for sample in split.samples] == ["train", "val", "test"]


def test_a_manifest_that_tears_equal_images_apart_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = make_index(4, 4, groups={0: "one", 1: "one"})
    parts = ["train", "test", *["train"] * 5, "val"]
    samples = [replace(r, split=stage) for r, stage in zip(index.samples, parts, strict=True)]
    write_split_csv(replace(index, samples=tuple(samples)), tmp_path / "split.csv")
    found = from_manifest(index, tmp_path / "split.csv")
    assert "1 group of equal or nearly equal images" in caplog.text
    assert "00000.png in train and 0/00001.png in test" in found.warnings[0]
