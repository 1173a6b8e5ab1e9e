"""From a configuration to built objects: data module, network, task, callbacks, trainer."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.contracts import (
    TEST,
    TRAIN,
    VAL,
    ConfigurationError,
    DataIndex,
    InspectionError,
    Normalisation,
    WeightsError,
    WeightsRecord,
)
from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.files import whole_file
from capsule_inspection.networks.classifier import BuiltNetwork
from capsule_inspection.networks.losses import ClassificationLoss, class_weights, log_prior
from capsule_inspection.runs.machine import Choices
from capsule_inspection.tasks.base import InspectionTask, Learning
from capsule_inspection.tasks.classification import ClassificationTask
from capsule_inspection.tasks.optimizers import FineTuning

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # the cache is memory-mapped: workers would only cost
    ".*The number of training batches.*is smaller than the log.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*recommended to use .self.log.*sync_dist=True.*",  # torchmetrics has summed them already
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # within Lightning
)
OWN_TRAINER_KEYS = ("channels_last", "threads", "precision", "accelerator")


def build_network(
    config: DictConfig, *, num_classes: int, weights: str | None = None
) -> BuiltNetwork:
    """The configured network. `weights` replaces `model.weights`, for one that is loaded later."""
    settings = dict(OmegaConf.to_container(config.model, resolve=True))  # type: ignore[arg-type]
    if weights is not None:
        settings["weights"] = weights
    if "options" in settings:
        settings["image_size"] = list(config.data.image_size)
    with own_errors():
        return instantiate(settings, num_classes=num_classes, _convert_="all")


@contextmanager
def own_errors() -> Iterator[None]:
    """Let our own errors through as they are; Hydra wraps all that a target raises."""
    own: InspectionError | None = None
    try:
        yield
    except InstantiationException as error:
        if not isinstance(error.__cause__, InspectionError):
            raise
        own = error.__cause__
    if own is not None:  # outside of the handler, where it would become its own context
        raise own


def refuse_seen_images(weights: WeightsRecord, index: DataIndex) -> None:
    """Raise WeightsError where weights were trained on images that are to judge them."""
    held_out = {r.sha256: r.path for r in index.records if r.split in (VAL, TEST)}
    seen = sorted(held_out[sha256] for sha256 in weights.seen & held_out.keys())
    if seen:
        raise WeightsError(
            f"model.weights={weights.path}: these weights were trained on {len(seen)} images that "
            f"are in val or test here, such as {seen[0]}. Use the split of the run they come from "
            "(split=manifest split.path=<run>/split.csv), or other weights."
        )


def build_data_module(
    config: DictConfig,
    index: DataIndex,
    cache: DecodedCache,
    *,
    normalisation: Normalisation,
    choices: Choices,
) -> InspectionDataModule:
    """Batches as the task and the augmentation settings say."""
    settings = BatchSettings(
        batch_size=config.task.batch_size,
        sampling=config.task.sampling,
        mixup=config.task.mixup,
        seed=config.seed,
        channels_last=choices.channels_last,
        augmentation=AugmentationSettings(**config.data.augmentation),
    )
    return InspectionDataModule(index, cache, normalisation=normalisation, settings=settings)


def build_task(
    config: DictConfig, network: torch.nn.Module, data: InspectionDataModule
) -> InspectionTask:
    """The LightningModule of the configured task."""
    task = config.task
    counts = data.class_counts(TRAIN)
    if not any(counts):  # other images are evaluated: nobody asks for the loss
        counts = [1] * len(counts)
    loss = ClassificationLoss(
        kind=task.loss,
        class_weights=class_weights(counts, task.class_weights),
        label_smoothing=task.label_smoothing,
        log_prior=decision_offset(counts, sampling=task.sampling, tau=task.logit_adjustment),
        gamma=task.focal_gamma,
    )
    built = ClassificationTask(
        network, loss=loss, num_classes=len(data.index.classes), learning=build_learning(config)
    )
    built.extra_state = {
        "task": task.name,
        "model": config.model.name,
        "classes": list(data.index.classes),
    }
    built.seen_sha256 = sorted({r.sha256 for r in data.index.records if r.split == TRAIN})
    return built


def decision_offset(counts: Sequence[int], *, sampling: str, tau: float) -> torch.Tensor:
    """What is added to the logits in training, so that decisions suit a prior of one's choice.

    Without it the network learns the frequencies that it is shown: the natural ones, or equal ones
    with balanced sampling. The prior it shall decide by is natural ** (1 - tau): tau 0 aims at
    accuracy, 1 at balanced accuracy. With natural sampling this is Menon et al. 2021 exactly.
    """
    natural = log_prior(counts)
    shown = natural if sampling == "natural" else torch.zeros_like(natural)
    return shown - (1 - tau) * natural


def build_learning(config: DictConfig) -> Learning:
    """Optimizer, schedule and fine-tuning as configured."""
    tuning = config.finetune
    return Learning(
        optimizer=instantiate(config.optimizer, _partial_=True, _convert_="all"),
        learning_rate=config.optimizer.lr,
        schedule=instantiate(config.scheduler, _partial_=True, _convert_="all"),
        tuning=FineTuning(tuning.head_epochs, tuning.layer_decay, tuning.head_lr_factor),
        monitor=config.task.monitor,
        mode=config.task.monitor_mode,
        smoothing=config.task.monitor_smoothing,
    )


def build_callbacks(config: DictConfig, task: InspectionTask, folder: Path) -> list[Callback]:
    """Early stopping, averaging, and the two checkpoints: the best epoch and the last."""
    monitor, mode = task.learning.monitor_key, task.learning.mode
    early, ema = config.callbacks.early_stopping, config.callbacks.ema
    callbacks: list[Callback] = []
    if early is not None:
        stop = EarlyStopping(
            monitor, mode=mode, patience=early.patience, min_delta=early.min_delta, verbose=False
        )
        callbacks.append(stop)
    if ema is not None:
        callbacks.append(
            EMAWeightAveraging(decay=ema.decay, update_starting_at_epoch=ema.start_epoch)
        )
    if config.trainer.enable_progress_bar and sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    best = _checkpoint(folder, "best", monitor=monitor, mode=mode)
    return [*callbacks, best, _checkpoint(folder, "last")]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them.

    Lightning's own writes to the folder of temporary files and moves, which on another disk is a
    copy: cut short where the disk is full or the process is killed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()  # torch's own writer hides what the operating system says
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as part:
            part.write_bytes(content.getbuffer())


class MovableCheckpoint(ModelCheckpoint):
    """Keeps what it knows of the best epoch when the run folder has been moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: Any) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {key: here(state_dict.get(key)) for key in paths}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath}
        )


