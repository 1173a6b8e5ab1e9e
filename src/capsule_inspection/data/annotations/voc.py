"""Pascal VOC: XML files with boxes, and masks whose colours stand for classes.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc (boxes are counted from 1, and
include their last pixel; 255 is ignored). labelmap.txt (CVAT) or class_names.txt (LabelMe) name the
colours. Where an image has a mask, its boxes are not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from capsule_inspection.data.annotations.documents import Node, child, read_lines, read_xml
from capsule_inspection.data.annotations.images import (
    AnnotationFile,
    ImageFinder,
    annotation_files,
    split_in,
    starts_with_tag,
)
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.annotations.voc_masks import class_names, read_mask
from capsule_inspection.data.layouts.names import match_stem, readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

SUFFIXES = (".xml",)
_MASKS = ("SegmentationClass", "SegmentationClassPNG")
_NOT_IMAGES = (
    *("SegmentationClassVisualization", "SegmentationObject", "SegmentationObjectPNG"),
    "SegmentationObjectVisualization",
)
_EXPECTED = "Annotations/*.xml with <annotation>, or masks in SegmentationClass/"
_SETS = {"train": TRAIN, "val": VAL, "test": TEST}


def recognise(path: Path) -> str | None:
    """What shows that an XML file is of this format."""
    return "<annotation>" if starts_with_tag(path, "annotation") else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """XML files, masks and images of a data set. Raises DataError where there is neither."""
    masks = [name for name in tree.images if _is_below(name, _MASKS)]
    others = [name for name in tree.images if _is_below(name, _NOT_IMAGES)]
    images = sorted({*tree.images} - {*masks, *others})
    files = annotation_files(
        tree, settings.annotations, SUFFIXES, recognise, expected=_EXPECTED, are_needed=not masks
    )
    result = Annotations("Pascal VOC", files={file.path for file in files})
    result.files |= {tree.root / name for name in others}
    beside = _by_stem(images)
    finder = ImageFinder(tree, result, images)
    for file in files:
        with result.collect():
            result.images.append(_read_file(file, finder, beside))
    used = {image.path for image in result.images}
    result.images += [
        AnnotatedImage(name, name, split=split_in(folder_of(name)))
        for name in images
        if name not in used
    ]
    if masks:
        _add_masks(tree, settings, masks, result)
    _add_splits(tree, result)
    return result


def _is_below(name: str, folders: Sequence[str]) -> bool:
    return any(part in folders for part in name.split("/")[:-1])


def _by_stem(paths: Sequence[str]) -> dict[str, list[str]]:
    by_stem: dict[str, list[str]] = {}
    for path in paths:
        by_stem.setdefault(match_stem(path), []).append(path)
    return by_stem


def _read_file(
    file: AnnotationFile, finder: ImageFinder, beside: Mapping[str, list[str]]
) -> AnnotatedImage:
    """`beside` has the images by their stem."""
    name = file.name
    root = read_xml(file.path, name, root="annotation")
    above = folder_of(file.folder)
    folders = [file.folder, f"{above}/JPEGImages".lstrip("/"), f"{above}/images".lstrip("/"), above]
    stem, listed = match_stem(file.path.name), (root.findtext("filename") or "").strip()
    path = finder.find(listed or f"{stem}.jpg", where=name, folder=file.folder, also=folders[1:])
    own = [each for each in beside.get(stem, ()) if folder_of(each) in folders]
    if path not in beside.get(match_stem(path), ()):
        path = own[0] if len(own) == 1 else path
    elif own and path not in own:
        raise DataError(
            f"{name}: <filename> is {listed}, but {own[0]} has the name of the XML file. Correct "
            "<filename>, or leave the file out with data.exclude."
        )
    shapes = tuple(_read_object(item, name) for item in root.iter("object"))
    size = {side: root.findtext(f"size/{side}") or 0 for side in ("width", "height")}
    return AnnotatedImage(
        path, name, shapes, Node(size, f"{name}: <size>").size("width", "height"),
        split_in(folder_of(path)), is_labelled=True,
    )  # fmt: skip


def _read_object(item: Element, where: str) -> Shape:
    class_name = readable(child(item, "name", where).text())
    difficult = (item.findtext("difficult") or "0").strip().lower() in ("1", "true")
    if (outline := item.find("polygon")) is not None:  # Roboflow, and LabelMe of the web
        sides = [side for side in outline.iter() if re.fullmatch(r"[xy]\d*", side.tag)]
        points = Node([side.text for side in sides], f"{where}: <polygon>")
        if not re.fullmatch("(xy)+", "".join(side.tag[0] for side in sides)):
            raise points.fault("x and y in turn")
        return Shape(class_name, (points.numbers(),), is_ignored=difficult)
    box = item.find("bndbox")
    if box is None:
        return Shape(class_name, is_ignored=difficult)
    x0, y0, x1, y1 = (child(box, side, where).number() for side in ("xmin", "ymin", "xmax", "ymax"))
    if x1 < x0 or y1 < y0:
        raise DataError(
            f"{where}: expected xmin <= xmax and ymin <= ymax, found {x0:g}, {x1:g}, {y0:g}, "
            f"{y1:g} of {class_name}."
        )
    return Shape.box(class_name, (x0 - 1, y0 - 1, x1, y1), is_ignored=difficult)


def _add_splits(tree: FileTree, result: Annotations) -> None:
    """Set the splits of the lists in ImageSets, if there are any."""
    lists: dict[str, set[str]] = {}
    for name in tree.files:
        folder, _, base = name.rpartition("/")
        if "ImageSets" in folder.split("/") and base.endswith(".txt"):
            result.files.add(tree.root / name)
            lines = [line.split()[0] for line in read_lines(tree.root / name)]
            lists.setdefault(base.removesuffix(".txt"), set()).update(map(_stem, lines))
    if "train" not in lists:
        lists["train"] = lists.get("trainval", set()) - lists.get("val", set())
    splits: dict[str, str] = {}
    for name, split in _SETS.items():
        for stem in sorted(lists.get(name, ())):
            if splits.setdefault(stem, split) != split:
                raise DataError(
                    f"{tree.root}: ImageSets have {stem} in {splits[stem]} and in {split}. "
                    "Leave it in one of them."
                )
    if not splits:
        return
    stems = Counter(match_stem(image.path) for image in result.images)
    for stem in sorted(stem for stem in splits if stems[stem] > 1):
        result.faults.append(
            f"{tree.root}: ImageSets name {stem}, which is the name of {stems[stem]} images. "
            "Rename them, or leave ImageSets out with data.exclude."
        )
    result.images = [
        replace(image, split=splits.get(match_stem(image.path), "")) for image in result.images
    ]


def _stem(line: str) -> str:
    return match_stem(f"{line}.x")


def _add_masks(
    tree: FileTree, settings: LayoutSettings, masks: Sequence[str], result: Annotations
) -> None:
    """Replace the boxes of images that have a mask by the areas of its colours."""
    names = class_names(tree, settings, result)
    images = {image.path: image for image in result.images}
    by_stem = _by_stem(list(images))
    masked: dict[str, AnnotatedImage] = {}
    for mask in masks:
        with result.collect():
            alike = by_stem.get(match_stem(mask), [])
            above = re.split(r"SegmentationClass[^/]*/", mask)[0]
            paths = [path for path in alike if path.startswith(above)] or alike
            if len(paths) != 1:
                raise DataError(
                    f"{mask}: expected one image of this name, found {join_names(paths)}. Add it, "
                    "or leave the other files out with data.exclude."
                )
            image = images[paths[0]]
            if other := masked.get(image.path):
                raise DataError(f"{mask}: {other.where} is a mask of {image.path}, too.")
            result.files.add(tree.root / mask)
            shapes, size = read_mask(tree.root / mask, mask, names, settings.mask_rules.ignore)
            listed = [shape.class_name for shape in image.shapes if not shape.is_ignored]
            if listed and not shapes:
                raise DataError(
                    f"{mask}: the mask is empty, but {image.where} has {join_names(listed)}. "
                    "Correct one of them."
                )
            masked[image.path] = AnnotatedImage(
                image.path, mask, shapes, size, image.split, is_labelled=True
            )
    areas = [shape for image in masked.values() for shape in image.shapes]
    if areas and all(shape.is_ignored for shape in areas):
        result.faults.append(
            f"{tree.root}: the masks in SegmentationClass have no class, only pixels of the value "
            "255, which stands for ignored ones. If they are the defect, name their class: "
            "'data.mask_values={255: crack}'."
        )
    result.images = [masked.get(image.path, image) for image in result.images]
