"""From a configuration to the data index, its split and the decoded cache."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.contracts import DataIndex
from capsule_inspection.data import duplicates, splits
from capsule_inspection.data.cache import DecodedCache, open_cache
from capsule_inspection.data.index import build_index
from capsule_inspection.data.layouts import Listing, list_folder, list_mvtec, with_classes
from capsule_inspection.data.manifest import list_manifest
from capsule_inspection.data.synthetic import ensure_synthetic

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


def find_images(
    data: DictConfig, *, classes: tuple[str, ...] | None = None, further: bool = False
) -> tuple[DataIndex, DecodedCache]:
    """The images of a configuration's data set, near-duplicates grouped, without a split.

    `classes` are those of a trained model, which the images found must belong to unless `further`
    ones are allowed.
    """
    listing = _list(data)
    if classes is not None:
        listing = with_classes(listing, classes, further=further)
    with progress("Checking images") as show:
        index = build_index(
            listing,
            on_bad_file=data.on_bad_file,
            verify=data.verify,
            index_folder=Path(data.cache_folder) / "index",
            max_pixels=data.max_pixels,
            workers=data.workers,
            progress=show,
        )
    if index.skipped:
        log.warning("%d files were skipped; run.json lists them.", len(index.skipped))
    cache = _open_images(index, data)
    with progress("Comparing images") as show:
        index = duplicates.group_near_duplicates(
            index,
            mode=data.near_duplicates,
            folder=Path(data.cache_folder) / "duplicates",
            workers=data.workers,
            progress=show,
        )
    return index, cache


def _list(data: DictConfig) -> Listing:
    if data.name == "synthetic":
        with progress("Drawing capsules") as show:
            root = ensure_synthetic(
                Path(data.root),
                seed=data.seed,
                size_px=data.size_px,
                counts=OmegaConf.to_container(data.counts),  # type: ignore[arg-type]
                workers=data.workers,
                progress=show,
            )
        return list_mvtec(root)
    if data.name == "mvtec":
        return list_mvtec(Path(data.root))
    if data.name == "folder":
        masks = Path(data.masks) if data.masks else None
        return list_folder(Path(data.root), good_class=data.good_class, masks=masks)
    base = Path(data.root) if data.root else None
    return list_manifest(Path(data.path), root=base, good_class=data.good_class)


def assign_split(index: DataIndex, split: DictConfig) -> DataIndex:
    """The index with the stages that a split gives to its images."""
    if split.name == "holdout":
        train = 1 - split.val - split.test
        fractions = {"train": train, "val": split.val, "test": split.test}
        return splits.holdout(index, fractions=fractions, seed=split.seed)
    if split.name == "kfold":
        return splits.kfold(
            index, folds=split.folds, fold=split.fold, val_fraction=split.val, seed=split.seed
        )
    if split.name == "one_class":
        return splits.one_class(
            index, folds=split.folds, fold=split.fold, val_fraction=split.val, seed=split.seed
        )
    if split.name == "origin":
        return splits.origin(index, seed=split.seed)
    if split.name == "all_test":
        return splits.all_test(index)
    return splits.from_manifest(index, Path(split.path))


def _open_images(index: DataIndex, data: DictConfig) -> DecodedCache:
    """The decoded images of an index, at the size and crop of a configuration."""
    height, width = data.image_size
    with progress("Decoding images") as show:
        return open_cache(
            index,
            folder=Path(data.cache_folder) / "decoded",
            roi=data.roi if isinstance(data.roi, str) else tuple(data.roi),
            margin=data.roi_margin,
            image_size=(height, width),
            workers=data.workers,
            progress=show,
        )


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A progress bar that appears with the first call, and only where there is work to do."""
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    bar = Bar(transient=True, disable=not sys.stdout.isatty())
    tasks: list[TaskID] = []

    def show(done: int, total: int) -> None:
        if not tasks:
            tasks.append(bar.add_task(title, total=total))
            bar.start()
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
