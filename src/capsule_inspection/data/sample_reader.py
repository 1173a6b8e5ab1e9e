"""One pass over the files of a data set: each one is read, hashed and decoded at most once.

A found sample becomes a sample of the index, or a skipped file with the reason. Consumers turn the
decoded pixels into a row of the image cache or a thumbnail.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_io import decode_image, decode_mask, read_content
from capsule_inspection.data.layouts.samples import FoundSample
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.mask_values import MaskValuesError
from capsule_inspection.types import GOOD_LABEL, Sample, SkippedFile

_GROUP_LENGTH = 16
_SHOWN = 12


class DecodedSample(NamedTuple):
    """Pixels of a sample; `row` is the position among the found samples.

    Shapes: image (H, W, 3) uint8; foreground (H, W) uint8, None where no part is found; mask
    (H, W) uint8 of class indices, None where the sample has none.
    """

    row: int
    image: np.ndarray
    foreground: np.ndarray | None
    mask: np.ndarray | None


class Consumer(Protocol):
    """Receives each decoded sample, from several threads."""

    def add(self, decoded: DecodedSample) -> None: ...


@dataclass
class SampleReader:
    """Reads the samples of one root.

    `facts` are those of an earlier run; reading updates them and sets `has_changed`. With `trust` a
    file of unchanged size and time of change has unchanged content; otherwise its hash decides.
    Without `consumers` only files whose facts are missing are read.
    """

    root: Path
    labels: Mapping[str, int]
    facts: dict[str, FileFacts]
    trust: bool
    max_pixels: int
    consumers: Sequence[Consumer] = ()
    has_changed: bool = False

    def read_all(self, found: Sequence[tuple[int, FoundSample]]) -> list[Sample | SkippedFile]:
        """Read several samples, each with its row."""
        return [self.read(row, sample) for row, sample in found]

    def read(self, row: int, found: FoundSample) -> Sample | SkippedFile:
        """Validate an image and its mask, and hand their pixels to the consumers."""
        label = self.labels[found.class_name]
        try:
            image, pixels = self._read_image(found.path)
        except BadFileError as error:
            return SkippedFile(found.path, error.reason)
        mask, mask_pixels = None, None
        if found.mask is not None and self._needs_mask(found.mask, label):
            try:
                mask, mask_pixels = self._read_mask(found.mask, label=label)
                _check_size(self.root / found.mask, mask=mask, image=image)
            except BadFileError as error:
                reason = f"mask {found.mask}: {error.reason}{self._class_hint(error)}"
                return SkippedFile(found.path, reason)
            if contradiction := self._contradiction(found, label=label, mask=mask):
                return SkippedFile(found.path, contradiction)
        if label == GOOD_LABEL:
            mask, mask_pixels = None, None
        if pixels is not None and self.consumers:
            self._consume(row, pixels, mask_pixels)
        return _sample(found, label=label, image=image, mask=mask)

    def _consume(self, row: int, image: np.ndarray, mask: np.ndarray | None) -> None:
        # Here, so that a warm start does not import OpenCV.
        from capsule_inspection.data.roi import find_foreground

        decoded = DecodedSample(row, image, find_foreground(image), mask)
        for consumer in self.consumers:
            consumer.add(decoded)

    def _needs_mask(self, name: str, label: int) -> bool:
        """Good images need no mask file."""
        return label != GOOD_LABEL or (self.root / name).exists()

    def _read_image(self, name: str) -> tuple[FileFacts, np.ndarray | None]:
        """Facts of an image, and its pixels where they were decoded."""

        def decode(content: bytes, path: Path) -> tuple[FileFacts, np.ndarray]:
            pixels = decode_image(content, path, max_pixels=self.max_pixels)
            return FileFacts(0, 0, "", pixels.shape[1], pixels.shape[0]), pixels

        return self._read_file(name, decode, is_mask=False)

    def _read_mask(self, name: str, *, label: int) -> tuple[FileFacts, np.ndarray | None]:
        """Facts of a mask, and the class index of each pixel where it was decoded."""

        def decode(content: bytes, path: Path) -> tuple[FileFacts, np.ndarray]:
            mask = decode_mask(
                content, path, num_classes=len(self.labels), max_pixels=self.max_pixels
            )
            present = np.unique(mask.pixels).tolist()
            facts = FileFacts(
                *(0, 0, "", mask.pixels.shape[1], mask.pixels.shape[0]),
                is_empty=not any(present),
                classes=tuple(filter(None, present)) if mask.has_classes else (),
                num_classes=len(self.labels) if mask.is_ambiguous else 0,
            )
            return facts, mask.with_label(label)

        return self._read_file(name, decode, is_mask=True)

    def _read_file(
        self,
        name: str,
        decode: Callable[[bytes, Path], tuple[FileFacts, np.ndarray]],
        *,
        is_mask: bool,
    ) -> tuple[FileFacts, np.ndarray | None]:
        """Known facts, or those of the file as it is now. Raises BadFileError for a bad file."""
        path = self.root / name
        status = _status(path)
        known = self._known_facts(name, is_mask=is_mask)
        is_trusted = self.trust and known is not None and _is_unchanged(known, status)
        if known is not None and is_trusted and not self.consumers:
            return known, None
        content = read_content(path)
        if known is not None and is_trusted:
            return known, decode(content, path)[1]
        sha256 = hashlib.sha256(content).hexdigest()
        pixels = None
        if known is None or known.sha256 != sha256 or self.consumers:
            known, pixels = decode(content, path)
        facts = known._replace(
            size_bytes=status.st_size, modified_ns=status.st_mtime_ns, sha256=sha256
        )
        if self.facts.get(name) != facts:
            self.facts[name] = facts
            self.has_changed = True
        return facts, pixels

    def _known_facts(self, name: str, *, is_mask: bool) -> FileFacts | None:
        """Facts of an earlier run that hold for these settings, if the file is unchanged."""
        facts = self.facts.get(name)
        if facts is None or (facts.is_empty is not None) != is_mask:
            return None
        is_allowed = facts.width * facts.height <= self.max_pixels
        return facts if is_allowed and facts.num_classes in (0, len(self.labels)) else None

    def _contradiction(self, found: FoundSample, *, label: int, mask: FileFacts) -> str | None:
        """How a mask contradicts the class of its image, None where it does not."""
        if label == GOOD_LABEL:
            return None if mask.is_empty else f"is a good image, but {found.mask} marks a defect"
        start = f"shows {found.class_name}, but its mask {found.mask}"
        if mask.is_empty:
            return f"{start} is empty"
        if mask.classes and label not in mask.classes:
            return f"{start} marks {self._named(mask.classes)} only, not {self._named([label])}"
        return None

    def _class_hint(self, error: BadFileError) -> str:
        """The class indices, for a mask that may have been meant to hold them."""
        defects = sorted(set(self.labels.values()) - {GOOD_LABEL})
        if not defects or not isinstance(error, MaskValuesError):
            return ""
        return f" ({GOOD_LABEL} background, {self._named(defects)})"

    def _named(self, labels: Sequence[int]) -> str:
        """Class indices with the names of the classes, as in `1 crack, 2 poke`."""
        names = {label: name for name, label in self.labels.items()}
        return list_first([f"{label} {names[label]}" for label in labels], _SHOWN)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise BadFileError(path, "there is no such file") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error


def _is_unchanged(facts: FileFacts, status: os.stat_result) -> bool:
    return (facts.size_bytes, facts.modified_ns) == (status.st_size, status.st_mtime_ns)


def _check_size(path: Path, *, mask: FileFacts, image: FileFacts) -> None:
    if (mask.width, mask.height) != (image.width, image.height):
        raise BadFileError(
            path,
            f"mask is {mask.width}x{mask.height}, its image is {image.width}x{image.height} "
            "pixels. Export masks at the image's size.",
        )


def _sample(found: FoundSample, *, label: int, image: FileFacts, mask: FileFacts | None) -> Sample:
    return Sample(
        path=found.path,
        label=label,
        mask=found.mask if mask else None,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        modified_ns=image.modified_ns,
        group=found.group or image.sha256[:_GROUP_LENGTH],
        split=found.split,
        mask_sha256=mask.sha256 if mask else None,
    )
