"""The tables of a comparison: cells with text and a value to sort by; and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.contracts import TRAIN, VAL, Figure
from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import settings, words
from capsule_inspection.reports.comparison.convergence import DEFINITION
from capsule_inspection.reports.comparison.measured import (
    Measured,
    Spread,
    converged_epoch,
    epoch_time_s,
    from_record,
    gap,
    of_epoch,
    peak_memory_bytes,
    validation_figure,
)
from capsule_inspection.reports.comparison.verdicts import Verdict

QUALITY, TRAINING_ROWS = "Test images", "Training"
WHOLE = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.MACRO_F1,
    names.DEFECTS_MISSED,
    names.GOOD_REJECTED,
    names.AUROC,
)


@dataclass(frozen=True)
class Cell:
    """What is read, and what is sorted by: a number, or the text where there is none."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns; the first column names the model."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


OfRun = Callable[..., float | None]
Column = tuple[str, OfRun, Callable[[float], str]]


def _whole(value: float) -> str:
    return f"{value:.0f}"


TRAINING: tuple[Column, ...] = (
    ("stopped at epoch", from_record("epochs"), _whole),
    ("training time", from_record("training_time_s"), words.duration),
    ("training loss", of_epoch(names.figure_key(TRAIN, names.LOSS), last=True), "{:.3f}".format),
    ("converged at", converged_epoch, _whole),
    ("validation accuracy", validation_figure(names.ACCURACY), words.share),
    ("validation balanced accuracy", validation_figure(names.BALANCED_ACCURACY), words.share),
    ("validation loss", of_epoch(names.figure_key(VAL, names.LOSS)), "{:.3f}".format),
    ("chosen epoch", from_record("best_epoch"), _whole),
    ("gap", gap, words.points),
)
COST: tuple[Column, ...] = (
    ("parameters", from_record("network", "parameters"), words.quantity),
    ("FLOPs an image", from_record("network", "flops"), words.quantity),
    ("time of an image", from_record("inference_ms_per_image"), "{:.1f} ms".format),
    ("images a second, training", from_record("images_per_second"), words.quantity),
    ("time of an epoch", epoch_time_s, words.duration),
    ("peak memory", peak_memory_bytes, lambda value: f"{value / 1e9:.2f} GB"),
)


def quality_table(measured: Sequence[Measured]) -> Table:
    """What each model reached on its test images."""
    shown = [name for name in WHOLE if any(name in one.figures for one in measured)]
    lower = names.LOWER_IS_BETTER
    columns = [f"{words.metric(name)}{' ↓' if name in lower else ''}" for name in shown]
    rows = [
        (
            _name(one),
            *(_figure(one.figures.get(name)) for name in shown),
            Cell(str(len(one.contestant.image)), len(one.contestant.image)),
        )
        for one in measured
    ]
    note = (
        "Each with its 95% interval; AUROC is that of good against defect. Folds are pooled: every "
        "image is tested once for each seed. Of several seeds, values and limits are averaged. "
        "↓: lower is better."
    )
    return Table(QUALITY, ("model", *columns, "images"), tuple(rows), note)


def recall_table(measured: Sequence[Measured]) -> Table | None:
    """Recall of each class; None where no model names classes."""
    found = [names.of_classes(one.figures, names.RECALL) for one in measured]
    classes = list(dict.fromkeys(name for of_one in found for name in of_one))
    if not classes:
        return None
    rows = [
        (_name(one), *(_figure(of_one.get(name)) for name in classes))
        for one, of_one in zip(measured, found, strict=True)
    ]
    note = "Share of the images of a class that are named correctly; – where it has none."
    return Table("Recall of each class", ("model", *classes), tuple(rows), note)


def settings_table(measured: Sequence[Measured]) -> Table | None:
    """What tells models of one network apart; None where their names say all."""
    models = [settings.model_settings(one.contestant.runs[0]) for one in measured]
    rows = [
        (_name(one), Cell(told))
        for one, model in zip(measured, models, strict=True)
        if (told := settings.told_apart(model, models))
    ]
    return Table("Settings", ("model", "what differs"), tuple(rows)) if rows else None


def training_table(measured: Sequence[Measured]) -> Table:
    """The origin's rows: how training went."""
    note = (
        f"{DEFINITION} Training loss: of the last epoch. Gap: the figure that chose the epoch, in "
        "training less in validation, in points. Over several runs: mean (least to most). Epochs "
        "are counted from 0, as in metrics.csv."
    )
    return _costs(TRAINING_ROWS, TRAINING, measured, note)


def cost_table(measured: Sequence[Measured]) -> Table:
    """What a model needs."""
    table = _costs(
        "Cost",
        COST,
        measured,
        "Time of an image: forward pass, batch of one, on the device of the training; compare "
        "times only where the hardware is the same.",
    )
    rows = [
        (row[0], Cell(one.weights), *row[1:], Cell(_hardware(one)))
        for row, one in zip(table.rows, measured, strict=True)
    ]
    columns = (table.columns[0], "first weights", *table.columns[1:], "hardware")
    return Table(table.title, columns, tuple(rows), table.note)


