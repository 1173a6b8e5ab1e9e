"""Example pictures of a run: worst, median and best images, mistakes, and explanation maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.metrics.pointing_game import (
    TOLERANCE,
    distance_to_defect_px,
    find_peak,
    tolerance_px_of,
)
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.image_grid import Panel, draw_grid, wrap_panels
from capsule_inspection.reports.plots.overlays import class_patches, compose, crop_around
from capsule_inspection.reports.run.maps import RunMaps, read_thumbnail
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import DEFECT, TEST

IMAGE = "image"
"""Heading of the column that every grid has."""

WORST, MEDIAN, BEST = "worst", "median", "best"
MAX_EXPLANATIONS, MAX_MISTAKES = 8, 12
DICE = "dice"
"""Column of predictions.csv with the binary Dice, where an image has a target mask."""

GOOD_PIXELS_ABOVE = 0.005
"""Fraction of the pixels of good images above the level that is outlined in anomaly maps."""

_TRUE = Line2D([], [], color=style.SKY, lw=2.2, label="true defect")
_FOUND = Line2D([], [], color=style.YELLOW, lw=2.2,
                label=f"above all but {GOOD_PIXELS_ABOVE:.1%} of good pixels")  # fmt: skip
_PEAK = Line2D([], [], color=style.GREEN, marker="X", ls="", ms=8, mec="black",
               label="highest point")  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A test image; `rank` is low for bad predictions, None where their quality is unknown."""

    index: int
    class_name: str
    is_wrong: bool
    text: str
    rank: tuple[float, ...] | None


@dataclass(frozen=True)
class _MapScale:
    """The scores that are drawn dark and bright, and the level of the outline."""

    low: float = 0.0
    high: float = 1.0
    level: float = 1.0


def list_examples(run: RunFolder) -> list[Example]:
    """The test images, in the order of the predictions.

    They are ranked by their score; defects of segmentation runs by right class and Dice.
    """
    scores, rows = run.scores_of(TEST), run.rows_of(TEST)
    dice = rows[DICE].to_numpy(np.float64) if DICE in rows else np.full(len(rows), np.nan)
    examples = []
    for row, predicted in enumerate(rows["predicted_label"].tolist()):
        name, score = str(scores.class_name[row]), float(scores.score[row])
        is_defect, is_rejected = bool(scores.is_defect[row]), bool(scores.predicted_defect[row])
        is_wrong = predicted != name if run.names_defects else is_rejected != is_defect
        text, where = f"score {score:.4g}", ""
        rank: tuple[float, ...] | None = (score if is_defect else -score,)
        if run.has_masks and is_defect:
            is_known = bool(np.isfinite(dice[row]))
            rank = (float(not is_wrong), float(dice[row]), score) if is_known else None
            text = f"Dice {dice[row]:.2f}" if is_known else text
            if is_rejected and dice[row] == 0:
                is_wrong, where = True, " by a region elsewhere"
        text = f"{text}, predicted {style.shorten(predicted)}{where}"
        examples.append(Example(int(scores.index[row]), name, is_wrong, text, rank))
    return examples


