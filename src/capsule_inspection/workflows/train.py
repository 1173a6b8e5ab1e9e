"""`train.py`: from a configuration to a finished run folder, for all tasks."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from capsule_inspection.archives import describe
from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.stored import to_yaml
from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.data import training_crops
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
from capsule_inspection.inference.checkpoints import restore_network
from capsule_inspection.integrity import checksums
from capsule_inspection.models.weights import RANDOM
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import (
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataIndex,
    RunError,
    RunFiles,
    WeightsRecord,
)
from capsule_inspection.workflows import (
    dataset,
    factory,
    hardware,
    loggers,
    profiling,
    resources,
    training_images,
)
from capsule_inspection.workflows.callbacks import build_callbacks
from capsule_inspection.workflows.epochs import EpochMetricsWriter
from capsule_inspection.workflows.finish import Training, finish_training
from capsule_inspection.workflows.interrupts import InterruptHandler, TrainingInterrupted
from capsule_inspection.workflows.overview import print_preparation
from capsule_inspection.workflows.record import (
    FAILED,
    FINISHED,
    INPUT_FILES,
    INTERRUPTED,
    RunRecord,
    git_commit,
    installed_versions,
)
from capsule_inspection.workflows.resume import (
    ReadCheckpoint,
    checkpoint_to_resume,
    has_checkpoint,
    recorded_weights,
)
from capsule_inspection.workflows.trainer import build_trainer, explain

log = logging.getLogger(__name__)

_DAMAGE = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RuntimeError)
"""What Lightning and PyTorch raise for states of other types than they wrote."""


Images = tuple[DataIndex, ImageCache]


def train(config: DictConfig, images: Images | None = None) -> float | None:
    """Train as configured, in Hydra's run folder or the one to resume.

    `images` are those of `training_images.read_images`; None reads them here.
    Returns the best value of the smoothed monitored metric. Raises InspectionError for what the
    user can mend; the status in run.json is then failed.
    """
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    if not is_first_process():
        return _train_on_gpu_of_job(config, folder, None, images)
    record = RunRecord.reopen(folder) if config.resume else _create_record(config, folder)
    status = FAILED
    try:
        best = _train_on_gpu_of_job(config, folder, record, images)
        status = FINISHED
    except (TrainingInterrupted, KeyboardInterrupt) as error:
        status = INTERRUPTED
        log.info("%s", _how_to_resume(folder))
        raise KeyboardInterrupt from error
    except SystemExit as stop:  # a scheduler takes the machine away
        status = INTERRUPTED
        if any(isinstance(one, KeyboardInterrupt) for one in exception_chain(stop)):
            log.info("%s", _how_to_resume(folder))
            raise KeyboardInterrupt from stop  # Lightning exits after a Ctrl-C that it sees
        raise
    except Exception as error:
        record.values["error"] = str(error)
        if not is_disk_full(error):
            raise
        raise RunError(
            f"{folder}: the disk is full ({error}). Make room. {_how_to_resume(folder)}"
        ) from error
    finally:
        record.close(status)
    return best


def _how_to_resume(folder: Path) -> str:
    if not has_checkpoint(folder):
        return "No epoch was finished, so there is nothing to resume."
    return f"To go on: {format_command(['train.py', f'resume={folder}'])}"


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
    config: DictConfig, folder: Path, record: RunRecord | None, images: Images | None
) -> float | None:
    with resources.gpu_of_job(torch.cuda.device_count()) as gpu:
        return _train_on(config, folder, record, images=images, gpu=gpu)


def _train_on(
    config: DictConfig,
    folder: Path,
    record: RunRecord | None,
    *,
    images: Images | None,
    gpu: int | None,
) -> float | None:
    last = checkpoint_to_resume(config, folder)
    training = _prepare(config, folder, record, last, images=images, gpu=gpu)
    interrupts = InterruptHandler(folder)
    callbacks: list[Callback] = [
        *build_callbacks(config, training.task, folder, training.epoch_metrics),
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
    best = None
    if not interrupts.skips_evaluation:
        with interrupts.handle_signals(evaluating=True):
            best = finish_training(training, trainer, interrupted=interrupted)
    if interrupted:
        raise TrainingInterrupted
    return best


def _prepare(
    config: DictConfig,
    folder: Path,
    record: RunRecord | None,
    last: ReadCheckpoint | None,
    *,
    images: Images | None = None,
    gpu: int | None = None,
) -> Training:
    """Build data, network and LightningModule, and record them."""
    profiling.reset_peak_memory()
    runtime = hardware.resolve_runtime(config.trainer, gpu=gpu)
    hardware.apply_runtime(runtime)
    L.seed_everything(config.seed, verbose=False)
    is_known = training_images.has_split(config, folder)
    index, cache = images or training_images.find_images(config, folder)
    if record is not None and not is_known:
        _write_config(config, folder)  # what split=auto has become goes with split.csv
        write_split_csv(index, folder / RunFiles.SPLIT)
    weights = None if last is None else recorded_weights(folder)
    choice = None if weights is None else "none"  # the checkpoint has them, trained
    built = factory.build_model(config, num_classes=len(index.classes), weights=choice)
    factory.refuse_training_images(built.weights, index)
    _train_all_if_random(config, built.weights if weights is None else weights)
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
        print_preparation(
            index,
            config=config,
            weights=first,
            num_parameters=sum(each.numel() for each in task.network.parameters()),
            runtime=runtime,
            finished_epochs=0 if last is None else last.finished_epochs,
        )
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


def _train_all_if_random(config: DictConfig, weights: WeightsRecord) -> None:
    """Set `task.head_epochs` to 0 for random weights, of which there is nothing to keep."""
    if weights.source == RANDOM.source and config.task.head_epochs > 0:
        log.info(
            "The initial weights are random, so all layers are trained from the first epoch, not "
            "the head alone; finetune=head_first would do that all the same."
        )
        config.task.head_epochs = 0


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
            "fingerprint": fingerprint(index),
            "skipped": [asdict(file) for file in index.skipped],
            **dataset.data_record(index),
        },
        weights={
            "source": weights.source,
            "path": weights.path,
            "sha256": weights.sha256,
            "package": weights.package,
        },
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
