"""A validation figure smoothed over epochs: a few dozen images make it jump."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SmoothedFigure:
    """Exponential moving average without the bias towards its start (as Adam's moments)."""

    share_of_past: float
    total: float = 0.0
    weight: float = 0.0

    def update(self, value: float) -> float:
        """Take in the value of an epoch; returns the smoothed figure."""
        self.total = self.share_of_past * self.total + (1 - self.share_of_past) * value
        self.weight = self.share_of_past * self.weight + (1 - self.share_of_past)
        return self.total / self.weight

    def state(self) -> dict[str, float]:
        return {"total": self.total, "weight": self.weight}

    def restore(self, state: dict[str, float]) -> None:
        self.total, self.weight = state["total"], state["weight"]
