"""What all annotation formats have in common: images with shapes, each of a class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Faults:
    """Collects what is wrong with the annotations, so that all of it is reported at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep the message of a DataError and go on."""
        try:
            yield
        except DataError as error:
            self.lines.append(str(error))

    def raise_if_any(self, root: Path) -> None:
        if not self.lines:
            return
        if len(self.lines) == 1:
            raise DataError(self.lines[0])
        raise DataError(
            f"{root}: the annotations have {len(self.lines)} faults:{list_lines(self.lines)}"
            "Mend them, or leave files out with data.exclude."
        )


class Notes:
    """Counts what is unusual but usable; each kind becomes one sentence with an example."""

    def __init__(self) -> None:
        self._examples: dict[str, list[str]] = {}

    def add(self, subject: str, example: str) -> None:
        """Count one more of a subject, such as "Shapes without an area"."""
        self._examples.setdefault(subject, []).append(example)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"{subject}: {len(examples)}, such as {examples[0]}."
            for subject, examples in self._examples.items()
        )


@dataclass
class Annotations:
    """Everything that was read of a data set; `files` are the annotation files and label lists.

    `source` names the annotations where they are few files.
    """

    format: str
    source: str = ""
    images: list[AnnotatedImage] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    faults: Faults = field(default_factory=Faults)
    notes: Notes = field(default_factory=Notes)


def box_polygon(x0: float, y0: float, x1: float, y1: float) -> tuple[Polygon, ...]:
    """The outline of a box as the polygons of a shape."""
    return ((x0, y0, x1, y0, x1, y1, x0, y1),)


def flat(points: Iterable[Sequence[float]]) -> Polygon:
    """Points (x, y) as a polygon."""
    return tuple(value for x, y in points for value in (x, y))
