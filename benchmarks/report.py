"""The comparison of many runs: its time and memory, and how they grow with the number of runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Row
from benchmarks.processes import Finished, run_python
from benchmarks.sizes import REPOSITORY, Sizes
from tests.drawn_runs import draw_run

TARGET_S, TARGET_GB, TARGET_GROWTH = 30.0, 1.0, 1.3
IMPORTS = (
    "import hydra, numpy, pandas, matplotlib.figure, scipy.stats, statsmodels.api, sklearn.metrics"
)


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for models of one run each, and for five folds of a fifth as many models."""
    fewer, most = sizes.report_runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {
            f"{fewer} models": _models(folder / "fewer", fewer, sizes.report_images),
            f"{most} models": _models(folder / "most", most, sizes.report_images),
            f"{most // 5} models of 5 folds": _folds(folder / "folds", most, sizes.report_images),
        }
        done: dict[str, list[Finished]] = {case: [] for case in cases}
        alone: list[float] = []
        for number in range(rounds):
            alone.append(run_python("-c", IMPORTS, folder=folder).seconds)
            for case, runs in cases.items():
                done[case].append(_compare(runs, folder / f"{case}, {number}"))
    rows = []
    for case, finished in done.items():
        seconds = tuple(one.seconds for one in finished)
        memory = tuple(one.peak_bytes / 1e9 for one in finished)
        rows += [
            Row(f"report over {case}", seconds, "s", target=TARGET_S),
            Row(f"peak memory, report over {case}", memory, "GB", target=TARGET_GB),
        ]
    few, many = (done[f"{count} models"] for count in (fewer, most))
    growth = tuple(
        ((b.seconds - start) / most) / ((a.seconds - start) / fewer)
        for a, b, start in zip(few, many, alone, strict=True)
    )
    named = f"report beyond imports, a run, {most} : {fewer} models"
    return [*rows, Row(named, growth, target=TARGET_GROWTH)]


def _models(folder: Path, count: int, images: int) -> Path:
    for number in range(count):
        wrong = range(number, number + images // 5)
        draw_run(folder / f"{number:03}", model=f"model{number:03}", wrong=wrong, images=images)
    return folder


def _folds(folder: Path, runs: int, images: int) -> Path:
    for number in range(runs):
        model, fold = divmod(number, 5)
        draw_run(
            folder / f"{number:03}",
            model=f"model{model:03}",
            wrong=range(model, model + images // 5),
            images=images,
            fold=fold,
            first_image=fold * images,
        )
    return folder


def _compare(runs: Path, output: Path) -> Finished:
    compare = str(REPOSITORY / "compare.py")
    return run_python(compare, f"runs=[{runs}]", f"output={output}", folder=runs)
