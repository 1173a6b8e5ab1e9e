"""Settings of a small segmentation network, and how it is built with other ones."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {
    "name": "unet",
    "weights": "none",
    "num_classes": 4,
    "architecture": "unet",
    "encoder": "test_resnet",
    "encoder_depth": 5,
    "encoder_options": {},
    "decoder_channels": "auto",
    "options": {},
    "classes": "defects",
}
