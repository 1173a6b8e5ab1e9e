"""The annotations of a data set to labels, classes and masks on the disk.

Each image gets the class of its largest defect, and a mask with the numbers of the classes and 255
for ignored pixels. All faults are found before any is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from capsule_inspection.data.annotations.images import base_of
from capsule_inspection.data.annotations.mask_drawing import (
    DrawnMask,
    Palette,
    build_palette,
    draw_mask,
)
from capsule_inspection.data.annotations.placement import Placed, place
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations
from capsule_inspection.data.layouts.names import fold
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
    relative_posix,
)
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.long_lists import list_first, numbered
from capsule_inspection.data.masks.rules import Colour, MaskRules
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.types import IGNORE_INDEX, DataError

_SHOWN = 5
_SEVERAL = "Images with defects of several classes, each in the class of the largest area"
_DROPPED = "Images with dropped classes only, which are left out (data.class_map)"
_SKIPPED = "Images without annotation, which are left out (data.unannotated=skip)"
_MAYBE_BOXES = (
    "Polygons that all have four corners, and may be boxes that only contain the defects (if they "
    "are, train a classifier, or export outlines)"
)
_MAYBE_BOXES_FROM = 30


def convert(
    tree: FileTree, annotations: Annotations, settings: LayoutSettings, folder: Path
) -> FoundSamples:
    """Write the masks of a data set below `folder`, to which those of the samples are relative.

    Raises DataError for annotations that do not fit their images, and for classes that do not fit
    the settings.
    """
    excluded = _excluded_names(tree)
    annotations.images = [
        image
        for image in annotations.images
        if image.path in tree.image_set or fold(base_of(image.path)) not in excluded
    ]
    _refuse_unusable(tree, annotations)
    images = _labelled(tree, annotations, settings)
    placed = place(tree, annotations, images, settings)
    annotations.raise_faults(tree.root)
    _note_maybe_boxes(annotations)
    palette = build_palette(tree.root, images, settings)
    kept = _kept(tree, annotations, placed, palette)
    samples = _draw(annotations, kept, palette, settings, folder)
    annotations.raise_faults(tree.root)
    used = palette.defects_of([shape for each in kept for shape in each.image.shapes])
    values: dict[int | Colour, str | None] = {
        value: name for name, value in palette.values.items() if name in used
    }
    return FoundSamples(
        root=tree.root,
        classes=(palette.good_class, *filter(used.__contains__, palette.values)),
        samples=tuple(samples),
        layout=_layout(annotations, samples, images, palette.good_class),
        mask_rules=MaskRules(ignore=IGNORE_INDEX, classes=values, from_annotations=True),
        other_files=frozenset(relative_posix(path, tree.root) for path in annotations.files),
        warnings=annotations.warnings(),
    )


def _excluded_names(tree: FileTree) -> set[str]:
    """The names of the files that `data.exclude` leaves out, also of those in folders."""
    places = [tree.root / name for name in tree.excluded]
    inside = (path for place in places if place.is_dir() for path in place.rglob("*"))
    return {fold(path.name) for path in (*places, *inside)}


def _refuse_unusable(tree: FileTree, annotations: Annotations) -> None:
    """Raise DataError for faults, for images that appear twice, and where none of them is there."""
    annotations.images.sort(key=lambda image: image.path)
    for image, other in zip(annotations.images, annotations.images[1:], strict=False):
        if image.path == other.path:
            annotations.faults.append(
                f"{image.path}: expected one annotation of each image, found {image.where} and "
                f"{other.where}. Take out one of them."
            )
    annotations.raise_faults(tree.root)
    if not annotations.images:
        raise DataError(f"{tree.root}: the annotations ({annotations.format}) have no images.")
    if not any(image.path in tree.image_set for image in annotations.images):
        missing = [image.path for image in annotations.images]
        raise DataError(
            f"{tree.root}: none of the {len(missing)} images of the annotations is there: "
            f"{list_first(missing, _SHOWN)}. Set data.root to the folder that holds images and "
            "annotations, or data.annotations where these lie elsewhere."
        )


def _labelled(
    tree: FileTree, annotations: Annotations, settings: LayoutSettings
) -> list[AnnotatedImage]:
    """The images to use, as `data.unannotated` says."""
    images = annotations.images
    bare = [image for image in images if not image.shapes and not image.is_labelled]
    if bare and settings.unannotated == "error":
        raise DataError(
            f"{tree.root}: {len(bare)} of {len(images)} images have no annotation: "
            f"{list_first([image.path for image in bare], _SHOWN)}. If they are good, set "
            "data.unannotated=good; to leave them out, data.unannotated=skip."
        )
    if settings.unannotated == "skip":
        _leave_out(tree, annotations, bare, _SKIPPED)
        unused = {image.path for image in bare}
        return [image for image in images if image.path not in unused]
    return images


def _note_maybe_boxes(annotations: Annotations) -> None:
    """Warn of oriented boxes of YOLO, and boxes that a converter has written as polygons."""
    drawn = [
        (image.where, shape)
        for image in annotations.images
        for shape in image.shapes
        if shape.has_place and not shape.is_weak
    ]
    corners = {tuple(map(len, shape.polygons)) for _, shape in drawn}
    for where, _ in drawn if corners == {(8,)} and len(drawn) >= _MAYBE_BOXES_FROM else ():
        annotations.note(_MAYBE_BOXES, where)


def _kept(
    tree: FileTree, annotations: Annotations, placed: Sequence[Placed], palette: Palette
) -> list[Placed]:
    """The images of which something is known besides dropped classes."""

    def is_known(image: AnnotatedImage) -> bool:
        names = (palette.class_of(shape) for shape in image.shapes if shape.class_name)
        return any(names) or all(not shape.class_name for shape in image.shapes)

    kept = [each for each in placed if is_known(each.image)]
    if not kept:
        raise DataError(
            f"{tree.root}: data.class_map drops the classes of all {len(placed)} images, so none "
            "is left. Keep one of them."
        )
    dropped = [each.image for each in placed if not is_known(each.image)]
    _leave_out(tree, annotations, dropped, _DROPPED)
    return kept


def _leave_out(
    tree: FileTree, annotations: Annotations, images: Sequence[AnnotatedImage], note: str
) -> None:
    for image in images:
        annotations.note(note, image.path)
        annotations.files.add(tree.root / image.path)  # its absence is wanted


def _draw(
    annotations: Annotations,
    images: Sequence[Placed],
    palette: Palette,
    settings: LayoutSettings,
    folder: Path,
) -> list[FoundSample]:
    """Draw and write the masks; adds the faults of images whose class is not clear."""
    samples = []
    names = _mask_names([each.image.path for each in images])
    jobs = list(zip(images, names, strict=True))
    work = partial(_draw_and_write, palette=palette, folder=folder)
    with progress_bar("Drawing masks of annotations") as show:
        drawn = in_order(work, jobs, workers=settings.workers)
        for ((image, _), name), (areas, notes, has_mask) in zip(jobs, drawn, strict=True):
            with annotations.collect():
                class_name = _label(image, areas, palette, has_mask=has_mask)
                mask = name if has_mask else None
                samples.append(FoundSample(image.path, class_name, mask, image.split))
            for note in (*notes, *([_SEVERAL] if len(areas) > 1 else [])):
                annotations.note(note, image.path)
            show(len(samples), len(jobs))
    return samples


def _mask_names(paths: Sequence[str]) -> list[str]:
    """A mask's name for each image: its own as .png, with its suffix where two would be equal."""
    names = [str(PurePosixPath(path).with_suffix(".png")) for path in paths]
    counts = Counter(name.casefold() for name in names)
    return [
        f"masks/{name if counts[name.casefold()] == 1 else f'{path}.png'}"
        for path, name in zip(paths, names, strict=True)
    ]


