"""`train.py`: from a configuration to a finished run folder, for all tasks."""

from __future__ import annotations

import logging
import os
import pickle
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from capsule_inspection.archives import describe
from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.stored import to_yaml
from capsule_inspection.data import given_split, training_crops
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.manifest import write_split_csv
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.validation import fingerprint
from capsule_inspection.files import (
    atomic_write_text,
    exception_chain,
    is_disk_full,
    is_out_of_memory,
)
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.integrity import FILES, checksums
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.tasks.adapter import Fitted, get_task
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.types import (
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
    RunError,
    RunFiles,
    WeightsRecord,
)
from capsule_inspection.workflows import (
    dataset,
    evaluate,
    factory,
    hardware,
    loggers,
    profiling,
    resources,
)
from capsule_inspection.workflows.callbacks import (
    EpochMetricsWriter,
    InterruptHandler,
    TrainingInterrupted,
    build_callbacks,
)
from capsule_inspection.workflows.embeddings import embed_training_images
from capsule_inspection.workflows.load_run import build_predictor
from capsule_inspection.workflows.ood import fit_ood
from capsule_inspection.workflows.pretrained import save_weights_with_card
from capsule_inspection.workflows.record import (
    FAILED,
    FINISHED,
    INPUT_FILES,
    INTERRUPTED,
    RunRecord,
    finished_files,
    git_commit,
    installed_versions,
)
from capsule_inspection.workflows.trainer import build_trainer, explain, save_checkpoint

log = logging.getLogger(__name__)


_DAMAGE = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RuntimeError)
"""What Lightning and PyTorch raise for states of other types than they wrote."""
_LIMITS = ("max_epochs", "max_steps", "max_time")
"""Settings of the trainer that end a training."""


class ReadCheckpoint(NamedTuple):
    """The checkpoint that a training is resumed from."""

    path: Path
    content: dict[str, Any]
    finished_epochs: int

    @classmethod
    def read(cls, path: Path) -> ReadCheckpoint:
        content = read_checkpoint(path)
        return cls(path, content, content["epoch"] + 1)


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


def train(config: DictConfig) -> float | None:
    """Train as configured, in Hydra's run folder or the one to resume.

    Returns the best value of the smoothed monitored metric. Raises InspectionError for what the
    user can mend; the status in run.json is then failed.
    """
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return _train_on_gpu_of_job(config, folder, None)
    record = RunRecord.reopen(folder) if config.resume else _create_record(config, folder)
    status = FAILED
    try:
        best = _train_on_gpu_of_job(config, folder, record)
        status = FINISHED
    except (TrainingInterrupted, KeyboardInterrupt) as error:
        status = INTERRUPTED
        raise KeyboardInterrupt from error
    except SystemExit as stop:  # a scheduler takes the machine away
        status = INTERRUPTED
        if any(isinstance(one, KeyboardInterrupt) for one in exception_chain(stop)):
            raise KeyboardInterrupt from stop  # Lightning exits after a second Ctrl-C
        raise
    except Exception as error:
        record.values["error"] = str(error)
        if not is_disk_full(error):
            raise
        raise RunError(
            f"{folder}: the disk is full ({error}). The last whole checkpoint is kept: make room, "
            "then go on with " + format_command(["train.py", f"resume={folder}"])
        ) from error
    finally:
        record.close(status)
    return best


def _create_record(config: DictConfig, folder: Path) -> RunRecord:
    record = RunRecord.create(folder, seed=config.seed)
    _write_config(config, folder)
    return record


def _write_config(config: DictConfig, folder: Path) -> None:
    """Write every setting but `resume`, which belongs to this attempt."""
    kept = config.copy()
    kept.resume = None
    atomic_write_text(folder / RunFiles.CONFIG, to_yaml(kept))


def _train_on_gpu_of_job(
    config: DictConfig, folder: Path, record: RunRecord | None
) -> float | None:
    with resources.gpu_of_job(torch.cuda.device_count()) as gpu:
        return _train_on(config, folder, record, gpu)


def _train_on(
    config: DictConfig, folder: Path, record: RunRecord | None, gpu: int | None
) -> float | None:
    last = _checkpoint_to_resume(config, folder)
    training = _prepare(config, folder, record, last, gpu=gpu)
    interrupts = InterruptHandler()
    # metrics.csv comes first: Lightning keeps the order of those that it calls after the module.
    callbacks: list[Callback] = [
        training.epoch_metrics,
        *build_callbacks(config, training.task, folder),
        *loggers.build_image_callbacks(config, training.task, training.data),
        interrupts,
    ]
    trainer = build_trainer(
        config,
        training.runtime,
        callbacks=callbacks,
        loggers=loggers.build_loggers(
            config, folder, first_epoch=last.finished_epochs if last else 0
        ),
    )
    with interrupts.handle_signals():
        interrupted = _run_trainer(trainer, training, last)
    if not trainer.is_global_zero:
        return None
    best = _finish(training, trainer, interrupted=interrupted)
    if interrupted:
        command = format_command(["train.py", f"resume={folder}"])
        log.info("Interrupted. To go on: %s", command)
        raise TrainingInterrupted
    return best