def seeds_table(measured: Sequence[Measured]) -> Table | None:
    """How much seeds differ; None where nobody has several."""
    with_seeds = [one for one in measured if len(one.contestant.seeds) > 1]
    if not with_seeds:
        return None
    shown = (names.ACCURACY, names.BALANCED_ACCURACY, names.AUROC)
    rows = []
    for one in with_seeds:
        cells = [_name(one), Cell(", ".join(map(str, one.contestant.seeds)))]
        for metric in shown:
            values = [of_seed[metric] for of_seed in one.by_seed.values() if metric in of_seed]
            cells.append(_spread_of_seeds(values))
        rows.append(tuple(cells))
    return Table(
        "Spread over seeds",
        ("model", "seeds", *map(words.metric, shown)),
        tuple(rows),
        "Mean (least to most; standard deviation) of the same test images under other first "
        "weights and another order of training.",
    )


def pair_table(verdict: Verdict) -> Table:
    """All figures of a pair with their tests."""
    rows = [
        (
            Cell(words.metric(name)),
            Cell(words.points(difference.value), difference.value),
            Cell(words.interval(difference).strip(" ()") or "–"),
            Cell(f"{difference.test}, p {words.p(difference.p_value)}", difference.p_value),
            Cell(f"p {words.p(verdict.corrected.get(name))}", verdict.corrected.get(name)),
            Cell("yes" if verdict.differs(name) else "no"),
        )
        for name, difference in verdict.differences.items()
    ]
    columns = ("figure", "difference in points", "95% interval", "test",
               f"corrected for {verdict.pairs} pairs", "told apart")  # fmt: skip
    return Table("", columns, tuple(rows))


def as_csv(measured: Sequence[Measured]) -> str:
    """One row a model: every figure with its limits and n, every number of training and cost."""
    metrics = list(dict.fromkeys(name for one in measured for name in one.figures))
    parts = ("", "_low", "_high", "_n")
    costs = (*TRAINING, *COST)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "task", "runs", "seeds", "stage", "optimistic", "first_weights"]
        + [f"{name}{part}" for name in metrics for part in parts]
        + [label.replace(",", "").replace(" ", "_") for label, _, _ in costs]
    )
    for one in measured:
        row: list[object] = [one.name, one.contestant.task, len(one.contestant.runs)]
        row += [" ".join(map(str, one.contestant.seeds)), one.contestant.stage]
        row += [one.contestant.is_optimistic, one.weights]
        for name in metrics:
            figure = one.figures.get(name)
            row += ["", "", "", ""] if figure is None else list(vars(figure).values())
        spreads = [one.cost(of_run) for _, of_run, _ in costs]
        row += ["" if spread is None else spread.mean for spread in spreads]
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def _costs(title: str, columns: Sequence[Column], measured: Sequence[Measured], note: str) -> Table:
    rows = []
    for one in measured:
        cells = [_name(one)]
        for _, of_run, as_text in columns:
            spread = one.cost(of_run)
            cells.append(_spread(spread, as_text, of=len(one.contestant.runs)))
        rows.append(tuple(cells))
    kept = [i for i in range(1, len(columns) + 1) if any(row[i].value is not None for row in rows)]
    labels = ("model", *(columns[i - 1][0] for i in kept))
    return Table(title, labels, tuple((row[0], *(row[i] for i in kept)) for row in rows), note)


def _spread(spread: Spread | None, as_text: Callable[[float], str], *, of: int) -> Cell:
    if spread is None:
        return Cell("not" if as_text is _whole else "–")
    text = words.spread(spread, as_text=as_text)
    if spread.count < of:
        text += f", {spread.count} of {of} runs"
    return Cell(text, spread.mean)


def _spread_of_seeds(values: Sequence[float]) -> Cell:
    if not values:
        return Cell("–")
    least, most = words.share(min(values)), words.share(max(values))
    deviation = float(np.std(values, ddof=1))
    text = f"{words.share(float(np.mean(values)))} ({least} to {most}; {words.share(deviation)})"
    return Cell(text, float(np.mean(values)))


def _figure(figure: Figure | None) -> Cell:
    return Cell(words.figure(figure), None if figure is None else figure.value)


def _name(one: Measured) -> Cell:
    runs = len(one.contestant.runs)
    return Cell(one.name if runs == 1 else f"{one.name} ({runs} runs)")


def _hardware(one: Measured) -> str:
    found = []
    for run in one.contestant.runs:
        hardware = run.record.get("hardware") or {}
        gpus = hardware.get("gpus") or []
        on_gpu = hardware.get("device") in ("cuda", "mps") and gpus
        device = gpus[0] if on_gpu else hardware.get("processor", "unknown")
        threads = "" if on_gpu else f", {hardware.get('threads', '?')} threads"
        found.append(f"{device}{threads}, {hardware.get('precision', '')}".strip(", "))
    return "; ".join(dict.fromkeys(found))