def _checkpoint(
    folder: Path, name: str, *, monitor: str | None = None, mode: str = "min"
) -> ModelCheckpoint:
    return MovableCheckpoint(
        dirpath=folder / "checkpoints",
        filename=name,
        monitor=monitor,
        mode=mode,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


class RunBoard(TensorBoardLogger):
    """TensorBoard without the hparams.yaml beside it: config.yaml has the settings."""

    def save(self) -> None:
        pass


def build_loggers(config: DictConfig, folder: Path, *, first_epoch: int) -> list[Logger]:
    """TensorBoard in the run folder, and what `logger` adds.

    What TensorBoard has of epochs from `first_epoch` on is of an interrupted attempt, and hidden.
    """
    purge = first_epoch if first_epoch > 0 else None
    board = RunBoard(
        folder.parent, name=folder.name, version="", default_hp_metric=False, purge_step=purge
    )
    if config.logger.extra is None:
        return [board]
    try:
        return [board, instantiate(config.logger.extra)]
    except Exception as error:
        raise ConfigurationError(
            f"logger: {config.logger.extra.get('_target_')} cannot be used ({error}). Install it "
            "with pip install -e '.[mlflow]' or '.[wandb]', or leave `logger` out."
        ) from error


def build_trainer(
    config: DictConfig, choices: Choices, *, callbacks: list[Callback], loggers: list[Logger]
) -> L.Trainer:
    """Lightning's Trainer for a training."""
    settings: Mapping[str, Any] = {
        str(key): value
        for key, value in OmegaConf.to_container(config.trainer, resolve=True).items()  # type: ignore[union-attr]
        if value is not None and key not in OWN_TRAINER_KEYS
    }
    settings = {**settings, "enable_progress_bar": _has_bar(callbacks)}
    if settings.get("strategy") == "ddp" and config.finetune.head_epochs != 0:
        settings["strategy"] = "ddp_find_unused_parameters_true"
    trainer = make_trainer(
        choices,
        callbacks=callbacks,
        logger=loggers,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # data/sampling.py shares the images, none twice
        **settings,
    )
    if config.task.batch_size % trainer.world_size:
        raise ConfigurationError(
            f"task.batch_size={config.task.batch_size}: {trainer.world_size} processes share each "
            f"batch equally, so it must be a multiple of {trainer.world_size}."
        )
    return trainer


def make_trainer(choices: Choices, **settings: Any) -> L.Trainer:  # Lightning's own argument names
    """A Trainer that keeps quiet about what was decided on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    if choices.gpu is not None:
        settings = {**settings, "devices": [choices.gpu]}
    try:
        return L.Trainer(
            accelerator=choices.device,
            precision=choices.precision,  # type: ignore[arg-type]
            enable_model_summary=False,
            plugins=[WholeCheckpoints()],
            **settings,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(f"trainer: {str(error).splitlines()[0]}") from error
    except Exception as error:
        if type(error).__name__ == "MisconfigurationException":
            raise ConfigurationError(f"trainer: {str(error).splitlines()[0]}") from error
        raise


def _has_bar(callbacks: list[Callback]) -> bool:
    return any(isinstance(callback, RichProgressBar) for callback in callbacks)
