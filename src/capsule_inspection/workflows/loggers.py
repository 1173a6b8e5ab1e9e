"""Loggers of a training, and what TensorBoard shows beside the curves.

Images, the configuration, precision-recall curves, and the final metrics. TensorBoard sorts its
cards by tag: `optimizer`, `train` and `val` with the curves, then `verdict` and `visual`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.samplers import SampleRef
from capsule_inspection.data.training_crops import num_epochs
from capsule_inspection.metrics.registry import metric_label
from capsule_inspection.models.base import denormalize
from capsule_inspection.reports.run.console import headline
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.types import (
    TEST,
    VAL,
    ConfigurationError,
    Estimate,
    RunFiles,
    WeightsRecord,
)

_MAX_IMAGES = 16
_MAX_MASK_EPOCHS = 10
"""Epochs of a training whose predicted masks are shown."""


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard without the hparams.yaml beside it: config.yaml has the settings."""

    def save(self) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Without Lightning's curve of the epochs over the epochs."""
        super().log_metrics({key: of for key, of in metrics.items() if key != "epoch"}, step)


LOGGERS: Mapping[str, Callable[..., Logger]] = {"wandb": WandbLogger, "mlflow": MLFlowLogger}
"""Every value of `logger.builder` but tensorboard, which is always there."""


def build_loggers(config: DictConfig, folder: Path, *, first_epoch: int) -> list[Logger]:
    """TensorBoard in the run folder, and the logger that `logger` adds.

    Events of epochs from `first_epoch` on belong to an interrupted attempt and are hidden.
    """
    purge = first_epoch + 1 if first_epoch > 0 else None  # steps count from 1
    tensorboard = RunTensorBoardLogger(
        folder.parent, name=folder.name, version="", default_hp_metric=False, purge_step=purge
    )
    settings: Any = OmegaConf.to_container(config.logger, resolve=True)
    name = settings.pop("builder")
    if name == "tensorboard":
        return [tensorboard]
    try:
        return [tensorboard, LOGGERS[name](**settings)]
    except Exception as error:  # whatever a library raises
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"logger: {name} cannot be used ({reason}). Install it with pip install -e '.[{name}]',"
            " or leave `logger` out."
        ) from error


