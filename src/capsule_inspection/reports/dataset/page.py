"""report.html of a data set: warnings, tables, and example images with their masks.

Pictures show the network's input, with the crop and the masks as a model gets them. Every text from
files is escaped. Its sentences stand in templates/dataset.html.j2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.files import atomic_write_text
from capsule_inspection.reports.dataset import tables
from capsule_inspection.reports.html import EmbeddedImage, environment
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.image_grid import Panel, draw_grid
from capsule_inspection.reports.plots.overlays import class_patches, compose, ignored_patch
from capsule_inspection.types import DataIndex, RunFiles

_EXAMPLES, _CLASSES, _DUPLICATES = 4, 12, 6
"""Images of a class, classes, and groups of near-duplicates that are drawn."""


def write_dataset_page(
    folder: Path,
    index: DataIndex,
    cache: ImageCache,
    images: pd.DataFrame,
    *,
    about: Mapping[str, str],
    problem: str = "",
) -> Path:
    """Write the page; returns its path.

    `images` is `tables.images_table`. `about` has command and model, `problem` says why the
    split does not suit the model. Raises OSError where the page cannot be written.
    """
    duplicates = tables.near_duplicates(images)
    examples = _save(folder, "examples", "Examples", draw_classes(index, cache, images))
    groups = None
    if duplicates:
        groups = _save(folder, "groups", "Groups", draw_duplicates(cache, duplicates))
    page = environment().get_template("dataset.html.j2").render(
        index=index,
        about=about,
        problem=problem,
        image_size=cache.images.shape[1:3],
        classes=tables.class_table(images, index.classes),
        files=tables.file_table(images, index.classes),
        defects=tables.defect_table(images, index.classes),
        examples=examples,
        groups=groups,
        num_in_groups=sum(map(len, duplicates)),
        num_groups=len(duplicates),
        num_without_roi=int((~images["roi_found"]).sum()),
    )  # fmt: skip
    atomic_write_text(folder / RunFiles.PAGE, page)
    return folder / RunFiles.PAGE


def draw_classes(index: DataIndex, cache: ImageCache, images: pd.DataFrame) -> Figure:
    """A row for each class: images at equal distances in the order of their paths.

    Of defects with masks the one with the thinnest comes first, and that with the thickest last.
    """
    rows = []
    for label in range(min(len(index.classes), _CLASSES)):
        of_class = images[images["label"] == label].sort_values("defect_px", kind="stable")
        places = np.linspace(0, len(of_class) - 1, min(_EXAMPLES, len(of_class)))
        rows.append(_draw_row(cache, of_class.iloc[np.unique(places.astype(int))], named=True))
    left = len(index.classes) - _CLASSES
    note = f"{left} further classes are not shown." if left > 0 else ""
    legend = class_patches(index.classes[1:]) if images["has_mask"].any() else []
    if cache.ignored_fraction.any():
        legend.append(ignored_patch())
    return draw_grid(rows, legend=legend, note=note)


def draw_duplicates(cache: ImageCache, groups: Sequence[pd.DataFrame]) -> Figure:
    """A row for each of the largest groups."""
    rows = [_draw_row(cache, group.iloc[:_EXAMPLES]) for group in groups[:_DUPLICATES]]
    left = len(groups) - _DUPLICATES
    return draw_grid(rows, note=f"{left} further groups are not shown." if left > 0 else "")


def _draw_row(cache: ImageCache, images: pd.DataFrame, *, named: bool = False) -> list[Panel]:
    """Each image with its path and the thickness of its defect; `named` begins with the class."""
    panels: list[Panel] = []
    for image in images.reset_index(names="row").to_dict("records"):
        thickness = image["defect_px"]
        caption = f"{image['class']}: {image['path']}" if named and not panels else image["path"]
        if not np.isnan(thickness):
            caption += f", {thickness:.1f} px"
        picture, mask = cache.images[image["row"]], cache.masks[image["row"]]
        panels.append(Panel(compose(picture, outlines=[mask]), caption))
    return panels


def _save(folder: Path, name: str, title: str, figure: Figure) -> EmbeddedImage:
    path = folder / RunFiles.PLOTS / f"{name}.png"
    style.save(figure, path)
    return EmbeddedImage(f"{RunFiles.PLOTS}/{path.name}", title, path.read_bytes())
