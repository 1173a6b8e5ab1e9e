"""How far apart two models are in how they mark defects, on photographs that both have marked.

The test is that of `metrics.paired_overlap`; here it is decided on which photographs it is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired import PairedDifference
from capsule_inspection.metrics.paired_overlap import (
    foreground_dice,
    overlap_differences,
    photographs_needed,
)
from capsule_inspection.reports.comparison.contestant import Contestant

MAIN = names.FOREGROUND_DICE_OF_PIXELS
"""The figure that is spoken of first: it means the same whether or not defects are named."""


@dataclass(frozen=True)
class PairedMarks:
    """Two contestants on the photographs whose mask is known and that all their seeds marked.

    `differences` are first minus second by figure, and `dice` is the foreground Dice of both. Of
    `images` so many are `defects`. `needed` photographs would tell the two apart by `MAIN`; None
    where that cannot be said.
    """

    differences: dict[str, PairedDifference]
    dice: tuple[float, float]
    images: int
    defects: int
    needed: int | None


def paired_marks(first: Contestant, second: Contestant, *, alpha: float) -> PairedMarks | None:
    """None where one of the two marks no pixels, kept no marks, or they share no marked defect.

    `alpha` is what the test must reach, for the number of photographs that it would take.
    """
    counts = _shared_counts(first, second)
    if counts is None:
        return None
    same = first.names_defects and second.names_defects and first.classes == second.classes
    differences = overlap_differences(*counts, by_class=same)
    if not differences:
        return None
    return PairedMarks(
        differences,
        dice=(foreground_dice(counts[0]), foreground_dice(counts[1])),
        images=counts[0].shape[1],
        defects=int((counts[0][0, :, 1:].sum(axis=(1, 2)) > 0).sum()),
        needed=photographs_needed(differences[MAIN], alpha=alpha),
    )


def why_none(first: Contestant, second: Contestant) -> str | None:
    """Why two that mark pixels are not compared in it; None where one of them does not."""
    if first.marks is None or second.marks is None:
        return None
    both = (first, first.marks), (second, second.marks)
    lacking = [one.name for one, marks in both if not marks.are_whole]
    if lacking:
        return (
            f"How they mark defects is not compared: {' and '.join(lacking)} kept no marked pixels "
            "of these images"
        )
    return (
        "How they mark defects is not compared: they share no marked photograph of a defect whose "
        "mask is known"
    )


def _shared_counts(first: Contestant, second: Contestant) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts (S, N, C, C) of both, of the same N photographs in the same order."""
    of_first, of_second = first.marks, second.marks
    if of_first is None or of_second is None:
        return None
    shared = [
        (row, second.row_of[image])
        for row, image in enumerate(first.image.tolist())
        if image in second.row_of
        and of_first.known[:, row].all()
        and of_second.known[:, second.row_of[image]].all()
    ]
    if not shared or not (of_first.are_whole and of_second.are_whole):
        return None
    rows = np.array(shared, dtype=np.int64).T
    return of_first.counts[:, rows[0]], of_second.counts[:, rows[1]]
