"""Settings of anomaly maps with everything off that can be, for tests to turn on."""

from __future__ import annotations

from capsule_inspection.models.anomaly_map import AnomalyMapConfig

PLAIN_MAP = AnomalyMapConfig(
    source="auto",
    l1=1.0,
    ms_ssim=0.0,
    gradient=0.0,
    normalise=False,
    smoothing=0.0,
    context_sigma=0.0,
    foreground=False,
    roi_dilation=0.0,
    topk_fraction=0.01,
)
