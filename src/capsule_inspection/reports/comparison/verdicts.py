"""Is one model better than another? Every pair on the images that both were asked about.

The tests are those of `metrics.paired`; here it is decided which are made, on which images, and
corrected for how many there are. The words are in `words`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired import (
    PairedDifference,
    holm,
    images_needed,
    mean_recall_difference,
    proportion_difference,
)
from capsule_inspection.reports.comparison import paired_marks
from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.measured import Measured
from capsule_inspection.reports.comparison.paired_areas import Rows, area_difference, why_none
from capsule_inspection.reports.comparison.retrained import Retrained, retrained
from capsule_inspection.reports.comparison.validation import best_on_validation

SIGNIFICANCE = 0.05
MOST_IN_ALL_PAIRS = 8
"""With more contestants than this, each is compared with a reference only."""


@dataclass(frozen=True)
class Verdict:
    """Two contestants on the images that they share.

    `differences` are first minus second by figure; `corrected` are their p values for the number of
    pairs that were tested by it (Holm), which is in `tested`. `images` are shared, `first_images`
    and `second_images` are those of each. `right` counts the images that each got right and
    `only_first` those that only the first did (of several seeds: their mean shares). `no_area` says
    why AUROC is left out, where its images were there, `no_marks` why two that mark pixels are not
    compared in it. `refused` says why there is no comparison; all else is empty.
    """

    first: str
    second: str
    images: int
    first_images: int
    second_images: int
    differences: dict[str, PairedDifference]
    corrected: dict[str, float]
    right: tuple[float, float] | None = None
    only_first: float = 0.0
    only_second: float = 0.0
    needed: int | None = None
    marks: paired_marks.PairedMarks | None = None
    retrained: dict[str, Retrained] | None = None
    tested: dict[str, int] = field(default_factory=dict)
    no_area: str | None = None
    no_marks: str | None = None
    refused: str | None = None

    @property
    def main(self) -> str:
        """The figure that the verdict is spoken of first."""
        return names.ACCURACY if names.ACCURACY in self.differences else names.AUROC

    def differs(self, metric: str) -> bool:
        """Whether the two can be told apart by a figure, on these images."""
        return self.corrected.get(metric, 1.0) < SIGNIFICANCE

    def pairs(self, metric: str) -> int:
        """How many pairs were tested by a figure."""
        return self.tested.get(metric, 1)

    def holds_when_retrained(self, metric: str) -> bool | None:
        """Whether the difference is larger than what training anew changes; None: not known."""
        found = (self.retrained or {}).get(metric)
        if found is None or found.difference.p_value is None:
            return None
        return found.difference.p_value < SIGNIFICANCE


def judge(measured: Sequence[Measured], *, reference: str | None = None) -> list[Verdict]:
    """The verdict of every pair, or of each against a reference.

    Above eight models the reference is the best on validation unless another is named.
    """
    pairs = _pairs(measured, reference)
    contestants = [(first.contestant, second.contestant) for first, second in pairs]
    rows = [_shared_rows(*pair) for pair in contestants]
    refusals = [_refusal(*pair, *of_pair) for pair, of_pair in zip(contestants, rows, strict=True)]
    tested = [pair for pair, refused in zip(contestants, refusals, strict=True) if not refused]
    naming = sum(first.names_defects and second.names_defects for first, second in tested)
    marking = sum(
        first.marks_pixels and second.marks_pixels and paired_marks.why_none(first, second) is None
        for first, second in tested
    )
    verdicts = [
        _judge_pair(
            *pair,
            of_pair,
            refused,
            alpha=SIGNIFICANCE / max(1, naming),
            alpha_of_marks=SIGNIFICANCE / max(1, marking),
        )
        for pair, of_pair, refused in zip(contestants, rows, refusals, strict=True)
    ]
    return _corrected(verdicts)


def _pairs(measured: Sequence[Measured], reference: str | None) -> list[tuple[Measured, Measured]]:
    if reference is None and len(measured) <= MOST_IN_ALL_PAIRS:
        return list(itertools.combinations(measured, 2))
    against = (
        best_on_validation(measured)
        if reference is None
        else next(one for one in measured if one.name == reference)
    )
    return [(against, other) for other in measured if other is not against]


def _judge_pair(
    first: Contestant,
    second: Contestant,
    rows: Rows,
    refused: str | None,
    *,
    alpha: float,
    alpha_of_marks: float,
) -> Verdict:
    """What one of all pairs must reach is asked for the number of images that it would take.

    `alpha` is that of accuracy, `alpha_of_marks` that of marked pixels.
    """
    blank = Verdict(
        first.name, second.name, len(rows[0]), len(first.image), len(second.image), {}, {}
    )
    if refused:
        return replace(blank, refused=refused)
    differences = _differences(first, second, rows)
    marks = paired_marks.paired_marks(first, second, alpha=alpha_of_marks)
    found = replace(
        blank,
        differences=differences | (marks.differences if marks else {}),
        retrained=retrained(first, second),
        marks=marks,
        no_marks=None if marks else paired_marks.why_none(first, second),
    )
    if not (first.names_defects and second.names_defects):
        has_area = names.AUROC in differences or not _both_sides(first, rows[0])
        return replace(found, no_area=None if has_area else why_none(first, second))
    right = first.correct[rows[0]], second.correct[rows[1]]
    return replace(
        found,
        right=(float(right[0].sum()), float(right[1].sum())),
        only_first=float(np.maximum(right[0] - right[1], 0).sum()),
        only_second=float(np.maximum(right[1] - right[0], 0).sum()),
        needed=images_needed(*right, alpha=alpha),
    )


def _shared_rows(first: Contestant, second: Contestant) -> Rows:
    """Rows of the images that both were tested on, in one order: two of (N,) int64."""
    shared = [image for image in first.image.tolist() if image in second.row_of]
    return (
        np.array([first.row_of[image] for image in shared], dtype=np.int64),
        np.array([second.row_of[image] for image in shared], dtype=np.int64),
    )


def _refusal(
    first: Contestant, second: Contestant, first_rows: np.ndarray, second_rows: np.ndarray
) -> str | None:
    """Why two cannot be compared, in words; None where they can."""
    if not len(first_rows):
        return (
            "they were tested on different images and share none, so only their intervals stand "
            "beside each other. Train or evaluate both with the same split (split=manifest "
            "split.path=<run>/split.csv)"
        )
    if first.names_defects and second.names_defects:
        labels = first.label[first_rows], second.label[second_rows]
    else:
        labels = first.is_defect[first_rows], second.is_defect[second_rows]
    differing = int((labels[0] != labels[1]).sum())
    if differing:
        return (
            f"{differing} of the {len(first_rows)} images that they share have another label in "
            "one than in the other. Bring the labels into agreement and evaluate both again"
        )
    if not (first.names_defects and second.names_defects):
        return _one_sided(first, second, first_rows)
    return None


def _one_sided(first: Contestant, second: Contestant, first_rows: np.ndarray) -> str | None:
    """Why two cannot be compared that share one kind of images only, though both have the other.

    So it is with one-class models of different folds, which share their defects.
    """
    everywhere = all(_both_sides(one, np.arange(len(one.image))) for one in (first, second))
    if not everywhere or _both_sides(first, first_rows):
        return None
    shared, missing = "defects", "good images"
    if not first.is_defect[first_rows[0]]:
        shared, missing = missing, shared
    return (
        f"they were tested on the same {shared} but share no {missing}, so what one misses cannot "
        "be weighed against what it rejects. Train both on the same folds (split.fold) of the same "
        "split"
    )


def _both_sides(one: Contestant, rows: np.ndarray) -> bool:
    """Whether there are good images and defects among these."""
    return bool(0 < one.is_defect[rows].sum() < len(rows))


def _differences(first: Contestant, second: Contestant, rows: Rows) -> dict[str, PairedDifference]:
    first_rows, second_rows = rows
    is_defect = first.is_defect[first_rows]
    called = first.called_defect[first_rows], second.called_defect[second_rows]
    found: dict[str, PairedDifference] = {}
    if first.names_defects and second.names_defects:
        right = first.correct[first_rows], second.correct[second_rows]
        label = np.unique(first.label[first_rows], return_inverse=True)[1]
        found[names.ACCURACY] = proportion_difference(*right)
        found[names.BALANCED_ACCURACY] = mean_recall_difference(*right, label)
    if is_defect.any():
        missed = (1.0 - of_one[is_defect] for of_one in called)
        found[names.DEFECTS_MISSED] = proportion_difference(*missed)
    if not is_defect.all():
        found[names.GOOD_REJECTED] = proportion_difference(*(c[~is_defect] for c in called))
    area = area_difference(first, second, rows)
    if area is not None:
        found[names.AUROC] = area
    return found


def _corrected(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts with p values that know how many pairs there are; each figure by itself."""
    corrected: list[dict[str, float]] = [{} for _ in verdicts]
    tested: dict[str, int] = {}
    anew = [dict(verdict.retrained or {}) for verdict in verdicts]
    for metric in dict.fromkeys(key for verdict in verdicts for key in verdict.differences):
        p_values = _p_values(verdicts, partial(_difference, metric=metric))
        tested[metric] = max(1, len(p_values))
        for row, p_value in _holm(p_values).items():
            corrected[row][metric] = p_value
    for metric in dict.fromkeys(key for found in anew for key in found):
        p_values = _p_values(verdicts, partial(_again, metric=metric))
        for row, p_value in _holm(p_values).items():
            known = anew[row][metric]
            anew[row][metric] = replace(
                known, difference=replace(known.difference, p_value=p_value)
            )
    return [
        replace(verdict, corrected=of_pair, retrained=again or None, tested=tested)
        for verdict, of_pair, again in zip(verdicts, corrected, anew, strict=True)
    ]


def _difference(verdict: Verdict, metric: str) -> PairedDifference | None:
    return verdict.differences.get(metric)


def _again(verdict: Verdict, metric: str) -> PairedDifference | None:
    found = (verdict.retrained or {}).get(metric)
    return None if found is None else found.difference


def _p_values(
    verdicts: Sequence[Verdict], of: Callable[[Verdict], PairedDifference | None]
) -> dict[int, float]:
    found = {row: of(verdict) for row, verdict in enumerate(verdicts)}
    return {
        row: difference.p_value
        for row, difference in found.items()
        if difference is not None and difference.p_value is not None
    }


def _holm(p_values: dict[int, float]) -> dict[int, float]:
    if not p_values:
        return {}
    return dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
