"""The comparison of many runs: its time and memory, and how they grow with the number of runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Row
from benchmarks.processes import Finished, run_python
from benchmarks.sizes import REPOSITORY, Sizes
from tests.drawn_runs import draw_run

TARGET_S, TARGET_GB, TARGET_GROWTH = 30.0, 1.0, 1.3


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for models of one run each, and for five folds of a fifth as many models."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts, images = sizes.report_runs, sizes.report_images
        cases = {f"{n} models": _models(folder / str(n), n, images) for n in counts}
        middle = counts[1]
        cases[f"{middle // 5} models of 5 folds"] = _folds(folder / "folds", middle, images)
        done: dict[str, list[Finished]] = {case: [] for case in cases}
        for number in range(rounds):
            for case, runs in cases.items():
                done[case].append(_compare(runs, folder / f"{case}, {number}"))
    rows = []
    for case, finished in done.items():
        seconds = tuple(one.seconds for one in finished)
        memory = tuple(one.peak_bytes / 1e9 for one in finished)
        is_target = case.startswith(f"{middle} ") or "folds" in case
        rows += [
            Row(f"report over {case}", seconds, "s", target=TARGET_S if is_target else None),
            Row(f"peak memory, report over {case}", memory, "GB", target=TARGET_GB),
        ]
    return [*rows, _growth(counts, [done[f"{n} models"] for n in counts])]


def _growth(counts: tuple[int, int, int], done: list[list[Finished]]) -> Row:
    """What a run adds among many, against what it adds among few."""
    few, middle, most = counts
    added = tuple(
        ((c.seconds - b.seconds) / (most - middle)) / ((b.seconds - a.seconds) / (middle - few))
        for a, b, c in zip(*done, strict=True)
    )
    named = f"seconds that a run adds, {middle} to {most} : {few} to {middle} models"
    return Row(named, added, target=TARGET_GROWTH)


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
