"""Tables of the training of each model and of what the model costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison.cells import Cell, Table, format_spread, name_cell
from capsule_inspection.reports.comparison.model_metrics import (
    ModelMetrics,
    Spread,
)
from capsule_inspection.reports.comparison.training_costs import (
    DEFINITION,
    RunValue,
    converged_epoch,
    epoch_time_s,
    from_epoch,
    from_record,
    generalization_gap,
    has_convergence,
    last_epoch,
    peak_memory_bytes,
    validation_metric,
)
from capsule_inspection.reports.formatting import (
    format_duration,
    format_fraction,
    format_points,
    format_quantity,
)
from capsule_inspection.types import TRAIN, VAL

TRAINING_TITLE = "Training"

Column = tuple[str, RunValue, Callable[[float], str]]


def _format_integer(value: float) -> str:
    return f"{value:.0f}"


TRAINING_COLUMNS: tuple[Column, ...] = (
    ("stopped at epoch", last_epoch, _format_integer),
    ("training time", from_record("training_time_s"), format_duration),
    ("training loss", from_epoch(names.metric_key(TRAIN, names.LOSS), last=True), "{:.3f}".format),
    ("converged at", converged_epoch, _format_integer),
    ("validation accuracy", validation_metric(names.ACCURACY), format_fraction),
    ("validation balanced accuracy", validation_metric(names.BALANCED_ACCURACY), format_fraction),
    (
        "validation binary Dice",
        from_epoch(names.metric_key(VAL, names.BINARY_DICE)),
        format_fraction,
    ),
    ("validation loss", from_epoch(names.metric_key(VAL, names.LOSS)), "{:.3f}".format),
    ("best epoch", from_record("best_epoch"), _format_integer),
    ("gap", generalization_gap, format_points),
)
COST_COLUMNS: tuple[Column, ...] = (
    ("parameters", from_record("network", "parameters"), format_quantity),
    ("FLOPs an image", from_record("network", "flops"), format_quantity),
    ("time of an image", from_record("inference_ms_per_image"), "{:.1f} ms".format),
    ("images a second, training", from_record("images_per_second"), format_quantity),
    ("time of an epoch", epoch_time_s, format_duration),
    ("peak memory", peak_memory_bytes, lambda value: f"{value / 1e9:.2f} GB"),
)


def training_table(results: Sequence[ModelMetrics]) -> Table:
    """Epochs, losses and validation metrics of the trainings."""
    parts = [f"{DEFINITION} Training loss: of the last epoch."]
    if any(_is_classifier(result) for result in results):
        parts.append("Gap: the monitored metric, in training less in validation, in points.")
    if not all(_is_classifier(result) for result in results):
        parts.append("Losses can be compared only where they have the same terms and images.")
    parts.append(
        "Over several runs: mean (least to most). Epochs are counted from 0, as in metrics.csv."
    )
    return _make_table(TRAINING_TITLE, TRAINING_COLUMNS, results, " ".join(parts))


def _is_classifier(result: ModelMetrics) -> bool:
    return result.model.has_probabilities and not result.model.has_masks


def cost_table(results: Sequence[ModelMetrics]) -> Table:
    """Parameters, FLOPs, times and memory of each model."""
    table = _make_table(
        "Cost",
        COST_COLUMNS,
        results,
        "Time of an image: forward pass, batch of one, on the device of the training; compare "
        "times only where the hardware is the same.",
    )
    rows = [
        (row[0], Cell(result.weights), *row[1:], Cell(_describe_hardware(result)))
        for row, result in zip(table.rows, results, strict=True)
    ]
    columns = (table.columns[0], "initial weights", *table.columns[1:], "hardware")
    return Table(table.title, columns, tuple(rows), table.note)


def _make_table(
    title: str, columns: Sequence[Column], results: Sequence[ModelMetrics], note: str
) -> Table:
    rows = []
    for result in results:
        cells = [name_cell(result)]
        for _, run_value, format_value in columns:
            spread, runs = result.cost(run_value), result.model.runs
            if spread is None:
                did_not = run_value is converged_epoch and any(map(has_convergence, runs))
                cells.append(Cell("not" if did_not else "–"))
            else:
                cells.append(_spread_cell(spread, format_value, num_runs=len(runs)))
        rows.append(tuple(cells))
    kept = [i for i in range(1, len(columns) + 1) if any(row[i].value is not None for row in rows)]
    labels = ("model", *(columns[i - 1][0] for i in kept))
    return Table(title, labels, tuple((row[0], *(row[i] for i in kept)) for row in rows), note)


def _spread_cell(spread: Spread, format_value: Callable[[float], str], *, num_runs: int) -> Cell:
    text = format_spread(spread, format_value)
    if spread.count < num_runs:
        text += f", {spread.count} of {num_runs} runs"
    return Cell(text, spread.mean)


def _describe_hardware(result: ModelMetrics) -> str:
    found = []
    for run in result.model.runs:
        hardware = run.record.get("hardware") or {}
        gpus = hardware.get("gpus") or []
        on_gpu = hardware.get("device") in ("cuda", "mps") and gpus
        device = gpus[0] if on_gpu else hardware.get("processor", "unknown")
        threads = "" if on_gpu else f", {hardware.get('threads', '?')} threads"
        found.append(f"{device}{threads}, {hardware.get('precision', '')}".strip(", "))
    return "; ".join(dict.fromkeys(found))
