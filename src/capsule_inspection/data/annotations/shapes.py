"""What all annotation formats have in common: images with shapes, each of a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from capsule_inspection.data.long_lists import list_lines
from capsule_inspection.types import DataError

Polygon = tuple[float, ...]
"""Corners as x0, y0, x1, y1, ..., from the top left corner of the image."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotation. Without `polygons` and `rle` it says that the class is there, but not where.

    The union of `polygons` counts; they are in pixels, or in fractions of the image's width and
    height where `is_relative`. `rle` is pycocotools' encoding of a mask of the whole image. A weak
    shape only contains the defect, as a box does. An ignored one counts neither as defect nor as
    background; its class may be "". Shapes of a higher `layer` lie on top; within one the later
    ones do.
    """

    class_name: str
    polygons: tuple[Polygon, ...] = ()
    rle: Mapping[str, object] | None = None
    is_weak: bool = False
    is_ignored: bool = False
    is_relative: bool = False
    layer: int = 0

    @classmethod
    def box(
        cls, class_name: str, corners: tuple[float, float, float, float], *,
        is_ignored: bool = False, is_relative: bool = False,
    ) -> Shape:  # fmt: skip
        """A weak shape from its left, top, right and bottom."""
        x0, y0, x1, y1 = corners
        outline = (x0, y0, x1, y0, x1, y1, x0, y1)
        return cls(class_name, (outline,), None, True, is_ignored, is_relative)

    @property
    def has_place(self) -> bool:
        return bool(self.polygons) or self.rle is not None


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image with its shapes, of which there may be none.

    `path` is relative to the root of the data set, where the image is or was expected. `where`
    names the annotation for messages. `size` is the width and height that the annotation gives.
    Without shapes an image is good if it `is_labelled`, else `data.unannotated` decides.
    """

    path: str
    where: str
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    split: str = ""
    is_labelled: bool = False


@dataclass
class Annotations:
    """Everything that was read of a data set, and what is wrong or unusual with it.

    `files` are the annotation files and label lists, `source` names them where they are few.
    `faults` are reported together; of each subject in `notes` the examples are counted.
    """

    format: str
    source: str = ""
    images: list[AnnotatedImage] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep the message of a DataError among the faults, and go on."""
        try:
            yield
        except DataError as error:
            self.faults.append(str(error))

    def raise_faults(self, root: Path) -> None:
        """Raise DataError with all faults, if there are any."""
        if not self.faults:
            return
        if len(self.faults) == 1:
            (line,) = self.faults
            remedy = " Mend it, or leave the file out with data.exclude."
            raise DataError(line if "data." in line else f"{line}{remedy}")
        raise DataError(
            f"{root}: the annotations have {len(self.faults)} faults:{list_lines(self.faults)}"
            "Mend them, or leave files out with data.exclude."
        )

    def note(self, subject: str, example: str) -> None:
        """Count one more of what is unusual but usable, such as "Shapes without an area"."""
        self.notes.setdefault(subject, []).append(example)

    def warnings(self) -> tuple[str, ...]:
        """A sentence for each subject of the notes."""
        return tuple(
            f"{subject}: {len(examples)}, such as {examples[0]}."
            for subject, examples in self.notes.items()
        )
