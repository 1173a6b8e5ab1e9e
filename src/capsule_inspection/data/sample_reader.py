"""One pass over the files of a data set: each one is read, hashed and decoded at most once.

A found sample becomes a sample of the index, or a skipped file with the reason. Consumers turn the
decoded pixels into a row of the image cache or a thumbnail.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.bit_depth import BitDepthError, check_depth, smallest_depth
from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_io import (
    DecodeConfig,
    decode_image,
    decode_mask,
    read_content,
)
from capsule_inspection.data.image_notes import EXIF_KEPT, EXIF_TURNED
from capsule_inspection.data.layouts.file_kinds import is_image
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSample
from capsule_inspection.data.masks.facts import (
    HAS_IGNORED,
    check_mask_of_image,
    contradiction,
    facts_of_mask,
    join_masks,
    joined_sha256,
    label_by_mask,
)
from capsule_inspection.data.masks.rules import MaskCode
from capsule_inspection.data.masks.values import MaskPixels
from capsule_inspection.types import DEFECT, GOOD_LABEL, Sample, SkippedFile

_GROUP_LENGTH = 16
_Pixels = TypeVar("_Pixels")


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
    file of unchanged size and times of change has unchanged content; otherwise its hash decides.
    With `finds_depth` the depth of `decode` is a guess, and values above it are no error. Without
    `consumers` only files whose facts are missing are read.
    """

    root: Path
    code: MaskCode
    facts: dict[str, FileFacts]
    trust: bool
    decode: DecodeConfig
    finds_depth: bool = False
    consumers: Sequence[Consumer] = ()
    has_changed: bool = False

    def read_all(self, found: Sequence[tuple[int, FoundSample]]) -> list[Sample | SkippedFile]:
        """Read several samples, each with its row."""
        return [self.read(row, sample) for row, sample in found]

    def read(self, row: int, found: FoundSample) -> Sample | SkippedFile:
        """Validate an image and its mask, and hand their pixels to the consumers."""
        # Without a class the mask decides: it shows a defect until it is read.
        label = self.code.classes.index(found.class_name or DEFECT)
        try:
            image, pixels = self._read_image(found.path)
        except BadFileError as error:
            return SkippedFile(found.path, error.reason)
        mask, mask_pixels = None, None
        if found.mask is not None and self._needs_mask(found.mask, label):
            try:
                mask, decoded = self._read_mask(found.mask, label=label)
                check_mask_of_image(self.root / found.mask, mask=mask, image=image)
                if not found.class_name:
                    label = label_by_mask(self.root / found.mask, mask, self.code)
            except BadFileError as error:
                return SkippedFile(found.path, f"mask {found.mask}: {error.reason}")
            if reason := contradiction(found.mask, mask, label=label, code=self.code):
                return SkippedFile(found.path, reason)
            mask_pixels = decoded and decoded.with_label(label)
        elif not found.class_name:
            return SkippedFile(found.path, "has no mask, which decides whether the part is good")
        if label == GOOD_LABEL and mask and HAS_IGNORED not in mask.notes:
            mask, mask_pixels = None, None
        if pixels is not None and self.consumers:
            self._consume(row, pixels, mask_pixels)
        return self._sample(found, label=label, image=image, mask=mask)

    def _consume(self, row: int, image: np.ndarray, mask: np.ndarray | None) -> None:
        # Here, so that a warm start does not import OpenCV.
        from capsule_inspection.data.roi import find_foreground

        decoded = DecodedSample(row, image, find_foreground(image), mask)
        for consumer in self.consumers:
            consumer.add(decoded)

    def _needs_mask(self, name: str, label: int) -> bool:
        """Good images need no mask file."""
        if label != GOOD_LABEL:
            return True
        return any((self.root / file).exists() for file in mask_files(self.root, name))

    def _read_image(self, name: str) -> tuple[FileFacts, np.ndarray | None]:
        """Facts of an image, and its pixels where they were decoded."""
        facts, pixels = self._read_file(name, self._decode_image, is_mask=False)
        if facts.bit_depth == 16 and not self.finds_depth:
            check_depth(self.root / name, facts.max_value, self.decode.bit_depth)
        return facts, pixels

    def _decode_image(self, content: bytes, path: Path) -> tuple[FileFacts, np.ndarray]:
        decode = self.decode
        try:
            image = decode_image(content, path, decode)
        except BitDepthError as error:
            if not self.finds_depth:
                raise
            # The images are read once more then, by the depth that holds all of them.
            decode = self.decode = replace(decode, bit_depth=smallest_depth(error.max_value))
            image = decode_image(content, path, decode)
        height, width = image.pixels.shape[:2]
        facts = FileFacts(
            *(0, 0, "", width, height),
            bit_depth=image.bit_depth,
            max_value=image.max_value,
            notes=image.notes,
        )
        return facts, image.pixels

    def _read_mask(self, name: str, *, label: int) -> tuple[FileFacts, MaskPixels | None]:
        """Facts of a mask, of one file or several, and its pixels where they were decoded."""
        files = mask_files(self.root, name)
        if not files:
            raise BadFileError(self.root / name, "the folder has no images")
        if files == [name]:
            return self._read_file(name, self._decode_mask, is_mask=True)
        read = [self._read_file(file, self._decode_mask, is_mask=True) for file in files]
        parts = [facts for facts, _ in read]
        sha256, settings = joined_sha256(parts), f"{self.code.settings}:{label}"
        known = self.facts.get(name)
        is_known = known is not None and (known.sha256, known.settings) == (sha256, settings)
        if known is not None and is_known and all(mask is None for _, mask in read):
            return known, None
        masks = [
            mask or self._decode_mask(read_content(self.root / file), self.root / file)[1]
            for file, (_, mask) in zip(files, read, strict=True)
        ]
        joined = join_masks(self.root / name, files, masks, label=label)
        facts = facts_of_mask(joined, settings=settings)
        facts = facts._replace(sha256=sha256)
        if self.facts.get(name) != facts:
            self.facts[name] = facts
            self.has_changed = True
        return facts, joined

    def _decode_mask(self, content: bytes, path: Path) -> tuple[FileFacts, MaskPixels]:
        mask = decode_mask(content, path, code=self.code, config=self.decode)
        return facts_of_mask(mask, settings=self.code.settings), mask

    def _read_file(
        self,
        name: str,
        decode: Callable[[bytes, Path], tuple[FileFacts, _Pixels]],
        *,
        is_mask: bool,
    ) -> tuple[FileFacts, _Pixels | None]:
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
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            changed_ns=status.st_ctime_ns,
            sha256=sha256,
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
        is_allowed = facts.width * facts.height <= self.decode.max_pixels
        other = EXIF_KEPT if self.decode.exif_orientation else EXIF_TURNED
        holds = other not in facts.notes and (not is_mask or facts.settings == self.code.settings)
        return facts if is_allowed and holds else None

    def _sample(
        self, found: FoundSample, *, label: int, image: FileFacts, mask: FileFacts | None
    ) -> Sample:
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
            mask_sha256=self._mask_sha256(mask) if mask else None,
        )

    def _mask_sha256(self, mask: FileFacts) -> str:
        """SHA-256 of the content of a mask and of the rules that give it its meaning."""
        if not self.code.key:
            return mask.sha256
        return hashlib.sha256(f"{mask.sha256},{self.code.key}".encode()).hexdigest()


def mask_files(root: Path, mask: str) -> list[str]:
    """Names of the files of a `FoundSample.mask`, relative to the root as it is itself.

    What exists under the whole name comes first: a file, or the images directly in a folder, in
    the order of their names. Else the name is split at MASK_SEPARATOR. Names of files that do not
    exist are kept, so that reading them reports the error.
    """
    try:
        is_folder = stat.S_ISDIR((root / mask).stat().st_mode)
    except (OSError, ValueError):
        parts = [part.strip() for part in mask.split(MASK_SEPARATOR)]
        return [part for part in parts if part]
    if not is_folder:
        return [mask]
    with os.scandir(root / mask) as entries:
        names = [f"{mask}/{entry.name}" for entry in entries if entry.is_file()]
    return sorted(name for name in names if "/." not in name[len(mask) :] and is_image(root, name))


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise BadFileError(path, "there is no such file") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error


def _is_unchanged(facts: FileFacts, status: os.stat_result) -> bool:
    # Unpacking an archive sets the time of the content back, but not that of the inode.
    known = (facts.size_bytes, facts.modified_ns, facts.changed_ns)
    return known == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