def select_examples(examples: Sequence[Example], which: str) -> list[tuple[Example, str]]:
    """The worst, median or best image of each class with its caption; fewer in small classes.

    Images of unknown quality are left out, unless all of a class are.
    """
    chosen = []
    for name in dict.fromkeys(example.class_name for example in examples):
        of_class = [example for example in examples if example.class_name == name]
        known = [example for example in of_class if example.rank is not None] or of_class
        known = sorted(known, key=lambda example: example.rank or ())
        last = len(known) - 1
        row = {WORST: 0, MEDIAN: last // 2 if last > 1 else None, BEST: last or None}[which]
        if row is not None:
            place = f"{which} of {last + 1}" if last else "its only image"
            chosen.append((known[row], f"{style.shorten(name)}, {place}: {known[row].text}"))
    return chosen


def draw_examples(run: RunFolder, which: str) -> Figure:
    """A row for an image of each class; columns that no image has are left out."""
    order = {name: place for place, name in enumerate(run.class_names)}
    chosen = select_examples(list_examples(run), which)
    chosen.sort(key=lambda pair: order.get(pair[0].class_name, len(order)))
    scale = _MapScale() if run.has_masks else _scale_maps(run)
    rows = [_draw_panels(run, example, caption, scale) for example, caption in chosen]
    headings = [name for name in (rows[0] if rows else ())
                if name == IMAGE or any(row[name].image is not None for row in rows)]  # fmt: skip
    has_layers, note = len(headings) > 1 and run.maps is not None, ""
    legend: list[Artist] = [_FOUND, _TRUE]
    if run.has_masks:
        legend = [*class_patches(run.classes[1:] or (DEFECT,))]
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
    found = run.arrays_of(TEST)
    assert found.probabilities is not None
    wrong = np.flatnonzero(found.label != found.predicted_label)
    certainty = found.probabilities[wrong, found.predicted_label[wrong]]
    panels: list[Panel] = []
    for row in wrong[np.argsort(-certainty, kind="stable")].tolist():
        image = read_thumbnail(run.image_path(int(found.index[row])))
        if image is not None and len(panels) < MAX_MISTAKES:
            true, predicted = (style.shorten(run.classes[of[row]])
                               for of in (found.label, found.predicted_label))  # fmt: skip
            probability = found.probabilities[row, found.predicted_label[row]]
            panels.append(Panel(image, f"true: {true}\npredicted: {predicted}, {probability:.0%}"))
    mistakes, images = len(wrong), len(found.label)
    if not mistakes:
        return style.text_figure(f"No mistakes: all {images} images are classified correctly.")
    if not panels:
        return style.text_figure(f"{mistakes} mistakes; the run kept no thumbnail of any of them.")
    title = f"The {len(panels)} most confident of {mistakes} mistakes, among {images} images"
    return draw_grid(wrap_panels(panels), title=title)


def draw_explanations(run: RunFolder, maps: RunMaps) -> Figure:
    """Images with a defect and their explanation maps, with the pointing game; misses first."""
    rows = run.rows_of(TEST)
    labels = dict(
        zip(rows["index"], zip(rows["label"], rows["predicted_label"], strict=True), strict=True)
    )
    tolerance_px = tolerance_px_of(maps.height_px)
    found = []
    for row, index in enumerate(maps.index.tolist()):
        if index in labels and maps.mask_of(row).any():
            distance_px = distance_to_defect_px(maps.map_of(row), maps.mask_of(row))
            found.append((distance_px <= tolerance_px, distance_px, row, labels[index]))
    # Misses by decreasing distance; hits in the order of the images.
    found.sort(key=lambda of: (of[0], 0 if of[0] else -of[1]))
    pairs = []
    for is_hit, _, row, (true, predicted) in found[:MAX_EXPLANATIONS]:
        result = "hit" if is_hit else "miss"
        caption = f"{style.shorten(true)}, predicted {style.shorten(predicted)}: {result}"
        box = maps.relative_content_box(row)
        image = read_thumbnail(run.image_path(int(maps.index[row])), box)
        heat, peak = maps.map_of(row), find_peak(maps.map_of(row))
        cross = None
        if peak is not None:
            cross = ((peak[1] + 0.5) / heat.shape[1], (peak[0] + 0.5) / heat.shape[0])
        drawn = compose(image, heat=heat, outlines=(maps.mask_of(row),))
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
    maps, scores = run.maps, run.scores_of(TEST)
    if maps is None or not len(maps.index):
        return _MapScale()
    good = set(scores.index[~scores.is_defect].tolist())
    pixels = [maps.map_of(row)[::2, ::2].ravel() for row in range(len(maps.index))]
    of_good = [of for of, index in zip(pixels, maps.index.tolist(), strict=True) if index in good]
    level = float(np.quantile(np.concatenate(of_good or pixels), 1 - GOOD_PIXELS_ABOVE))
    low, high = np.quantile(np.concatenate(pixels), [0.01, 0.999]).tolist()
    return _MapScale(low, max(high, max(level, low) + max(abs(level), 1.0) * 1e-3), level)


def _draw_panels(
    run: RunFolder, example: Example, caption: str, scale: _MapScale
) -> dict[str, Panel]:
    """The pictures of one image by heading; those that were not kept have no image."""
    maps, row = run.maps, None if run.maps is None else run.maps.row_of(example.index)
    box = None if maps is None or row is None else maps.relative_content_box(row)
    image = read_thumbnail(run.image_path(example.index), box)
    reconstruction = read_thumbnail(run.reconstruction_path(example.index), box)
    of_map, overlaid, enlarged, frame, missing = None, None, None, None, "not kept"
    if maps is not None and row is not None:
        heat, predicted = maps.map_of(row), maps.predicted_mask_of(row)
        target = maps.target_mask_of(row).clip(max=len(run.classes) or 1)
        is_known = target.any() or example.class_name == run.normal_class
        outlines = [target] if is_known else []
        if run.has_masks:  # in grey: the outlines have the colours of the classes
            grey = np.round(190 * heat.clip(0, 1)).astype(np.uint8)
            of_map = compose(np.repeat(grey[..., np.newaxis], 3, axis=2), outlines=outlines)
            found = predicted
        else:
            of_map = compose(None, heat=((heat - scale.low) / (scale.high - scale.low)).clip(0, 1))
            found = 2 * (heat > scale.level).astype(np.uint8)
            outlines = [found, *outlines]
        regions = [of for of in (target, found) if of is not None and of.any()]
        if image is not None or regions:
            overlaid = compose(image, mask=predicted, outlines=outlines)
        missing = missing if regions else "no region"
        if regions:
            frame = crop_around(regions[0] != 0)
            enlarged = compose(image, mask=predicted, outlines=outlines, crop=frame)
    return {
        IMAGE: Panel(image, caption, example.is_wrong),
        "reconstruction": Panel(reconstruction),
        "probability of any defect" if run.has_masks else "anomaly map": Panel(of_map),
        "filled: predicted, outlined: true" if run.has_masks else "overlay": Panel(
            overlaid, frame=frame
        ),
        "the frame, enlarged": Panel(enlarged, placeholder=missing),
    }
