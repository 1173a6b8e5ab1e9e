"""Example pictures of a run: worst, median and best images, mistakes, and explanation maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.metrics.pointing_game import (
    TOLERANCE,
    distance_to_defect_px,
    find_peak,
    tolerance_px_of,
)
from capsule_inspection.metrics.target_masks import counted_pixels, limit_classes
from capsule_inspection.reports.formatting import format_score
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.image_grid import Panel, draw_grid, wrap_panels
from capsule_inspection.reports.plots.overlays import (
    class_patches,
    compose,
    crop_around,
    ignored_patch,
)
from capsule_inspection.reports.run.files import DICE, PROBABILITY
from capsule_inspection.reports.run.maps import RunMaps, read_thumbnail
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import DEFECT

IMAGE = "image"
"""Heading of the column that every grid has."""

WORST, MEDIAN, BEST = "worst", "median", "best"
MAX_EXPLANATIONS, MAX_MISTAKES = 8, 12

GOOD_PIXELS_ABOVE = 0.005
"""Fraction of the pixels of good images above the level that is outlined in anomaly maps."""

_TRUE = Line2D([], [], color=style.SKY, lw=2.2, label="true defect")
_FOUND = Line2D([], [], color=style.YELLOW, lw=2.2,
                label=f"above all but {GOOD_PIXELS_ABOVE:.1%} of good pixels")  # fmt: skip
_PEAK = Line2D([], [], color=style.GREEN, marker="X", ls="", ms=8, mec="black",
               label="highest point")  # fmt: skip


@dataclass(frozen=True)
class _MapScale:
    """The scores that are drawn dark and bright, and the level of the outline."""

    low: float = 0.0
    high: float = 1.0
    level: float = 1.0


def list_examples(run: RunFolder) -> pd.DataFrame:
    """The test images with `text`, and `is_wrong` also where the defect is found elsewhere.

    Within a class bad predictions come first: those of the wrong class, then by Dice, where a
    segmentation run has it of a defect, then by score.
    """
    images = run.images_of(run.reported_stage)
    has_dice = run.has_masks & images["is_defect"]
    dice = images[DICE].where(has_dice)
    is_elsewhere = has_dice & images["predicted_defect"] & (dice == 0)
    text = images["score"].map(partial(format_score, threshold=run.score_threshold))
    text = text.where(dice.isna(), dice.map("Dice {:.2f}".format))
    text += ", predicted " + images["predicted_label"].map(style.shorten)
    images = images.assign(
        is_wrong=~images["correct"] | is_elsewhere,
        text=text.where(~is_elsewhere, text + " by a region elsewhere"),
        is_known=dice.notna() | ~has_dice,
        right=images["correct"].where(has_dice, False),
        dice=dice,
        certainty=images["score"].where(images["is_defect"], -images["score"]),
    )
    images = images.sort_values(["right", "dice", "certainty"], kind="stable")
    return in_class_order(run, images)


def in_class_order(run: RunFolder, images: pd.DataFrame) -> pd.DataFrame:
    """The images by class, unknown classes last; the same order within a class."""
    order = {name: place for place, name in enumerate(run.class_names)}
    return images.sort_values(
        "label", key=lambda label: label.map(order).fillna(len(order)), kind="stable"
    )


def select_examples(examples: pd.DataFrame, which: str) -> list[dict[str, Any]]:
    """The worst, median or best image of each class with its `caption`; fewer in small classes.

    Images of unknown quality are left out, unless all of a class are.
    """
    chosen = []
    for name, of_class in examples.groupby("label", sort=False):
        known = of_class[of_class["is_known"]]
        rows: list[dict[Any, Any]] = (of_class if known.empty else known).to_dict("records")
        last = len(rows) - 1
        row = {WORST: 0, MEDIAN: last // 2 if last > 1 else None, BEST: last or None}[which]
        if row is not None:
            place = f"{which} of {last + 1}" if last else "its only image"
            caption = f"{style.shorten(str(name))}, {place}: {rows[row]['text']}"
            chosen.append(rows[row] | {"caption": caption})
    return chosen


def draw_examples(run: RunFolder, which: str) -> Figure:
    """A row for an image of each class; columns that no image has are left out."""
    chosen = select_examples(list_examples(run), which)
    scale = _MapScale() if run.has_masks else _scale_maps(run)
    rows = [_draw_panels(run, example, scale) for example in chosen]
    headings = [name for name in (rows[0] if rows else ())
                if name == IMAGE or any(row[name].image is not None for row in rows)]  # fmt: skip
    has_layers, note = len(headings) > 1 and run.maps is not None, ""
    ignored = [ignored_patch()] if run.maps is not None and run.maps.has_ignored else []
    legend: list[Artist] = [_FOUND, _TRUE, *ignored]
    if run.has_masks:
        legend = [*class_patches(run.classes[1:] or (DEFECT,)), *ignored]
    elif has_layers:
        note = "Anomaly maps: dark is normal, bright is anomalous, one scale for all images."
    return draw_grid(
        [[row[name] for name in headings] for row in rows],
        headings=headings,
        title=f"The {which} image of each class",
        legend=legend if has_layers else (),
        note=note,
    )


def draw_mistakes(run: RunFolder) -> Figure:
    """The most confident mistakes of a classifier, among the images with a thumbnail."""
    images = run.images_of(run.reported_stage)
    wrong = images[~images["correct"]].to_dict("records")
    if not wrong:
        return style.text_figure(f"No mistakes: all {len(images)} images are classified correctly.")
    wrong.sort(key=lambda row: row[PROBABILITY + row["predicted_label"]], reverse=True)
    panels: list[Panel] = []
    for row in wrong:
        image = read_thumbnail(run.image_path(row["index"]))
        if image is not None and len(panels) < MAX_MISTAKES:
            probability = row[PROBABILITY + row["predicted_label"]]
            true, predicted = (style.shorten(row[of]) for of in ("label", "predicted_label"))
            panels.append(Panel(image, f"true: {true}\npredicted: {predicted}, {probability:.0%}"))
    if not panels:
        return style.text_figure(
            f"{len(wrong)} mistakes; the run kept no thumbnail of any of them."
        )
    title = f"The {len(panels)} most confident of {len(wrong)} mistakes, among {len(images)} images"
    return draw_grid(wrap_panels(panels), title=title)


def draw_explanations(run: RunFolder, maps: RunMaps) -> Figure:
    """Images with a defect and their explanation maps, with the pointing game; misses first."""
    rows = run.images_of(run.reported_stage).set_index("index")[["label", "predicted_label"]]
    labels = dict(zip(rows.index, rows.itertuples(index=False), strict=True))
    tolerance_px = tolerance_px_of(maps.height_px)
    found = []
    for row, index in enumerate(maps.index.tolist()):
        if index in labels and maps.mask_of(row).any():
            counted = counted_pixels(maps.target_mask_of(row))
            distance_px = distance_to_defect_px(maps.map_of(row), maps.mask_of(row), counted)
            found.append((distance_px <= tolerance_px, distance_px, row, labels[index]))
    # Misses by decreasing distance; hits in the order of the images.
    found.sort(key=lambda of: (of[0], 0 if of[0] else -of[1]))
    pairs = []
    for is_hit, _, row, (true, predicted) in found[:MAX_EXPLANATIONS]:
        result = "hit" if is_hit else "miss"
        caption = f"{style.shorten(true)}, predicted {style.shorten(predicted)}: {result}"
        box = maps.relative_content_box(row)
        image = read_thumbnail(run.image_path(int(maps.index[row])), box)
        heat, target = maps.map_of(row), limit_classes(maps.target_mask_of(row))
        peak = find_peak(heat, counted_pixels(target))
        cross = None
        if peak is not None:
            cross = ((peak[1] + 0.5) / heat.shape[1], (peak[0] + 0.5) / heat.shape[0])
        drawn = compose(image, heat=heat, outlines=(target,))
        pairs.append([Panel(image, caption, not is_hit), Panel(drawn, cross=cross)])
    return draw_grid(
        [[panel for pair in pairs[i : i + 2] for panel in pair] for i in range(0, len(pairs), 2)],
        headings=(IMAGE, "explanation map") * min(2, len(pairs)),
        title=f"Peak on the defect in {sum(is_hit for is_hit, *_ in found)} of {len(found)} "
        "images; misses first",
        legend=[_TRUE, _PEAK],
        note="Bright: evidence for the true class, whatever the prediction. A hit: the peak is on "
        f"the defect, or nearer to it than {100 * TOLERANCE:g}% of the image's height.",
    )


def _scale_maps(run: RunFolder) -> _MapScale:
    """One scale for all maps, from every second pixel of every second line."""
    maps, images = run.maps, run.images_of(run.reported_stage)
    if maps is None or not len(maps.index):
        return _MapScale()
    good = set(images.loc[~images["is_defect"], "index"])
    pixels = [maps.map_of(row)[::2, ::2].ravel() for row in range(len(maps.index))]
    of_good = [of for of, index in zip(pixels, maps.index.tolist(), strict=True) if index in good]
    level = float(np.quantile(np.concatenate(of_good or pixels), 1 - GOOD_PIXELS_ABOVE))
    low, high = np.quantile(np.concatenate(pixels), [0.01, 0.999]).tolist()
    return _MapScale(low, max(high, max(level, low) + max(abs(level), 1.0) * 1e-3), level)


def _draw_panels(run: RunFolder, example: Mapping[str, Any], scale: _MapScale) -> dict[str, Panel]:
    """The pictures of one image by heading; those that were not kept have no image."""
    maps, row = run.maps, None if run.maps is None else run.maps.row_of(example["index"])
    box = None if maps is None or row is None else maps.relative_content_box(row)
    image = read_thumbnail(run.image_path(example["index"]), box)
    reconstruction = read_thumbnail(run.reconstruction_path(example["index"]), box)
    of_map, overlaid, enlarged, frame, missing = None, None, None, None, "not kept"
    if maps is not None and row is not None:
        heat, predicted = maps.map_of(row), maps.predicted_mask_of(row)
        target = limit_classes(maps.target_mask_of(row), len(run.classes) or 1)
        outlines = [target] if target.any() or not example["is_defect"] else []
        if run.has_masks:  # in grey: the outlines have the colours of the classes
            grey = np.round(190 * heat.clip(0, 1)).astype(np.uint8)
            of_map = compose(np.repeat(grey[..., np.newaxis], 3, axis=2), outlines=outlines)
            found = predicted
        else:
            of_map = compose(None, heat=((heat - scale.low) / (scale.high - scale.low)).clip(0, 1))
            found = 2 * (heat > scale.level).astype(np.uint8)
            outlines = [found, *outlines]
        regions = [of for of in (maps.mask_of(row), found) if of is not None and of.any()]
        if image is not None or regions:
            overlaid = compose(image, mask=predicted, outlines=outlines)
        missing = missing if regions else "no region"
        if regions:
            frame = crop_around(regions[0] != 0)
            enlarged = compose(image, mask=predicted, outlines=outlines, crop=frame)
    return {
        IMAGE: Panel(image, example["caption"], example["is_wrong"]),
        "reconstruction": Panel(reconstruction),
        "probability of any defect" if run.has_masks else "anomaly map": Panel(of_map),
        "filled: predicted, outlined: true" if run.has_masks else "overlay": Panel(
            overlaid, frame=frame
        ),
        "the frame, enlarged": Panel(enlarged, placeholder=missing),
    }
