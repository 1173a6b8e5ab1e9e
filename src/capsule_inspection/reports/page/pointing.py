"""What the answer says of where a model looks: on the defects, or elsewhere?

A sentence in plain text, from the figures of a run; the template escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from capsule_inspection.metrics import names
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import Figure


def pointing_sentences(run: RunFolder, figures: Mapping[str, Figure]) -> list[str]:
    """Nothing where masks do not tell where the defects are; `figures` have no stage in keys."""
    game, chance = figures.get(names.POINTING_GAME), figures.get(names.POINTING_CHANCE)
    if game is None or chance is None:
        return []
    who, doubt = _words(run)
    hits = round(game.value * game.n)
    return [
        f"{who} in {hits} of {game.n} images; at random it would be "
        f"{_expected(chance.value * game.n)} of {game.n}: {_judgement(game, chance, doubt)}"
    ]


def _words(run: RunFolder) -> tuple[str, str]:
    """What does the pointing, and what follows where it points elsewhere."""
    if run.marks_pixels:
        return (
            "The place that is surest to be a defect lay on the defect",
            "marks that lie elsewhere explain nothing",
        )
    if run.classes:
        return (
            "The network looked at the defect",
            "a classifier that looks elsewhere should not be trusted, whatever its other figures",
        )
    return (
        "The most suspicious place of the map lay on the defect",
        "a score that comes from elsewhere should not be trusted, whatever the other figures",
    )


def _expected(count: float) -> str:
    """How many hits chance would have: `about 2`."""
    return f"about {count:.0f}" if count >= 1 else "fewer than 1"


def _judgement(game: Figure, chance: Figure, doubt: str) -> str:
    assert game.low is not None
    assert game.high is not None
    if game.low <= chance.value <= game.high:
        return f"this cannot be told from chance, and {doubt}."
    if game.value < chance.value:
        return f"less often than by chance, and {doubt}."
    if 2 * game.value < 1:
        return f"more often than by chance, but mostly it was elsewhere, and {doubt}."
    return "more often than chance explains."
