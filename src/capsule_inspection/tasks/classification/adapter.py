"""Classification: what it needs of data, training and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from capsule_inspection.config.decisions import read_costs
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.defect_sources import (
    defect_labels,
    find_copy_paste_sources,
    open_training_bank,
    require_all_classes,
)
from capsule_inspection.data.splits import assign_split, subsample_defects
from capsule_inspection.metrics.classification import classification_metrics
from capsule_inspection.metrics.operating_point import operating_point
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import DEFAULT_THRESHOLD, Threshold
from capsule_inspection.tasks.adapter import Fitted, Task, pointing_metrics, predict_outputs
from capsule_inspection.tasks.backend import Backend
from capsule_inspection.tasks.classification.post_processor import (
    ClassificationPostProcessor,
    defect_probabilities,
)
from capsule_inspection.types import (
    ARGMAX,
    GOOD_LABEL,
    TRAIN,
    VAL,
    DataError,
    DataIndex,
    Estimate,
    Predictions,
)

if TYPE_CHECKING:
    from torch import Tensor

    from capsule_inspection.data.defect_augmentation import DefectAugmentation
    from capsule_inspection.data.module import BatchSettings, InspectionDataModule
    from capsule_inspection.models.base import Model
    from capsule_inspection.tasks.classification.inference_model import ClassificationInferenceModel
    from capsule_inspection.tasks.classification.lightning_module import (
        ClassificationModule,
        MaskLoss,
    )
    from capsule_inspection.tasks.inference_model import InferenceModel

log = logging.getLogger(__name__)
_MIN_PROBABILITY = 1e-300
"""Its logarithm is finite."""
_MIN_PRIOR = 1e-6
"""Fraction of defects and of good images that probabilities assume at least."""


class ClassificationTask(Task):
    """All images of all classes, each with its label."""

    def assign_split(self, index: DataIndex) -> DataIndex:
        config = self.config
        _require_two_classes(index)
        index = assign_split(index, config)
        return subsample_defects(index, config.data.defect_fraction, seed=config.seed)

    def batch_settings(self, *, channels_last: bool) -> BatchSettings:
        from capsule_inspection.data.augmentation import AugmentationSettings
        from capsule_inspection.data.module import BatchSettings
        from capsule_inspection.data.samplers import MixtureWeights

        task, data = self.config.task, self.config.data
        return BatchSettings(
            batch_size=task.batch_size,
            sampling=task.sampling,
            mixup=task.mixup,
            seed=self.config.seed,
            channels_last=channels_last,
            augmentation=AugmentationSettings(**data.augmentation),
            repeats=task.repeats,
            mixture=MixtureWeights(data.synthetic_defects, data.copy_paste, data.real_defects),
        )

    def batch_transform(self, index: DataIndex, cache: ImageCache) -> DefectAugmentation | None:
        """Synthetic and pasted defects on good images; None where there are none.

        Raises DataError where training would show nothing of a class.
        """
        from capsule_inspection.data.defect_augmentation import DefectAugmentation
        from capsule_inspection.data.training_crops import FULL_IMAGES

        config = self.config
        if not (config.data.synthetic_defects or config.data.copy_paste):
            require_all_classes(index, config)
            return None
        labels = defect_labels(index)
        bank = open_training_bank(config.data, index, cache, labels)
        needs_sources = config.data.copy_paste or bank is None
        sources = find_copy_paste_sources(index, cache) if needs_sources else []
        if config.data.copy_paste and not sources:
            log.warning(
                "data.copy_paste=%g: no training image with a defect has a mask, so there is "
                "nothing to paste, and these good images are shown as they are.",
                config.data.copy_paste,
            )
        if bank is None and not sources:
            require_all_classes(index, config)
            log.info("No defects can be added: training uses the images as they are.")
            return None
        augmentation = DefectAugmentation(
            FULL_IMAGES,
            seed=config.seed,
            bank=bank,
            labels=labels,
            sources=sources,
            relabel=True,
        )
        require_all_classes(index, config, added=augmentation.added_classes())
        return augmentation

    def lightning_module(self, network: Model, data: InspectionDataModule) -> ClassificationModule:
        from capsule_inspection.models.losses.classification import (
            ClassificationLoss,
            class_weights,
        )
        from capsule_inspection.tasks.classification.lightning_module import ClassificationModule
        from capsule_inspection.tasks.optimization import build_optimization

        config, task = self.config, self.config.task
        counts, presented = data.class_counts(TRAIN), _presented_counts(data)
        natural = natural_counts(counts, kept=config.data.defect_fraction, presented=presented)
        loss = ClassificationLoss(
            name=task.loss,
            class_weights=class_weights(presented or counts, task.class_weights),
            label_smoothing=task.label_smoothing,
            logit_offset=logit_offset(
                natural,
                sampling=task.sampling,
                tau=task.logit_adjustment,
                presented=presented,
            ),
            gamma=task.focal_gamma,
        )
        return ClassificationModule(
            network,
            loss=loss,
            num_classes=len(data.index.classes),
            optimization=build_optimization(config),
            mask_loss=_mask_loss(config, data),
        )

    def fit(
        self,
        network: Model,
        data: InspectionDataModule,
        backend: Callable[[InferenceModel], Backend],
    ) -> Fitted:
        import torch

        from capsule_inspection.tasks.classification.inference_model import scale_logits

        task = self.config.task
        if _rule(self.config) == ARGMAX and not task.temperature_scaling:
            return _fitted(None, Threshold(None, ARGMAX))
        model = self.inference_model(network, {}, channels_last=data.settings.channels_last)
        outputs = predict_outputs(backend(model), data, VAL)
        logits = torch.from_numpy(outputs["logits"])
        scaling = None
        if task.temperature_scaling:
            scaling = _fit_scaling(logits, outputs["index"], data, self.config)
            logits = scale_logits(logits, scaling)
        return _fitted(scaling, _fit_threshold(logits, outputs["index"], data, self.config))

    def inference_model(
        self, network: Model, fitted: Mapping[str, Any], *, channels_last: bool
    ) -> ClassificationInferenceModel:
        from capsule_inspection.tasks.classification.inference_model import (
            ClassificationInferenceModel,
        )

        return ClassificationInferenceModel(
            network, channels_last=channels_last, scaling=TemperatureScaling.from_state_dict(fitted)
        )

    def post_processor(
        self, fitted: Mapping[str, Any], classes: Sequence[str]
    ) -> ClassificationPostProcessor:
        if not fitted:  # training was not finished, or had no threshold
            rule = _rule(self.config)
            unfitted = Threshold(None if rule == ARGMAX else DEFAULT_THRESHOLD, rule)
            return ClassificationPostProcessor(classes, unfitted)
        return ClassificationPostProcessor.from_state_dict(fitted, classes=classes)

    def metrics(
        self, predictions: Predictions, data: InspectionDataModule, *, split: str
    ) -> dict[str, Estimate]:
        assert predictions.probabilities is not None
        metrics = classification_metrics(
            predictions.label,
            predictions.probabilities,
            classes=data.index.classes,
            predicted_label=predictions.predicted_label,
            score=predictions.score,
            seed=self.config.seed,
            group=data.groups[predictions.index],
        )
        explained = predictions.explanations
        if explained is None:
            return metrics
        return metrics | pointing_metrics(explained.index, explained.maps, data)


TASK = ClassificationTask


def _require_two_classes(index: DataIndex) -> None:
    """Raise DataError where all images are of one class, which cannot be told from another."""
    present = sorted({sample.label for sample in index.samples})
    if len(present) == 1:
        raise DataError(
            f"{index.root}: all {len(index)} images are of the class {index.classes[present[0]]}, "
            "and a classifier needs at least two classes. Add images of the others, or use "
            "model=autoencoder, which learns from good images alone."
        )


def _rule(config: DictConfig) -> str:
    """How it decides: `threshold.name`; without a threshold by the most probable class."""
    return ARGMAX if config.threshold is None else str(config.threshold.name)


def _fitted(scaling: TemperatureScaling | None, threshold: Threshold) -> Fitted:
    of_model = {} if scaling is None else scaling.state_dict()
    record: dict[str, Any] = {"threshold": threshold.state_dict()}
    if scaling is not None:
        record["temperature_scaling"] = scaling.state_dict()
    return Fitted(of_model, threshold.state_dict(), record)


def _fit_scaling(
    logits: Tensor, index: np.ndarray, data: InspectionDataModule, config: DictConfig
) -> TemperatureScaling:
    probabilities = logits.double().softmax(1).numpy()
    return TemperatureScaling.fit(
        np.log(np.maximum(probabilities, _MIN_PROBABILITY)),
        data.labels[index],
        weights=_natural_counts(data, config) ** -config.task.logit_adjustment,
    )


def _fit_threshold(
    logits: Tensor, index: np.ndarray, data: InspectionDataModule, config: DictConfig
) -> Threshold:
    """The threshold, fitted on validation images; warns where these do not suffice.

    Shapes: logits (N, C), calibrated; index (N,) into the data index.
    """
    if _rule(config) == ARGMAX:
        return Threshold(None, ARGMAX)
    _, score = defect_probabilities(logits.numpy())
    # The prior that the probabilities assume, see logit_offset and the weights of _fit_scaling.
    assumed = _natural_counts(data, config) ** (1.0 - config.task.logit_adjustment)
    prior = 1 - assumed[GOOD_LABEL] / assumed.sum()
    threshold = operating_point(
        data.labels[index] != GOOD_LABEL,
        score,
        data.groups[index],
        prior=float(np.clip(prior, _MIN_PRIOR, 1 - _MIN_PRIOR)),
        costs=read_costs(config),
    )
    if not threshold.enough:
        log.warning(
            "threshold=operating_point: the validation split has %d good images and %d with a "
            "defect, and needs both. The threshold is its default, %.3g.",
            threshold.good_images,
            threshold.defect_images,
            threshold.default,
        )
    return threshold


def _natural_counts(data: InspectionDataModule, config: DictConfig) -> np.ndarray:
    """`natural_counts` of the training split, at least 1."""
    counts = natural_counts(
        data.class_counts(TRAIN),
        kept=config.data.defect_fraction,
        presented=_presented_counts(data),
    )
    return np.maximum(counts, 1.0)


def _presented_counts(data: InspectionDataModule) -> list[float] | None:
    """Images of each class in an epoch with added defects, at least 1; None without any.

    Scaled to as many images as the training split has.
    """
    from capsule_inspection.data.defect_augmentation import DefectAugmentation

    augmentation, weights = data.batch_transform, data.mixture
    if weights is None or not isinstance(augmentation, DefectAugmentation):
        return None
    counts = data.class_counts(TRAIN)
    frequencies = augmentation.class_frequencies(weights, counts)
    return [max(1.0, sum(counts) * frequency) for frequency in frequencies]


def _mask_loss(config: DictConfig, data: InspectionDataModule) -> MaskLoss | None:
    """The loss on masks, or None where it has no weight or there are no masks."""
    from capsule_inspection.models.losses.segmentation import SegmentationLoss, defect_class_weights
    from capsule_inspection.tasks.classification.lightning_module import MaskLoss

    if config.model.mask_loss_weight == 0:
        return None
    masks = data.dataset.cache.masks
    if data.batch_transform is None and not defect_pixels(masks[data.indices(TRAIN)]).any():
        log.info("No training image has a mask: the model is trained on labels only.")
        return None
    num_classes = len(data.index.classes)
    loss = SegmentationLoss(
        dict(config.task.mask_loss),
        class_weights=defect_class_weights(num_classes, defect_weight=config.task.defect_weight),
        focal_gamma=config.task.focal_gamma,
        key="task.mask_loss",
    )
    return MaskLoss(loss, weight=config.model.mask_loss_weight)


def natural_counts(
    counts: Sequence[int], *, kept: float, presented: Sequence[float] | None
) -> list[float]:
    """Images of each class before only a fraction `kept` of the defects was kept.

    With added defects a class has at least one image. Where no defect was kept their number is
    unknown, and the counts are those that training is `presented`.
    """
    if kept == 0 and presented is not None:
        return [*presented]
    good, *defects = counts
    minimum = 0 if presented is None else 1
    return [max(good, minimum), *[max(count / max(kept, 1e-9), minimum) for count in defects]]


def logit_offset(
    counts: Sequence[float],
    *,
    sampling: str,
    tau: float,
    presented: Sequence[float] | None = None,
) -> Tensor:
    """Offset of the logits in training that makes decisions suit a chosen prior, (C,).

    Without it a network learns the class frequencies that it is presented: the natural ones of
    `counts`, equal ones with balanced sampling, or those of added defects. The chosen prior is
    natural ** (1 - tau): tau 0 aims at accuracy, 1 at balanced accuracy. With natural sampling this
    is logit adjustment (Menon et al. 2021).
    """
    from capsule_inspection.models.losses.classification import log_prior

    natural = log_prior(counts)
    if presented is not None:
        learnt = log_prior(presented)
    else:
        learnt = natural if sampling == "natural" else natural.new_zeros(len(counts))
    return learnt - (1 - tau) * natural
