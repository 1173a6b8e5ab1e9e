"""Small networks of each task with their scoring, as if they were trained, and crops for them."""

from __future__ import annotations

import numpy as np
import torch
from small_segmenter import SETTINGS

from capsule_inspection.data.preparation import Recipe, prepare
from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    SEGMENTATION,
    Description,
)
from capsule_inspection.inference.predictor import Read
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.models.anomaly import MapSettings
from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.custom_resnet import CustomResNet
from capsule_inspection.models.inspector import (
    ClassificationInspector,
    Inspector,
    ReconstructionInspector,
    SegmentationInspector,
)
from capsule_inspection.models.segmenter import build_segmenter
from capsule_inspection.models.tiling import Tiling

HEIGHT, WIDTH = 48, 64
CLASSES = ("good", "crack", "poke", "scratch")
MAP = MapSettings(
    source="both",
    l1=1.0,
    ms_ssim=1.0,
    gradient=0.5,
    normalise=True,
    smoothing=0.02,
    context=0.05,
    foreground=True,
    margin=0.05,
    top_share=0.01,
)


def inspector_of(task: str, *, tiling: Tiling | None = None, reads_mask: bool = False) -> Inspector:
    """A network of fixed random weights, whose layers all matter; a classifier may read places."""
    torch.manual_seed(0)
    if task == CLASSIFICATION:
        network = CustomResNet(4, depths=(1, 1), width=8, zero_init_residual=False)
        if reads_mask:
            network.add_mask_head(4, image_size=(HEIGHT, WIDTH), reads_mask=True)
        made: Inspector = ClassificationInspector(
            network, network.normalisation, temperature=1.5, good_shift=0.25
        )
    elif task == RECONSTRUCTION:
        repairs = Autoencoder(width=4, depth=3, bottleneck=8, skips=True, head_width=4)
        spread = torch.rand(3, HEIGHT, WIDTH) + 0.2
        made = ReconstructionInspector(repairs, repairs.normalisation, settings=MAP, spread=spread)
    else:
        marks = build_segmenter(**SETTINGS).network
        made = SegmentationInspector(marks, marks.normalisation, tiling=tiling)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return made.eval()


def description_of(task: str) -> Description:
    """What belongs to the network of `inspector_of`."""
    return Description(
        task=task,
        model="small",
        classes=CLASSES,
        image_size=(HEIGHT, WIDTH),
        roi="none",
        roi_margin=0.05,
        enlarge=True,
        max_pixels=10_000_000,
        threshold=2.0 if task == RECONSTRUCTION else None,
        decision=Decision(0.9, 4, extent=0.8) if task == SEGMENTATION else None,
        names_defects=task != RECONSTRUCTION,
        origin={"run": "膠囊 \"<&>'", "checkpoint_sha256": "0" * 64},
    )


def reads_of(count: int, *, first_seed: int = 0) -> list[Read]:
    """Crops of coarse noise, each with a part in its middle."""
    recipe = Recipe("none", 0.0, (HEIGHT, WIDTH))
    found = []
    for seed in range(first_seed, first_seed + count):
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        pixels = coarse.repeat(HEIGHT // 6, axis=0).repeat(WIDTH // 8, axis=1)
        found.append(Read(f"{seed}.png", prepare(pixels, recipe), (), None))
    return found
