"""`python -m benchmarks.first_weights model=resnet18 data=mvtec data.root=ROOT`: before training.

Takes what `train.py` takes, trains nothing, and says how well the first weights (`model.weights`)
do on all images of the data set: AUROC of good against defect, and the share of the defects that
they name right if `good` is no choice, where they name them. For classifiers and segmentation
networks, whose weights know the classes. No part of run.py, which measures speed.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from benchmarks.our_training import compose
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
    """Print where the weights come from, and the figures."""
    try:
        source, figures = measure(sys.argv[1:] if arguments is None else arguments)
    except InspectionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"first weights: {source}")
    for name, figure in figures.items():
        print(
            f"{name}: {figure.value:.3f} ({figure.ci_low:.3f} to {figure.ci_high:.3f}), n={figure.n}"
        )
    return 0


def measure(arguments: Sequence[str]) -> tuple[str, dict[str, Estimate]]:
    """Source of the weights, and figures by name. Raises as a training with these arguments."""
    config = compose(arguments)
    if config.task.name == "anomaly_detection":
        raise ConfigurationError(
            f"model={config.model.name}: it is scaled by its training images, and has no scores "
            "before a training. Expected a classifier or model=unet."
        )
    runtime = hardware.resolve_runtime(config.trainer)
    hardware.apply_runtime(runtime)
    torch.manual_seed(config.seed)
    index, cache = dataset.load_dataset(config.data)
    everything = [dataclasses.replace(record, split=TEST) for record in index.samples]
    index = dataclasses.replace(index, samples=tuple(everything))
    built = factory.build_model(config, num_classes=len(index.classes))
    factory.refuse_training_images(built.weights, index)
    resolve_full_image_from(config, has_pretrained_decoder=built.model.has_pretrained_decoder)
    data = factory.build_data_module(config, index, cache, built.network, runtime)
    task = get_task(config)
    model = task.inference_model(built.network, {}, channels_last=runtime.channels_last)
    backend = TorchBackend(model, device=runtime.device, precision=runtime.precision)
    read = _of_maps if config.task.name == "segmentation" else _of_logits
    score: list[float] = []
    named: list[int] = []
    label: list[int] = []
    for batch in data.evaluation_batches(TEST):
        scores, names = read(backend.run(batch.inputs))
        score += scores
        named += names
        label += data.labels[batch.index].tolist()
    found = None if task.accepts_unknown_classes else np.array(named)
    return built.weights.source, _figures(np.array(score), np.array(label), found)


def _of_logits(outputs: Mapping[str, np.ndarray]) -> tuple[list[float], list[int]]:
    """Score of each image, and its most probable defect."""
    probabilities, score = defect_probabilities(torch.from_numpy(outputs["logits"]))
    return score.tolist(), (1 + probabilities[:, 1:].argmax(1)).tolist()


def _of_maps(outputs: Mapping[str, np.ndarray]) -> tuple[list[float], list[int]]:
    """The same of maps: the highest score of a region, and the class of most probability."""
    foreground = outputs["foreground"]
    area_px = round(AREA_FRACTIONS[0] * foreground[0].size)
    sums = (foreground[:, None] * outputs["class_probabilities"]).sum((2, 3))
    scores = [region_score(found, area_px) for found in foreground]
    return scores, (1 + sums.argmax(1)).tolist()


def _figures(score: np.ndarray, label: np.ndarray, named: np.ndarray | None) -> dict[str, Estimate]:
    is_defect = label != GOOD_LABEL
    figures = {"AUROC, good against defect": intervals.auroc(score[~is_defect], score[is_defect])}
    if named is not None:
        right = int((named[is_defect] == label[is_defect]).sum())
        figures["defects named right"] = intervals.proportion(right, int(is_defect.sum()))
    return figures


if __name__ == "__main__":
    sys.exit(main())
