"""One training from configuration to finished run folder; the same workflow for all tasks."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.resume import load_stored
from capsule_inspection.data import splits
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.index import fingerprint
from capsule_inspection.data.manifest import write_split_csv
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import is_disk_full, write_whole
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.models.base import Network
from capsule_inspection.reports.run_folder import read_record
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import (
    TEST,
    TRAIN,
    VAL,
    DataError,
    DataIndex,
    RunError,
    RunFiles,
    WeightsRecord,
)
from capsule_inspection.workflows import (
    building,
    evaluating,
    hardware,
    inputs,
    sharing,
    tensorboard,
    windows,
)
from capsule_inspection.workflows.appearance import keep_appearance
from capsule_inspection.workflows.epochs import EpochTable
from capsule_inspection.workflows.hardware import measure_latency_ms, measure_network
from capsule_inspection.workflows.interruption import InterruptionGuard, TrainingInterrupted
from capsule_inspection.workflows.keeping import keep_neighbours
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.pretrained import keep_weights
from capsule_inspection.workflows.record import FAILED, FINISHED, INTERRUPTED, RunRecord
from capsule_inspection.workflows.trainers import write_checkpoint

log = logging.getLogger(__name__)


_LIMITS = ("max_epochs", "max_steps", "max_time")
"""Settings of the trainer that end a training."""


@dataclass
class Training:
    """What a training consists of; `record` is None in all processes but the first."""

    config: DictConfig
    folder: Path
    record: RunRecord | None
    data: InspectionDataModule
    task: InspectionTask
    choices: hardware.Choices
    table: EpochTable
    weights: WeightsRecord
    """Where the network's first weights came from."""


def train(config: DictConfig) -> float | None:
    """Train as configured, in Hydra's run folder or the one to resume.

    Returns the best value of the monitored figure (smoothed). Raises InspectionError for what the
    user can mend; the run's record then says failed.
    """
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return _train_in(config, folder, None)
    record = RunRecord.reopen(folder) if config.resume else _claim(config, folder)
    status = FAILED
    try:
        best = _train_in(config, folder, record)
        status = FINISHED
    except (TrainingInterrupted, KeyboardInterrupt) as error:
        status = INTERRUPTED
        raise KeyboardInterrupt from error
    except SystemExit:  # a scheduler takes the machine away
        status = INTERRUPTED
        raise
    except Exception as error:
        record.values["error"] = str(error)
        if not is_disk_full(error):
            raise
        raise RunError(
            f"{folder}: the disk is full ({error}). The last whole checkpoint is kept: make room, "
            f"then go on with python train.py resume={folder}"
        ) from error
    finally:
        record.close(status)
    return best


def _claim(config: DictConfig, folder: Path) -> RunRecord:
    record = RunRecord.claim(folder, seed=config.seed)
    _write_config(config, folder)
    return record


def _write_config(config: DictConfig, folder: Path) -> None:
    """Every setting; that this attempt is a resumed one is none of the run's."""
    kept = config.copy()
    kept.resume = None
    write_whole(folder / RunFiles.CONFIG, OmegaConf.to_yaml(kept, resolve=True))


def _train_in(config: DictConfig, folder: Path, record: RunRecord | None) -> float | None:
    with sharing.gpu_of_job(torch.cuda.device_count()) as gpu:
        return _train_on(config, folder, record, gpu)


def _train_on(
    config: DictConfig, folder: Path, record: RunRecord | None, gpu: int | None
) -> float | None:
    last = _checkpoint_to_resume(config, folder)
    training = _prepare(config, folder, record, last, gpu=gpu)
    guard = InterruptionGuard()
    # The table comes first: Lightning keeps the order of those that it calls after the task.
    callbacks: list[Callback] = [
        training.table,
        *building.build_callbacks(config, training.task, folder),
        tensorboard.FirstBatch(config, training.data),
        *kind_of(config).callbacks(config, training.data),
        guard,
    ]
    first_epoch = _finished_epochs(last)
    loggers = building.build_loggers(config, folder, first_epoch=first_epoch)
    trainer = building.build_trainer(config, training.choices, callbacks=callbacks, loggers=loggers)
    with guard.listening():
        interrupted = _fit(trainer, training, last)
    if not trainer.is_global_zero:
        return None
    best = _finish(training, trainer)
    if interrupted:
        log.info("Interrupted. To go on: python train.py resume=%s", folder)
        raise TrainingInterrupted
    return best


