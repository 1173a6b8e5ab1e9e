"""Time and memory of a comparison, and their growth with the number of runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measurements import Measurement
from benchmarks.processes import ProcessResult, run_python
from benchmarks.sizes import REPOSITORY, Sizes
from tests.sample_runs import write_classification_run

TARGET_S, TARGET_GB, TARGET_GROWTH = 30.0, 1.0, 1.3


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure models of one run each, and a fifth as many models of five folds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts, images = sizes.report_runs, sizes.report_images
        cases = {f"{n} models": _models(folder / str(n), n, images) for n in counts}
        middle = counts[1]
        cases[f"{middle // 5} models of 5 folds"] = _folds(folder / "folds", middle, images)
        done: dict[str, list[ProcessResult]] = {case: [] for case in cases}
        for number in range(rounds):
            for case, runs in cases.items():
                done[case].append(_compare(runs, folder / f"{case}, {number}"))
    rows = []
    for case, finished in done.items():
        seconds = tuple(one.seconds for one in finished)
        memory = tuple(one.peak_bytes / 1e9 for one in finished)
        is_target = case.startswith(f"{middle} ") or "folds" in case
        rows += [
            Measurement(
                f"report over {case}", seconds, "s", target=TARGET_S if is_target else None
            ),
            Measurement(f"peak memory, report over {case}", memory, "GB", target=TARGET_GB),
        ]
    return [*rows, _growth(counts, [done[f"{n} models"] for n in counts])]


def _growth(counts: tuple[int, int, int], done: list[list[ProcessResult]]) -> Measurement:
    """Time of an additional run among many, relative to that among few."""
    few, middle, most = counts
    added = tuple(
        ((c.seconds - b.seconds) / (most - middle)) / ((b.seconds - a.seconds) / (middle - few))
        for a, b, c in zip(*done, strict=True)
    )
    name = f"seconds per additional run, {middle} to {most} : {few} to {middle} models"
    return Measurement(name, added, target=TARGET_GROWTH)


def _models(folder: Path, count: int, images: int) -> Path:
    for number in range(count):
        wrong = range(number, number + images // 5)
        write_classification_run(
            folder / f"{number:03}", model=f"model{number:03}", wrong=wrong, images=images
        )
    return folder


def _folds(folder: Path, runs: int, images: int) -> Path:
    for number in range(runs):
        model, fold = divmod(number, 5)
        write_classification_run(
            folder / f"{number:03}",
            model=f"model{model:03}",
            wrong=range(model, model + images // 5),
            images=images,
            fold=fold,
            first_image=fold * images,
        )
    return folder


def _compare(runs: Path, output: Path) -> ProcessResult:
    compare = str(REPOSITORY / "compare.py")
    return run_python(compare, f"runs=[{runs}]", f"output={output}", folder=runs)
