"""Which defect is it? What classifiers need of the workflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.mixing import DefectMixing
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.sampling import Shares
from capsule_inspection.data.splits import keep_defects
from capsule_inspection.data.windows import WHOLE_IMAGES
from capsule_inspection.metrics.temperature import TemperatureScaling, fit_temperature_scaling
from capsule_inspection.models.base import Network
from capsule_inspection.models.inspector import ClassificationInspector, Inspector
from capsule_inspection.models.losses import ClassificationLoss, class_weights, log_prior
from capsule_inspection.models.segmentation_losses import SegmentationLoss
from capsule_inspection.models.segmentation_losses import class_weights as defect_weights
from capsule_inspection.reports.run_folder import TEMPERATURE_SCALING
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.tasks.classification.lightning_module import ClassificationTask, MaskLoss
from capsule_inspection.types import (
    GOOD_LABEL,
    TEST,
    TRAIN,
    VAL,
    DataIndex,
    Explanations,
    Figure,
    Predictions,
)
from capsule_inspection.workflows import pointing, predicting
from capsule_inspection.workflows.hardware import Choices
from capsule_inspection.workflows.inputs import assign_split
from capsule_inspection.workflows.kinds.fitted import require_finite
from capsule_inspection.workflows.learning import build_learning
from capsule_inspection.workflows.painting import (
    labels_of_defects,
    paint_training,
    require_shown,
    training_donors,
)

log = logging.getLogger(__name__)
_LEAST = 1e-300
"""Of a probability, so that its logarithm is finite."""


class Classification:
    """All images of all classes, each with its label."""

    names_defects = True
    kept_out: Sequence[str] = ()

    def decided_on(self, config: DictConfig) -> Sequence[str]:
        return ()

    def arrange(self, index: DataIndex, config: DictConfig) -> DataIndex:
        index = assign_split(index, config.split)
        return keep_defects(index, config.data.real_defects, seed=config.seed)

    def select(self, stage: str, label: int) -> bool:
        return True

    def batch_settings(self, config: DictConfig, choices: Choices) -> BatchSettings:
        task, data = config.task, config.data
        return BatchSettings(
            batch_size=task.batch_size,
            sampling=task.sampling,
            mixup=task.mixup,
            seed=config.seed,
            channels_last=choices.channels_last,
            augmentation=AugmentationSettings(**data.augmentation),
            views=task.views,
            shares=Shares(data.painted, data.pasted, task.defects),
        )

    def corruption(
        self, config: DictConfig, index: DataIndex, cache: DecodedCache
    ) -> DefectMixing | None:
        """Painted and pasted defects on good images; None where none are asked for or to be had.

        Raises DataError where training would show nothing of a class.
        """
        if not (config.data.painted or config.data.pasted):
            require_shown(index, config)
            return None
        labels = labels_of_defects(index)
        pool = paint_training(config, index, cache, labels)
        pastes = config.data.pasted or pool is None
        donors = training_donors(index, cache) if pastes else []
        if config.data.pasted and not donors:
            log.warning(
                "data.pasted=%g: no training image with a defect has a mask, so there is nothing "
                "to paste, and these good images are shown as they are.",
                config.data.pasted,
            )
        if pool is None and not donors:
            require_shown(index, config)
            log.info("No defects can be painted or pasted: training shows the images as they are.")
            return None
        mixing = DefectMixing(
            WHOLE_IMAGES,
            seed=config.seed,
            pool=pool,
            labels=labels,
            donors=donors,
            names_images=True,
        )
        require_shown(index, config, given=mixing.given())
        return mixing

    def build_task(
        self, config: DictConfig, network: Network, data: InspectionDataModule
    ) -> InspectionTask:
        task = config.task
        counts, shown = data.class_counts(TRAIN), _shown_counts(data)
        if shown is None:  # where a class is absent, this is no training: nobody asks for the loss
            counts = [max(1, count) for count in counts]
        natural = natural_counts(counts, share=config.data.real_defects, shown=shown)
        loss = ClassificationLoss(
            kind=task.loss,
            class_weights=class_weights(counts if shown is None else shown, task.class_weights),
            label_smoothing=task.label_smoothing,
            log_prior=decision_offset(
                natural, sampling=task.sampling, tau=task.logit_adjustment, shown=shown
            ),
            gamma=task.focal_gamma,
        )
        return ClassificationTask(
            network,
            loss=loss,
            num_classes=len(data.index.classes),
            learning=build_learning(config),
            mask_loss=_mask_loss(config, data),
        )

    def callbacks(self, config: DictConfig, data: InspectionDataModule) -> list[Callback]:
        return []

    def calibrate(
        self,
        task: InspectionTask,
        data: InspectionDataModule,
        *,
        choices: Choices,
        config: DictConfig,
    ) -> dict[str, Any]:
        assert isinstance(task, ClassificationTask)
        if not config.task.temperature_scaling:
            return {}
        _scale(task, TemperatureScaling())
        task.explains = False
        data.predict_stage = VAL
        found = predicting.run(task, data, choices=choices)
        probabilities = found["probabilities"].numpy()
        require_finite(probabilities, what="probabilities")
        scaling = fit_temperature_scaling(
            np.log(np.maximum(probabilities, _LEAST)),
            found["label"].numpy(),
            weights=_aimed_weights(data, config),
        )
        task.fitted = {TEMPERATURE_SCALING: scaling.as_dict()}
        _scale(task, scaling)
        return {TEMPERATURE_SCALING: scaling.as_dict()}

    def restore(self, task: InspectionTask, checkpoint: Mapping[str, Any], *, where: str) -> None:
        assert isinstance(task, ClassificationTask)
        _scale(task, _scaling_of(checkpoint))

    def inspector(
        self, config: DictConfig, network: Network, checkpoint: Mapping[str, Any], *, where: str
    ) -> Inspector:
        scaling = _scaling_of(checkpoint)
        return ClassificationInspector(
            network,
            network.normalisation,
            temperature=scaling.temperature,
            good_shift=scaling.good_shift,
        )

    def predict(
        self, task: InspectionTask, data: InspectionDataModule, stage: str, *, choices: Choices
    ) -> Predictions:
        assert isinstance(task, ClassificationTask)
        task.explains = stage == TEST
        stacked = predicting.run(task, data, choices=choices)
        return Predictions(
            index=stacked["index"].numpy(),
            label=stacked["label"].numpy(),
            probabilities=stacked["probabilities"].double().numpy(),
            score=stacked["score"].double().numpy(),
            explanations=_explanations(stacked, data) if task.explains else None,
        )

    def figures(
        self, predictions: Mapping[str, Predictions], data: InspectionDataModule, config: DictConfig
    ) -> dict[str, Figure]:
        from capsule_inspection.metrics.classification import classification_figures
        from capsule_inspection.metrics.names import with_stage

        figures: dict[str, Figure] = {}
        for stage, of_stage in predictions.items():
            assert of_stage.probabilities is not None
            measured = classification_figures(
                of_stage.label,
                of_stage.probabilities,
                classes=data.index.classes,
                seed=config.seed,
            )
            explained = of_stage.explanations
            if explained is not None:
                measured |= pointing.figures(explained.index, explained.maps, data)
            figures |= with_stage(measured, stage)
        return figures


def _scaling_of(checkpoint: Mapping[str, Any]) -> TemperatureScaling:
    """What `calibrate` kept; none where it was not asked to, or the run is of an older version."""
    fitted = checkpoint["inspection"].get("fitted") or {}
    return TemperatureScaling.from_dict(fitted.get(TEMPERATURE_SCALING, {}))


def _scale(task: ClassificationTask, scaling: TemperatureScaling) -> None:
    task.temperature, task.good_shift = scaling.temperature, scaling.good_shift


def _aimed_weights(data: InspectionDataModule, config: DictConfig) -> np.ndarray:
    """How much a validation image of each class counts: as in the prior that decisions aim at."""
    counts = data.class_counts(TRAIN)
    natural = natural_counts(counts, share=config.data.real_defects, shown=_shown_counts(data))
    return np.maximum(natural, 1.0) ** -config.task.logit_adjustment


def _explanations(
    stacked: Mapping[str, torch.Tensor], data: InspectionDataModule
) -> Explanations | None:
    """What the task said of where it looks; tells the user where masks are known and it cannot."""
    if len(stacked["explained"]):
        return Explanations(stacked["explained"].numpy(), stacked["explanation"].numpy())
    defects = stacked["index"][stacked["label"] != GOOD_LABEL].numpy()
    if np.any(data.dataset.cache.masks[defects]):
        log.info(
            "Where this network looks cannot be shown: its answers do not come from a feature map."
        )
    return None


def _shown_counts(data: InspectionDataModule) -> list[float] | None:
    """Images of each class among as many as training has, where it mixes; else None.

    A class that is never shown counts as one image.
    """
    mixing, shares = data.corruption, data.shares
    if shares is None or not isinstance(mixing, DefectMixing):
        return None
    counts = data.class_counts(TRAIN)
    return [max(1.0, sum(counts) * share) for share in mixing.frequencies(shares, counts)]


def _mask_loss(config: DictConfig, data: InspectionDataModule) -> MaskLoss | None:
    """What masks teach, as `model.mask_loss` weighs it; None where there are none to teach."""
    if config.model.mask_loss == 0:
        return None
    if data.corruption is None and not np.any(data.dataset.cache.masks[data.indices(TRAIN)]):
        log.info("No training image has a mask: labels alone teach.")
        return None
    num_classes = len(data.index.classes)
    loss = SegmentationLoss(
        dict(config.task.mask_losses),
        class_weights=defect_weights(num_classes, defect_weight=config.task.defect_weight),
        focal_gamma=config.task.focal_gamma,
        key="task.mask_losses",
    )
    return MaskLoss(loss, weight=config.model.mask_loss)


def natural_counts(
    counts: Sequence[int], *, share: float, shown: Sequence[float] | None
) -> list[float]:
    """How many images of each class there would be if no `share` of the defects had been kept.

    Those that a mixture shows without having one count as one. Where no defect was kept, nobody
    knows, and it is as they are `shown`.
    """
    if share == 0 and shown is not None:
        return [*shown]
    good, *defects = counts
    least = 0 if shown is None else 1
    return [max(good, least), *[max(count / max(share, 1e-9), least) for count in defects]]


def decision_offset(
    counts: Sequence[float], *, sampling: str, tau: float, shown: Sequence[float] | None = None
) -> torch.Tensor:
    """What is added to the logits in training, so that decisions suit a prior of one's choice.

    Without it the network learns the frequencies that it is shown: the natural ones, equal ones
    with balanced sampling, or those that a mixture has `shown`. The prior it shall decide by is
    natural ** (1 - tau): tau 0 aims at accuracy, 1 at balanced accuracy. With natural sampling this
    is Menon et al. 2021 exactly.
    """
    natural = log_prior(counts)
    if shown is not None:
        seen = log_prior(shown)
    else:
        seen = natural if sampling == "natural" else torch.zeros_like(natural)
    return seen - (1 - tau) * natural
