"""From a configuration to built objects: data module, network, task, callbacks, trainer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.callbacks.weight_averaging import EMAWeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.module import InspectionDataModule, Spoiling
from capsule_inspection.models.base import BuiltNetwork, Network
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import (
    CALIBRATION,
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
from capsule_inspection.workflows import windows
from capsule_inspection.workflows.hardware import Choices
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.trainers import make_trainer

OWN_TRAINER_KEYS = ("channels_last", "threads", "precision", "accelerator")


def build_network(
    config: DictConfig, *, num_classes: int, weights: str | None = None
) -> BuiltNetwork:
    """The configured network. `weights` replaces `model.weights`, for one that is loaded later."""
    settings = dict(OmegaConf.to_container(config.model, resolve=True))  # type: ignore[arg-type]
    if weights is not None:
        settings["weights"] = weights
    known = {
        "num_classes": num_classes,
        "image_size": list(config.data.image_size),
        "window": config.task.get("window"),
        # One that is loaded later has seen them before.
        "seen_sizes": windows.seen_sizes(config) if weights is None else [],
    }
    asked = inspect.signature(get_method(config.model._target_)).parameters
    settings |= {name: value for name, value in known.items() if name in asked}
    with own_errors():
        return instantiate(settings, _convert_="all")


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
    held_out = {r.sha256: r.path for r in index.records if r.split in (VAL, TEST, CALIBRATION)}
    seen = sorted(held_out[sha256] for sha256 in weights.seen & held_out.keys())
    if seen:
        raise WeightsError(
            f"model.weights={weights.path}: these weights were trained on {len(seen)} images that "
            f"are in val, calibration or test here, such as {seen[0]}. Use the split of the run "
            "they come from (split=manifest split.path=<run>/split.csv), or other weights."
        )


def build_data_module(
    config: DictConfig,
    index: DataIndex,
    cache: DecodedCache,
    *,
    normalisation: Normalisation,
    choices: Choices,
    corruption: Spoiling | None = None,
) -> InspectionDataModule:
    """Batches as the task and the augmentation settings say; a training may spoil its images."""
    kind = kind_of(config)
    return InspectionDataModule(
        index,
        cache,
        normalisation=normalisation,
        settings=kind.batch_settings(config, choices),
        select=kind.select,
        corruption=corruption,
    )


def build_task(config: DictConfig, network: Network, data: InspectionDataModule) -> InspectionTask:
    """The LightningModule of the configured task."""
    built = kind_of(config).build_task(config, network, data)
    built.extra_state = {
        "task": config.task.name,
        "model": config.model.name,
        "classes": list(data.index.classes),
    }
    built.seen_sha256 = sorted({data.index.records[row].sha256 for row in data.indices(TRAIN)})
    return built


def build_callbacks(config: DictConfig, task: InspectionTask, folder: Path) -> list[Callback]:
    """Early stopping, averaging, and the two checkpoints: the best epoch and the last."""
    monitor, mode = task.learning.monitor_key, task.learning.mode
    judged = task.learning.judged_from
    early, ema = config.callbacks.early_stopping, config.callbacks.ema
    callbacks: list[Callback] = []
    if early is not None:
        stop = LateStopping(
            monitor,
            mode=mode,
            patience=early.patience,
            min_delta=early.min_delta,
            verbose=False,
            judged_from=judged,
        )
        callbacks.append(stop)
    if ema is not None:
        callbacks.append(EMAWeightAveraging(decay=ema.decay))
    if config.trainer.enable_progress_bar and sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    best = _checkpoint(folder, "best", monitor=monitor, mode=mode, judged_from=judged)
    return [*callbacks, best, _checkpoint(folder, "last")]


class LateStopping(EarlyStopping):
    """Waits for no improvement before the epoch `judged_from`, but stops where figures diverge.

    A training that it has ended stays ended when it is resumed, and goes on, with new patience,
    where more epochs are asked for.
    """

    def __init__(self, monitor: str, *, judged_from: int, **settings: Any) -> None:
        super().__init__(monitor, **settings)
        self.judged_from = judged_from
        self.most_epochs: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        asked, self.most_epochs = self.most_epochs, trainer.max_epochs
        if self.wait_count < self.patience:
            return
        if asked in (None, trainer.max_epochs):  # None: runs of before
            trainer.should_stop = True
        else:
            self.wait_count = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "most_epochs": self.most_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.most_epochs = state_dict.get("most_epochs")

    @property
    def state_key(self) -> str:
        """That of Lightning's own, under which runs of before have kept its state."""
        return super().state_key.replace(type(self).__name__, EarlyStopping.__name__, 1)

    def _run_early_stopping_check(self, trainer: L.Trainer) -> None:
        current = trainer.callback_metrics.get(self.monitor)
        is_early = trainer.current_epoch < self.judged_from
        if is_early and current is not None and bool(current.isfinite()):
            return
        super()._run_early_stopping_check(trainer)


class MovableCheckpoint(ModelCheckpoint):
    """Keeps what it knows of the best epoch when the run folder has been moved.

    Of equally good epochs it keeps the last one: few validation images are soon all right, while
    the network still learns.
    Epochs before `judged_from`, which show windows of images, compete only among themselves: a
    network can mark whole images well before it has learnt from windows, and worse afterwards.
    """

    def __init__(self, *, judged_from: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.judged_from = judged_from
        self.has_judged = False
        """Whether an epoch from there on has been compared; kept, since more epochs move it."""

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        is_validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if current is None or self.has_judged or not is_validated:
            return self._is_as_good(trainer, current)
        self.has_judged = trainer.current_epoch >= self.judged_from
        return self.has_judged or self._is_as_good(trainer, current)

    def _is_as_good(self, trainer: L.Trainer, current: Tensor | None) -> bool:
        is_better = super().check_monitor_top_k(trainer, current)
        best = self.best_model_score
        return is_better or (current is not None and best is not None and bool(current == best))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "has_judged": self.has_judged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.has_judged = bool(state_dict.get("has_judged", True))  # runs of before judged all

        def here(path: Any) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {key: here(state_dict.get(key)) for key in paths}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath}
        )


def _checkpoint(
    folder: Path,
    name: str,
    *,
    monitor: str | None = None,
    mode: str = "min",
    judged_from: int = 0,
) -> ModelCheckpoint:
    return MovableCheckpoint(
        judged_from=judged_from,
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
        # Hydra tells it within lines of its own.
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigurationError(
            f"logger: {config.logger.extra.get('_target_')} cannot be used ({reason}). Install it "
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
    unused = config.finetune.head_epochs != 0 or config.model.get("pool") == "topk"
    if settings.get("strategy") == "ddp" and unused:
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


def _has_bar(callbacks: list[Callback]) -> bool:
    return any(isinstance(callback, RichProgressBar) for callback in callbacks)
