"""Loads a data set: the index of its samples and the image cache, with one read of each image.

On a cold start one pass over the files fills the index, the cache and the near-duplicates. A warm
start reads changed files only. One process at a time reads a root; the others wait for it and use
its results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.bit_depth import smallest_depth
from capsule_inspection.data.cache import CacheWriter, ImageCache, find_cache
from capsule_inspection.data.cache_folder import hold_lock
from capsule_inspection.data.crop_checks import check_crops
from capsule_inspection.data.duplicates import (
    Group,
    ThumbnailWriter,
    find_groups,
    group_near_duplicates,
)
from capsule_inspection.data.file_facts import FileFacts, facts_path, load_facts
from capsule_inspection.data.image_files import MAX_PIXELS, DecodeConfig
from capsule_inspection.data.image_io import has_16_bits, read_image
from capsule_inspection.data.layouts.samples import FoundSamples
from capsule_inspection.data.masks.rules import compile_rules
from capsule_inspection.data.native_size import NativeSizeMeasure, find_native_size
from capsule_inspection.data.parallel import keep_freed_memory
from capsule_inspection.data.preprocessing import PreprocessConfig
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.data.sample_reader import DecodedSample, SampleReader
from capsule_inspection.data.validation import validate_samples
from capsule_inspection.types import DataIndex, SkippedFile

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi
    from capsule_inspection.data.sample_reader import Consumer


_FEW = 12
"""Images whose values tell the bit depth, before that of all images is known."""


@dataclass(frozen=True)
class DatasetConfig:
    """Settings of a data set; see `conf/base/data.yaml`.

    `image_size` is (height, width) of the crops; None measures the largest part at the images' own
    resolution. Without `enlarge` small crops keep their resolution. `bit_depth` auto: the smallest
    that holds the values of all 16-bit files. `has_fixed_crop` where crop and size are a run's.
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
    bit_depth: int | Literal["auto"] = "auto"
    exif_orientation: bool = True
    has_fixed_crop: bool = False
    workers: int = 1


