"""What was fitted to a trained network and stands in its checkpoint, such as a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from capsule_inspection.types import RunError


def fitted_of(
    checkpoint: Mapping[str, Any], name: str, *, where: str, lacking: str
) -> dict[str, Any]:
    """What `Kind.calibrate` kept. Raises RunError, saying what is `lacking`, without `name`."""
    fitted = checkpoint["inspection"].get("fitted") or {}
    if name not in fitted:
        raise RunError(
            f"{where}: this checkpoint {lacking}: its training was not finished. Finish it with "
            "python train.py resume=<run folder>"
        )
    return dict(fitted)


def require_finite(values: np.ndarray, *, what: str) -> None:
    """Raise RunError, saying `what` they are and what to do, where a value is no number."""
    if not np.isfinite(values).all():
        raise RunError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} {what} are not finite: the "
            "training has diverged. Lower optimizer.lr, or set trainer.precision=32-true."
        )
