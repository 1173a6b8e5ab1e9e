"""One row for each image of a data set, and the tables of the page and the console."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.reports.tables import Cell, Table
from capsule_inspection.types import GOOD_LABEL, LEFT_OUT, SPLITS, DataIndex

_MAX_KINDS = 12
"""Kinds of files (format, bit depth, size) in their table; the rarer ones are added up."""


def images_table(
    index: DataIndex, cache: ImageCache, bit_depths: Mapping[str, int]
) -> pd.DataFrame:
    """One row for each image: class, split, group, size in pixels, format and crop.

    `bit_depths` are those of the files by path, 8 where it has none. `defect_px` is the thickness
    of the defect in pixels of the network's input, NaN without a mask.
    """
    samples = index.samples
    images = pd.DataFrame(
        {
            "path": [sample.path for sample in samples],
            "label": [sample.label for sample in samples],
            "class": [index.classes[sample.label] for sample in samples],
            "split": [sample.split for sample in samples],
            "group": [sample.group for sample in samples],
            "width": [sample.width for sample in samples],
            "height": [sample.height for sample in samples],
            "format": [PurePosixPath(sample.path).suffix.lower() or "none" for sample in samples],
            "bit_depth": [bit_depths.get(sample.path, 8) for sample in samples],
            "has_mask": [sample.mask is not None for sample in samples],
        }
    )
    x0, y0, x1, y1 = cache.boxes.T
    height, width = cache.images.shape[1:3]
    images["shrink"] = np.sqrt((x1 - x0) * (y1 - y0) / (height * width))
    images["roi_found"] = cache.roi_found
    images["defect_px"] = np.where(images["has_mask"], cache.defect_thickness, np.nan)
    return images


def class_table(images: pd.DataFrame, classes: tuple[str, ...]) -> Table:
    """Images of each class in each split, the parts that they show, and their masks."""
    splits = [of for of in (*SPLITS, LEFT_OUT, "") if (images["split"] == of).any()]
    splits = splits if splits != [""] else []
    chosen = {name: images[images["label"] == label] for label, name in enumerate(classes)}
    rows = tuple(
        _count_row(
            name,
            len(of_class),
            of_class["group"].nunique(),
            *(int((of_class["split"] == split).sum()) for split in splits),
            int(of_class["has_mask"].sum()),
        )
        for name, of_class in (*chosen.items(), ("all", images))
    )
    columns = ("class", "images", "groups", *(split or "no split" for split in splits), "masks")
    note = "Images of one group show one part, or are equal or nearly equal: they stay together."
    return Table("Classes", columns, rows, note)


def file_table(images: pd.DataFrame, classes: tuple[str, ...]) -> Table:
    """Kinds of files (format, bit depth, size) and how often each class has them."""
    names = images["format"] + ", " + images["bit_depth"].astype(str) + " bit, "
    kinds = names + images["width"].astype(str) + "x" + images["height"].astype(str)
    common = kinds.value_counts().index[:_MAX_KINDS]
    kinds = kinds.where(kinds.isin(common), "others")
    counts = pd.crosstab(kinds, images["label"]).reindex(columns=range(len(classes)), fill_value=0)
    order = [kind for kind in (*common, "others") if kind in counts.index]
    rows = tuple(
        _count_row(kind, int(counts.loc[kind].sum()), *map(int, counts.loc[kind])) for kind in order
    )
    note = (
        "Width x height in pixels, EXIF orientation applied. A kind that only one class has gives "
        "the class away: a model may learn the camera instead of the defect."
    )
    return Table("Files", ("files", "images", *classes), rows, note)


def defect_table(images: pd.DataFrame, classes: tuple[str, ...]) -> Table | None:
    """Thickness of the defects in pixels of the network's input; None without masks."""
    known = images[images["defect_px"].notna() & (images["label"] != GOOD_LABEL)]
    if known.empty:
        return None
    rows = []
    for label, name in enumerate(classes):
        of_class = known[known["label"] == label]
        if of_class.empty:
            continue
        low, median, high = of_class["defect_px"].quantile([0, 0.5, 1])
        source = (of_class["defect_px"] * of_class["shrink"]).median()
        sizes = [Cell(f"{value:.1f}", float(value)) for value in (low, median, high, source)]
        rows.append((Cell(name), Cell(str(len(of_class)), len(of_class)), *sizes))
    columns = ("class", "masks", "smallest", "median", "largest", "median in the image")
    note = (
        "Thickness at the widest place of the defect in pixels of the network's input, the last "
        "column in pixels of the image. Networks hardly see what is thinner than 3 pixels: raise "
        "data.image_size, crop with data.roi, or use data.tiling.size for segmentation."
    )
    return Table("Defect sizes", columns, tuple(rows), note)


def _count_row(name: str, *counts: int) -> tuple[Cell, ...]:
    return (Cell(name), *(Cell(str(count), count) for count in counts))


def near_duplicates(images: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each group of several images, the largest groups first."""
    groups = [rows for _, rows in images.groupby("group", sort=False) if len(rows) > 1]
    return sorted(groups, key=len, reverse=True)
