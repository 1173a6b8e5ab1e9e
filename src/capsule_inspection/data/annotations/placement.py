"""The size of each annotated image, and whether its annotations fit that size."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from capsule_inspection.data.annotations.raster import check_place
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_io import DecodeConfig, read_image
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.parallel import in_order
from capsule_inspection.types import DataError

_ORIENTATION = 0x0112
_EXIF_OF_PNG = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_SWAPPED = (5, 6, 7, 8)
_OTHER_SIZE_HINT = "Put the annotated images in place, or export the annotations again."
_SWAPPED_HINT = (
    "The sizes differ as the EXIF orientation of the file turns it: if the shapes were drawn on "
    "the image as it is stored, set data.exif_orientation=false, else true."
)
_CLIPPED = "Shapes that reach beyond their image and are cut off at its edge"
_MAYBE_TURNED = (
    "Images that are turned by their EXIF orientation, where the annotations do not show whether "
    "they were drawn on the turned image, as is assumed (else set data.exif_orientation=false)"
)
Size = tuple[int, int]


class Placed(NamedTuple):
    """An image and its width and height as it is used, None where it cannot be read."""

    image: AnnotatedImage
    size: Size | None


def place(
    tree: FileTree,
    annotations: Annotations,
    images: Sequence[AnnotatedImage],
    settings: LayoutSettings,
) -> list[Placed]:
    """The images with their sizes; adds the faults of annotations that do not fit them."""
    config = DecodeConfig(
        max_pixels=settings.max_pixels, exif_orientation=settings.exif_orientation
    )
    paths = (tree.root / image.path for image in images)
    placed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        headers = in_order(partial(read_header, config=config), paths, workers=settings.workers)
        for image, header in zip(images, headers, strict=True):
            with annotations.collect():
                turn = settings.exif_orientation
                size = _size(image, header, annotations, turn) if header else None
                if size and size[0] * size[1] > settings.max_pixels:
                    size = None  # refused when it is decoded
                for shape in image.shapes:
                    if size and check_place(shape, size[1], size[0], image.where):
                        annotations.note(_CLIPPED, image.where)
                placed.append(Placed(image, size))
    return placed


class Header(NamedTuple):
    """Width and height of an image as stored, and its EXIF orientation (1: as stored)."""

    width: int
    height: int
    orientation: int = 1

    def size(self, *, turn: bool) -> Size:
        """Width and height as shown, or as stored without `turn`."""
        is_swapped = turn and self.orientation in _SWAPPED
        return (self.height, self.width) if is_swapped else (self.width, self.height)


def read_header(path: Path, config: DecodeConfig) -> Header | None:
    """The size of an image; None where it is missing or cannot be read, which is reported later."""
    try:
        with Image.open(path) as image:
            if image.format != "TIFF":  # of several pages, or turned by Pillow itself
                # Of a PNG without any of these, Pillow would decode all pixels to look for more.
                is_plain = image.format == "PNG" and not _EXIF_OF_PNG & set(image.info)
                orientation = 1 if is_plain else image.getexif().get(_ORIENTATION, 1)
                return Header(*image.size, orientation)
    except Exception:
        pass
    try:
        height, width = read_image(path, config).pixels.shape[:2]
    except BadFileError:
        return None
    return Header(width, height)


def _size(image: AnnotatedImage, header: Header, annotations: Annotations, turn: bool) -> Size:
    """Width and height of the image as it is used, which must be those of the annotation."""
    size, other = header.size(turn=turn), header.size(turn=not turn)
    if image.size not in (None, size):
        hint = _SWAPPED_HINT if image.size == other else _OTHER_SIZE_HINT
        raise DataError(
            f"{image.where}: annotated at {_show(image.size)}, but {image.path} is {_show(size)} "
            f"pixels. {hint}"
        )
    is_proven = image.size is not None and size != other
    has_place = any(shape.has_place for shape in image.shapes)
    if turn and header.orientation > 1 and not is_proven and has_place:
        annotations.note(_MAYBE_TURNED, image.path)
    return size


def _show(size: Size | None) -> str:
    return "x".join(map(str, size or ()))
