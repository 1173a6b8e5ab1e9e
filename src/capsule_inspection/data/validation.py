"""Validates the samples of a data set and builds its index; sample_reader.py reads the files.

All bad files are found before any is reported. Near-duplicates are grouped in duplicates.py,
splits are assigned in splits.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from capsule_inspection.data.bit_depth import smallest_depth
from capsule_inspection.data.file_facts import FileFacts, facts_path, load_facts, save_facts
from capsule_inspection.data.image_io import DecodeConfig
from capsule_inspection.data.image_notes import NotedImage, image_warnings
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples, join_names
from capsule_inspection.data.long_lists import list_lines
from capsule_inspection.data.masks.checks import check_masks
from capsule_inspection.data.masks.rules import compile_rules
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.progress import Progress
from capsule_inspection.data.sample_reader import Consumer, SampleReader
from capsule_inspection.types import IGNORE_INDEX, DataError, DataIndex, Sample, SkippedFile

# Samples that a thread takes at once: few enough to divide 262 large images evenly, enough to keep
# the overhead of the pool small with 30,000 small ones.
_CHUNK = 16
_LONG = 40
"""Characters from which on a reason is not repeated in a message."""
_DECODE = DecodeConfig()


def validate_samples(
    found: FoundSamples,
    *,
    on_bad_file: Literal["error", "skip"],
    index_folder: Path,
    workers: int,
    verify: Literal["fast", "full"] = "fast",
    decode: DecodeConfig = _DECODE,
    finds_depth: bool = False,
    consumers: Sequence[Consumer] = (),
    facts: dict[str, FileFacts] | None = None,
    progress: Progress | None = None,
) -> DataIndex:
    """Validate and hash all files; samples keep their order, bad files are left out.

    Files that have not changed since their facts were stored in `index_folder` are not read again,
    unless `verify` is "full" or there are `consumers` of the decoded images. `facts` are the stored
    ones if they are loaded already. With `finds_depth` the depth of `decode` is a guess, and the
    index has that of the images. Raises one DataError that names all bad files; with
    `on_bad_file="skip"` the index lists them.
    """
    if not found.samples:
        raise DataError(f"{found.root}: the data set has no images. Check data.root.")
    _check_number_of_classes(found)
    code = compile_rules(found.mask_rules, found.classes, found.root)
    path = facts_path(index_folder, found.root)
    reader = SampleReader(
        root=found.root,
        code=code,
        facts=load_facts(path) if facts is None else facts,
        trust=verify == "fast",
        decode=decode,
        finds_depth=finds_depth,
        consumers=consumers,
    )
    numbered = list(enumerate(found.samples))
    chunks = (numbered[i : i + _CHUNK] for i in range(0, len(numbered), _CHUNK))
    results: list[Sample | SkippedFile] = []
    for chunk in in_order(reader.read_all, chunks, workers=workers):
        results += chunk
        if on_bad_file == "error" and any(isinstance(result, SkippedFile) for result in chunk):
            reader.consumers = ()  # the error discards their results
        if progress:
            progress(len(results), len(found.samples))
    if reader.has_changed:
        _forget_missing(reader.facts, found.root)
        save_facts(path, reader.facts)
    samples, skipped = _drop_conflicts(results, found.classes)
    lost = _lost_classes(found, samples)
    if skipped and (on_bad_file == "error" or not samples):
        raise _bad_files(found, skipped, lost, nothing_left=not samples)
    images = [
        NotedImage(sample.path, found.classes[sample.label], reader.facts[sample.path])
        for sample in samples
    ]
    values = [image.facts.max_value for image in images if image.facts.bit_depth == 16]
    depth = smallest_depth(max(values)) if finds_depth and values else reader.decode.bit_depth
    warnings = (
        *found.warnings,
        *image_warnings(images, found_depth=depth if finds_depth else None),
        *_warn_of_copies(samples),
        *check_masks(found.root, samples, reader.facts, code),
        *([f"data.on_bad_file=skip leaves no image of {join_names(lost)}."] if lost else ()),
    )
    del reader  # frees the facts
    return DataIndex(
        found.root,
        found.classes,
        tuple(_group_equal(samples)),
        tuple(skipped),
        layout=found.layout,
        inventory=found.inventory,
        warnings=warnings,
        bit_depth=depth if values else None,
        exif_orientation=decode.exif_orientation,
    )


def _check_number_of_classes(found: FoundSamples) -> None:
    if len(found.classes) > IGNORE_INDEX and any(sample.mask for sample in found.samples):
        raise DataError(
            f"{found.root}: masks hold at most {IGNORE_INDEX - 1} classes of defects, the data set "
            f"has {len(found.classes) - 1}. Join classes with data.class_map, or leave the masks "
            "out."
        )


def _lost_classes(found: FoundSamples, samples: Sequence[Sample]) -> list[str]:
    """Classes whose images all are bad files."""
    left = {found.classes[sample.label] for sample in samples}
    return sorted({sample.class_name for sample in found.samples if sample.class_name} - left)


def _bad_files(
    found: FoundSamples, skipped: Sequence[SkippedFile], lost: Sequence[str], *, nothing_left: bool
) -> DataError:
    if nothing_left:
        remedy = "no image is left"
    elif lost:
        remedy = f"without them no image of {join_names(lost)} is left"
    else:
        remedy = "or leave them out with data.on_bad_file=skip"
    return DataError(
        f"{found.root}: {len(skipped)} of {len(found.samples)} images cannot be used:"
        f"{list_lines(_reasons(skipped))}"
        f"Mend or remove these files; {remedy}."
    )


def _reasons(skipped: Sequence[SkippedFile]) -> list[str]:
    """A line for each file; a long reason of several files is given once."""
    lines, first = [], dict[tuple[str, str], str]()
    for bad in skipped:
        mask, colon, reason = bad.reason.partition(": ")
        if not mask.startswith("mask "):
            mask, colon, reason = "", "", bad.reason
        other = first.setdefault((colon, reason), bad.path)
        if other != bad.path and len(reason) > _LONG:
            reason = f"the same as {other}"
        lines.append(f"{bad.path}: {mask}{colon}{reason}")
    return lines


def fingerprint(index: DataIndex) -> str:
    """SHA-256 over content, label and mask of all images; independent of names and order."""
    rows = sorted(
        f"{sample.sha256},{sample.label},{sample.mask_sha256 or ''}\n" for sample in index.samples
    )
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _forget_missing(facts: dict[str, FileFacts], root: Path) -> None:
    """Drop files that are gone; those of other data sets with the same root stay."""
    for name in [*facts]:
        files = [name, name.partition(MASK_SEPARATOR)[0]]  # the first of a mask in several
        if not any((root / file).exists() for file in files):
            del facts[name]


def _drop_conflicts(
    results: Sequence[Sample | SkippedFile], classes: Sequence[str]
) -> tuple[list[Sample], list[SkippedFile]]:
    """Valid samples and bad files; equal content in different classes makes files bad."""
    first: dict[str, dict[int, Sample]] = {}
    for result in results:
        if isinstance(result, Sample):
            first.setdefault(result.sha256, {}).setdefault(result.label, result)
    samples, skipped = [], []
    for result in results:
        if isinstance(result, SkippedFile):
            skipped.append(result)
            continue
        of_labels = first[result.sha256]
        other = next((of_labels[label] for label in of_labels if label != result.label), None)
        if other is None:
            samples.append(result)
            continue
        reason = (
            f"is labelled {classes[result.label]}, but has the same content as {other.path}, "
            f"labelled {classes[other.label]}"
        )
        skipped.append(SkippedFile(result.path, reason))
    return samples, skipped


def _warn_of_copies(samples: Sequence[Sample]) -> Iterator[str]:
    """Say that some files are copies of others; `_group_equal` keeps them together."""
    first: dict[str, str] = {}
    copies = [
        (sample.path, original)
        for sample in samples
        if (original := first.setdefault(sample.sha256, sample.path)) != sample.path
    ]
    if copies:
        yield (
            f"{len(copies)} of {len(samples)} images are exact copies of others (the first is "
            f"{copies[0][0]}, as {copies[0][1]}). They stay in one split and are one "
            "observation in intervals, but each counts in metrics. Leave copies out with "
            "data.exclude."
        )


def _group_equal(samples: list[Sample]) -> list[Sample]:
    """Put equal files into one group, also where a manifest gave them different ones."""
    parents: dict[str, str] = {}
    first: dict[str, str] = {}
    for sample in samples:
        own = find_root(parents, sample.group)
        other = find_root(parents, first.setdefault(sample.sha256, sample.group))
        if own != other:
            parents[own] = other
    return [replace(sample, group=find_root(parents, sample.group)) for sample in samples]


def find_root(parents: Mapping[str, str], group: str) -> str:
    """The name of the group that a group was joined to."""
    while group in parents:
        group = parents[group]
    return group
