"""Base LightningModule of all tasks: optimizer, schedule, monitored metric, frozen layers.

A task receives built objects (network, optimizer factory, schedule), never names or configuration.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from capsule_inspection.models.base import Model
from capsule_inspection.models.layers import normalise_single_values
from capsule_inspection.tasks.optimization import EMAMetric, OptimizationConfig, parameter_groups
from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)


class InspectionModule(L.LightningModule):
    """Base of all tasks; `network` has `layer_groups()`, from the input to the head."""

    learns: ClassVar[bool] = True
    """Whether weights change, epoch by epoch."""

    def __init__(self, network: Model, optimization: OptimizationConfig) -> None:
        super().__init__()
        self.network = network
        normalise_single_values(network)
        self.optimization = optimization
        self.monitor_average = EMAMetric(optimization.smoothing)
        self.extra_state: dict[str, Any] = {}
        """Plain values that every checkpoint contains, such as the names of the classes."""
        self.training_hashes: list[str] = []
        """SHA-256 of the images that the weights are trained on."""
        self.selection_hashes: list[str] = []
        """SHA-256 of the images that select the best epoch."""
        self.plateau: Any = None
        """A scheduler that steps with the monitored metric. Lightning would step it after the
        epoch's checkpoint is written, so that a resumed run would differ."""
        self._plateau_state: dict[str, Any] | None = None

    @property
    def inference_forward(self) -> Callable[[Tensor], Any]:
        """Computes images (N, 3, H, W) in inference: the network at once, or in tiles."""
        return self.network

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(
            self.network.layer_groups(),
            learning_rate=self.optimization.learning_rate,
            fine_tuning=self.optimization.fine_tuning,
        )
        optimizer = self.optimization.optimizer(groups)
        schedule = self.optimization.schedule(
            optimizer, total_steps=self._total_steps(), mode=self.optimization.mode
        )
        if not schedule.each_step:
            self.plateau = schedule.scheduler
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": "step"},
        }

    def _total_steps(self) -> int:
        """Steps of the training. Raises ConfigurationError where no epoch of it is validated."""
        trainer = self.trainer
        trainer.fit_loop.setup_data()  # which counts the batches
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        first = per_epoch * (trainer.check_val_every_n_epoch or 1)
        most = trainer.max_steps
        if 0 < most < first:
            raise ConfigurationError(
                f"trainer.max_steps={most}: the first validation is after {first} steps, and "
                "without one there is no best epoch. Give at least as many, or a smaller "
                "trainer.limit_train_batches."
            )
        if most > 0 and most % first:
            last = trainer.fit_loop.epoch_loop.max_steps = most - most % first
            log.info(
                "trainer.max_steps=%d: there is a validation every %d steps, so step %d is the "
                "last.", most, first, last
            )  # fmt: skip
        return max(1, int(trainer.estimated_stepping_batches))

    def on_train_start(self) -> None:
        if self.plateau is not None and self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Freezes or unfreezes at the first batch: Lightning skips the epoch hook on a resume."""
        if batch_idx == 0:
            self.freeze_backbone(self.is_head_only(self.current_epoch))

    def is_head_only(self, epoch: int) -> bool:
        """Whether only the head is trained in this epoch."""
        head_epochs = self.optimization.fine_tuning.head_epochs
        return head_epochs < 0 or epoch < head_epochs

    def freeze_backbone(self, frozen: bool) -> None:
        """Freeze or unfreeze all but the last layer group, including batch norm statistics."""
        layers = self.network.layer_groups()
        head = {id(parameter) for parameter in layers[-1]}
        for layer in layers[:-1]:
            for parameter in layer:
                parameter.requires_grad_(not frozen)
        for module in self.network.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and own:
                module.train(not (frozen and id(own[0]) not in head))

    def log_validation(self, metrics: dict[str, float]) -> None:
        """Log the metrics of a validation, and the moving average of the monitored one."""
        monitor = self.optimization.monitor
        if monitor not in metrics:
            raise ConfigurationError(
                f"task.monitor={monitor}: this task has {', '.join(sorted(metrics))}."
            )
        every = self.trainer.check_val_every_n_epoch or 1
        if self.current_epoch - every < self.optimization.select_from_epoch <= self.current_epoch:
            self.monitor_average = EMAMetric(self.optimization.smoothing)
        average = self.monitor_average.update(metrics[monitor])
        self.log_epoch({**metrics, self.optimization.monitor_key: average}, prog_bar=(monitor,))
        if self.plateau is not None and self.trainer.training:
            self.plateau.step(average)

    def log_training(self, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch of training, and the learning rate."""
        rate = {"optimizer/learning_rate": self.learning_rate()}
        self.log_epoch({**metrics, **rate}, prog_bar=("train/loss",))

    def log_epoch(self, metrics: dict[str, float], *, prog_bar: tuple[str, ...] = ()) -> None:
        """Log the metrics of an epoch against its number, which loggers count from 1."""
        for key, value in metrics.items():
            self.log(key, value, prog_bar=key in prog_bar, batch_size=1)
        self.log("step", float(self.current_epoch + 1), batch_size=1)

    def learning_rate(self) -> float:
        """Current rate of the head, the last parameter group."""
        return float(self.trainer.optimizers[0].param_groups[-1]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {"monitor_average": self.monitor_average.state_dict(), **self.extra_state}
        if self.plateau is not None:
            state["plateau"] = self.plateau.state_dict()
        checkpoint["inspection"] = state
        checkpoint["training_hashes"] = self.training_hashes
        checkpoint["selection_hashes"] = self.selection_hashes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["inspection"]
        self.monitor_average.load_state_dict(state["monitor_average"])
        self._plateau_state = state.get("plateau")


class EpochMeans(nn.Module):
    """Means of losses over the images of an epoch, over all processes."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.means = nn.ModuleDict({name: MeanMetric() for name in names})

    def update(self, losses: dict[str, Tensor], *, count: int) -> None:
        """Add a batch of `count` images: scalars, each a mean over them."""
        for name, loss in losses.items():
            self.means[name].update(loss.detach(), weight=count)  # type: ignore[operator]

    def compute_and_reset(self, split: str) -> dict[str, float]:
        """Means by key, `<split>/<name>`."""
        return {f"{split}/{name}": compute_and_reset(mean) for name, mean in self.means.items()}


def compute_and_reset(metric: nn.Module) -> float:
    """The value of a scalar metric over an epoch, which then begins anew."""
    assert isinstance(metric, Metric)
    value = float(metric.compute())
    metric.reset()
    return value