def _checkpoint_to_resume(config: DictConfig, folder: Path) -> ReadCheckpoint | None:
    """The last checkpoint of a run that is resumed; None where training begins anew."""
    has_checkpoint = any((folder / name).exists() for name in (RunFiles.LAST, RunFiles.BEST))
    if not config.resume or not has_checkpoint:
        return None
    last = _read_last(folder)
    finished, most = last.finished_epochs, config.trainer.max_epochs
    has_limit = most is not None and most >= 0
    is_whole = read_record(folder).get("status") == FINISHED and not _has_new_limit(config, folder)
    if is_whole or (has_limit and finished > most):
        more = 2 * max(finished, most if has_limit else 0)
        raise RunError(
            f"{folder}: all {finished} epochs of this run are done. For more of them: "
            + format_command(["train.py", f"resume={folder}", f"task.epochs={more}"])
        )
    return last


def _read_last(folder: Path) -> ReadCheckpoint:
    """The last checkpoint; where it is missing or damaged, that of the best epoch before it.

    Raises RunError where it holds code, or the one of the best epoch is gone or damaged.
    """
    last, best = folder / RunFiles.LAST, folder / RunFiles.BEST
    try:
        found = ReadCheckpoint.read(last)
    except RunError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError) or not best.exists():
            raise
        found = ReadCheckpoint.read(best)
        log.warning("%s Training goes on after epoch %d, the best.", error, found.finished_epochs)
        return found
    callbacks = found.content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, dict) else ()
    if any(isinstance(one, dict) and one.get("best_model_score") is not None for one in states):
        read_checkpoint(best)
    return found


def _has_new_limit(config: DictConfig, folder: Path) -> bool:
    """Whether a resumed run has another limit of epochs, steps or time than before."""
    before = load_stored(folder / RunFiles.CONFIG).trainer
    return any(config.trainer.get(limit) != before.get(limit) for limit in _LIMITS)


def _prepare(
    config: DictConfig,
    folder: Path,
    record: RunRecord | None,
    last: ReadCheckpoint | None,
    *,
    gpu: int | None = None,
) -> Training:
    """Build data, network and LightningModule, and record them."""
    profiling.reset_peak_memory()
    runtime = hardware.resolve_runtime(config.trainer, gpu=gpu)
    hardware.apply_runtime(runtime)
    L.seed_everything(config.seed, verbose=False)
    index, cache = _find_images(config, folder, record)
    weights = None if last is None else _recorded_weights(folder)
    choice = None if weights is None else "none"  # the checkpoint has them, trained
    built = factory.build_model(config, num_classes=len(index.classes), weights=choice)
    factory.refuse_training_images(built.weights, index)
    runtime = hardware.prepare_network(
        runtime, built.model, channels_last=config.trainer.channels_last
    )
    training_crops.resolve_full_image_from(
        config, has_pretrained_decoder=built.model.has_pretrained_decoder
    )
    data = factory.build_data_module(
        config,
        index,
        cache,
        built.model,
        runtime,
        batch_transform=get_task(config).batch_transform(index, cache),
    )
    task = factory.build_lightning_module(config, built.model, data)
    first = built.weights
    if last is not None:
        checkpoint = last.content
        restore_network(task.network, checkpoint, path=last.path)
        if weights is not None:
            first = replace(
                weights,
                training_hashes=frozenset(checkpoint["training_hashes"]) - {*task.training_hashes},
                selection_hashes=frozenset(checkpoint["selection_hashes"])
                - {*task.selection_hashes},
            )
        checkpoint.clear()  # of two or three times the size of the network
    task.training_hashes = sorted({*task.training_hashes, *first.training_hashes})
    task.selection_hashes = sorted({*task.selection_hashes, *first.selection_hashes})
    if record is not None:
        _record_inputs(record, config, data, first, runtime)
        _write_config(config, folder)  # more epochs, images that have moved, what auto has become
        record.update(files=checksums(folder, INPUT_FILES))
    return Training(
        config,
        folder,
        record,
        data,
        task,
        runtime,
        EpochMetricsWriter(folder / RunFiles.EPOCHS),
        first,
    )


def _recorded_weights(folder: Path) -> WeightsRecord | None:
    """The initial weights that run.json records; None where it records none."""
    known = read_record(folder).get("weights")
    if not known:
        return None
    return WeightsRecord(known["source"], known.get("path"), known.get("sha256"))


def _find_images(
    config: DictConfig, folder: Path, record: RunRecord | None
) -> tuple[DataIndex, ImageCache]:
    """The images with their split, which a resumed run reads from its folder."""
    index, cache = dataset.load_dataset(config.data)
    frozen = folder / RunFiles.SPLIT
    is_known = bool(config.resume) and frozen.is_file()
    if is_known:
        index = given_split.from_manifest(index, frozen)
    else:
        index = get_task(config).assign_split(index)
    for stage in (TRAIN, VAL):
        if not any(record.split == stage for record in index.samples):
            raise DataError(
                f"split={config.split.name}: it has no {stage} images; both are needed."
            )
    if record is not None and not is_known:
        _write_config(config, folder)  # what split=auto has become goes with split.csv
        write_split_csv(index, frozen)
    return index, cache


