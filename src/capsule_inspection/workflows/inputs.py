"""From a configuration to the data index, its split and the decoded cache."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data import duplicates, splits
from capsule_inspection.data.cache import DecodedCache, open_cache
from capsule_inspection.data.index import build_index
from capsule_inspection.data.layouts import Listing, list_folder, list_mvtec, with_classes
from capsule_inspection.data.manifest import list_manifest
from capsule_inspection.data.native import native_size
from capsule_inspection.data.synthetic import ensure_synthetic
from capsule_inspection.types import ConfigurationError, DataIndex

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi

log = logging.getLogger(__name__)
TILES = "tiles"
"""`data.mode` in which crops keep the photographs' resolution, and networks see parts of them."""
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
    if sees_tiles(data):
        _take_native_size(index, data)
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


def as_trained(stored: DictConfig, data: DictConfig) -> DictConfig:
    """A run's own settings of its data, with what `data=as_trained` says of where it is now.

    Raises ConfigurationError for a setting that the run's data set does not have.
    """
    found = stored.copy()
    for key in sorted(map(str, data)):
        value = data[key]
        if key == "name" or value is None:
            continue
        if key not in found:
            raise ConfigurationError(
                f"data.{key}={value}: the run was trained with data={found.name}, which has no "
                "such setting. Leave it out."
            )
        found[key] = value
    return found


def sees_tiles(data: DictConfig) -> bool:
    """Whether crops keep the photographs' resolution; runs of older versions have no such mode."""
    return bool(OmegaConf.select(data, "mode") == TILES)


def _take_native_size(index: DataIndex, data: DictConfig) -> None:
    """Make the size of the crops that of the photographs, in the configuration itself.

    What was found stands in `data.native_size` from then on: a run keeps it.
    """
    if data.native_size is None:
        with progress("Measuring images") as show:
            found = native_size(
                index,
                folder=Path(data.cache_folder) / "native",
                roi=_roi(data),
                margin=data.roi_margin,
                workers=data.workers,
                progress=show,
            )
        data.native_size = list(found)
    data.image_size = data.native_size
    height, width = data.native_size
    if data.tile[0] > height or data.tile[1] > width:
        raise ConfigurationError(
            f"data.tile={list(data.tile)}: larger than the images, which are {height}x{width} "
            f"(height, width) pixels at the photographs' own resolution. Set data.tile to "
            f"[{min(data.tile[0], height)},{min(data.tile[1], width)}] or less, or say "
            "data.mode=resize."
        )


def _roi(data: DictConfig) -> Roi:
    return data.roi if isinstance(data.roi, str) else tuple(data.roi)


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
    if split.name not in ("manifest", "all_test") and any(row.split for row in index.records):
        log.warning(
            "the manifest's column split is not used: split=%s arranges the images anew. To use "
            "it, say split=manifest split.path=<the manifest>.",
            split.name,
        )
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
            roi=_roi(data),
            margin=data.roi_margin,
            image_size=(height, width),
            enlarge=not sees_tiles(data),
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
