"""From which epoch on a training gained nothing more: the origin's "converged at epoch"."""

from __future__ import annotations

import numpy as np

WINDOW = 5
TOLERANCE = 0.1
DEFINITION = (
    f"Converged at: the first epoch from which the running mean over {WINDOW} epochs of the figure "
    "that chose the epoch stays to the end within "
    f"{TOLERANCE:.0%} of its range over the training from its last value; "
    "“not” where that is only so in the last fifth of the epochs."
)


def converged_at(values: np.ndarray) -> int | None:
    """Number of the epoch, 0 the first; None where it did not converge.

    A training of fewer than twice `WINDOW` epochs is too short to tell: None.
    Shapes: values (E,), one an epoch; NaN where nothing was measured.
    """
    if not is_long_enough(values):
        return None
    measured = np.flatnonzero(np.isfinite(values))
    smooth = np.convolve(values[measured], np.full(WINDOW, 1 / WINDOW), mode="valid")
    away = np.abs(smooth - smooth[-1]) > TOLERANCE * np.ptp(smooth)
    first = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
    if first >= 0.8 * len(smooth):
        return None
    return int(measured[first + WINDOW - 1])


def is_long_enough(values: np.ndarray) -> bool:
    """Whether enough epochs were measured to tell. Shapes: values (E,), as `converged_at`."""
    return int(np.isfinite(values).sum()) >= 2 * WINDOW
