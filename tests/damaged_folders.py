"""Folders of every kind with ways to open them, for the trials of damage.py.

A way returns its answers as plain values, those of the same folder always equal.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import Open
from quick import rows_of
from small import restored_hydra, run_command

from capsule_inspection.config import sweeps
from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.data import defect_sources, given_split
from capsule_inspection.inference.embeddings import load_embeddings
from capsule_inspection.integrity import check_files, seal
from capsule_inspection.models.weight_files import read_weights
from capsule_inspection.models.weights import _resolve_path
from capsule_inspection.reports import html
from capsule_inspection.reports.comparison.page import to_html
from capsule_inspection.reports.comparison.report import compare, read_finished
from capsule_inspection.reports.run import page as run_page
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.reports.run.page import write_run_page
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import FORMAT_VERSION, InspectionError, RunFiles
from capsule_inspection.workflows import dataset, hardware
from capsule_inspection.workflows.compare import read_jobs
from capsule_inspection.workflows.interrupts import InterruptHandler
from capsule_inspection.workflows.load_run import load_predictor

run_page.environment = functools.cache(html.environment)  # type: ignore[attr-defined]
"""Templates are compiled once: that takes most of the time of a page."""
RUNTIME = hardware.RuntimeConfig("cpu", hardware.FLOAT32, channels_last=False, threads=1)
CPU = ("trainer=cpu", "trainer.threads=1")
ALONE = ("workers=1", "batch_size=1")
"""So that the predictions of an image do not depend on the other images."""
MAPS = ("index", "anomaly_map", "masks", "content_box", "predicted_mask")
_EMBEDDED = re.compile(r"data:[a-z/+]+;base64,[^\"')]*")


def plain(array: Any) -> Any:
    """Type, shape and bytes of an array."""
    return None if array is None else (array.dtype.str, array.shape, array.tobytes())


def command(name: str, *arguments: object) -> None:
    """Run a command. Raises InspectionError where it ends with one message."""
    out, err = io.StringIO(), io.StringIO()
    with restored_hydra(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(name, *map(str, arguments))
    printed = out.getvalue() + err.getvalue()
    assert "Traceback" not in printed, printed
    if status:
        assert status in (1, 2), f"exit status {status}: {printed}"
        assert err.getvalue().count("error: ") == 1, printed
        raise InspectionError(err.getvalue())


# Runs


def predict(folder: Path, *, images: Sequence[Path]) -> Any:
    """Predictions, and what is drawn of them, of a run or an export."""
    found = load_predictor(folder, RUNTIME).stream(images, batch_size=4, workers=1)
    return [
        (json.dumps(one.prediction.as_row()), *map(plain, one.visualization or ())) for one in found
    ]


def similar_images(run: Path) -> Any:
    """Training images for the app, which checks the file before."""
    check_files(run, read_record(run), (RunFiles.EMBEDDINGS,))
    stored = load_embeddings(run / RunFiles.EMBEDDINGS)
    found = stored.nearest(np.ones(stored.vectors.shape[1], np.float32), 3)
    return [(one.path, one.class_name, one.similarity, plain(one.picture)) for one in found]


def report(run: Path) -> Any:
    """The page without its pictures, and the arrays that plots show."""
    page = _EMBEDDED.sub("", write_run_page(run).read_text("utf-8"))
    opened = read_run(run)
    maps = (opened.maps, opened.explanations)
    arrays = [[plain(getattr(of, name)) for name in MAPS] for of in maps if of is not None]
    return {"page": page, "arrays": arrays, "metrics": repr(opened.metrics)}


def comparison(run: Path) -> Any:
    return to_html(compare([read_finished(run)]), {}, plots_note="", folder=run)


def weights(run: Path) -> Any:
    """Those of the best epoch, as another run begins from them."""
    state = read_weights(_resolve_path(str(run))).state
    return {key: plain(value.numpy()) for key, value in state.items()}


def evaluate(run: Path) -> Any:
    output = run / "evaluated"
    command("evaluate", f"run={run}", f"output={output}", *CPU)
    return files_of(output, "metrics.json", "predictions.csv")


def resume(run: Path) -> Any:
    """The table of epochs without their times, and the results, of a run that goes on."""
    command("train", f"resume={run}")
    epochs = [{**row, "seconds": ""} for row in rows_of(run, RunFiles.EPOCHS)]
    return epochs, files_of(run, "metrics.json", "predictions.csv")


def train_interrupted(run: Path, *settings: str) -> None:
    """A training that is interrupted in its second epoch."""
    begin = InterruptHandler.on_train_batch_start

    def stop(self: InterruptHandler, trainer: Any, *rest: Any) -> None:
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)
        begin(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as patch, restored_hydra():
        patch.setattr(InterruptHandler, "on_train_batch_start", stop)
        assert run_command("train", *settings, f"hydra.run.dir={run}") == 130


def files_of(folder: Path, *names: str) -> dict[str, str]:
    return {name: (folder / name).read_text("utf-8") for name in names}


def ways_of_run(images: Sequence[Path]) -> dict[str, Sequence[Open]]:
    """All that reads the files of a finished run but `resume` and `evaluate`, which take longer."""
    predicts = functools.partial(predict, images=images)
    return {
        "run.json": (predicts, report, comparison),
        "config.yaml": (predicts, report, comparison),
        "metrics.*": (report, comparison),
        "predictions.csv": (report, comparison),
        "ma*.npz": (report, comparison),
        "ex*.npz": (report,),
        "ood.json": (predicts,),
        RunFiles.BEST: (predicts, weights),
        RunFiles.EMBEDDINGS: (similar_images,),
    }


def export(run: Path, folder: Path, name: str) -> None:
    command("export", f"run={run}", f"format={name}", f"output={folder}", "images=1", "threads=1")


# Caches


def read_dataset(folder: Path, *, run: Path, root: Path | None = None) -> Any:
    """The images, the cache and the synthetic defects of a run's data set.

    `folder` has the cache, and where `root` is not given the drawn images too.
    """
    config = load_stored(run / RunFiles.CONFIG)
    config.data.cache_folder = str(folder / "cache")
    config.data.root = str(root or folder / "drawn")
    index, cache = dataset.load_dataset(config.data)
    index = given_split.from_manifest(index, run / RunFiles.SPLIT)
    every = np.arange(len(index))
    arrays = [plain(found[every]) for found in (cache.images, cache.masks, cache.foregrounds)]
    arrays += [plain(found) for found in (cache.boxes, cache.content_boxes, cache.roi_found)]
    samples = [(s.path, s.label, s.mask, s.sha256, s.width, s.group) for s in index.samples]
    return samples, arrays, _bank(config, index, cache)


def _bank(config: Any, index: Any, cache: Any) -> Any:
    if config.task.name != "segmentation":
        return None
    good = [row for row, sample in enumerate(index.samples) if sample.label == 0]
    bank = defect_sources.open_bank(config.data, index, cache, rows=good, sources=good)
    image, mask = np.zeros((*cache.images.shape[1:3], 3), np.uint8), None
    mask = image[..., 0].copy()
    for row in good:
        bank.add(image, mask, row, [0.1, 0.4, 0.7])
    return plain(bank.entries), plain(image), plain(mask)


# Folders of predictions and sweeps


def go_on_predicting(folder: Path, *, run: Path, images: Path) -> Any:
    command("predict", f"run={run}", f"input={images}", f"output={folder}", *CPU, *ALONE)
    rows = (folder / "predictions.jsonl").read_text("utf-8").splitlines()
    labels = [json.loads(row)["predicted_label"] for row in rows]
    return files_of(folder, "predictions.csv"), labels


def write_sweep(folder: Path, run: Path) -> None:
    """A finished sweep of two jobs, both of them copies of a run."""
    for number in range(2):
        job = folder / f"{number:02}_seed{number}"
        shutil.copytree(run, job, ignore=shutil.ignore_patterns("figures", "images", "events*"))
        settings = ["model=custom_resnet", f"seed={number}"]
        sweeps.write_job(job, sweeps.JobRecord(number, job.name, settings, "finished"))
    values = {"format_version": FORMAT_VERSION, "arguments": ["model=custom_resnet", "seed=0,1"]}
    (folder / "sweep.json").write_text(json.dumps(seal(values)), encoding="utf-8")


def read_sweep(folder: Path) -> Any:
    """The arguments and the runs of a sweep; its comparison names what it leaves out."""
    arguments = sweeps.arguments_to_resume([f"resume={folder}"])
    runs, failures = read_jobs(folder)
    if failures:
        raise InspectionError("; ".join(failures))
    return [text for text in arguments if str(folder) not in text], [run.path.name for run in runs]
