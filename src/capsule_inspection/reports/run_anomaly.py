"""The pictures of a finished one-class run: its scores, its curves, and what its maps show.

Reads a `RunFolder`, draws with `anomaly`, `examples` and `classification`. What a run has no data
for is not drawn: without masks no curves of pixels, without defects no curves at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localisation import pro_curve, roc_curve
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_that_tell
from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports import anomaly, classification, examples, style
from capsule_inspection.reports.run_folder import RunFolder, Scores
from capsule_inspection.reports.run_maps import RunMaps
from capsule_inspection.reports.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import CALIBRATION, TEST

SCORES, SCORES_BY_CLASS, ROC, PRO = "scores.png", "scores_by_class.png", "roc.png", "pro.png"
EXAMPLES = "examples.png"
RECALL_BY_CLASS = "recall_by_class.png"

Drawing = tuple[str, Callable[[], Figure]]
"""Name of the file, and what draws it."""


def anomaly_drawings(run: RunFolder) -> Iterator[Drawing]:
    """Every picture of the test images that the run has data for.

    Raises RunError where a file of the run is damaged.
    """
    scores = run.scores_of(TEST)
    # With rule f1 labelled defects set the threshold, and the images kept for it did not.
    chose = run.threshold is None or run.threshold.rule != F1
    calibration = run.scores_of(CALIBRATION if chose else "")
    yield from _of_examples(run, scores)
    yield from score_drawings(run, scores, calibration=calibration)
    if names.of_classes(names.of_stage(run.figures, TEST), names.RECALL):
        yield RECALL_BY_CLASS, lambda: judged_rightly(run)
    yield from curve_drawings(run, scores)


def score_drawings(
    run: RunFolder,
    scores: Scores,
    *,
    calibration: Scores,
    score_name: str = anomaly.ANOMALY_SCORE,
) -> Iterator[Drawing]:
    """How the scores are spread; `calibration` are those of the images that set the threshold."""
    yield (
        SCORES,
        lambda: anomaly.score_histogram(
            scores.score,
            scores.is_defect,
            scores.threshold,
            calibration=calibration.score,
            score_name=score_name,
        ),
    )
    if scores.threshold is not None:
        yield SCORES_BY_CLASS, lambda: _scores_by_class(run, scores, calibration, score_name)


def judged_rightly(run: RunFolder) -> Figure:
    """Recall by class of a run that names no defects."""
    title = "Judged rightly: good images accepted, defects rejected"
    return classification.recall_by_class(names.of_stage(run.figures, TEST), title=title)


def classes_in(run: RunFolder, scores: Scores) -> list[str]:
    """Classes that have images, the good one first, unknown ones last."""
    present = dict.fromkeys(scores.class_name.tolist())
    return [name for name in dict.fromkeys([*run.class_names, *present]) if name in present]


def examples_file_names(classes: Sequence[str]) -> dict[str, str]:
    """File name of each class's examples; its number tells apart what letters cannot."""
    safe = {name: re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:40] for name in classes}
    taken = [name.lower() for name in safe.values()]
    return {
        name: f"examples_{text}.png"
        if text and text == name and taken.count(text.lower()) == 1
        else f"examples_{number}_{text}.png".replace("_.png", ".png")
        for number, (name, text) in enumerate(safe.items())
    }


def _scores_by_class(
    run: RunFolder, scores: Scores, calibration: Scores, score_name: str
) -> Figure:
    assert scores.threshold is not None
    groups = [
        anomaly.ScoreGroup(
            f"{run.good}, calibration", False, calibration.score, calibration.called_defect
        )
    ]
    for name in classes_in(run, scores):
        rows = scores.class_name == name
        groups.append(
            anomaly.ScoreGroup(
                name, name != run.good, scores.score[rows], scores.called_defect[rows]
            )
        )
    return anomaly.scores_by_class(groups, scores.threshold, score_name=score_name)


def curve_drawings(run: RunFolder, scores: Scores) -> Iterator[Drawing]:
    """What other thresholds would do to images and pixels; nothing without good or defect images.

    Raises RunError where the maps are damaged.
    """
    from sklearn.metrics import roc_curve as image_roc_curve

    if scores.is_defect.all() or not scores.is_defect.any():
        return
    figures = names.of_stage(run.figures, TEST)
    counts = _count(run.maps, scores) if run.maps is not None else None
    rejected, found, _ = image_roc_curve(scores.is_defect, scores.score)
    called, defect = scores.called_defect, scores.is_defect
    yield (
        ROC,
        lambda: anomaly.roc(
            (rejected, found),
            None if counts is None else roc_curve(counts),
            auroc=figures.get(names.AUROC),
            pixel_auroc=figures.get(names.PIXEL_AUROC),
            now=(float(called[~defect].mean()), float(called[defect].mean())),
        ),
    )
    if counts is not None:
        yield PRO, lambda: anomaly.pro(pro_curve(counts), aupro=figures.get(names.AUPRO))