def build_image_callbacks(
    config: DictConfig, module: InspectionModule, data: InspectionDataModule
) -> list[Callback]:
    """Callbacks that show images in TensorBoard."""
    callbacks: list[Callback] = [AugmentedImages(config, data), CurveLayout()]
    if isinstance(module, PredictsMasks):
        every_epochs = max(1, num_epochs(config) // _MAX_MASK_EPOCHS)
        callbacks.append(PredictedMasks(data, every_epochs=every_epochs))
    return callbacks


class AugmentedImages(Callback):
    """Shows the configuration and the first batch of a training, augmented.

    After the first step: importing TensorBoard takes time.
    """

    def __init__(self, config: DictConfig, data: InspectionDataModule) -> None:
        self.config = config
        self.normalisation = data.normalisation
        self.classes = data.index.classes

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch == 0 and batch_idx == 0 and trainer.is_global_zero:
            self._log(summary_writers(trainer.loggers), batch)

    def _log(self, writers: Sequence[Any], batch: Any) -> None:
        from torchvision.utils import make_grid

        config = OmegaConf.to_yaml(self.config, resolve=True)
        image = denormalize(batch["image"][:_MAX_IMAGES].cpu(), self.normalisation)
        columns = max(1, round(4 * (image.shape[2] / image.shape[3]) ** 0.5))
        grid = make_grid(image.clamp(0, 1), nrow=columns, padding=4, pad_value=1)
        names = [self.classes[int(label)] for label in batch["label"][:_MAX_IMAGES]]
        for writer in writers:
            writer.add_text("configuration", f"```yaml\n{config}\n```", 1)
            writer.add_image("visual/augmented_images", grid, 1)
            writer.add_text("visual/augmented_images", ", ".join(names), 1)


class CurveLayout(Checkpoint):
    """Lays training and validation of each metric into one chart of TensorBoard's custom scalars.

    A `Checkpoint`, since Lightning calls those when an epoch's metrics are known.
    """

    def __init__(self) -> None:
        self._is_written = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._is_written or not trainer.is_global_zero:
            return
        self._is_written = True
        layout = {"curves": curve_charts(trainer.callback_metrics)}
        for writer in summary_writers(trainer.loggers):
            writer.add_custom_scalars(layout)


def curve_charts(keys: Iterable[str]) -> dict[str, list[Any]]:
    """Charts by title, losses first: the curves of one metric, the smoothed one too, in one."""
    curves: dict[str, list[str]] = {}
    for key in sorted(key for key in keys if "/" in key):
        metric = key.partition("/")[2].removesuffix("_smoothed")
        curves.setdefault(metric.replace("_", " "), []).append(f"^{re.escape(key)}$")
    ordered = sorted(curves, key=lambda title: ("rate" in title, "loss" not in title, title))
    return {title: ["Multiline", curves[title]] for title in ordered}


@runtime_checkable
class PredictsMasks(Protocol):
    """A LightningModule that predicts the class of each pixel. Shapes: masks (N, H, W)."""

    def predict_masks(self, image: Tensor) -> Tensor: ...

    def target_masks(self, mask: Tensor) -> Tensor: ...


class PredictedMasks(Callback):
    """Shows predicted masks of some validation images every few epochs; defects are outlined.

    The first image of each class. With averaged weights it shows the masks of those.
    """

    def __init__(self, data: InspectionDataModule, *, every_epochs: int) -> None:
        first = {int(data.labels[row]): row for row in reversed(data.indices(VAL))}
        self.rows = [first[label] for label in sorted(first)][:_MAX_IMAGES]
        self.data = data
        self.every_epochs = every_epochs

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """After the first batch: at the end of the epoch the averaged weights are gone again."""
        is_due = (trainer.current_epoch + 1) % self.every_epochs == 0
        if batch_idx == 0 and is_due and trainer.is_global_zero and not trainer.sanity_checking:
            self._log(trainer, pl_module)

    def _log(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        from capsule_inspection.reports.plots.overlays import compose

        assert isinstance(module, PredictsMasks)
        raw = self.data.dataset.__getitems__([SampleRef(row, 0) for row in self.rows])
        on_device = {key: value.to(module.device) for key, value in raw.items()}
        batch = self.data.transform(on_device, training=False, epoch=0)
        predicted = module.predict_masks(batch["image"]).cpu().numpy()
        target = module.target_masks(batch["mask"]).cpu().numpy()
        drawn = [
            compose(image, mask=mask, outlines=(outline,), width_px=image.shape[1])
            for image, mask, outline in zip(raw["image"].numpy(), predicted, target, strict=True)
        ]
        for writer in summary_writers(trainer.loggers):
            writer.add_image(
                "visual/predicted_masks",
                np.concatenate(drawn),
                trainer.current_epoch + 1,
                dataformats="HWC",
            )


def summary_writers(loggers: Sequence[Logger]) -> list[Any]:
    """The TensorBoard writers of loggers."""
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def log_results(
    loggers: Sequence[Logger],
    folder: Path,
    *,
    config: DictConfig,
    weights: WeightsRecord,
    metrics: Mapping[str, Estimate],
    epoch: int,
) -> None:
    """Log the plots of the run folder, precision-recall curves and the final metrics."""
    from PIL import Image

    values = {
        f"verdict/{metric_label(name)}": estimate.value
        for name, estimate in headline(metrics, config.task.name).items()
    }
    for writer in summary_writers(loggers):
        for path in sorted((folder / RunFiles.PLOTS).glob("*.png")):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image(f"visual/{path.stem}", pixels, epoch, dataformats="HWC")
        _log_curves(writer, folder, epoch)
        _log_verdict(writer, _main_settings(config, weights), values, epoch)
        writer.flush()


def _log_curves(writer: Any, folder: Path, epoch: int) -> None:
    from capsule_inspection.reports.run.files import PROBABILITY
    from capsule_inspection.reports.run.run_folder import read_run

    run = read_run(folder)
    if TEST not in run.stages() or not run.classes:
        return
    rows = run.images_of(TEST)
    for name in run.classes:
        is_class, probability = rows["label"] == name, rows[PROBABILITY + name]
        writer.add_pr_curve(f"test/{name}", is_class.to_numpy(), probability.to_numpy(), epoch)


def _main_settings(config: DictConfig, weights: WeightsRecord) -> dict[str, str | float]:
    """The settings that TensorBoard's table of runs shows."""
    size = config.data.image_size
    return {
        "model": str(config.model.name),
        "weights": weights.source,
        "data": str(config.data.name),
        "image_size": "x".join(map(str, size)),
        "batch_size": int(config.task.batch_size),
        "epochs": num_epochs(config),
        "lr": float(config.optimizer.lr),
        "seed": int(config.seed),
    }


def _log_verdict(
    writer: Any, settings: dict[str, str | float], values: dict[str, float], epoch: int
) -> None:
    """HPARAMS of this run; the writer's own `add_hparams` would make a second run for them."""
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(settings, values):
        writer.file_writer.add_summary(summary)
    for tag, value in values.items():
        writer.add_scalar(tag, value, epoch)
