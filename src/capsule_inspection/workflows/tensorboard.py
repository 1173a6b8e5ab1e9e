"""What TensorBoard shows beside the curves: pictures, configuration, final figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.models.base import to_colours
from capsule_inspection.types import TEST, Figure

SHOWN_IMAGES = 16


class FirstBatch(Callback):
    """Shows the configuration and the first batch of a training, augmented, as the network sees it.

    After the first step: TensorBoard takes its time to be imported.
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
            show_configuration(trainer.loggers, self.config)
            self._show(trainer, batch)

    def _show(self, trainer: L.Trainer, batch: Any) -> None:
        from torchvision.utils import make_grid

        image = to_colours(batch["image"][:SHOWN_IMAGES].cpu(), self.normalisation)
        columns = max(1, round(4 * (image.shape[2] / image.shape[3]) ** 0.5))
        grid = make_grid(image.clamp(0, 1), nrow=columns, padding=4, pad_value=1)
        for logger in boards(trainer.loggers):
            logger.experiment.add_image("train/augmented_images", grid, 0)
            names = [self.classes[int(label)] for label in batch["label"][:SHOWN_IMAGES]]
            logger.experiment.add_text("train/augmented_images", ", ".join(names), 0)


def boards(loggers: list[Any]) -> list[TensorBoardLogger]:
    """The TensorBoard loggers among loggers."""
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]


def show_configuration(loggers: list[Any], config: DictConfig) -> None:
    """The whole configuration as text."""
    text = OmegaConf.to_yaml(config, resolve=True)
    for logger in boards(loggers):
        logger.experiment.add_text("configuration", f"```yaml\n{text}\n```", 0)


def show_results(
    loggers: list[Any],
    folder: Path,
    *,
    config: DictConfig,
    figures: Mapping[str, Figure],
    epoch: int,
) -> None:
    """Pictures of the run folder, precision-recall curves, and the final figures as HPARAMS."""
    for logger in boards(loggers):
        writer = logger.experiment
        for path in sorted((folder / "figures").glob("*.png")):
            writer.add_image(f"results/{path.stem}", _read(path), epoch, dataformats="HWC")
        _add_curves(writer, folder, epoch)
        _add_hparams(writer, config, figures)
        writer.flush()


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def _add_curves(writer: Any, folder: Path, epoch: int) -> None:
    from capsule_inspection.reports.run_folder import read_run

    run = read_run(folder)
    if TEST not in run.stages() or not run.classes:
        return
    predictions, _ = run.arrays_of(TEST)
    assert predictions.probabilities is not None
    for label, name in enumerate(run.classes):
        writer.add_pr_curve(
            f"test/{name}", predictions.label == label, predictions.probabilities[:, label], epoch
        )


def _add_hparams(writer: Any, config: DictConfig, figures: Mapping[str, Figure]) -> None:
    """HPARAMS of this run; the writer's own `add_hparams` would make a second run for them."""
    from torch.utils.tensorboard.summary import hparams

    settings = flatten(OmegaConf.to_container(config, resolve=True))
    values = {f"hparams/{key}": figure.value for key, figure in figures.items()}
    for summary in hparams(settings, values):
        writer.file_writer.add_summary(summary)
    for key, value in values.items():
        writer.add_scalar(key, value, 0)


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names; lists as text, what is not set left out."""
    if not isinstance(node, dict):
        plain = node if isinstance(node, bool | int | float | str) else str(node)
        return {} if node is None else {prefix: plain}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