def _count(maps: RunMaps, scores: Scores) -> PixelCounts | None:
    """Pixels of the good images and of the defects with a mask; None where no mask is known."""
    is_defect = dict(zip(scores.index.tolist(), scores.is_defect.tolist(), strict=True))
    scored = [row for row, index in enumerate(maps.index.tolist()) if index in is_defect]
    told = rows_that_tell(
        (is_defect[int(maps.index[row])] for row in scored), (maps.masks[row] for row in scored)
    )
    used = [scored[place] for place in told]
    if not any(maps.masks[row].any() for row in used):
        return None
    counts = count_pixels((maps.map_of(row) for row in used), (maps.mask_of(row) for row in used))
    return counts if counts.good.sum() and counts.defect.sum() else None


def _of_examples(run: RunFolder, scores: Scores) -> Iterator[Drawing]:
    """The worst of each class together, then worst and best of each class by itself."""
    scale = _scale(run.maps, scores)
    shown = {name: _extremes(scores, name, run.good) for name in classes_in(run, scores)}
    rows = [row for pair in shown.values() for row in pair]
    if scale is None and not any(run.image_path(scores.index[row]).is_file() for row in rows):
        return
    worst = [pair[0] for pair in shown.values()]
    yield EXAMPLES, lambda: _draw(run, scores, worst, scale, "The worst image of each class")
    files = examples_file_names(list(shown))
    for name, pair in shown.items():
        title = f"{style.short(name)}: " + (
            "its only image" if len(pair) == 1 else "worst and best"
        )
        yield files[name], partial(_draw, run, scores, pair, scale, title)


def _extremes(scores: Scores, name: str, good: str) -> list[int]:
    """Worst and best image of a class: a good one should score low, a defect high."""
    rows = np.flatnonzero(scores.class_name == name)
    ordered = rows[np.argsort(scores.score[rows], kind="stable")].tolist()
    if len(ordered) == 1:
        return ordered
    lowest, highest = ordered[0], ordered[-1]
    return [highest, lowest] if name == good else [lowest, highest]


def _scale(maps: RunMaps | None, scores: Scores) -> examples.MapScale | None:
    """One scale for all maps, from every second pixel of every second line."""
    if maps is None or not len(maps.index):
        return None
    good = set(scores.index[~scores.is_defect].tolist())
    pixels = [maps.map_of(row)[::2, ::2].ravel() for row in range(len(maps.index))]
    of_good = [of for of, index in zip(pixels, maps.index.tolist(), strict=True) if index in good]
    return examples.map_scale(np.concatenate([np.zeros(0), *of_good]), np.concatenate(pixels))


def _draw(
    run: RunFolder,
    scores: Scores,
    rows: Sequence[int],
    scale: examples.MapScale | None,
    title: str,
) -> Figure:
    return examples.example_rows([_example(run, scores, row) for row in rows], scale, title=title)


def _example(run: RunFolder, scores: Scores, row: int) -> examples.Example:
    index, is_defect = int(scores.index[row]), bool(scores.is_defect[row])
    place = None if run.maps is None else run.maps.row_of(index)
    anomaly_map = mask = inside = None
    if run.maps is not None and place is not None:
        inside = run.maps.share_inside(place)
        anomaly_map, mask = run.maps.map_of(place), run.maps.mask_of(place)
        if is_defect and not mask.any():
            mask = None
    image, reconstruction = (
        without_padding(read_thumbnail(path), inside) if path.is_file() else None
        for path in (run.image_path(index), run.reconstruction_path(index))
    )
    return examples.Example(
        _caption(scores, row),
        bool(scores.called_defect[row]) != is_defect,
        image,
        reconstruction,
        anomaly_map,
        mask,
    )


def _caption(scores: Scores, row: int) -> str:
    name, score = scores.class_name[row], scores.score[row]
    of_class = scores.score[scores.class_name == name]
    place = "highest" if score == of_class.max() else "lowest"
    which = f"{place} score of {len(of_class)}" if len(of_class) > 1 else "score"
    threshold = "" if scores.threshold is None else f", threshold {scores.threshold:.3g}"
    judged = {
        (False, False): "accepted, as it should be",
        (False, True): "rejected by mistake",
        (True, True): "rejected, as it should be",
        (True, False): "let through by mistake",
    }[bool(scores.is_defect[row]), bool(scores.called_defect[row])]
    return f"{style.short(str(name))}, {which}: {score:.3g}{threshold}. {judged.capitalize()}."
