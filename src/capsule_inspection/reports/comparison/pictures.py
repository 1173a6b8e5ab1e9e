"""The pictures of a comparison: courses of training, confusion, disagreement.

From contestants that are handed over; reads thumbnails only. At most `MOST_SHOWN` contestants are
drawn, the best on validation, since more lines tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import confusion
from capsule_inspection.reports import mistakes, style
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.measured import Measured, monitored
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import TRAIN, VAL

MOST_SHOWN = 7
MOST_DISAGREEMENTS = 12
SECONDS = "seconds"


@style.styled
def courses(measured: Sequence[Measured], *, colours: Sequence[str] = style.SERIES) -> Figure:
    """Validation accuracy (or the figure that all have), training and validation loss over epochs.

    A thin line for each run, a strong one for their mean over the epochs that all of them have; a
    colour for each contestant.
    """
    metric = _course_metric(measured)
    columns = {
        names.figure_key(VAL, metric): f"validation {words.metric(metric)}",
        names.figure_key(TRAIN, names.LOSS): "training loss",
        names.figure_key(VAL, names.LOSS): "validation loss",
    }
    return _lines(measured, columns, over="epoch", colours=colours)


@style.styled
def over_time(measured: Sequence[Measured], *, colours: Sequence[str] = style.SERIES) -> Figure:
    """Validation accuracy over the time of training, one line a run."""
    metric = _course_metric(measured)
    columns = {names.figure_key(VAL, metric): f"validation {words.metric(metric)}"}
    return _lines(measured, columns, over=SECONDS, colours=colours)


def _course_metric(measured: Sequence[Measured]) -> str:
    """Accuracy where every run has it, else the figure that chose the epoch of the first."""
    key = names.figure_key(VAL, names.ACCURACY)
    if all(key in run.epochs for one in measured for run in one.contestant.runs):
        return names.ACCURACY
    return monitored(measured[0].contestant.runs[0]) or names.AUROC


def _lines(
    measured: Sequence[Measured], columns: dict[str, str], *, over: str, colours: Sequence[str]
) -> Figure:
    figure = style.new_figure(9.0, 0.7 + 2.9 * len(columns) + 0.22 * len(measured))
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, title) in zip(panels, columns.items(), strict=True):
        for i, one in enumerate(measured):
            _draw_contestant(axes, one, column, over=over, colour=colours[i])
        axes.set_title(title)
        is_loss = column.endswith(names.LOSS)
        axes.set_ylim(bottom=0, top=None if is_loss else 1.02)
    if over == SECONDS:
        panels[-1].set_xlabel("seconds of training")
        panels[-1].set_xlim(left=0)
    else:
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=1)
    return figure


def _draw_contestant(axes: Axes, one: Measured, column: str, *, over: str, colour: str) -> None:
    runs = [run for run in one.contestant.runs if column in run.epochs]
    courses_ = [_course(run, column, over) for run in runs]
    several = len(courses_) > 1
    for x, y in courses_:
        axes.plot(
            x, y, color=colour, linewidth=0.7 if several else 1.6, alpha=0.4 if several else 1
        )
    if not courses_:
        return
    if several:
        shortest = min(len(x) for x, _ in courses_)
        mean = [
            np.mean([part[:shortest] for part in parts], axis=0)
            for parts in zip(*courses_, strict=True)
        ]
        axes.plot(
            *mean,
            color=colour,
            linewidth=2.2,
            label=f"{style.short(one.name, 60)} (mean of {len(runs)})",
        )
    else:
        axes.lines[-1].set_label(style.short(one.name, 60))


def _course(run: RunFolder, column: str, over: str) -> tuple[np.ndarray, np.ndarray]:
    values = run.epochs[column].to_numpy(np.float64)
    measured = np.isfinite(values)
    x = run.epochs[over].to_numpy(np.float64)
    return (np.cumsum(x) if over == SECONDS else x)[measured], values[measured]


@style.styled
def confusions(contestants: Sequence[Contestant]) -> Figure:
    """Confusion matrices side by side: share of each class that was called what, and how many."""
    columns = min(3, len(contestants))
    rows = -(-len(contestants) // columns)
    figure = style.new_figure(4.2 * columns + 0.9, 4.1 * rows + 0.4)
    alike = len({contestant.classes for contestant in contestants}) == 1
    panels = figure.subplots(rows, columns, squeeze=False, sharey=alike)
    for axes in panels.flat[len(contestants) :]:
        axes.set_visible(False)
    for number, (axes, contestant) in enumerate(zip(panels.flat, contestants, strict=False)):
        _draw_confusion(axes, contestant)
        if number % columns == 0:
            axes.set_ylabel("what they are")
    figure.supxlabel("what they were called", fontsize=11)
    return figure


def _draw_confusion(axes: Axes, contestant: Contestant) -> None:
    index_of = {name: index for index, name in enumerate(contestant.classes)}
    count = len(index_of)
    label = np.array([index_of[name] for name in contestant.label.tolist()])
    matrix = np.mean(
        [
            confusion(label, np.array([index_of[name] for name in row]), count)
            for row in _named(contestant).tolist()
        ],
        axis=0,
    )
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            axes.text(column, row, words.count(value), ha="center", va="center", fontsize=9,
                      color="white" if share[row, column] > 0.6 else style.BLACK)  # fmt: skip
    labels = [style.short(name, 16) for name in contestant.classes]
    axes.set_xticks(range(count), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), labels)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    right = words.count(float(np.trace(matrix)))
    axes.set_title(
        f"{style.short(contestant.name, 34)}\n{right} of {len(label)} right", fontsize=10
    )


@style.styled
def disagreements(contestants: Sequence[Contestant]) -> Figure:
    """Test images of which the models say different things, those with most dissent first."""
    shared = [
        image
        for image in contestants[0].image.tolist()
        if all(image in other.row_of for other in contestants[1:])
    ]
    if not shared:
        return style.message("The models were not tested on the same images.")
    rows = [np.array([one.row_of[image] for image in shared]) for one in contestants]
    correct = np.stack([one.correct[row] for one, row in zip(contestants, rows, strict=True)])
    split = np.ptp(correct, axis=0)
    order = [i for i in np.argsort(-split, kind="stable") if split[i] > 0]
    if not order:
        return style.message(f"The models are right and wrong on the same of {len(shared)} images.")
    images, captions = [], []
    for i in order:
        thumbnail = _thumbnail(contestants[0], shared[i])
        if thumbnail is not None:
            images.append(thumbnail)
            captions.append(_caption(contestants, [row[i] for row in rows]))
        if len(images) == MOST_DISAGREEMENTS:
            break
    if not images:
        return style.message("The runs kept no thumbnails of the images that they disagree on.")
    title = f"{len(images)} of {len(order)} images on which the models disagree, of {len(shared)}"
    return mistakes.image_grid(images, captions, title=title)


def _caption(contestants: Sequence[Contestant], rows: Sequence[int]) -> str:
    truth = contestants[0].label[rows[0]]
    lines = [f"is {style.short(truth, 24)}"]
    for one, row in zip(contestants, rows, strict=True):
        called = _named(one)[:, row].tolist()
        most = max(dict.fromkeys(called), key=called.count)
        mark = "✓" if most == truth else "✗"
        lines.append(f"{mark} {style.short(one.name, 20)}: {style.short(most, 18)}")
    return "\n".join(lines)


def _named(contestant: Contestant) -> np.ndarray:
    """What its images were called: (S, N) str. Only for contestants that name classes."""
    assert contestant.prediction is not None
    return contestant.prediction


def _thumbnail(contestant: Contestant, image: str) -> np.ndarray | None:
    from PIL import Image

    for run, index in contestant.places_of(image):
        path = run.image_path(index)
        try:
            with Image.open(path) as opened:
                return np.asarray(opened.convert("RGB"))
        except OSError:
            continue
    return None
