"""Error rates of comparisons: how often a model is recommended wrongly, and how often rightly.

Models of known error rates are simulated, and compared by the project's own decision. Run
`python -m benchmarks.comparison_errors [--quick] [--output <folder>]`: it prints tables in Markdown
and draws the power curves into `comparison_power.png`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.comparison_scenarios import (
    Scenario,
    beyond_scenarios,
    margin_scenarios,
    null_scenarios,
    power_scenarios,
)
from benchmarks.measurements import Measurement
from benchmarks.simulated_comparisons import Rates, simulate
from benchmarks.sizes import WORK_FOLDER, Sizes

TARGET, TARGET_BOUND = 0.05, 0.06
"""False recommendations, and the upper 95% limit of their simulation."""
_CURVES = (
    ("found", "C0", "found by the primary metric"),
    ("found_by_mcnemar", "C1", "found by exact McNemar with Holm"),
    ("best_recommended", "C2", "better model recommended"),
)


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """The largest upper bound of false recommendations; each round draws other studies."""
    worst = []
    for seed in range(rounds):
        found = simulate(null_scenarios(), sizes.comparison_studies, seed=seed)
        worst.append(max((rates.bound(rates.recommended), rates.scenario.name) for rates in found))
    return [
        Measurement(
            "false recommendations, upper bound of the worst scenario",
            tuple(bound for bound, _ in worst),
            target=TARGET_BOUND,
            note=worst[0][1],
        )
    ]


def null_table(found: Sequence[Rates]) -> str:
    rows = [
        (
            rates.scenario.name,
            _metric(rates.scenario.primary),
            _percent(rates.recommended / rates.studies),
            _percent(rates.bound(rates.recommended)),
            _percent(rates.false / rates.studies),
            _percent(rates.covered / rates.studies),
        )
        for rates in found
    ]
    return _markdown(
        (
            "nothing to choose",
            "primary",
            "recommended",
            "95% bound",
            "told apart",
            "interval covers",
        ),
        rows,
    )


def margin_table(found: Sequence[Rates]) -> str:
    rows = [
        (
            rates.scenario.name,
            _percent(rates.equivalent / rates.studies),
            _percent(rates.bound(rates.equivalent)),
            _percent(rates.covered / rates.studies),
        )
        for rates in found
    ]
    return _markdown(
        ("differs by the margin", "called equivalent", "95% bound", "interval covers"), rows
    )


def power_table(found: Sequence[Rates]) -> str:
    rows = [
        (
            rates.scenario.name,
            str(len(rates.scenario.models)),
            _metric(rates.scenario.primary),
            f"{rates.scenario.effect:.2f}",
            _percent(rates.found / rates.studies),
            _percent(rates.found_by_mcnemar / rates.studies),
            _percent(rates.best_recommended / rates.studies),
            _percent((rates.recommended - rates.best_recommended) / rates.studies),
        )
        for rates in found
    ]
    return _markdown(
        (
            "what differs",
            "models",
            "primary",
            "effect",
            "found",
            "found by exact McNemar",
            "better one recommended",
            "worse one recommended",
        ),
        rows,
    )


def draw_power(found: Sequence[Rates], file: Path) -> None:
    """Power against effect size: a plot for each thing that differs, two and three models."""
    families: dict[str, list[Rates]] = {}
    for rates in found:
        title = f"{rates.scenario.name}\nprimary: {_metric(rates.scenario.primary)}"
        families.setdefault(title, []).append(rates)
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, sharey=True).ravel()
    for axis, (title, of_family) in zip(axes, families.items(), strict=False):
        for models, style in ((2, "-"), (3, "--")):
            rows = [rates for rates in of_family if len(rates.scenario.models) == models]
            effects = [100 * rates.scenario.effect for rates in rows]
            for attribute, color, label in _CURVES:
                values = [100 * getattr(rates, attribute) / rates.studies for rates in rows]
                axis.plot(effects, values, style, color=color, label=f"{label}, {models} models")
        axis.set(title=title, xlabel="true difference, percentage points", ylim=(-2, 102))
        axis.grid(alpha=0.3)
    for axis in axes[::3]:
        axis.set_ylabel("studies, %")
    axes[-1].axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.savefig(file, dpi=100)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"


def _metric(name: str) -> str:
    return name.replace("_", " ")


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all tables; returns 1 where a scenario misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=3000, help="of two models, in each scenario")
    parser.add_argument("--quick", action="store_true", help="few studies, as a smoke run")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=WORK_FOLDER)
    options = parser.parse_args(arguments)
    studies = 40 if options.quick else options.studies
    options.output.mkdir(parents=True, exist_ok=True)

    def run(scenarios: Sequence[Scenario], studies: int) -> list[Rates]:
        return simulate(scenarios, studies, processes=options.processes)

    null = run(null_scenarios(), studies)
    _print_table("False recommendations", null_table(null))
    _print_table("Wrongly called equivalent", margin_table(run(margin_scenarios(), studies)))
    power = run(power_scenarios(), studies // 2)
    draw_power(power, options.output / "comparison_power.png")
    _print_table("Power", power_table(power))
    beyond = run(beyond_scenarios(), studies // 2)
    _print_table("Outside of the claim: trainings of equal recipes differ", null_table(beyond))
    missed = [
        rates.scenario.name
        for rates in null
        if rates.recommended > TARGET * rates.studies
        or rates.bound(rates.recommended) > TARGET_BOUND
    ]
    if options.quick:
        return 0
    _print(f"\nTarget missed in: {', '.join(missed) or 'none'}")
    return int(bool(missed))


def _print_table(title: str, table: str) -> None:
    _print(f"\n### {title}\n\n{table}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
