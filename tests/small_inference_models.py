"""Small inference models of each task, as if they were trained, and crops for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from small_segmenter import SETTINGS

from capsule_inspection.data.preprocessing import PreprocessConfig, preprocess
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.inference.predictor import ReadImage
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.models.anomaly_map import AnomalyMapConfig
from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.custom_resnet import CustomResNet
from capsule_inspection.models.factory import build_segmenter
from capsule_inspection.models.tiling import Tiling
from capsule_inspection.tasks.anomaly_detection.inference_model import (
    AnomalyDetectionInferenceModel,
)
from capsule_inspection.tasks.classification.inference_model import ClassificationInferenceModel
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.tasks.segmentation.inference_model import SegmentationInferenceModel

CLASSIFICATION, SEGMENTATION = "classification", "segmentation"
ANOMALY_DETECTION = "anomaly_detection"
TASKS = (CLASSIFICATION, ANOMALY_DETECTION, SEGMENTATION)
HEIGHT, WIDTH = 48, 64
CLASSES = ("good", "crack", "poke", "scratch")
MAP = AnomalyMapConfig(
    source="both",
    l1=1.0,
    ms_ssim=1.0,
    gradient=0.5,
    normalise=True,
    smoothing=0.02,
    context_sigma=0.05,
    foreground=True,
    roi_dilation=0.05,
    topk_fraction=0.01,
)
POST_PROCESSING: dict[str, dict[str, Any]] = {
    CLASSIFICATION: Threshold(0.4, "operating_point", good_images=9).state_dict(),
    ANOMALY_DETECTION: Threshold(2.0, "conformal", good_images=20).state_dict(),
    SEGMENTATION: {**MaskPostProcessor(0.8, 0.9, 4).state_dict(), "is_binary": False},
}


def build_inference_model(
    task: str, *, tiling: Tiling | None = None, use_mask_logits: bool = False
) -> InferenceModel:
    """A model of fixed random weights, whose layers all matter."""
    torch.manual_seed(0)
    if task == CLASSIFICATION:
        network = CustomResNet(4, depths=(1, 1), width=8)
        if use_mask_logits:
            network.add_segmentation_head(4, image_size=(HEIGHT, WIDTH), use_mask_logits=True)
        model: InferenceModel = ClassificationInferenceModel(
            network, channels_last=False, scaling=TemperatureScaling(1.5, 0.25)
        )
    elif task == ANOMALY_DETECTION:
        autoencoder = Autoencoder(width=4, depth=3, bottleneck=8, skips=True, head_width=4)
        residual_std = torch.rand(3, HEIGHT, WIDTH) + 0.2
        model = AnomalyDetectionInferenceModel(
            autoencoder, channels_last=False, settings=MAP, residual_std=residual_std
        )
    else:
        segmenter = build_segmenter(**SETTINGS).model
        model = SegmentationInferenceModel(segmenter, channels_last=False, tiling=tiling)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model.eval()


def build_metadata(task: str) -> ModelMetadata:
    """The metadata of the model of `build_inference_model`."""
    return ModelMetadata(
        task=task,
        model="small",
        classes=("good", "defect") if task == ANOMALY_DETECTION else CLASSES,
        image_size=(HEIGHT, WIDTH),
        roi="none",
        roi_margin=0.05,
        enlarge=True,
        max_pixels=10_000_000,
        bit_depth=None,
        exif_orientation=True,
        post_processing=POST_PROCESSING[task],
        run={"name": "膠囊 \"<&>'", "checkpoint_sha256": "0" * 64},
    )


def build_images(count: int, *, first_seed: int = 0) -> list[ReadImage]:
    """Crops of coarse noise, each with a part in its middle."""
    config = PreprocessConfig("none", 0.0, (HEIGHT, WIDTH))
    images = []
    for seed in range(first_seed, first_seed + count):
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        pixels = coarse.repeat(HEIGHT // 6, axis=0).repeat(WIDTH // 8, axis=1)
        images.append(ReadImage(f"{seed}.png", preprocess(pixels, config)))
    return images
