"""Metrics, predictions and plots of a trained network, into a folder; and `evaluate.py`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config import terminal
from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.stored import to_yaml
from capsule_inspection.data import given_split, splits
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.manifest import read_split, write_split_csv
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.progress import activity, progress_bar
from capsule_inspection.data.validation import fingerprint
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.split_prediction import predict_split
from capsule_inspection.integrity import FILES, file_sha256
from capsule_inspection.metrics import names
from capsule_inspection.reports.run.files import THRESHOLD, read_record
from capsule_inspection.reports.run.run_folder import (
    MASK_POSTPROCESSING,
    SELECTION_OVERLAP,
    TEMPERATURE_SCALING,
    TRAINING_OVERLAP,
)
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import (
    CALIBRATION,
    FORMAT_VERSION,
    FROM_RUN,
    TEST,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
    Estimate,
    Predictions,
    RunFiles,
)
from capsule_inspection.workflows import dataset, factory, hardware, run_files
from capsule_inspection.workflows.load_run import load_run, with_threshold
from capsule_inspection.workflows.output_folder import OutputFolder, settings_of
from capsule_inspection.workflows.overview import print_rows
from capsule_inspection.workflows.record import (
    FINISHED,
    RUNNING,
    describe_status,
    finished_files,
    write_record,
)

log = logging.getLogger(__name__)
_COPIED = (
    "task",
    "model",
    "seed",
    "weights",
    "corruption",
    "memory_bank",
    THRESHOLD,
    MASK_POSTPROCESSING,
    TEMPERATURE_SCALING,
)
"""Keys that the record of an evaluation copies from that of its run."""
_WRITTEN = (RunFiles.RECORD, RunFiles.CONFIG, RunFiles.SPLIT, RunFiles.METRICS,
            RunFiles.PREDICTIONS, RunFiles.MAPS, RunFiles.EXPLANATIONS, RunFiles.IMAGES,
            RunFiles.PLOTS, RunFiles.PAGE)  # fmt: skip
"""Files and folders of an evaluation."""
OPTIMISTIC = (
    "Optimistic: with split=val_as_test the epoch, and what is fitted after training, was selected "
    "on the very images that these metrics are measured on."
)


def final_splits(config: DictConfig, data: InspectionDataModule) -> dict[str, str]:
    """Which split is reported as which: with split=val_as_test, validation also as test."""
    splits_of = {VAL: VAL, **{split: split for split in get_task(config).extra_splits}}
    if config.split.name == "val_as_test":
        splits_of[TEST] = VAL
    elif data.indices(TEST):
        splits_of[TEST] = TEST
    return splits_of


def evaluate_splits(
    folder: Path,
    predictor: Predictor,
    data: InspectionDataModule,
    *,
    splits_of: Mapping[str, str],
    config: DictConfig,
    own_images: bool = True,
) -> dict[str, Estimate]:
    """Predict each split and write metrics, predictions, thumbnails and plots into `folder`.

    Splits whose images selected something after the training have no metrics, unless these are not
    the run's own images.
    """
    from capsule_inspection.reports.run.page import write_run_page
    from capsule_inspection.reports.run.plots import write_run_plots

    task = get_task(config)
    predictions: dict[str, Predictions] = {}
    for name, split in splits_of.items():
        with progress_bar(f"Predicting {name} images") as show:
            predictions[name] = predict_split(
                predictor, data, split, details=name == TEST, progress=show
            )
    without = task.selection_splits() if own_images else ()
    metrics: dict[str, Estimate] = {}
    with activity("Computing metrics"):
        for name, of_split in predictions.items():
            if name not in without:
                metrics |= names.with_stage(task.metrics(of_split, data, split=name), name)
    run_files.write_predictions(
        folder,
        data.index,
        predictions,
        classes=predictor.post_processor.classes,
        fold=config.split.get("fold"),
    )
    run_files.write_thumbnails(folder, data, predictions)
    if TEST in predictions:
        run_files.write_maps(folder, data, predictions[TEST])
    run_files.write_metrics(folder, metrics)
    with activity("Drawing plots"):
        write_run_plots(folder)
    with activity("Writing the report"):
        write_run_page(folder)
    return metrics


def print_results(
    folder: Path,
    metrics: Mapping[str, Estimate],
    data: InspectionDataModule,
    *,
    task: str,
    optimistic: bool,
) -> None:
    """Print six metrics, the verdict, and the page that has the rest."""
    from capsule_inspection.reports.run.console import metrics_table, reported_stage, verdict

    groups = {sample.group for sample in data.index.samples}
    grouped = len(groups) < len(data.index)
    log.info(
        "Metrics of the %s images, with 95%% intervals (all: report.html)", reported_stage(metrics)
    )
    terminal.console().print(metrics_table(metrics, task=task, grouped=grouped))
    if metrics:
        log.info("%s", verdict(metrics))
    if optimistic:
        log.warning(OPTIMISTIC)
    print_rows(("Report", str((folder / RunFiles.PAGE).absolute())))


def evaluate(config: DictConfig) -> None:
    """Evaluate a run as `conf/evaluate.yaml` says.

    Raises RunError where the run is unreadable or the output folder is in use, DataError where the
    split has no such images.
    """
    run, output = Path(config.run), Path(HydraConfig.get().runtime.output_dir)
    verify = config.verify == "full"
    record = read_record(run, verify=verify)
    _warn_unfinished(run, record)
    made_by = {
        "command": "evaluate.py",
        "settings": settings_of(config),
        "checkpoint_sha256": file_sha256(run / RunFiles.BEST),
    }
    loaded = load_run(run, verify=verify, further=[RunFiles.SPLIT])
    stored = loaded.config
    stored.data = _data_settings(config, stored)
    if config.data.name != FROM_RUN:
        config.data = OmegaConf.to_container(stored.data, resolve=True)  # size and crop of the run
    index, cache = _find_images(config, stored, run, loaded.classes)
    made_by["images"] = fingerprint(index)
    results = OutputFolder(output, made_by=made_by, names=_WRITTEN)
    if results.is_finished:
        log.info("Finished before with the same images and settings, kept: %s", output)
        return
    runtime = hardware.resolve_runtime(config.trainer)
    hardware.apply_runtime(runtime, exact=runtime.precision == hardware.FLOAT32)
    runtime = hardware.prepare_network(
        runtime, loaded.network, channels_last=config.trainer.channels_last
    )
    predictor = with_threshold(loaded.predictor(runtime), config.threshold.value)
    if config.threshold.value is not None:
        record = {**record, THRESHOLD: predictor.metadata.post_processing}
    data = factory.build_data_module(stored, index, cache, loaded.network, runtime)
    images = hashes_of_split(data, config.subset)
    if not images:
        raise DataError(
            f"subset={config.subset}: the split has no {config.subset} images that the run's task "
            "uses. Choose another subset or split."
        )
    own_split = config.split.name == FROM_RUN
    was_optimistic = own_split and bool(record.get("optimistic"))
    overlaps = {
        TRAINING_OVERLAP: _training_overlap(images, loaded.checkpoint),
        SELECTION_OVERLAP: 0 if own_split else _selection_overlap(images, run),
    }
    overlaps["optimistic"] = was_optimistic or any(overlaps.values())
    with results.writing():
        values = _write_inputs(output, record, config, data, overlaps)
        metrics = evaluate_splits(
            output,
            predictor,
            data,
            splits_of={config.subset: config.subset},
            config=stored,
            own_images=own_split or overlaps[SELECTION_OVERLAP] == len(images),
        )
        write_record(output, values | {"status": FINISHED, FILES: finished_files(output)})
    if not metrics:
        log.warning(
            "There are no metrics: the run's threshold was fitted on these very images. Use "
            "subset=test."
        )
    print_results(output, metrics, data, task=record["task"], optimistic=was_optimistic)


def _warn_unfinished(run: Path, record: Mapping[str, Any]) -> None:
    if record.get("status") != FINISHED:
        log.warning(
            "run=%s: this run is not finished, %s. Its best epoch so far is evaluated, without "
            "what is fitted after training, such as a classifier's temperature. Finish it with %s",
            run,
            describe_status(run, record),
            format_command(["train.py", f"resume={run}"]),
        )


def _data_settings(config: DictConfig, stored: DictConfig) -> DictConfig:
    """Settings of the data to evaluate on; crop and size are always the run's.

    So is the bit depth of values in 16-bit files, unless another one is given.
    """
    if config.data.name == FROM_RUN:
        return dataset.from_run(stored.data, config.data)
    data = OmegaConf.to_container(config.data, resolve=False)
    assert isinstance(data, dict)
    own = ["image_size", "roi", "roi_margin", "tiling"]
    if data.get("bit_depth") == "auto":
        own.append("bit_depth")
    fixed = {key: stored.data[key] for key in own if key in stored.data}
    return OmegaConf.create({**data, **fixed})


def _find_images(
    config: DictConfig, stored: DictConfig, run: Path, classes: tuple[str, ...]
) -> tuple[DataIndex, ImageCache]:
    further = get_task(stored).accepts_unknown_classes
    index, cache = dataset.load_dataset(stored.data, classes=classes, further=further)
    if config.split.name != FROM_RUN:
        index = splits.assign_split(index, config)
        count = sum(sample.split == config.subset for sample in index.samples)
        if count < len(index):
            log.info(
                "%d of %d images are evaluated, subset=%s of split=%s; split=test_only takes all.",
                count,
                len(index),
                config.subset,
                config.split.name,
            )
        return index, cache
    if config.data.name != FROM_RUN:
        raise ConfigurationError(
            f"data={config.data.name}: the run's split is of its own images, not of these. "
            "Use split=test_only for every image that is found."
        )
    remedy = "They are other images than the run's: split=test_only evaluates it on all of them."
    return given_split.from_manifest(index, run / RunFiles.SPLIT, remedy=remedy), cache


def hashes_of_split(data: InspectionDataModule, split: str) -> set[str]:
    """SHA-256 of the images of a split that the task uses."""
    return {data.index.samples[number].sha256 for number in data.indices(split)}


def _training_overlap(images: set[str], checkpoint: Mapping[str, Any]) -> int:
    """Number of images that the run was trained on; warns where there are any."""
    overlap = len(images & set(checkpoint["training_hashes"]))
    if overlap:
        log.warning(
            "%d of the %d images were used in training: these metrics are optimistic.",
            overlap,
            len(images),
        )
    return overlap


def _selection_overlap(images: set[str], run: Path) -> int:
    """Number of images that selected the epoch or a threshold; warns where there are any."""
    rows = read_split(run / RunFiles.SPLIT) if (run / RunFiles.SPLIT).is_file() else []
    overlap = len(images & {row.sha256 for row in rows if row.split in (VAL, CALIBRATION)})
    if overlap:
        log.warning(
            "%d of the %d images were used to select the epoch or a threshold: these metrics are "
            "optimistic.",
            overlap,
            len(images),
        )
    return overlap


def _write_inputs(
    output: Path,
    record: dict[str, Any],
    config: DictConfig,
    data: InspectionDataModule,
    overlaps: Mapping[str, Any],
) -> dict[str, Any]:
    """Write split, configuration and record, whose status is running; returns the record."""
    index = data.index
    write_split_csv(index, output / RunFiles.SPLIT)
    (output / RunFiles.CONFIG).write_text(to_yaml(config), encoding="utf-8")
    copied: dict[str, Any] = {key: record[key] for key in _COPIED if key in record}
    own = config.data.name == FROM_RUN
    described = {
        **record["data"],
        "name": record["data"]["name"] if own else config.data.name,
        "root": str(index.root),
        "classes": list(index.classes),
        "images": {config.subset: len(data.indices(config.subset))},
        **dataset.data_record(index),
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    evaluated = {"format_version": FORMAT_VERSION, "status": RUNNING, "evaluated": now}
    values = {**evaluated, **copied, **overlaps, "data": described, "run": str(config.run)}
    write_record(output, values)
    return values
