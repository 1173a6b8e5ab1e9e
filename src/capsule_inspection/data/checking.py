"""One entry of a listing to a record of the index, or to the reason why it cannot be one.

Files that are remembered unchanged are not opened. index.py calls this from several threads and
compares the records with each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.index_store import FileFacts
from capsule_inspection.data.layouts import Entry
from capsule_inspection.data.mask_values import MaskValuesError
from capsule_inspection.data.reading import (
    Header,
    check_mask_size,
    inspect_image,
    inspect_mask,
)
from capsule_inspection.types import GOOD_LABEL, ImageRecord

_GROUP_LENGTH = 16
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one entry: a record, or the reason why there is none."""

    name: str
    record: ImageRecord | None
    reason: str = ""


@dataclass
class Checker:
    """Checks entries of one root.

    `facts` are those of an earlier run, believed where `trust` says so, and brought up to date;
    `changed` tells whether they had to be.
    """

    root: Path
    labels: Mapping[str, int]
    facts: dict[str, FileFacts]
    trust: bool
    max_pixels: int
    changed: bool = False

    def check_all(self, entries: Sequence[Entry]) -> list[Checked]:
        """Check several entries, in order."""
        return [self.check(entry) for entry in entries]

    def check(self, entry: Entry) -> Checked:
        """Check an image and its mask; raises nothing for bad files."""
        name = entry.path
        try:
            image = self._sound(name, is_mask=False)
        except BadFileError as error:
            return Checked(name, None, error.reason)
        label = self.labels[entry.class_name]
        try:
            mask, reason = self._check_mask(entry, label=label, image=image)
        except BadFileError as error:
            mask, reason = None, f"mask {entry.mask}: {error.reason}{self._hint(error)}"
        if reason:
            return Checked(name, None, reason)
        mask_sha256 = None if mask is None else self.facts[mask].sha256
        record = _record(entry, label=label, mask=mask, mask_sha256=mask_sha256, image=image)
        return Checked(name, record)

    def _check_mask(
        self, entry: Entry, *, label: int, image: FileFacts
    ) -> tuple[str | None, str | None]:
        """Name of a defect's mask and what is wrong with it; good images need none."""
        name = entry.mask
        if name is None or (label == GOOD_LABEL and not (self.root / name).exists()):
            return None, None
        facts = self._sound(name, is_mask=True)
        check_mask_size(
            self.root / name,
            mask=Header(facts.width, facts.height),
            image=Header(image.width, image.height),
        )
        if label == GOOD_LABEL:
            return None, None if facts.empty else f"is a good image, but {name} marks a defect"
        return name, self._contradiction(entry, label=label, mask=facts)

    def _contradiction(self, entry: Entry, *, label: int, mask: FileFacts) -> str | None:
        """How a mask contradicts the class of its image, None where it does not."""
        found = f"shows {entry.class_name}, but its mask {entry.mask}"
        if mask.empty:
            return f"{found} is empty"
        if mask.classes and label not in mask.classes:
            return (
                f"{found} marks {self._numbered(mask.classes)} only, not {self._numbered([label])}"
            )
        return None

    def _hint(self, error: BadFileError) -> str:
        """The numbers of the classes, for a mask that may have been meant to hold them."""
        defects = sorted(set(self.labels.values()) - {GOOD_LABEL})
        if not defects or not isinstance(error, MaskValuesError):
            return ""
        return f" ({GOOD_LABEL} background, {self._numbered(defects)})"

    def _numbered(self, labels: Sequence[int]) -> str:
        """Classes with their numbers, as in `1 crack, 2 poke`."""
        names = {label: name for name, label in self.labels.items()}
        more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        return ", ".join(f"{label} {names[label]}" for label in labels[:_SHOWN]) + more

    def _sound(self, name: str, *, is_mask: bool) -> FileFacts:
        """Facts of a file, remembered or read; raises BadFileError where it is bad."""
        path = self.root / name
        status = _status(path)
        facts = self.facts.get(name) if self.trust else None
        if facts is None or not self._still_holds(facts, status, is_mask=is_mask):
            facts = self._read(path, status, is_mask=is_mask)
            self.facts[name] = facts
            self.changed = True
        return facts

    def _still_holds(self, facts: FileFacts, status: os.stat_result, *, is_mask: bool) -> bool:
        return (
            (facts.size_bytes, facts.modified_ns) == (status.st_size, status.st_mtime_ns)
            and (facts.empty is not None) == is_mask
            and facts.width * facts.height <= self.max_pixels
            and facts.num_classes in (0, len(self.labels))
        )

    def _read(self, path: Path, status: os.stat_result, *, is_mask: bool) -> FileFacts:
        size_bytes, modified_ns = status.st_size, status.st_mtime_ns
        if not is_mask:
            image = inspect_image(path, max_pixels=self.max_pixels)
            return FileFacts(size_bytes, modified_ns, image.sha256, *image.header)
        mask = inspect_mask(path, max_pixels=self.max_pixels, num_classes=len(self.labels))
        return FileFacts(
            size_bytes,
            modified_ns,
            mask.sha256,
            *mask.header,
            empty=mask.empty,
            classes=mask.classes,
            num_classes=mask.num_classes,
        )


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise BadFileError(path, "there is no such file") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error


def _record(
    entry: Entry, *, label: int, mask: str | None, mask_sha256: str | None, image: FileFacts
) -> ImageRecord:
    return ImageRecord(
        path=entry.path,
        label=label,
        mask=mask,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        modified_ns=image.modified_ns,
        group=entry.group or image.sha256[:_GROUP_LENGTH],
        split=entry.split,
        mask_sha256=mask_sha256,
    )
