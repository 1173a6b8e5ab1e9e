"""What a segmentation network marks as it learns, for TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.sampling import Draw
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationTask
from capsule_inspection.types import VAL
from capsule_inspection.workflows.tensorboard import SHOWN_IMAGES, boards


class MarkedImages(Callback):
    """Shows what a network marks on some validation images, as it learns: each few epochs.

    The first image of each class; true defects are outlined. With averaged weights it shows theirs.
    """

    def __init__(self, data: InspectionDataModule, *, every_epochs: int) -> None:
        rows = data.indices(VAL)
        first = {int(data.labels[row]): row for row in reversed(rows)}
        self.rows = [first[label] for label in sorted(first)][:SHOWN_IMAGES]
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
        due = (trainer.current_epoch + 1) % self.every_epochs == 0
        if batch_idx == 0 and due and trainer.is_global_zero and not trainer.sanity_checking:
            self._show(trainer, pl_module)

    def _show(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        from capsule_inspection.reports.overlays import overlay

        assert isinstance(task, SegmentationTask)
        raw = self.data.dataset.__getitems__([Draw(row, 0) for row in self.rows])
        on_device = {key: value.to(task.device) for key, value in raw.items()}
        batch = self.data.transform(on_device, training=False, epoch=0)
        marked = task.see(batch["image"]).argmax(1).cpu().numpy()
        truth = task.wanted(batch["mask"]).cpu().numpy()
        drawn = [
            overlay(image, mask, truth=outline)
            for image, mask, outline in zip(raw["image"].numpy(), marked, truth, strict=True)
        ]
        for logger in boards(trainer.loggers):
            logger.experiment.add_image(
                "val/marked", np.concatenate(drawn), trainer.current_epoch, dataformats="HWC"
            )