def _checkpoint_to_resume(config: DictConfig, folder: Path) -> Path | None:
    """The last checkpoint of a run that is resumed; None where training begins anew."""
    path = folder / RunFiles.LAST
    if not config.resume or not path.is_file():
        return None
    finished, most = _finished_epochs(path), config.trainer.max_epochs
    has_limit = most is not None and most >= 0
    is_whole = read_record(folder)["status"] == FINISHED and not _asks_for_more(config, folder)
    if is_whole or (has_limit and finished > most):
        more = 2 * max(finished, most if has_limit else 0)
        raise RunError(
            f"{folder}: all {finished} epochs of this run are done. For more of them, say so: "
            f"python train.py resume={folder} task.epochs={more}"
        )
    return path


def _asks_for_more(config: DictConfig, folder: Path) -> bool:
    """Whether a resumed run is to end elsewhere than it was to end before."""
    before = load_stored(folder / RunFiles.CONFIG).trainer
    return any(config.trainer.get(limit) != before.get(limit) for limit in _LIMITS)


def _finished_epochs(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(read_checkpoint(checkpoint)["epoch"]) + 1


def _prepare(
    config: DictConfig,
    folder: Path,
    record: RunRecord | None,
    last: Path | None,
    *,
    gpu: int | None = None,
) -> Training:
    """Data, network and task, with what is known of them in the record."""
    hardware.reset_peak_memory()
    choices = hardware.choose(config.trainer, gpu=gpu)
    hardware.apply(choices)
    L.seed_everything(config.seed, verbose=False)
    index, cache = _find_images(config, folder)
    weights = None if last is None else _recorded_weights(folder)
    choice = None if weights is None else "none"  # the checkpoint has them, trained
    built = building.build_network(config, num_classes=len(index.classes), weights=choice)
    building.refuse_seen_images(built.weights, index)
    choices = hardware.fit_network(choices, built.network, asked=config.trainer.channels_last)
    if windows.settle(config, built.network) and record is not None:
        _write_config(config, folder)
    data = building.build_data_module(
        config,
        index,
        cache,
        normalisation=built.network.normalisation,
        choices=choices,
        corruption=kind_of(config).corruption(config, index, cache),
    )
    task = building.build_task(config, built.network, data)
    first = built.weights
    if last is not None:
        checkpoint = read_checkpoint(last)
        restore_network(task.network, checkpoint, path=last)
        if weights is not None:
            seen = frozenset(checkpoint["seen_sha256"]) - {*task.seen_sha256}
            first = replace(weights, seen=seen)
    task.seen_sha256 = sorted({*task.seen_sha256, *first.seen})
    if record is not None:
        _record_inputs(record, config, data, first, choices)
        if config.resume:  # it may have been given more epochs, or another place of the images
            _write_config(config, folder)
    return Training(
        config,
        folder,
        record,
        data,
        task,
        choices,
        EpochTable(folder / RunFiles.EPOCHS, first_epoch=_finished_epochs(last)),
        first,
    )


def _recorded_weights(folder: Path) -> WeightsRecord | None:
    """Where a run's first weights came from, as run.json says; None where it does not."""
    known = read_record(folder).get("weights")
    if not known:
        return None
    return WeightsRecord(known["source"], known.get("path"), known.get("sha256"))


def _find_images(config: DictConfig, folder: Path) -> tuple[DataIndex, DecodedCache]:
    """The images with their split; of a resumed run, the very split that it began with."""
    index, cache = inputs.find_images(config.data)
    if inputs.sees_tiles(config.data) and not config.resume:  # the size of crops is known now
        _write_config(config, folder)
    frozen = folder / RunFiles.SPLIT
    if config.resume and frozen.is_file():
        index = splits.from_manifest(index, frozen)
    else:
        index = kind_of(config).arrange(index, config)
    for stage in (TRAIN, VAL):
        if not any(record.split == stage for record in index.records):
            raise DataError(
                f"split={config.split.name}: it has no {stage} images; both are needed."
            )
    if not (config.resume and frozen.is_file()):
        write_split_csv(index, frozen)
    return index, cache


def _record_inputs(
    record: RunRecord,
    config: DictConfig,
    data: InspectionDataModule,
    weights: WeightsRecord,
    choices: hardware.Choices,
) -> None:
    stages = (TRAIN, VAL, TEST, *kind_of(config).kept_out)
    counts = {stage: len(data.indices(stage)) for stage in stages}
    index = data.index
    found = fingerprint(index, index_folder=Path(config.data.cache_folder) / "index")
    known = record.values.get("data", {}).get("fingerprint", found)
    if config.resume and known != found:
        raise DataError(
            f"{index.root}: the images are not those that this run began with. Restore them, or "
            "start a new run."
        )
    record.update(
        task=config.task.name,
        model=config.model.name,
        optimistic=config.split.name == "origin",
        git_commit=hardware.git_commit(Path(__file__).parent),
        versions=hardware.versions(),
        hardware=hardware.describe(choices),
        data={
            "name": config.data.name,
            "root": str(index.root),
            "classes": list(index.classes),
            "images": counts,
            "fingerprint": found,
            "skipped": [asdict(file) for file in index.skipped],
        },
        weights={"source": weights.source, "path": weights.path, "sha256": weights.sha256},
    )


def _fit(trainer: L.Trainer, training: Training, last: Path | None) -> bool:
    """Fit, from a checkpoint where there is one; returns whether it was interrupted."""
    try:
        trainer.fit(training.task, datamodule=training.data, ckpt_path=last, weights_only=True)
    except TrainingInterrupted:
        return True
    return False


def _finish(training: Training, trainer: L.Trainer) -> float | None:
    """Final figures of the best epoch, its pictures, and what the training cost."""
    best_path = training.folder / RunFiles.BEST
    if not best_path.is_file():
        log.info("%s: no epoch was finished, so there are no figures.", training.folder)
        return None
    checkpoint = read_checkpoint(best_path)
    restore_network(training.task.network, checkpoint, path=best_path)
    best = monitored_value(training, int(checkpoint["epoch"]))
    # From here on as predict.py computes, so that figures and thresholds are of what it will say.
    choices = hardware.as_in_use(training.choices)
    hardware.apply(choices, exact=True)
    _record_cost(training, trainer, int(checkpoint["epoch"]), best, choices)
    _calibrate(training, checkpoint, best_path, choices)
    network = training.task.network
    assert isinstance(network, Network)
    inspector = kind_of(training.config).inspector(
        training.config, network, checkpoint, where=str(best_path)
    )
    keep_appearance(training.folder, training.data)
    keep_neighbours(training.folder, training.data, inspector, choices=choices)
    figures = evaluating.evaluate_stages(
        training.folder,
        training.task,
        training.data,
        stages=evaluating.final_stages(training.config, training.data),
        choices=choices,
        config=training.config,
    )
    tensorboard.show_results(
        trainer.loggers,
        training.folder,
        config=training.config,
        figures=figures,
        epoch=trainer.current_epoch,
    )
    for logger in trainer.loggers:
        logger.finalize("success")
    evaluating.tell(training.folder, figures, optimistic=training.config.split.name == "origin")
    if training.config.save_weights:
        assert training.record is not None
        keep_weights(
            training.folder,
            network,
            config=training.config,
            data=training.data,
            first=training.weights,
            record=training.record.values,
            figures=figures,
        )
    return best


def _calibrate(
    training: Training, checkpoint: dict[str, Any], path: Path, choices: hardware.Choices
) -> None:
    """Fit what belongs to the best epoch's network, and keep it in that epoch's checkpoint."""
    assert training.record is not None
    found = kind_of(training.config).calibrate(
        training.task, training.data, choices=choices, config=training.config
    )
    if found:
        checkpoint["inspection"]["fitted"] = training.task.fitted
        write_checkpoint(checkpoint, path)
        training.record.update(**found)


def monitored_value(training: Training, epoch: int) -> float | None:
    """What the monitored figure, smoothed, was in an epoch."""
    key = training.task.learning.monitor_key
    rows = {int(row["epoch"]): row for row in training.table.rows}
    return float(rows[epoch][key]) if epoch in rows and rows[epoch].get(key) else None


def _record_cost(
    training: Training,
    trainer: L.Trainer,
    best_epoch: int,
    best: float | None,
    choices: hardware.Choices,
) -> None:
    assert training.record is not None
    task, image_size = training.task, training.config.data.image_size
    seconds = training.table.training_time_s
    batches = int(trainer.num_training_batches)
    images = sum(
        training.data.images_shown(int(row["epoch"]), batches=batches)
        for row in training.table.rows
    )
    training.record.update(
        epochs=len(training.table.rows),
        best_epoch=best_epoch,
        monitor={"key": training.task.learning.monitor_key, "value": best},
        training_time_s=round(seconds, 3),
        images_shown=images,
        images_per_second=round(images / seconds, 2) if seconds > 0 else None,
        peak_memory_bytes=hardware.peak_memory_bytes(),
        network=measure_network(task.network, image_size, through=task.in_use),
        inference_ms_per_image=round(
            measure_latency_ms(task.network, image_size, choices=choices, through=task.in_use), 3
        ),
    )
