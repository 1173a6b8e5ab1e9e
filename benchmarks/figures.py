"""Arithmetic of the benchmarks: interleaved rounds, ratios, and the rows that are shown.

A ratio is taken within each round, of two measurements made one after the other, so that a machine
that slows down in between counts little; what is shown is the median over rounds and its range.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HEADER = "figure | measured | target | met?"


@dataclass(frozen=True)
class Row:
    """One figure: a value of each round, and what its median should reach.

    `unit` is "" for ratios. `target` is None where a figure is only reported; an empty `samples`
    says that it was skipped, and `note` why.
    """

    figure: str
    samples: tuple[float, ...]
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def value(self) -> float | None:
        """Median over rounds."""
        return statistics.median(self.samples) if self.samples else None


def interleave(
    measurements: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """What each measurement returned, in rounds of A B A B; `warm_up` is a round not counted."""
    if warm_up:
        for measure in measurements.values():
            measure()
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            values[name].append(measure())
    return values


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Ratio of each round. Raises ValueError where the numbers of rounds differ."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


def is_met(row: Row) -> bool | None:
    """Whether the median reaches the target; None where there is none, or no value."""
    if row.target is None or row.value is None:
        return None
    return row.value >= row.target if row.at_least else row.value <= row.target


def line(row: Row) -> str:
    """`figure | measured | target | met?`, the range over rounds in brackets."""
    met = {True: "yes", False: "NO", None: "-"}[is_met(row)]
    return " | ".join([row.figure, _measured(row), _target(row), met])


def _measured(row: Row) -> str:
    if row.value is None:
        return f"skipped: {row.note}"
    text = _number(row.value, row.unit)
    if len(row.samples) > 1:
        low, high = (_number(edge(row.samples), "") for edge in (min, max))
        text += f" ({low} to {high}, {len(row.samples)} rounds)"
    return f"{text}; {row.note}" if row.note else text


def _target(row: Row) -> str:
    if row.target is None:
        return "-"
    return f"{'at least' if row.at_least else 'at most'} {_number(row.target, row.unit)}"


def _number(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()
