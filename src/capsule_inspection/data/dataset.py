"""Found samples to the data index and the image cache, with one read of each image.

On a cold start one pass over the files fills the index, the cache and the near-duplicates. A warm
start reads nothing but changed files. One process at a time reads a root; the others wait for it
and use its results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from capsule_inspection.data.cache import CacheWriter, ImageCache, find_cache
from capsule_inspection.data.cache_folder import hold_lock
from capsule_inspection.data.duplicates import (
    Group,
    ThumbnailWriter,
    find_groups,
    group_near_duplicates,
)
from capsule_inspection.data.file_facts import FileFacts, facts_path, load_facts
from capsule_inspection.data.image_io import MAX_PIXELS
from capsule_inspection.data.index import validate_samples
from capsule_inspection.data.layouts import FoundSamples
from capsule_inspection.data.native_size import NativeSizeMeasure, find_native_size
from capsule_inspection.data.parallel import keep_freed_memory
from capsule_inspection.data.preprocessing import PreprocessConfig
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.types import DataIndex

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi
    from capsule_inspection.data.validation import Consumer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetConfig:
    """How a data set is read.

    `roi` and `margin` as in `roi.crop_box`; `image_size` is (height, width) of the crops, None
    for that of the largest part at the images' own resolution. Without `enlarge` small crops keep
    their resolution. `on_bad_file`, `verify` and `max_pixels` as in `validate_samples`,
    `near_duplicates` as in `group_near_duplicates`, where it is the mode.
    """

    cache_folder: Path
    roi: Roi
    margin: float
    image_size: tuple[int, int] | None
    enlarge: bool = True
    near_duplicates: str = "off"
    on_bad_file: Literal["error", "skip"] = "error"
    verify: Literal["fast", "full"] = "fast"
    max_pixels: int = MAX_PIXELS
    workers: int = 1

    def preprocessing(self, image_size: tuple[int, int]) -> PreprocessConfig:
        """With the values that decide the pixels alone."""
        roi = self.roi if isinstance(self.roi, str) else tuple(float(edge) for edge in self.roi)
        margin = float(self.margin) if roi == "auto" else 0.0
        return PreprocessConfig(roi, margin, image_size, self.enlarge)


@dataclass(frozen=True)
class _Stored:
    """What is known of a data set; None for what is yet to be made."""

    index: DataIndex | None = None
    image_size: tuple[int, int] | None = None
    cache: ImageCache | None = None
    groups: list[Group] | None = None

    @property
    def is_complete(self) -> bool:
        return self.cache is not None and self.groups is not None


def load_dataset(
    found: FoundSamples,
    config: DatasetConfig,
    *,
    check_size: Callable[[tuple[int, int]], None] | None = None,
) -> tuple[DataIndex, ImageCache]:
    """The validated images with near-duplicates grouped, and their cache, read where needed.

    `check_size` is called with the height and width of the crops before they are cached. Raises
    DataError as `validate_samples` and `group_near_duplicates` do and for a full disk,
    ConfigurationError for a box outside of an image.
    """
    loader = _Loader(found, config, check_size or (lambda size: None))
    stored = loader.find()
    if not stored.is_complete:
        with hold_lock(facts_path(config.cache_folder / "index", found.root)):
            # Another process may have read them meanwhile; what is verified now stays verified.
            loader.config = replace(config, verify="fast") if stored.index else config
            stored = loader.find()
            while not stored.is_complete:
                stored = loader.read(stored)
    index, cache = stored.index, stored.cache
    assert index is not None
    assert cache is not None
    assert stored.groups is not None
    _report_missing(cache, index)
    return group_near_duplicates(index, stored.groups, mode=config.near_duplicates), cache


@dataclass
class _Loader:
    found: FoundSamples
    config: DatasetConfig
    check_size: Callable[[tuple[int, int]], None]

    def find(self) -> _Stored:
        """What earlier runs have left; changed files are read, unless most of them are new."""
        facts = load_facts(facts_path(self.config.cache_folder / "index", self.found.root))
        known = sum(sample.path in facts for sample in self.found.samples)
        if 2 * known < len(self.found.samples):
            groups: list[Group] | None = [] if self.config.near_duplicates == "off" else None
            return _Stored(image_size=self.config.image_size, groups=groups)
        index = self._validate((), facts)
        del facts  # they need not live as long as what follows
        return self._complete(_Stored(index, self._image_size(index), None, self._groups(index)))

    def read(self, stored: _Stored) -> _Stored:
        """One pass over all images, which makes what is missing."""
        keep_freed_memory()
        config, count = self.config, len(self.found.samples)
        with ExitStack() as stack:
            rows = thumbnails = crops = None
            if stored.groups is None:
                folder = config.cache_folder / "duplicates"
                thumbnails = stack.enter_context(ThumbnailWriter(folder, count))
            if stored.image_size is None:
                crops = NativeSizeMeasure(count, roi=config.roi, margin=config.margin)
            elif stored.cache is None:
                rows = stack.enter_context(self._cache_writer(stored.image_size))
            index = self._validate([made for made in (rows, thumbnails, crops) if made])
            paths = {sample.path for sample in index.samples}
            kept = [row for row, sample in enumerate(self.found.samples) if sample.path in paths]
            stored = replace(stored, index=index)
            if stored.groups is None:
                stored = replace(stored, groups=self._groups(index))
            if rows:
                stored = replace(stored, cache=rows.finish(index, kept))
            if crops:
                size = crops.finish(index, kept, folder=config.cache_folder / "native")
                stored = self._complete(replace(stored, image_size=size))
            if thumbnails and stored.groups is None:
                with progress_bar("Comparing images") as show:
                    groups = thumbnails.finish(index, kept, workers=config.workers, progress=show)
                stored = replace(stored, groups=groups)
        return stored

    def _validate(
        self, consumers: Sequence[Consumer], facts: dict[str, FileFacts] | None = None
    ) -> DataIndex:
        with progress_bar("Reading images") as show:
            return validate_samples(
                self.found,
                on_bad_file=self.config.on_bad_file,
                index_folder=self.config.cache_folder / "index",
                workers=self.config.workers,
                verify=self.config.verify,
                max_pixels=self.config.max_pixels,
                consumers=consumers,
                facts=facts,
                progress=show,
            )

    def _image_size(self, index: DataIndex) -> tuple[int, int] | None:
        config, folder = self.config, self.config.cache_folder / "native"
        return config.image_size or find_native_size(
            index, folder=folder, roi=config.roi, margin=config.margin
        )

    def _groups(self, index: DataIndex) -> list[Group] | None:
        if self.config.near_duplicates == "off":
            return []
        return find_groups(index, folder=self.config.cache_folder / "duplicates")

    def _complete(self, stored: _Stored) -> _Stored:
        """With the cache, where its size is known and there is one."""
        if stored.index is None or stored.image_size is None:
            return stored
        self.check_size(stored.image_size)
        config = self.config.preprocessing(stored.image_size)
        folder = self.config.cache_folder / "decoded"
        return replace(stored, cache=find_cache(stored.index, folder=folder, config=config))

    def _cache_writer(self, image_size: tuple[int, int]) -> CacheWriter:
        self.check_size(image_size)
        return CacheWriter(
            self.config.cache_folder / "decoded",
            facts_path(Path(), self.found.root).name,
            config=self.config.preprocessing(image_size),
            count=len(self.found.samples),
        )


def _report_missing(cache: ImageCache, index: DataIndex) -> None:
    missing = np.flatnonzero(~cache.roi_found)
    if len(missing):
        log.warning(
            "data.roi=auto: no single part on a plain background in %d of %d images "
            "(the first is %s); the whole image is used for these.",
            len(missing),
            len(index),
            index.samples[missing[0]].path,
        )