@dataclass(frozen=True)
class _Loaded:
    """The parts of a data set that are loaded; the others are None."""

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
    DataError as `validate_samples`, `check_crops` and `group_near_duplicates` do and for a full
    disk, ConfigurationError for a box outside of an image.
    """
    loader = _Loader(found, config, check_size)
    loaded = loader.load_stored()
    if not loaded.is_complete:
        with hold_lock(facts_path(config.cache_folder / "index", found.root)):
            if loaded.index is not None:  # its files are verified
                loader = replace(loader, config=replace(config, verify="fast"))
            loaded = loader.load_stored()  # another process may have read the images meanwhile
            while not loaded.is_complete:
                loaded = loader.read_images(loaded)
    index, cache = loaded.index, loaded.cache
    assert index is not None
    assert cache is not None
    assert loaded.groups is not None
    warnings = check_crops(index, cache, roi=config.roi, is_fixed=config.has_fixed_crop)
    index = replace(index, warnings=(*index.warnings, *warnings))
    return group_near_duplicates(index, loaded.groups, mode=config.near_duplicates), cache


@dataclass(frozen=True)
class _Loader:
    """Loads the parts of one data set: those that are stored, the others from the images."""

    found: FoundSamples
    config: DatasetConfig
    check_size: Callable[[tuple[int, int]], None] | None

    def load_stored(self) -> _Loaded:
        """The parts that earlier runs have stored.

        Changed files are read. Nothing is read if most files are new: `read_images` reads them all.
        """
        facts = load_facts(facts_path(self.config.cache_folder / "index", self.found.root))
        num_known = sum(sample.path in facts for sample in self.found.samples)
        if 2 * num_known < len(self.found.samples):
            groups: list[Group] | None = [] if self.config.near_duplicates == "off" else None
            return _Loaded(image_size=self.config.image_size, groups=groups)
        index = self._validate((), facts)
        del facts  # frees them
        image_size = self.config.image_size or find_native_size(
            index,
            folder=self.config.cache_folder / "native",
            roi=self.config.roi,
            margin=self.config.margin,
        )
        return _Loaded(
            index, image_size, self._find_cache(index, image_size), self._find_groups(index)
        )

    def read_images(self, loaded: _Loaded) -> _Loaded:
        """Read all images once, and make the parts that are missing.

        The cache needs the size of the crops: where that is measured, the cache takes another pass.
        """
        keep_freed_memory()
        depth = self._depth(loaded.index)
        config, count = self.config, len(self.found.samples)
        image_size, cache, groups = loaded.image_size, loaded.cache, loaded.groups
        with ExitStack() as stack:
            writer = thumbnails = measure = None
            if groups is None:
                folder = config.cache_folder / "duplicates"
                thumbnails = stack.enter_context(ThumbnailWriter(folder, count))
            if image_size is None:
                measure = NativeSizeMeasure(count, roi=config.roi, margin=config.margin)
            elif cache is None:
                writer = stack.enter_context(
                    CacheWriter(
                        config.cache_folder / "decoded",
                        facts_path(Path(), self.found.root).name,
                        config=self._preprocess_config(image_size),
                        count=count,
                    )
                )
            consumers = [each for each in (writer, thumbnails, measure) if each]
            index = self._validate(consumers, bit_depth=depth)
            if index.bit_depth not in (None, depth):  # read once more, by the depth of all images
                return replace(loaded, index=index)
            paths = {sample.path for sample in index.samples}
            rows = [row for row, sample in enumerate(self.found.samples) if sample.path in paths]
            if groups is None:
                groups = self._find_groups(index)
            if writer:
                writer.finish(index, rows)
                cache = self._find_cache(index, image_size)
            if measure:
                image_size = measure.finish(index, rows, folder=config.cache_folder / "native")
                cache = self._find_cache(index, image_size)
            if thumbnails and groups is None:
                with progress_bar("Comparing images") as show:
                    groups = thumbnails.finish(index, rows, workers=config.workers, progress=show)
        return _Loaded(index, image_size, cache, groups)

    def _depth(self, index: DataIndex | None) -> int:
        """The depth of values in 16-bit files: the known one, or that of a few images."""
        if self.config.bit_depth != "auto":
            return self.config.bit_depth
        if index is not None:
            return index.bit_depth or 16
        samples = self.found.samples
        few = samples[:: -(-len(samples) // _FEW)]
        values = [
            value
            for sample in few
            if (value := _largest_deep_value(self.found.root / sample.path, self.config))
        ]
        return smallest_depth(max(values)) if values else 16

    def _validate(
        self,
        consumers: Sequence[Consumer],
        facts: dict[str, FileFacts] | None = None,
        *,
        bit_depth: int = 16,
    ) -> DataIndex:
        """The index, read by a depth of 16-bit files if the settings do not give it."""
        given = self.config.bit_depth
        with progress_bar("Reading images") as show:
            return validate_samples(
                self.found,
                on_bad_file=self.config.on_bad_file,
                index_folder=self.config.cache_folder / "index",
                workers=self.config.workers,
                verify=self.config.verify,
                decode=self._decode_config(bit_depth if given == "auto" else given),
                finds_depth=given == "auto",
                consumers=consumers,
                facts=facts,
                progress=show,
            )

    def _decode_config(self, bit_depth: int) -> DecodeConfig:
        return DecodeConfig(self.config.max_pixels, bit_depth, self.config.exif_orientation)

    def _find_groups(self, index: DataIndex) -> list[Group] | None:
        if self.config.near_duplicates == "off":
            return []
        return find_groups(index, folder=self.config.cache_folder / "duplicates")

    def _find_cache(
        self, index: DataIndex, image_size: tuple[int, int] | None
    ) -> ImageCache | None:
        if image_size is None:
            return None
        cache = find_cache(
            index,
            folder=self.config.cache_folder / "decoded",
            config=self._preprocess_config(image_size),
            decode=partial(self._decode, index),
        )
        if cache is not None and self.config.verify == "full":
            cache.rows.check_all(workers=self.config.workers)
        return cache

    def _decode(self, index: DataIndex, row: int) -> DecodedSample:
        """Pixels of a row of the index. Raises BadFileError where the files are not as before."""
        path, found = index.samples[row].path, self.found
        decoded = _Decoded()
        reader = SampleReader(
            root=found.root,
            code=compile_rules(found.mask_rules, found.classes, found.root),
            facts={},
            trust=False,
            decode=self._decode_config(self._depth(index)),
            consumers=[decoded],
        )
        sample = reader.read(row, next(each for each in found.samples if each.path == path))
        if isinstance(sample, SkippedFile):
            raise BadFileError(found.root / path, sample.reason)
        known = index.samples[row]
        if (sample.sha256, sample.mask_sha256) != (known.sha256, known.mask_sha256):
            raise BadFileError(found.root / path, "the file or its mask has changed")
        return decoded[0]

    def _preprocess_config(self, image_size: tuple[int, int]) -> PreprocessConfig:
        """The settings that decide the pixels of the cache, for a size that is checked."""
        if self.check_size is not None:
            self.check_size(image_size)
        config = self.config
        roi = config.roi if isinstance(config.roi, str) else tuple(map(float, config.roi))
        margin = float(config.margin) if roi == "auto" else 0.0
        return PreprocessConfig(roi, margin, image_size, config.enlarge)


class _Decoded(list[DecodedSample]):
    """Keeps what a reader hands to it."""

    def add(self, decoded: DecodedSample) -> None:
        self.append(decoded)


def _largest_deep_value(path: Path, config: DatasetConfig) -> int | None:
    """The largest value of a 16-bit file; None for others, also for one that cannot be read."""
    decode = DecodeConfig(config.max_pixels)
    try:
        return read_image(path, decode).max_value if has_16_bits(path, decode) else None
    except BadFileError:
        return None
