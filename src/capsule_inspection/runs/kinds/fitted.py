"""What was fitted to a trained network and stands in its checkpoint, such as a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capsule_inspection.contracts import RunError


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
