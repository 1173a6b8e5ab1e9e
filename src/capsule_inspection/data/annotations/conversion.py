"""The annotations of a data set to labels, classes and masks on the disk.

Each image gets the class of its largest defect, and a mask with the numbers of the classes and 255
for ignored pixels. All faults are found before any is reported.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from capsule_inspection.data.annotations.images import Header, read_header
from capsule_inspection.data.annotations.painting import Painted, Palette, paint
from capsule_inspection.data.annotations.raster import check_place
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.image_io import DecodeConfig
from capsule_inspection.data.layouts.classes import map_names
from capsule_inspection.data.layouts.names import (
    GOOD,
    check_class_names,
    find_good_class,
    is_good_name,
)
from capsule_inspection.data.layouts.samples import FoundSample, LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.types import IGNORE_INDEX, DataError

_SHOWN = 5
_OTHER_SIZE_HINT = "Put the annotated images in place, or export the annotations again."
_SWAPPED_HINT = (
    "The sizes differ as the EXIF orientation of the file turns it: if the shapes were drawn on "
    "the image as it is stored, set data.exif_orientation=false, else true."
)
_NOTES = {
    "has_empty": "Images with defects without an area, which no mask shows",
    "has_overlap": "Images with overlapping shapes of several classes, the later ones on top",
    "is_weak": "Masks of boxes and lines, which reach beyond the defects (data.boxes_as_masks)",
}
_SEVERAL = "Images with defects of several classes, each in the class of the largest area"
_CLIPPED = "Shapes that reach beyond their image and are cut off at its edge"
_MAYBE_TURNED = (
    "Images that are turned by their EXIF orientation, where the annotations do not show whether "
    "they were drawn on the turned image, as is assumed (else set data.exif_orientation=false)"
)
_DROPPED = "Images with dropped classes only, which are left out (data.class_map)"
_SKIPPED = "Images without annotation, which are left out (data.unannotated=skip)"
_ALL_BARE = "Images without annotations are all that there are"


@dataclass(frozen=True)
class Converted:
    """What a data set has become; masks are below `folder`, as the samples' names say."""

    layout: str
    classes: tuple[str, ...]
    values: dict[int, str]
    samples: tuple[FoundSample, ...]
    warnings: tuple[str, ...]
    files: tuple[str, ...]
    has_ignored: bool


class _Placed(NamedTuple):
    """An image with its header, and its width and height as used; both None if it is unusable."""

    image: AnnotatedImage
    size: tuple[int, int] | None


def convert(
    tree: FileTree, annotations: Annotations, settings: LayoutSettings, folder: Path
) -> Converted:
    """Write the masks of a data set below `folder`, by `settings`.

    Raises DataError for annotations that do not fit their images, and for classes that do not fit
    the settings.
    """
    _refuse_unusable(tree, annotations)
    annotations.faults.raise_if_any(tree.root)
    images, counts = _without_unannotated(tree, annotations, settings)
    placed = _place(tree, annotations, images, settings)
    annotations.faults.raise_if_any(tree.root)
    palette = _palette(tree.root, images, settings)
    kept = []
    for each in placed:
        if _is_kept(each.image, palette):
            kept.append(each)
        else:
            annotations.notes.add(_DROPPED, each.image.path)
            annotations.files.add(tree.root / each.image.path)
    if not kept:
        raise DataError(
            f"{tree.root}: data.class_map drops the classes of all {len(placed)} images, so none "
            "is left. Keep one of them."
        )
    names = _mask_names([each.image.path for each in kept])
    samples, has_ignored = [], False
    work = partial(_paint_and_write, palette=palette, folder=folder)
    jobs = [(each, f"masks/{names[each.image.path]}") for each in kept]
    with progress_bar("Drawing masks of annotations") as show:
        for done, (job, painted) in enumerate(
            zip(jobs, in_order(work, jobs, workers=settings.workers), strict=True), 1
        ):
            image = job[0].image
            with annotations.faults.collect():
                class_name = _label(image, painted, palette, annotations)
                mask = job[1] if painted.mask is not None else None
                samples.append(FoundSample(image.path, class_name, mask, image.split))
            has_ignored |= painted.mask is not None and bool((painted.mask == IGNORE_INDEX).any())
            show(done, len(jobs))
    annotations.faults.raise_if_any(tree.root)
    used = {name for each in kept for shape in each.image.shapes
            if (name := palette.class_of(shape)) is not None} - {palette.good_class}  # fmt: skip
    without = sum(
        sample.mask is None and sample.class_name != palette.good_class for sample in samples
    )
    if without:
        counts.append(f"{without} of a defect without a mask, by boxes, lines or tags only")
    details = "; ".join([each for each in (annotations.source, *counts) if each])
    return Converted(
        layout=f"{annotations.format} ({details})" if details else annotations.format,
        classes=(palette.good_class, *(name for name in palette.values if name in used)),
        values={value: name for name, value in palette.values.items() if name in used},
        samples=tuple(samples),
        warnings=annotations.notes.sentences(),
        files=tuple(sorted(str(path) for path in annotations.files)),
        has_ignored=has_ignored,
    )


