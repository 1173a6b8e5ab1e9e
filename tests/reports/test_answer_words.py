"""One answer in words, as HTML."""

from __future__ import annotations

from typing import Any

import pytest

from capsule_inspection.reports.answer_words import described, verdict


def row(**values: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "path": "a.png",
        "status": "ok",
        "error": None,
        "width": 100,
        "height": 50,
        "prediction": "faulty_imprint",
        "is_defect": True,
        "probabilities": {"good": 0.25, "faulty_imprint": 0.75},
        "score": 0.75,
        "threshold": None,
        "regions": [],
        "remarks": [],
    }
    return {**plain, **values}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "Defect: faulty imprint"),
        ({"prediction": "defect"}, "Defect<"),
        ({"prediction": "good", "is_defect": False}, "Good: no defect is seen"),
        ({"status": "error", "is_defect": None}, "Not inspected"),
    ],
)
def test_the_verdict_comes_in_one_line(values: dict[str, Any], expected: str) -> None:
    assert expected in verdict(row(**values))


def test_a_classifier_tells_every_class_the_most_probable_first() -> None:
    said = described(row(), task="classification")
    assert said.index("faulty imprint</td><td>75.0%") < said.index("good</td><td>25.0%")
    assert "a.png, 100x50 pixels" in said


def test_regions_are_told_with_their_place() -> None:
    region = {"class": "poke", "area_px": 12, "box": [1, 2, 3, 4], "probability": 0.9}
    said = described(row(threshold=0.5, regions=[region]), task="segmentation")
    assert "region: poke</td><td>12 pixels from (1, 2) to (3, 4), 90% sure" in said
    assert "a defect above the threshold 0.5" in said


def test_what_is_unlike_is_said_before_the_numbers() -> None:
    said = described(row(remarks=["it is blurred"]), task="classification")
    assert said.index("may be wrong") < said.index("it is blurred") < said.index("75.0%")


def test_texts_from_files_do_no_harm() -> None:
    harm = "<img src=x onerror=alert(1)>"
    for values in ({"path": harm}, {"prediction": harm}, {"remarks": [harm]},
                   {"status": "error", "error": harm, "path": harm}):  # fmt: skip
        whole = verdict(row(**values)) + described(row(**values), task="classification")
        assert "<img" not in whole
        assert "&lt;img" in whole
