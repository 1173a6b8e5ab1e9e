"""`python -m benchmarks.initial_weights model=resnet18 data=mvtec data.root=ROOT`: untrained.

Takes the settings of `train.py` and evaluates the initial weights (`model.weights`) on all images
of the data set, without training: AUROC of good images vs. defects, and the accuracy on defects
among the defect classes. For classifiers and segmentation networks whose weights have the classes.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from benchmarks.training import compose
from capsule_inspection.data.training_crops import resolve_full_image_from
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.mask_postprocessing import AREA_FRACTIONS, region_score
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.classification.post_processor import defect_probabilities
from capsule_inspection.types import (
    GOOD_LABEL,
    TEST,
    ConfigurationError,
    Estimate,
    InspectionError,
)
from capsule_inspection.workflows import dataset, factory, hardware


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the source of the weights and the metrics."""
    try:
        source, metrics = measure(sys.argv[1:] if arguments is None else arguments)
    except InspectionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"initial weights: {source}")
    for name, estimate in metrics.items():
        interval = f"{estimate.ci_low:.3f} to {estimate.ci_high:.3f}"
        print(f"{name}: {estimate.value:.3f} ({interval}), n={estimate.n}")
    return 0


def measure(arguments: Sequence[str]) -> tuple[str, dict[str, Estimate]]:
    """Source of the weights, and metrics by name. Raises as a training with these settings."""
    config = compose(arguments)
    if config.task.name == "anomaly_detection":
        raise ConfigurationError(
            f"model={config.model.name}: its scores are scaled by its training images, so it "
            "has none before training. Expected a classifier or model=unet."
        )
    runtime = hardware.resolve_runtime(config.trainer)
    hardware.apply_runtime(runtime)
    torch.manual_seed(config.seed)
    index, cache = dataset.load_dataset(config.data)
    samples = tuple(dataclasses.replace(sample, split=TEST) for sample in index.samples)
    index = dataclasses.replace(index, samples=samples)
    built = factory.build_model(config, num_classes=len(index.classes))
    factory.refuse_training_images(built.weights, index)
    resolve_full_image_from(config, has_pretrained_decoder=built.model.has_pretrained_decoder)
    data = factory.build_data_module(config, index, cache, built.model, runtime)
    task = get_task(config)
    model = task.inference_model(built.model, {}, channels_last=runtime.channels_last)
    backend = TorchBackend(model, device=runtime.device, precision=runtime.precision)
    postprocess = _from_maps if config.task.name == "segmentation" else _from_logits
    scores: list[float] = []
    predicted_labels: list[int] = []
    labels: list[int] = []
    for batch in data.evaluation_batches(TEST):
        score, predicted = postprocess(backend.run(batch.inputs))
        scores += score
        predicted_labels += predicted
        labels += data.labels[batch.index].tolist()
    known = None if task.accepts_unknown_classes else np.array(predicted_labels)
    return built.weights.source, _compute_metrics(np.array(scores), np.array(labels), known)


def _from_logits(outputs: Mapping[str, np.ndarray]) -> tuple[list[float], list[int]]:
    """Score of each image, and its most probable defect."""
    probabilities, score = defect_probabilities(outputs["logits"])
    return score.tolist(), (1 + probabilities[:, 1:].argmax(1)).tolist()


def _from_maps(outputs: Mapping[str, np.ndarray]) -> tuple[list[float], list[int]]:
    """The same from maps: the highest score of a region, and the class of the largest sum."""
    foreground = outputs["foreground"]
    area_px = round(AREA_FRACTIONS[0] * foreground[0].size)
    sums = (foreground[:, None] * outputs["class_probabilities"]).sum((2, 3))
    scores = [region_score(found, area_px) for found in foreground]
    return scores, (1 + sums.argmax(1)).tolist()


def _compute_metrics(
    score: np.ndarray, label: np.ndarray, predicted_label: np.ndarray | None
) -> dict[str, Estimate]:
    is_defect = label != GOOD_LABEL
    metrics = {"AUROC, good vs. defect": intervals.auroc(score[~is_defect], score[is_defect])}
    if predicted_label is not None:
        correct = int((predicted_label[is_defect] == label[is_defect]).sum())
        metrics["accuracy on defects"] = intervals.proportion(correct, int(is_defect.sum()))
    return metrics


if __name__ == "__main__":
    sys.exit(main())
