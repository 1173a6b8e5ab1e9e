"""The tables of what models cost: how training went, and what a model needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.cells import Cell, Table, name_cell
from capsule_inspection.reports.comparison.convergence import DEFINITION
from capsule_inspection.reports.comparison.measured import (
    Measured,
    Spread,
    converged_epoch,
    epoch_time_s,
    from_record,
    gap,
    last_epoch,
    of_epoch,
    peak_memory_bytes,
    shows_convergence,
    validation_figure,
)
from capsule_inspection.types import TRAIN, VAL

TRAINING_ROWS = "Training"

OfRun = Callable[..., float | None]
Column = tuple[str, OfRun, Callable[[float], str]]


def _whole(value: float) -> str:
    return f"{value:.0f}"


TRAINING: tuple[Column, ...] = (
    ("stopped at epoch", last_epoch, _whole),
    ("training time", from_record("training_time_s"), words.duration),
    ("training loss", of_epoch(names.figure_key(TRAIN, names.LOSS), last=True), "{:.3f}".format),
    ("converged at", converged_epoch, _whole),
    ("validation accuracy", validation_figure(names.ACCURACY), words.share),
    ("validation balanced accuracy", validation_figure(names.BALANCED_ACCURACY), words.share),
    (
        "validation foreground Dice",
        of_epoch(names.figure_key(VAL, words.MONITORED_DICE)),
        words.share,
    ),
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


def training_table(measured: Sequence[Measured]) -> Table:
    """The origin's rows: how training went."""
    parts = [f"{DEFINITION} Training loss: of the last epoch."]
    if any(_is_classifier(one) for one in measured):
        parts.append(
            "Gap: the figure that chose the epoch, in training less in validation, in points."
        )
    if not all(_is_classifier(one) for one in measured):
        parts.append("Losses can be compared only where they have the same terms and images.")
    parts.append(
        "Over several runs: mean (least to most). Epochs are counted from 0, as in metrics.csv."
    )
    return _costs(TRAINING_ROWS, TRAINING, measured, " ".join(parts))


def _is_classifier(one: Measured) -> bool:
    return one.contestant.names_defects and not one.contestant.marks_pixels


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


def _costs(title: str, columns: Sequence[Column], measured: Sequence[Measured], note: str) -> Table:
    rows = []
    for one in measured:
        cells = [name_cell(one)]
        for _, of_run, as_text in columns:
            spread, runs = one.cost(of_run), one.contestant.runs
            did_not = of_run is converged_epoch and any(shows_convergence(run) for run in runs)
            cells.append(_spread(spread, as_text, of=len(runs), none="not" if did_not else "–"))
        rows.append(tuple(cells))
    kept = [i for i in range(1, len(columns) + 1) if any(row[i].value is not None for row in rows)]
    labels = ("model", *(columns[i - 1][0] for i in kept))
    return Table(title, labels, tuple((row[0], *(row[i] for i in kept)) for row in rows), note)


def _spread(spread: Spread | None, as_text: Callable[[float], str], *, of: int, none: str) -> Cell:
    if spread is None:
        return Cell(none)
    text = words.spread(spread, as_text=as_text)
    if spread.count < of:
        text += f", {spread.count} of {of} runs"
    return Cell(text, spread.mean)


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