def _record_inputs(
    record: RunRecord,
    config: DictConfig,
    data: InspectionDataModule,
    weights: WeightsRecord,
    runtime: hardware.RuntimeConfig,
) -> None:
    stages = (TRAIN, VAL, TEST, *get_task(config).extra_splits)
    counts = {stage: len(data.indices(stage)) for stage in stages}
    index = data.index
    found = fingerprint(index)
    recorded = record.values.get("data", {}).get("fingerprint", found)
    if config.resume and recorded != found:
        raise DataError(
            f"{index.root}: the images have changed since this run began. Restore them, or "
            "start a new run."
        )
    record.update(
        task=config.task.name,
        model=config.model.name,
        optimistic=config.split.name == "val_as_test",
        git_commit=git_commit(Path(__file__).parent),
        versions=installed_versions(),
        hardware=hardware.describe_hardware(runtime),
        data={
            "name": config.data.name,
            "root": str(index.root),
            "classes": list(index.classes),
            "images": counts,
            "fingerprint": found,
            "skipped": [asdict(file) for file in index.skipped],
            **dataset.data_record(index),
        },
        weights={"source": weights.source, "path": weights.path, "sha256": weights.sha256},
    )


def _run_trainer(trainer: L.Trainer, training: Training, last: ReadCheckpoint | None) -> bool:
    """Fit, from a checkpoint where there is one; returns whether it was interrupted."""
    path = None if last is None else last.path
    try:
        trainer.fit(training.task, datamodule=training.data, ckpt_path=path, weights_only=True)
    except TrainingInterrupted:
        return True
    except _DAMAGE as error:
        _explain_failure(error, trainer, training, last)
        raise
    except MisconfigurationException as error:
        raise ConfigurationError(explain(error)) from error
    return False


def _explain_failure(
    error: Exception, trainer: L.Trainer, training: Training, last: ReadCheckpoint | None
) -> None:
    """Raise what can be mended as such: small images, or a checkpoint of other types."""
    if isinstance(error, ValueError) and "Expected more than 1" in str(error):
        raise ConfigurationError(
            f"task.image_size={training.config.task.image_size}: the network reduces images to "
            f"single pixels, which it cannot normalise ({error}). Use larger images."
        ) from error
    # Each state that was restored is used within the first epoch.
    has_used_states = last and len(training.epoch_metrics.rows) > last.finished_epochs + 1
    if last is not None and not has_used_states and not is_out_of_memory(error):
        raise RunError(
            f"{last.path}: the training cannot go on from this checkpoint "
            f"({type(error).__name__}: {describe(error)}). Restore it from a copy, or start a new "
            "run."
        ) from error


def _finish(training: Training, trainer: L.Trainer, *, interrupted: bool) -> float | None:
    """Fit, evaluate and record the best epoch; returns its monitored metric."""
    best_path = training.folder / RunFiles.BEST
    if not best_path.is_file() and not interrupted and training.config.trainer.max_time:
        raise ConfigurationError(
            f"trainer.max_time={training.config.trainer.max_time}: no epoch was validated in this "
            "time, so there is no model. Give more time, or use fewer images in an epoch."
        )
    if not best_path.is_file():
        log.info("%s: no epoch was finished, so there are no metrics.", training.folder)
        return None
    checkpoint = read_checkpoint(best_path)
    restore_network(training.task.network, checkpoint, path=best_path)
    best = monitored_value(training, int(checkpoint["epoch"]))
    # From here on as predict.py computes, so that metrics and thresholds apply to its predictions.
    runtime = hardware.without_mixed_precision(training.runtime)
    hardware.apply_runtime(runtime, exact=True)
    _record_cost(training, trainer, int(checkpoint["epoch"]), best, runtime)
    predictor = _fit(training, checkpoint, best_path, runtime)
    metrics = evaluate.evaluate_splits(
        training.folder,
        predictor,
        training.data,
        splits_of=evaluate.final_splits(training.config, training.data),
        config=training.config,
    )
    loggers.log_results(
        trainer.loggers,
        training.folder,
        config=training.config,
        metrics=metrics,
        epoch=trainer.current_epoch,
    )
    for logger in trainer.loggers:
        logger.finalize("success")
    assert training.record is not None
    is_optimistic = training.config.split.name == "val_as_test"
    evaluate.print_metrics(training.folder, metrics, optimistic=is_optimistic)
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


def _fit(
    training: Training, checkpoint: dict[str, Any], path: Path, runtime: hardware.RuntimeConfig
) -> Predictor:
    """Fit what the network does not learn, keep it in the checkpoint, and return the predictor."""
    assert training.record is not None
    fitted = fit_network(training, runtime)
    if fitted is not None:
        checkpoint["inspection"]["fitted"] = fitted.state()
        save_checkpoint(checkpoint, path)
        training.record.update(**fitted.record)
    fit_ood(training.folder, training.data)
    predictor = build_predictor(
        training.config,
        training.task.network,
        fitted.state() if fitted is not None else {},
        classes=training.data.index.classes,
        runtime=runtime,
        where=path,
    )
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