def _refuse_unusable(tree: FileTree, annotations: Annotations) -> None:
    """Add the faults of images that appear twice; raise DataError where none of them is there."""
    annotations.images.sort(key=lambda image: image.path)
    for image, other in zip(annotations.images, annotations.images[1:], strict=False):
        if image.path == other.path:
            annotations.faults.lines.append(
                f"{image.path}: expected one annotation of each image, found {image.where} and "
                f"{other.where}. Take out one of them."
            )
    if annotations.images and not annotations.faults.lines:
        files = set(tree.files)
        if not any(image.path in files for image in annotations.images):
            missing = [image.path for image in annotations.images]
            raise DataError(
                f"{tree.root}: none of the {len(missing)} images of the annotations is there: "
                f"{list_first(missing, _SHOWN)}. Set data.root to the folder that holds images and "
                "annotations, or data.annotations where these lie elsewhere."
            )
    if not annotations.images:
        annotations.faults.raise_if_any(tree.root)
        raise DataError(f"{tree.root}: the annotations ({annotations.format}) have no images.")


def _without_unannotated(
    tree: FileTree, annotations: Annotations, settings: LayoutSettings
) -> tuple[list[AnnotatedImage], list[str]]:
    """The images to use, and in words what those without annotations are taken for, if any."""
    bare = [image for image in annotations.images if not image.shapes and not image.is_labelled]
    if bare and settings.unannotated == "error":
        raise DataError(
            f"{tree.root}: {len(bare)} of {len(annotations.images)} images have no annotation: "
            f"{list_first([image.path for image in bare], _SHOWN)}. If they are good, set "
            "data.unannotated=good; to leave them out, data.unannotated=skip."
        )
    if settings.unannotated == "skip":
        for image in bare:
            annotations.notes.add(_SKIPPED, image.path)
            annotations.files.add(tree.root / image.path)
        unused = {image.path for image in bare}
        return [image for image in annotations.images if image.path not in unused], []
    empty = [image for image in annotations.images if not image.shapes]
    if len(empty) == len(annotations.images):
        for image in empty:
            annotations.notes.add(_ALL_BARE, image.path)
    noun = "image" if len(empty) == 1 else "images"
    counts = [f"{len(empty)} {noun} without annotations taken as good"] if empty else []
    return annotations.images, counts


def _place(
    tree: FileTree,
    annotations: Annotations,
    images: Sequence[AnnotatedImage],
    settings: LayoutSettings,
) -> list[_Placed]:
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
            with annotations.faults.collect():
                size = _size(image, header, annotations, turn=settings.exif_orientation)
                if size is not None and size[0] * size[1] > settings.max_pixels:
                    size = None  # refused when it is decoded
                if size is not None:
                    width, height = size
                    for shape in image.shapes:
                        if check_place(shape, height, width, image.where):
                            annotations.notes.add(_CLIPPED, image.where)
                placed.append(_Placed(image, size))
    return placed


def _size(
    image: AnnotatedImage, header: Header | None, annotations: Annotations, *, turn: bool
) -> tuple[int, int] | None:
    """Width and height of the image as it is used, None for a file that cannot be read."""
    if header is None:
        return None
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
        annotations.notes.add(_MAYBE_TURNED, image.path)
    return size


