"""A listing of files to the checked data index: every image decoded once, hashed once.

A warm start trusts what index_store.py remembers of unchanged files. All bad files are found
before anything is said. Near-duplicates are joined, and splits made, elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from capsule_inspection.data.checking import Checked, Checker
from capsule_inspection.data.index_store import FileFacts, load_facts, save_facts, store_path
from capsule_inspection.data.layouts import Entry, Listing
from capsule_inspection.data.reading import MAX_PIXELS, inspect_mask
from capsule_inspection.types import DataError, DataIndex, ImageRecord, SkippedFile

Progress = Callable[[int, int], None]

# Entries that a thread takes at once: few enough to share 262 large images evenly, enough to
# make the pool's own cost small with 30,000 small ones.
_CHUNK = 16
_SHOWN = 20


def build_index(
    listing: Listing,
    *,
    on_bad_file: Literal["error", "skip"],
    index_folder: Path,
    workers: int,
    verify: Literal["fast", "full"] = "fast",
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> DataIndex:
    """Check and hash all files of a listing; records keep its order, bad files left out.

    Files that `index_folder` knows unchanged are not read again, unless `verify` is "full".
    `progress` is called with (done, total) from the calling thread. Raises one DataError that
    names all bad files, or with `on_bad_file="skip"` lists them in the index.
    """
    if not listing.entries:
        raise DataError(f"{listing.root}: the data set has no images. Check data.root.")
    store = store_path(index_folder, listing.root)
    checker = Checker(
        root=listing.root,
        labels={name: label for label, name in enumerate(listing.classes)},
        facts=load_facts(store),
        trust=verify == "fast",
        max_pixels=max_pixels,
    )
    checked = _check_all(checker, listing.entries, workers=workers, progress=progress)
    if checker.changed:
        _forget_missing(checker.facts, listing.root)
        save_facts(store, checker.facts)
    del checker  # what it remembers need not live as long as what follows
    sound, skipped = _sorted_out(checked, listing.classes)
    if skipped and (on_bad_file == "error" or not sound):
        raise DataError(_complaint(listing, skipped, any_left=bool(sound)))
    return DataIndex(listing.root, listing.classes, tuple(_join_equal(sound)), tuple(skipped))


def fingerprint(index: DataIndex, *, index_folder: Path | None = None) -> str:
    """SHA-256 over content, label and mask of all images, whatever their names and order.

    Hashes of masks come from the store in `index_folder` where it has them, else from the files.
    Raises DataError for a mask that cannot be read.
    """
    known = load_facts(store_path(index_folder, index.root)) if index_folder else {}
    rows = sorted(
        f"{record.sha256},{record.label},{_mask_hash(index, record.mask, known)}\n"
        for record in index.records
    )
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _check_all(
    checker: Checker, entries: Sequence[Entry], *, workers: int, progress: Progress | None
) -> list[Checked]:
    chunks = [entries[i : i + _CHUNK] for i in range(0, len(entries), _CHUNK)]
    checked: list[Checked] = []
    with ThreadPoolExecutor(max(1, workers), "index") as pool:
        for results in pool.map(checker.check_all, chunks):
            checked += results
            if progress:
                progress(len(checked), len(entries))
    return checked


def _forget_missing(facts: dict[str, FileFacts], root: Path) -> None:
    """Drop files that are gone; those of other data sets with the same root stay."""
    for name in [name for name in facts if not (root / name).exists()]:
        del facts[name]


def _sorted_out(
    checked: Sequence[Checked], classes: Sequence[str]
) -> tuple[list[ImageRecord], list[SkippedFile]]:
    """Sound records and bad files; equal content in different classes makes files bad."""
    rivals = _rivals([one.record for one in checked if one.record])
    sound, skipped = [], []
    for one in checked:
        if one.record is None:
            skipped.append(SkippedFile(one.name, one.reason))
        elif one.record.sha256 in rivals:
            reason = _rivalry(one.record, rivals[one.record.sha256], classes)
            skipped.append(SkippedFile(one.name, reason))
        else:
            sound.append(one.record)
    return sound, skipped


def _rivals(records: Sequence[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Records of equal content and different labels, by hash."""
    labels: dict[str, int] = {}
    torn = {r.sha256 for r in records if labels.setdefault(r.sha256, r.label) != r.label}
    found: dict[str, list[ImageRecord]] = {sha256: [] for sha256 in torn}
    for record in records:
        if record.sha256 in torn:
            found[record.sha256].append(record)
    return found


def _rivalry(record: ImageRecord, rivals: Sequence[ImageRecord], classes: Sequence[str]) -> str:
    other = next(rival for rival in rivals if rival.label != record.label)
    return (
        f"is labelled {classes[record.label]}, but has the same content as {other.path}, "
        f"labelled {classes[other.label]}"
    )


def _complaint(listing: Listing, skipped: Sequence[SkippedFile], *, any_left: bool) -> str:
    lines = [f"  {bad.path}: {bad.reason}" for bad in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"  and {len(skipped) - _SHOWN} more")
    remedy = "or leave them out with data.on_bad_file=skip" if any_left else "no image is left"
    return "\n".join(
        (
            f"{listing.root}: {len(skipped)} of {len(listing.entries)} images cannot be used:",
            *lines,
            f"Mend or remove these files; {remedy}.",
        )
    )


def _join_equal(records: list[ImageRecord]) -> list[ImageRecord]:
    """Put equal files into one group, also where a manifest gave them different ones."""
    joined: dict[str, str] = {}

    def leader(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    first: dict[str, str] = {}
    for record in records:
        own, other = leader(record.group), leader(first.setdefault(record.sha256, record.group))
        if own != other:
            joined[own] = other
    if not joined:
        return records
    return [replace(record, group=leader(record.group)) for record in records]


def _mask_hash(index: DataIndex, mask: str | None, known: Mapping[str, FileFacts]) -> str:
    """SHA-256 of a mask file, "" where there is none."""
    if mask is None:
        return ""
    path = index.path_of(mask)
    facts = known.get(mask)
    if facts is not None and path.is_file():
        status = path.stat()
        if (facts.size_bytes, facts.modified_ns) == (status.st_size, status.st_mtime_ns):
            return facts.sha256
    return inspect_mask(path, num_classes=len(index.classes)).sha256
