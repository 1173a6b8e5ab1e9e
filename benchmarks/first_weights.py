"""`python -m benchmarks.first_weights model=resnet18 data=mvtec data.root=ROOT`: before training.

Takes what `train.py` takes, trains nothing, and says how well the first weights (`model.weights`)
do on all images of the data set: AUROC of good against defect, and the share of the defects that
they name right if `good` is no choice, where they name them. For classifiers and segmentation
networks, whose weights know the classes. No part of run.py, which measures speed.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.our_training import compose
from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.marking import AREA_SHARES, region_score
from capsule_inspection.models.inspector import SegmentationInspector
from capsule_inspection.models.scoring import classification_scores
from capsule_inspection.types import (
    GOOD_LABEL,
    TEST,
    ConfigurationError,
    Figure,
    InspectionError,
)
from capsule_inspection.workflows import building, hardware, inputs
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.windows import settle


def main(arguments: Sequence[str] | None = None) -> int:
    """Print where the weights come from, and the figures."""
    try:
        source, figures = measure(sys.argv[1:] if arguments is None else arguments)
    except InspectionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"first weights: {source}")
    for name, figure in figures.items():
        print(f"{name}: {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), n={figure.n}")
    return 0


def measure(arguments: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    """Source of the weights, and figures by name. Raises as a training with these arguments."""
    config = compose(arguments)
    if config.task.name == "reconstruction":
        raise ConfigurationError(
            f"model={config.model.name}: it is scaled by its training images, and has no scores "
            "before a training. Expected a classifier or model=unet."
        )
    choices = hardware.choose(config.trainer)
    hardware.apply(choices)
    torch.manual_seed(config.seed)
    index, cache = inputs.find_images(config.data)
    everything = [dataclasses.replace(record, split=TEST) for record in index.records]
    index = dataclasses.replace(index, records=tuple(everything))
    built = building.build_network(config, num_classes=len(index.classes))
    building.refuse_seen_images(built.weights, index)
    settle(config, built.network)
    data = building.build_data_module(
        config, index, cache, normalisation=built.network.normalisation, choices=choices
    )
    kind = kind_of(config)
    checkpoint = {"inspection": {"fitted": _UNFITTED}}
    inspector = kind.inspector(config, built.network, checkpoint, where="first weights").eval()
    read = _of_marks if isinstance(inspector, SegmentationInspector) else _of_logits
    data.predict_stage = TEST
    score: list[float] = []
    named: list[int] = []
    label: list[int] = []
    with torch.inference_mode():
        for batch in data.predict_dataloader():
            scores, names = read(*inspector(batch["image"]))
            score += scores
            named += names
            label += batch["label"].tolist()
    found = np.array(named) if kind.names_defects else None
    return built.weights.source, _figures(np.array(score), np.array(label), found)


_UNFITTED = {"decision": {"probability": 0.5, "area_px": 1}}
"""A segmentation network's inspector asks for a decision; nothing here uses it."""


def _of_logits(logits: torch.Tensor) -> tuple[list[float], list[int]]:
    """Score of each image, and the most probable defect."""
    probabilities, score = classification_scores(logits)
    return score.tolist(), (1 + probabilities[:, 1:].argmax(1)).tolist()


def _of_marks(foreground: torch.Tensor, kinds: torch.Tensor) -> tuple[list[float], list[int]]:
    """The same of maps: the surest region, and the kind with the most probability."""
    maps = foreground.float().numpy()
    area_px = round(AREA_SHARES[0] * maps[0].size)
    names = 1 + (foreground[:, None] * kinds).sum((2, 3)).argmax(1)
    return [region_score(found, area_px) for found in maps], names.tolist()


def _figures(score: np.ndarray, label: np.ndarray, named: np.ndarray | None) -> dict[str, Figure]:
    is_defect = label != GOOD_LABEL
    figures = {"AUROC, good against defect": intervals.auroc(score[~is_defect], score[is_defect])}
    if named is not None:
        right = int((named[is_defect] == label[is_defect]).sum())
        figures["defects named right"] = intervals.proportion(right, int(is_defect.sum()))
    return figures


if __name__ == "__main__":
    sys.exit(main())
