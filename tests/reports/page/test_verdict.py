import pytest

from capsule_inspection.contracts import Figure
from capsule_inspection.reports.page.verdict import (
    RULE,
    Verdict,
    orders_better_than_it_decides,
    verdict_of,
)


def figures(rejected=None, missed=None, *, n=200, auroc=None, high=None):
    """Figures of these shares, with intervals that end at `high` or a little above the share."""
    found = {
        name: Figure(share, 0.0, share + 0.03 if high is None else high, n)
        for name, share in (("good_rejected", rejected), ("defects_missed", missed))
        if share is not None
    }
    return found | ({} if auroc is None else {"auroc": Figure(auroc, auroc - 0.1, 1.0, n)})


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (figures(0.05, 0.05, auroc=0.99), Verdict.WELL),
        (figures(0.0, 0.0, high=0.15), Verdict.WELL),
        (figures(0.0, 0.0, high=0.16), Verdict.PROMISING),
        (figures(0.06, 0.0), Verdict.PRESORT),
        (figures(0.2, 0.2), Verdict.PRESORT),
        (figures(0.21, 0.0), Verdict.NOT_USABLE),
        (figures(0.0, 0.21), Verdict.NOT_USABLE),
        (figures(0.0, 0.0, auroc=0.6), Verdict.GUESSING),
        (figures(rejected=0.0), Verdict.NO_DEFECTS),
        (figures(missed=0.0), Verdict.NO_GOOD),
        ({}, Verdict.NOTHING),
    ],
)
def test_verdict_follows_its_rule(measured, expected):
    assert verdict_of(measured) is expected


def test_share_without_an_interval_is_never_enough_for_well():
    alone = {name: Figure(0.0, None, None, 3) for name in ("good_rejected", "defects_missed")}

    assert verdict_of(alone) is Verdict.PROMISING


def test_threshold_is_blamed_where_the_scores_are_good():
    assert orders_better_than_it_decides(figures(0.5, 0.0, auroc=0.95))
    assert not orders_better_than_it_decides(figures(0.5, 0.0, auroc=0.8))
    assert not orders_better_than_it_decides(figures(0.0, 0.0, auroc=0.95))


def test_rule_states_the_limits_that_are_used():
    for limit in ("5 of 100", "15 or below", "at most 20", "0.5"):
        assert limit in RULE
