"""Pascal VOC: XML files with boxes, and masks whose colours stand for classes.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc (boxes are counted from 1, and
include their last pixel; 255 is ignored). labelmap.txt (CVAT) or class_names.txt (LabelMe) name the
colours. Where an image has a mask, its boxes are not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from capsule_inspection.data.annotations.documents import (
    child_text,
    read_lines,
    read_xml,
    to_number,
)
from capsule_inspection.data.annotations.images import (
    ImageFinder,
    annotation_files,
    folder_in,
    name_in,
    split_in,
)
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Shape,
    box_polygon,
)
from capsule_inspection.data.annotations.voc_masks import class_names, read_mask
from capsule_inspection.data.layouts.names import match_stem, readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

SUFFIXES = (".xml",)
_MASKS = ("SegmentationClass", "SegmentationClassPNG")
_NOT_MASKS = ("SegmentationClassVisualization", "SegmentationObject", "SegmentationObjectPNG")
_EXPECTED = "Annotations/*.xml with <annotation>, or masks in SegmentationClass/"
_SETS = {"train": TRAIN, "val": VAL, "test": TEST}


def recognise(path: Path) -> str | None:
    """What shows that an XML file is of this format."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    return "<annotation>" if re.search(rb"<annotation[\s>]", start) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """XML files, masks and images of a data set. Raises DataError where there is neither."""
    result = Annotations("Pascal VOC")
    paths = annotation_files(tree, settings.annotations, SUFFIXES, expected=_EXPECTED)
    masks = [name for name in tree.images if _is_mask(name)]
    images = [name for name in tree.images if not _is_mask(name) and not _is_other(name)]
    beside: dict[tuple[str, str], list[str]] = {}
    for name in images:
        beside.setdefault((folder_of(name), match_stem(name)), []).append(name)
    found: dict[str, AnnotatedImage] = {}
    finder = ImageFinder(tree, result.notes, images)
    for path in paths:
        with result.faults.collect():
            if settings.annotations is None and recognise(path) is None:
                continue
            result.files.add(path)
            image = _read_xml(tree, path, finder, beside)
            if image.path in found:
                other = found[image.path].where
                raise DataError(f"{image.where}: {image.path} is the image of {other} too.")
            found[image.path] = image
    if not result.files and not masks:
        raise DataError(f"{tree.root}: expected {_EXPECTED}, found neither.")
    result.files |= {tree.root / name for name in tree.images if _is_other(name)}
    for name in images:
        found.setdefault(name, AnnotatedImage(name, name, split=split_in(folder_of(name))))
    if masks:
        _add_masks(tree, settings, masks, found, result)
    splits = _read_sets(tree, result)
    stems = Counter(map(match_stem, found))
    for stem in sorted(stem for stem in splits if stems[stem] > 1):
        result.faults.lines.append(
            f"{tree.root}: ImageSets name {stem}, which is the name of {stems[stem]} images. "
            "Rename them, or leave ImageSets out with data.exclude."
        )
    result.images = [
        AnnotatedImage(
            image.path, image.where, image.shapes, image.size,
            splits.get(match_stem(image.path), "") if splits else image.split, image.is_labelled,
        )
        for image in found.values()
    ]  # fmt: skip
    return result


def _is_mask(name: str) -> bool:
    return any(part in _MASKS for part in name.split("/")[:-1])


def _is_other(name: str) -> bool:
    return any(part in _NOT_MASKS for part in name.split("/")[:-1])


def _read_xml(
    tree: FileTree, path: Path, finder: ImageFinder, beside: Mapping[tuple[str, str], list[str]]
) -> AnnotatedImage:
    """`beside` has the images of each folder by their stem."""
    name = name_in(tree, path)
    root = read_xml(path, root="annotation")
    folder = folder_in(tree, path)
    above = folder_of(folder)
    folders = [folder, f"{above}/JPEGImages".lstrip("/"), f"{above}/images".lstrip("/"), above]
    listed = (root.findtext("filename") or "").strip()
    named = finder.find(listed, name, folders=folders) if listed else None
    stem = match_stem(path.name)
    own = [name for each in dict.fromkeys(folders) for name in beside.get((each, stem), ())]
    own = [image for image in own if image != named]
    if named and own and match_stem(named) != stem:
        raise DataError(
            f"{name}: <filename> is {listed}, but {own[0]} has the name of the XML file. Correct "
            "<filename>, or leave the file out with data.exclude."
        )
    place = named or (own[0] if len(own) == 1 else "")
    place = place or f"{folder}/{listed or path.stem}".lstrip("/")
    shapes = [_read_object(item, name) for item in root.iter("object")]
    size = root.find("size")
    numbers = (
        tuple(int(to_number(child_text(size, side, name), name)) for side in ("width", "height"))
        if size is not None
        else (0, 0)
    )
    known = (numbers[0], numbers[1]) if all(numbers) else None  # some tools write 0
    split = split_in(folder_of(place))
    return AnnotatedImage(place, name, tuple(shapes), known, split, is_labelled=True)


def _read_object(item: Element, where: str) -> Shape:
    class_name = readable(child_text(item, "name", where))
    difficult = (item.findtext("difficult") or "0").strip() in ("1", "true", "True")
    if (outline := item.find("polygon")) is not None:  # Roboflow, and LabelMe of the web
        points = tuple(
            to_number((side.text or "").strip(), f"{where}: <{side.tag}>")
            for side in outline.iter()
            if re.fullmatch(r"[xy]\d*", side.tag)
        )
        return Shape(class_name, (points,), is_ignored=difficult)
    box = item.find("bndbox")
    if box is None:
        return Shape(class_name, is_ignored=difficult)
    x0, y0, x1, y1 = (
        to_number(child_text(box, side, where), f"{where}: <{side}>")
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    if x1 < x0 or y1 < y0:
        raise DataError(
            f"{where}: expected xmin <= xmax and ymin <= ymax, found {x0:g}, {x1:g}, {y0:g}, "
            f"{y1:g} of {class_name}."
        )
    corners = box_polygon(x0 - 1, y0 - 1, x1, y1)
    return Shape(class_name, corners, is_weak=True, is_ignored=difficult)


def _read_sets(tree: FileTree, result: Annotations) -> dict[str, str]:
    """The split of each stem by the lists in ImageSets; empty where there are none."""
    splits: dict[str, str] = {}
    lists: dict[str, set[str]] = {}
    for name in tree.files:
        folder, _, base = name.rpartition("/")
        if "ImageSets" not in folder.split("/") or not base.endswith(".txt"):
            continue
        result.files.add(tree.root / name)
        split = base.removesuffix(".txt")
        if split in (*_SETS, "trainval"):
            lines = read_lines(tree.root / name)
            lists.setdefault(split, set()).update(
                match_stem(f"{line.split()[0]}.x") for line in lines
            )
    if "train" not in lists and "trainval" in lists:
        lists["train"] = lists["trainval"] - lists.get("val", set())
    for split in _SETS:
        for stem in sorted(lists.get(split, ())):
            if splits.setdefault(stem, _SETS[split]) != _SETS[split]:
                raise DataError(
                    f"{tree.root}: ImageSets have {stem} in {splits[stem]} and in {_SETS[split]}. "
                    "Leave it in one of them."
                )
    return splits


def _add_masks(
    tree: FileTree,
    settings: LayoutSettings,
    masks: Sequence[str],
    found: dict[str, AnnotatedImage],
    result: Annotations,
) -> None:
    """Replace the boxes of images that have a mask by the areas of its colours."""
    objects = {shape.class_name for image in found.values() for shape in image.shapes}
    names = class_names(tree, settings, objects, result)
    by_stem: dict[str, list[str]] = {}
    for path in found:
        by_stem.setdefault(match_stem(path), []).append(path)
    used: dict[str, str] = {}
    for mask in masks:
        with result.faults.collect():
            alike = by_stem.get(match_stem(mask), [])
            above = re.split(r"SegmentationClass[^/]*/", mask)[0]
            paths = [path for path in alike if path.startswith(above)] or alike
            if len(paths) == 1 and used.setdefault(paths[0], mask) != mask:
                raise DataError(f"{mask}: {used[paths[0]]} is a mask of {paths[0]}, too.")
            if len(paths) != 1:
                raise DataError(
                    f"{mask}: expected one image of this name, found {join_names(paths)}. Add it, "
                    "or leave the other files out with data.exclude."
                )
            result.files.add(tree.root / mask)
            image = found[paths[0]]
            shapes, size = read_mask(tree.root / mask, mask, names, settings.mask_rules.ignore)
            listed = [shape.class_name for shape in image.shapes if not shape.is_ignored]
            if listed and not shapes:
                raise DataError(
                    f"{mask}: the mask is empty, but {image.where} has {join_names(listed)}. "
                    "Correct one of them."
                )
            found[paths[0]] = AnnotatedImage(
                image.path, mask, shapes, size, image.split, is_labelled=True
            )
    areas = [shape for image in found.values() for shape in image.shapes if shape.rle]
    if areas and all(shape.is_ignored for shape in areas):
        result.faults.lines.append(
            f"{tree.root}: the masks in SegmentationClass have no class, only pixels of the value "
            "255, which stands for ignored ones. If they are the defect, name their class: "
            "'data.mask_values={255: crack}'."
        )
