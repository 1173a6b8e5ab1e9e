"""Arithmetic of the benchmarks: interleaved rounds, ratios, and the printed lines.

A ratio is taken within each round, of two values measured one after the other, so that a machine
that slows down in between has little effect. A line shows the median over rounds and the range.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HEADER = "metric | measured | target | met?"


@dataclass(frozen=True)
class Measurement:
    """A metric: its value in each round, and the target of their median.

    `unit` is "" for ratios. `target` is None for a metric that is only reported. `samples` is
    empty for a skipped metric, and `note` has the reason.
    """

    metric: str
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
    functions: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Values of each function, in rounds of A B A B; `warm_up` is a round that does not count."""
    if warm_up:
        for function in functions.values():
            function()
    values: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            values[name].append(function())
    return values


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Ratio of each round. Raises ValueError where the numbers of rounds differ."""
    return tuple(a / b for a, b in zip(numerators, denominators, strict=True))


def is_met(measurement: Measurement) -> bool | None:
    """Whether the median reaches the target; None where there is none, or no value."""
    if measurement.target is None or measurement.value is None:
        return None
    if measurement.at_least:
        return measurement.value >= measurement.target
    return measurement.value <= measurement.target


def format_line(measurement: Measurement) -> str:
    """`metric | measured | target | met?`, the range over rounds in brackets."""
    met = {True: "yes", False: "NO", None: "-"}[is_met(measurement)]
    return " | ".join(
        [measurement.metric, _format_value(measurement), _format_target(measurement), met]
    )


def _format_value(measurement: Measurement) -> str:
    if measurement.value is None:
        return f"skipped: {measurement.note}"
    text = _format_number(measurement.value, measurement.unit)
    if len(measurement.samples) > 1:
        low, high = (_format_number(bound(measurement.samples), "") for bound in (min, max))
        text += f" ({low} to {high}, {len(measurement.samples)} rounds)"
    return f"{text}; {measurement.note}" if measurement.note else text


def _format_target(measurement: Measurement) -> str:
    if measurement.target is None:
        return "-"
    bound = "at least" if measurement.at_least else "at most"
    return f"{bound} {_format_number(measurement.target, measurement.unit)}"


def _format_number(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()
