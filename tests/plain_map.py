"""Settings of anomaly maps with everything off that can be, for tests to turn on."""

from __future__ import annotations

from capsule_inspection.models.anomaly import MapSettings

PLAIN_MAP = MapSettings(
    source="auto",
    l1=1.0,
    ms_ssim=0.0,
    gradient=0.0,
    normalise=False,
    smoothing=0.0,
    context=0.0,
    foreground=False,
    margin=0.0,
    top_share=0.01,
)
