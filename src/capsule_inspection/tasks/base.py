"""What all tasks share: optimizer, schedule, smoothed figure, frozen layers, repeatable steps.

A task receives built parts (network, optimizer factory, schedule), never names or configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from capsule_inspection.tasks.optimizers import FineTuning, OptimizerFactory, parameter_groups
from capsule_inspection.tasks.schedulers import Schedule
from capsule_inspection.tasks.smoothing import SmoothedFigure


@dataclass(frozen=True)
class Learning:
    """How a task learns and what decides on its best epoch.

    `schedule` is called with optimizer, total_steps and mode. `monitor` is a key such as
    val/balanced_accuracy; the figure that decides is `monitor_key`, its smoothed course, which
    begins anew with the epoch `judged_from`.
    """

    optimizer: OptimizerFactory
    learning_rate: float
    schedule: Callable[..., Schedule]
    tuning: FineTuning
    monitor: str
    mode: str
    smoothing: float
    judged_from: int = 0

    @property
    def monitor_key(self) -> str:
        return f"{self.monitor}_smoothed"


class InspectionTask(L.LightningModule):
    """Base of all tasks; `network` has `layer_groups()`, from the input to the head."""

    def __init__(self, network: nn.Module, learning: Learning) -> None:
        super().__init__()
        self.network = network
        self.learning = learning
        self.smoothed = SmoothedFigure(learning.smoothing)
        self.extra_state: dict[str, Any] = {}
        """Plain values that every checkpoint carries, such as the names of the classes."""
        self.fitted: dict[str, Any] = {}
        """What was fitted to the trained network, such as a threshold: tensors and plain values."""
        self.seen_sha256: list[str] = []
        """SHA-256 of the photographs that the weights have been trained on."""

    @property
    def in_use(self) -> Callable[[Tensor], Any]:
        """What images (N, 3, H, W) go through in use: the network, at once or in parts."""
        return self.network

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(
            self.network.layer_groups(),  # type: ignore[operator]
            learning_rate=self.learning.learning_rate,
            tuning=self.learning.tuning,
        )
        optimizer = self.learning.optimizer(groups)
        schedule = self.learning.schedule(
            optimizer,
            total_steps=self._total_steps(),
            mode=self.learning.mode,
        )
        if not schedule.each_step:
            self.plateau = schedule.scheduler
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": "step"},
        }

    def _total_steps(self) -> int:
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            from capsule_inspection.types import ConfigurationError

            raise ConfigurationError(
                "trainer.max_epochs=-1: the learning rate's schedule needs to know where training "
                "ends. Set trainer.max_steps too, or as many epochs as trainer.max_time can hold."
            )
        return max(1, int(steps))

    plateau: Any = None
    """A scheduler that steps with the monitored figure: here, and not in Lightning, which would
    step it after the checkpoint of the epoch has been written, and a resumed run would differ."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Freezes or frees with the first batch: Lightning skips the epoch's hook on a resume."""
        if batch_idx == 0:
            self.freeze_backbone(self.is_head_only(self.current_epoch))

    def is_head_only(self, epoch: int) -> bool:
        """Whether the head alone learns in this epoch."""
        head_epochs = self.learning.tuning.head_epochs
        return head_epochs < 0 or epoch < head_epochs

    def freeze_backbone(self, frozen: bool) -> None:
        """Freeze or free all but the last layer group, statistics of batch norms included."""
        layers = self.network.layer_groups()  # type: ignore[operator]
        head = {id(parameter) for parameter in layers[-1]}
        for layer in layers[:-1]:
            for parameter in layer:
                parameter.requires_grad_(not frozen)
        for module in self.network.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and own:
                module.train(not (frozen and id(own[0]) not in head))

    def finish_validation(self, figures: dict[str, float]) -> None:
        """Log the figures of a validation, and the smoothed course of the monitored one."""
        monitor = self.learning.monitor
        if monitor not in figures:
            from capsule_inspection.types import ConfigurationError

            raise ConfigurationError(
                f"task.monitor={monitor}: this task has {', '.join(sorted(figures))}."
            )
        every = self.trainer.check_val_every_n_epoch or 1
        if self.current_epoch - every < self.learning.judged_from <= self.current_epoch:
            self.smoothed = SmoothedFigure(self.learning.smoothing)
        smoothed = self.smoothed.update(figures[monitor])
        self.log_epoch({**figures, self.learning.monitor_key: smoothed}, bar=(monitor,))
        if self.plateau is not None and self.trainer.training:
            self.plateau.step(smoothed)

    def log_epoch(self, figures: dict[str, float], *, bar: tuple[str, ...] = ()) -> None:
        """Log final values of an epoch, on an axis of epochs."""
        for key, value in figures.items():
            self.log(key, value, prog_bar=key in bar, batch_size=1)
        self.log("step", float(self.current_epoch), batch_size=1)

    def learning_rate(self) -> float:
        """Present rate of the head, the last parameter group."""
        optimizers = self.trainer.optimizers
        optimizer: Optimizer = optimizers[0]
        return float(optimizer.param_groups[-1]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["inspection"] = {"smoothed": self.smoothed.state(), **self.extra_state}
        checkpoint["seen_sha256"] = self.seen_sha256
        if self.plateau is not None:
            checkpoint["inspection"]["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["inspection"]
        self.smoothed.restore(state["smoothed"])
        self.fitted = {}  # it was fitted to the weights of another epoch
        self._plateau_state = state.get("plateau")

    _plateau_state: dict[str, Any] | None = None

    def on_train_start(self) -> None:
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)


def in_float32(like: Tensor) -> torch.autocast:
    """A context in which nothing is computed in half precision.

    It would make noise of small differences, and equal scores of different ones.
    """
    return torch.autocast(like.device.type, enabled=False)
