"""Configuration to data index, split and image cache."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.data import dataset
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.dataset import DatasetConfig
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import (
    NAME_GOOD_CLASS,
    FoundSamples,
    join_names,
    with_classes,
)
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import ConfigurationError, DataIndex
from capsule_inspection.workflows.find_samples import find_samples

log = logging.getLogger(__name__)


def load_dataset(
    data: DictConfig, *, classes: tuple[str, ...] | None = None, further: bool = False
) -> tuple[DataIndex, ImageCache]:
    """The images of a configuration's data set, near-duplicates grouped, without a split.

    `classes` are those of a trained model, which the images found must belong to unless `further`
    ones are allowed. With tiling, `data.tiling.native_size` and `data.image_size` are set to the
    size of the crops, so that a run keeps it; so is `data.bit_depth`, if there are 16-bit files.
    """
    found = find_samples(data, classes or ())
    if data.name != "synthetic":
        _log_once(_describe(found), found.warnings)
    if classes is not None:
        own, found = found.classes[0], with_classes(found, classes, further=further)
        _log_once(*_describe_good(found, own))
    is_tiled = uses_tiling(data)
    size = data.tiling.native_size if is_tiled else data.image_size
    config = DatasetConfig(
        cache_folder=Path(data.cache_folder),
        roi=data.roi if isinstance(data.roi, str) else tuple(data.roi),
        margin=data.roi_margin,
        image_size=None if size is None else (size[0], size[1]),
        enlarge=not is_tiled,
        near_duplicates=data.near_duplicates,
        on_bad_file=data.on_bad_file,
        verify=data.verify,
        max_pixels=data.max_pixels,
        bit_depth=given_depth(data) or "auto",
        exif_orientation=OmegaConf.select(data, "exif_orientation", default=True),
        has_fixed_crop=classes is not None,
        workers=data.workers,
    )
    check_size = partial(_check_tile, list(data.tiling.size)) if is_tiled else None
    index, cache = dataset.load_dataset(found, config, check_size=check_size)
    _log_once("", [text for text in index.warnings if text not in found.warnings])
    if index.skipped:
        log.warning("Skipped: %s, listed in run.json.", numbered(len(index.skipped), "file"))
    if is_tiled:
        data.tiling.native_size = data.image_size = list(cache.images.shape[1:3])
    if index.bit_depth is not None and "bit_depth" in data:
        data.bit_depth = index.bit_depth
    return index, cache


def data_record(index: DataIndex) -> dict[str, object]:
    """What run.json has about the files of a data set."""
    return {
        "layout": index.layout,
        "inventory": dict(index.inventory),
        "warnings": list(index.warnings),
    }


def _describe(found: FoundSamples) -> str:
    """The layout, the inventory and the classes, in two lines."""
    counts = Counter(sample.class_name for sample in found.samples)
    if by_mask := counts.pop("", 0):
        classes = [f"{' and '.join(found.classes)}, as the masks decide"]
        classes += [
            f"{n} of {by_mask + n} images without a mask: {name}" for name, n in counts.items()
        ]
    else:
        classes = [f"{name} {counts[name]}" for name in found.classes]
        classes[0] += " (the good class)"
    return (
        f"{readable(f'{found.layout} in {found.root}')}: {found.inventory.get('summary')}\n"
        f"Classes: {join_names(classes)}"
    )


def _describe_good(found: FoundSamples, own: str) -> tuple[str, list[str]]:
    """A line where the good class has another name than the model's; a warning without images."""
    names, good = {sample.class_name for sample in found.samples}, found.classes[0]
    if names.isdisjoint({good, ""}):
        found_names = join_names(sorted(names))
        return "", [f"No image is of the good class {good}: {found_names}.{NAME_GOOD_CLASS}"]
    return "" if own == good else f"Good class: {own} here, {good} in the model.", []


def _log_once(text: str, warnings: Iterable[str]) -> None:
    """Log what is said of the data, in the first of several processes only."""
    if not is_first_process():
        return
    if text:
        log.info("%s", text)
    for warning in warnings:
        log.warning("%s", warning)


def from_run(stored: DictConfig, data: DictConfig) -> DictConfig:
    """A run's own settings of its data, with the places that `data=from_run` gives.

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


def given_depth(data: DictConfig) -> int | None:
    """The bit depth of values in 16-bit files; None where it is found from the images."""
    depth = OmegaConf.select(data, "bit_depth", default="auto")
    return None if depth == "auto" else int(depth)


def uses_tiling(data: DictConfig) -> bool:
    """Whether crops keep the images' resolution and networks see one tile at a time."""
    return OmegaConf.select(data, "tiling.size") is not None


def _check_tile(tile: list[int], image_size: tuple[int, int]) -> None:
    height, width = image_size
    if tile[0] > height or tile[1] > width:
        raise ConfigurationError(
            f"data.tiling.size={tile}: larger than the images, which are {height}x{width} "
            "(height, width) pixels at their own resolution. Set data.tiling.size to "
            f"[{min(tile[0], height)},{min(tile[1], width)}] or less, or data.tiling=null."
        )
