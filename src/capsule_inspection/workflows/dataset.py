"""Configuration to data index, split and image cache."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data import dataset
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.dataset import DatasetConfig
from capsule_inspection.data.layouts.previous import find_folder_samples, find_mvtec_samples
from capsule_inspection.data.layouts.samples import FoundSamples, with_classes
from capsule_inspection.data.manifest import find_manifest_samples
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.data.synthetic_dataset import load_or_render_dataset
from capsule_inspection.types import ConfigurationError, DataIndex

log = logging.getLogger(__name__)


def load_dataset(
    data: DictConfig, *, classes: tuple[str, ...] | None = None, further: bool = False
) -> tuple[DataIndex, ImageCache]:
    """The images of a configuration's data set, near-duplicates grouped, without a split.

    `classes` are those of a trained model, which the images found must belong to unless `further`
    ones are allowed. With tiling, `data.tiling.native_size` and `data.image_size` are set to the
    size of the crops, so that a run keeps it.
    """
    found = _find_samples(data)
    if classes is not None:
        found = with_classes(found, classes, further=further)
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
        workers=data.workers,
    )
    check_size = partial(_check_tile, list(data.tiling.size)) if is_tiled else None
    index, cache = dataset.load_dataset(found, config, check_size=check_size)
    if index.skipped:
        log.warning("%d files were skipped; run.json lists them.", len(index.skipped))
    if is_tiled:
        data.tiling.native_size = data.image_size = list(cache.images.shape[1:3])
    return index, cache


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


def _find_samples(data: DictConfig) -> FoundSamples:
    if data.name == "synthetic":
        with progress_bar("Drawing capsules") as show:
            root = load_or_render_dataset(
                Path(data.root),
                seed=data.seed,
                size_px=data.size_px,
                counts=OmegaConf.to_container(data.counts),  # type: ignore[arg-type]
                workers=data.workers,
                progress=show,
            )
        return find_mvtec_samples(root)
    if data.name == "mvtec":
        return find_mvtec_samples(Path(data.root))
    if data.name == "folder":
        masks = Path(data.masks) if data.masks else None
        return find_folder_samples(
            Path(data.root), good_class=data.good_class or "good", masks=masks
        )
    base = Path(data.root) if data.root else None
    return find_manifest_samples(Path(data.path), root=base, good_class=data.good_class or "good")