def _show(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))


def _palette(root: Path, images: Iterable[AnnotatedImage], settings: LayoutSettings) -> Palette:
    """The classes of the data set, and their numbers in the masks."""
    found = {shape.class_name for image in images for shape in image.shapes} - {""}
    names = map_names(found, settings.class_map, where=root)
    classes = {name for name in names.values() if name is not None}
    check_class_names(classes, root)
    drawn = {shape.class_name for image in images for shape in image.shapes if _is_area(shape)}
    # Nobody draws the outlines of what is good: these classes are defects.
    needs_none = found <= drawn or any(not image.shapes for image in images)
    good_class = _good_class(classes, settings.good_class, root, needs_none=needs_none)
    defects = sorted(classes - {good_class})
    if all(name.isdecimal() for name in defects):
        defects.sort(key=int)
    if len(defects) >= IGNORE_INDEX:
        raise DataError(
            f"{root}: {len(defects)} classes of defects are more than the {IGNORE_INDEX - 1} that "
            "masks can hold. Join some with data.class_map."
        )
    values = {name: number for number, name in enumerate(defects, 1)}
    return Palette(names, good_class, values, settings.boxes_as_masks)


def _is_area(shape: Shape) -> bool:
    return shape.has_place and not shape.is_weak


def _good_class(classes: set[str], wanted: str | None, root: Path, *, needs_none: bool) -> str:
    """The class of images without a defect, which `needs_none` of the classes to stand for it."""
    usual = [name for name in classes if is_good_name(name)]
    if needs_none and not usual and (wanted is None or wanted not in classes):
        return wanted or GOOD
    if not usual and wanted is None:
        raise DataError(
            f"{root}: which images are good is not clear: all have annotations, of the classes "
            f"{join_names(sorted(classes))}. Set data.good_class to the one that means flawless, "
            "or add images of flawless parts, which need no annotations."
        )
    return find_good_class(classes, wanted, root)


def _is_kept(image: AnnotatedImage, palette: Palette) -> bool:
    """Whether anything is known of an image besides dropped classes."""
    return not image.shapes or any(
        not shape.class_name or palette.class_of(shape) is not None for shape in image.shapes
    )


def _mask_names(paths: Sequence[str]) -> dict[str, str]:
    """A mask's name for each image: its own as .png, with its suffix where two would be equal."""
    plain = Counter(str(PurePosixPath(path).with_suffix(".png")).casefold() for path in paths)
    names = {}
    for path in paths:
        name = str(PurePosixPath(path).with_suffix(".png"))
        names[path] = name if plain[name.casefold()] == 1 else f"{path}.png"
    return names


def _paint_and_write(job: tuple[_Placed, str], *, palette: Palette, folder: Path) -> Painted:
    """Paint one image, and write its mask if it has one."""
    (image, size), name = job
    if size is None:  # its class alone counts: the file itself is reported when it is read
        defects = [palette.class_of(shape) for shape in image.shapes]
        return Painted(None, {name: 0 for name in defects if name and name != palette.good_class})
    painted = paint(image.shapes, palette, height=size[1], width=size[0])
    if painted.mask is not None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(painted.mask).save(path, compress_level=1)
    return painted


def _label(
    image: AnnotatedImage, painted: Painted, palette: Palette, annotations: Annotations
) -> str:
    """The class of an image; counts what is unusual. Raises DataError where it is not clear."""
    if not painted.areas:
        return palette.good_class
    tags = [palette.class_of(shape) for shape in image.shapes if not shape.has_place]
    if palette.good_class in tags:
        raise DataError(
            f"{image.where}: the image is labelled {palette.good_class}, but shows "
            f"{join_names(painted.areas)}. Correct one of them."
        )
    first, *others = painted.areas.items()
    if others and first[1] == others[0][1] == 0 and painted.mask is None:
        raise DataError(
            f"{image.where}: the image has the classes {join_names(painted.areas)}, none of which "
            "has an area, so that its class is not clear. Leave it one class."
        )
    if others:
        annotations.notes.add(_SEVERAL, image.path)
    for name, sentence in _NOTES.items():
        if getattr(painted, name):
            annotations.notes.add(sentence, image.path)
    return first[0]
