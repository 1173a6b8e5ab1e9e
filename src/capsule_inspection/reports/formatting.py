"""Numbers and lists as text, for pages, plots and the console."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate


def format_fraction(value: float) -> str:
    """Three decimals without the leading zero: `.909`."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def format_estimate(
    estimate: Estimate | None, write: Callable[[float], str] = format_fraction
) -> str:
    """`.909 (.816 to .958)`; a dash where there is none."""
    if estimate is None:
        return "–"
    limits = format_limits(estimate.ci_low, estimate.ci_high, write)
    return write(estimate.value) if limits == "–" else f"{write(estimate.value)} ({limits})"


def format_limits(
    low: float | None, high: float | None, write: Callable[[float], str] = format_fraction
) -> str:
    """`.816 to .958`; a dash where a limit is unknown."""
    return "–" if low is None or high is None else f"{write(low)} to {write(high)}"


def format_percent(value: float) -> str:
    """A fraction in percent with two digits, which may be small: `0.034%`; 100% only if exact."""
    if 0.995 <= value < 1:
        return f"{min(100 * value, 99.9):.1f}%"
    return f"{100 * value:.2g}%" if value < 1 else f"{100 * value:.0f}%"


def format_metric(name: str, value: float) -> str:
    """A value of a metric: rates in percent, others as a fraction: `.909`."""
    return format_percent(value) if name in names.RATES else format_fraction(value)


def format_rate_of(estimate: Estimate, what: str = "", *, grouped: bool = False) -> str:
    """A rate with its counts: `24% (5 of 21 defects)`; without counts where images are grouped."""
    if grouped:
        return format_percent(estimate.value) + (f" of the {what}" if what else "")
    count = f"{estimate.value * estimate.n:.0f} of {estimate.n} {what}".strip()
    return f"{format_percent(estimate.value)} ({count})"


def format_rate(value: float) -> str:
    """A target rate in percent: `5%`, `2.5%`."""
    return f"{100 * value:.3g}%"


def format_score(score: float, threshold: float | None) -> str:
    """`score 0.12`; near the threshold with it, and with the digits that tell them apart."""
    limit = float("nan") if threshold is None else threshold
    texts = ((f"{score:.{digits}g}", f"{limit:.{digits}g}") for digits in range(4, 18))
    written, of_threshold = next((of for of in texts if of[0] != of[1]), (f"{score}", f"{limit}"))
    is_near = threshold is not None and f"{score:.2g}" == f"{threshold:.2g}"
    return f"score {written}" + (f", threshold {of_threshold}" if is_near else "")


def format_points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def format_difference(name: str, value: float) -> str:
    """A difference in a metric with its sign: in points, except for costs."""
    if name == names.EXPECTED_COST:
        return f"{value:+.3g}".replace("-", "−")
    return format_points(value)


def format_p_value(value: float | None) -> str:
    """`< .001`, `= .035` or `not known`."""
    if value is None:
        return "not known"
    digits = 4 if 0.0495 <= value < 0.05 else 3  # not “.050” for a value below .05
    return "< .001" if value < 0.001 else f"= {value:.{digits}f}".replace("= 0.", "= .")


def format_duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def format_quantity(value: float) -> str:
    """A large number with the unit k, M or G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def format_count(value: float) -> str:
    """A number of images; with one decimal where it is a mean over seeds."""
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.1f}"


def format_list(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
