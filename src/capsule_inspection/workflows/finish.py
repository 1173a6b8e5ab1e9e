"""What follows the last epoch: the best one is fitted, evaluated and recorded."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig

from capsule_inspection.config.quoting import format_command
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.progress import activity
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.integrity import FILES
from capsule_inspection.tasks.adapter import Fitted, get_task
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.types import ConfigurationError, RunFiles, WeightsRecord
from capsule_inspection.workflows import evaluate, hardware, loggers, profiling
from capsule_inspection.workflows.embeddings import embed_training_images
from capsule_inspection.workflows.epochs import EpochMetricsWriter
from capsule_inspection.workflows.load_run import build_predictor
from capsule_inspection.workflows.ood import fit_ood
from capsule_inspection.workflows.overview import is_sweep_job, print_rows
from capsule_inspection.workflows.pretrained import save_weights_with_card
from capsule_inspection.workflows.record import RunRecord, finished_files
from capsule_inspection.workflows.trainer import save_checkpoint

log = logging.getLogger(__name__)


@dataclass
class Training:
    """What a training consists of; `record` is None in all processes but the first."""

    config: DictConfig
    folder: Path
    record: RunRecord | None
    data: InspectionDataModule
    task: InspectionModule
    runtime: hardware.RuntimeConfig
    epoch_metrics: EpochMetricsWriter
    weights: WeightsRecord
    """Source of the initial weights."""


def finish_training(training: Training, trainer: L.Trainer, *, interrupted: bool) -> float | None:
    """Fit, evaluate and record the best epoch; returns its monitored metric."""
    best_path = training.folder / RunFiles.BEST
    if not best_path.is_file() and not interrupted and training.config.trainer.max_time:
        raise ConfigurationError(
            f"trainer.max_time={training.config.trainer.max_time}: no epoch was validated in this "
            "time, so there is no model. Give more time, or use fewer images in an epoch."
        )
    if not best_path.is_file():
        if training.config.trainer.fast_dev_run:
            log.info(
                "trainer.fast_dev_run=%s only runs the code: no checkpoint, no metrics, no report.",
                training.config.trainer.fast_dev_run,
            )
        elif not interrupted:
            log.info("%s: no epoch was finished, so there are no metrics.", training.folder)
        return None
    checkpoint = read_checkpoint(best_path)
    restore_network(training.task.network, checkpoint, path=best_path)
    best = monitored_value(training, int(checkpoint["epoch"]))
    # From here on as predict.py computes, so that metrics and thresholds apply to its predictions.
    runtime = hardware.without_mixed_precision(training.runtime)
    hardware.apply_runtime(runtime, exact=True)
    with activity("Measuring speed and size"):
        _record_cost(training, trainer, int(checkpoint["epoch"]), best, runtime)
    predictor = _fit(training, checkpoint, best_path, runtime)
    metrics = evaluate.evaluate_splits(
        training.folder,
        predictor,
        training.data,
        splits_of=evaluate.final_splits(training.config, training.data),
        config=training.config,
    )
    with activity("Writing TensorBoard events"):
        loggers.log_results(
            trainer.loggers,
            training.folder,
            config=training.config,
            weights=training.weights,
            metrics=metrics,
            epoch=trainer.current_epoch,
        )
        for logger in trainer.loggers:
            logger.finalize("success")
    assert training.record is not None
    is_optimistic = training.config.split.name == "val_as_test"
    evaluate.print_results(
        training.folder,
        metrics,
        training.data,
        task=training.config.task.name,
        optimistic=is_optimistic,
    )
    if not is_sweep_job():
        _print_next_commands(training.folder)
    if training.config.save_weights:
        save_weights_with_card(
            training.folder,
            training.task.network,
            config=training.config,
            data=training.data,
            initial=training.weights,
            record=training.record.values,
            metrics=metrics,
        )
    training.record.values[FILES] = finished_files(training.folder)
    return best


def _print_next_commands(folder: Path) -> None:
    print_rows(
        ("Predict", format_command(["predict.py", f"run={folder}", "input=path/to/images"])),
        ("Try it", format_command(["app.py", f"run={folder}"])),
        ("Curves", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    )


def _fit(
    training: Training, checkpoint: dict[str, Any], path: Path, runtime: hardware.RuntimeConfig
) -> Predictor:
    """Fit what the network does not learn, keep it in the checkpoint, and return the predictor."""
    assert training.record is not None
    with activity("Fitting thresholds"):
        fitted = fit_network(training, runtime)
    if fitted is not None:
        checkpoint["inspection"]["fitted"] = fitted.state()
        save_checkpoint(checkpoint, path)
        training.record.update(**fitted.record)
    with activity("Fitting the check for unusual images"):
        fit_ood(training.folder, training.data)
    predictor = build_predictor(
        training.config,
        training.task.network,
        fitted.state() if fitted is not None else {},
        classes=training.data.index.classes,
        runtime=runtime,
        where=path,
    )
    with activity("Computing embeddings"):
        embed_training_images(training.folder, training.data, predictor.backend)
    return predictor


def fit_network(training: Training, runtime: hardware.RuntimeConfig) -> Fitted | None:
    """What the task fits to the trained network on this machine."""

    def backend(model: InferenceModel) -> TorchBackend:
        return TorchBackend(model, device=runtime.device, precision=runtime.precision)

    return get_task(training.config).fit(training.task.network, training.data, backend)


def monitored_value(training: Training, epoch: int) -> float | None:
    """The smoothed monitored metric of an epoch."""
    key = training.task.optimization.monitor_key
    rows = {int(row["epoch"]): row for row in training.epoch_metrics.rows}
    return float(rows[epoch][key]) if epoch in rows and rows[epoch].get(key) else None


def _record_cost(
    training: Training,
    trainer: L.Trainer,
    best_epoch: int,
    best: float | None,
    runtime: hardware.RuntimeConfig,
) -> None:
    assert training.record is not None
    task, image_size = training.task, training.config.data.image_size
    seconds = training.epoch_metrics.training_time_s
    batches = int(trainer.num_training_batches)
    samples = sum(
        training.data.num_used_samples(int(row["epoch"]), batches=batches)
        for row in training.epoch_metrics.rows
    )
    training.record.update(
        epochs=len(training.epoch_metrics.rows),
        best_epoch=best_epoch,
        monitor={"key": training.task.optimization.monitor_key, "value": best},
        training_time_s=round(seconds, 3),
        training_samples=samples,
        images_per_second=round(samples / seconds, 2) if seconds > 0 else None,
        peak_memory_bytes=profiling.peak_memory_bytes(),
        network=profiling.profile_network(task.network, image_size, forward=task.inference_forward),
        inference_ms_per_image=round(
            profiling.measure_latency_ms(
                task.network, image_size, runtime=runtime, forward=task.inference_forward
            ),
            3,
        ),
    )
