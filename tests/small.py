"""Settings for trainings of a second, and the types of the fixture that calls doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
REAL_CAPSULES = REPOSITORY.parent / "shared" / "data" / "capsule"

ONE_THREAD = "trainer.threads=1"
"""With more, sums have another order and another last digit."""
SMALL = (
    "data.size_px=96",
    "data.counts={good: 20, crack: 5, faulty_imprint: 5, poke: 5, scratch: 5, squeeze: 5}",
    "data.workers=1",
    "task.image_size=[32,96]",
    "task.epochs=2",
    "trainer=cpu",
    ONE_THREAD,
)
"""A training that takes about a second once everything is imported."""
SMALL_NETWORK = ("model=custom_resnet", "model.width=8", "model.depths=[1,1]")


@dataclass(frozen=True)
class Answer:
    """What a door printed, and its exit status."""

    status: int
    out: str
    err: str


Door = Callable[..., Answer]