def _draw_and_write(
    job: tuple[Placed, str], *, palette: Palette, folder: Path
) -> tuple[dict[str, int], tuple[str, ...], bool]:
    """Draw the mask of one image: the areas of its classes, notes, and whether it has a mask."""
    (image, size), name = job
    if size is None:  # its class alone counts: the file itself is reported when it is read
        return dict.fromkeys(sorted(palette.defects_of(image.shapes)), 0), (), False
    drawn: DrawnMask = draw_mask(image.shapes, palette, height=size[1], width=size[0])
    if drawn.mask is not None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.mask).save(path, compress_level=1)
    return dict(drawn.areas), drawn.notes, drawn.mask is not None


def _label(
    image: AnnotatedImage, areas: dict[str, int], palette: Palette, *, has_mask: bool
) -> str:
    """The class of an image. Raises DataError where it is not clear."""
    if not areas:
        return palette.good_class
    if palette.good_class in {
        palette.class_of(each) for each in image.shapes if not each.has_place
    }:
        raise DataError(
            f"{image.where}: the image is labelled {palette.good_class}, but shows "
            f"{join_names(areas)}. Correct one of them."
        )
    if len(areas) > 1 and not has_mask and not any(areas.values()):
        raise DataError(
            f"{image.where}: the image has the classes {join_names(areas)}, none of which "
            "has an area, so that its class is not clear. Leave it one class."
        )
    return next(iter(areas))


def _layout(
    annotations: Annotations,
    samples: Sequence[FoundSample],
    images: Sequence[AnnotatedImage],
    good_class: str,
) -> str:
    """The format in words, with what was taken for what."""
    empty = sum(not image.shapes for image in images)
    without = sum(each.mask is None and each.class_name != good_class for each in samples)
    details = [
        annotations.source,
        f"{numbered(empty, 'image')} without annotations taken as good" if empty else "",
        f"{without} of a defect without a mask, by boxes, lines or tags only" if without else "",
    ]
    shown = "; ".join(filter(None, details))
    return f"{annotations.format} ({shown})" if shown else annotations.format
