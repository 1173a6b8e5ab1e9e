"""The sentence on where a model looks, and that it does not claim what chance explains."""

import re

import pytest
from drawn_explanations import add_figures, draw_explanations
from drawn_marking_runs import draw_marking_run
from drawn_runs import draw_anomaly_run, draw_run

from capsule_inspection.contracts import Figure
from capsule_inspection.metrics.intervals import proportion
from capsule_inspection.reports.page.pointing import pointing_sentences
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_page import write_run_page


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return read_run(draw_run(tmp_path_factory.mktemp("runs") / "run"))


def said(run, hits: int, images: int, chance: float) -> str:
    figures = {
        "pointing_game": proportion(hits, images),
        "pointing_game_chance": Figure(chance, None, None, images),
    }
    (sentence,) = pointing_sentences(run, figures)
    return sentence


def test_hits_stand_beside_what_chance_would_have(classifier):
    assert said(classifier, 12, 18, 0.1) == (
        "The network looked at the defect in 12 of 18 images; at random it would be about 2 of 18: "
        "more often than chance explains."
    )


def test_few_hits_by_chance_are_not_rounded_to_none(classifier):
    assert "at random it would be fewer than 1 of 18" in said(classifier, 12, 18, 0.01)


@pytest.mark.parametrize(
    ("hits", "judgement"),
    [
        (3, "this cannot be told from chance"),
        (8, "more often than by chance, but mostly it was elsewhere"),
    ],
)
def test_a_classifier_that_looks_elsewhere_is_not_called_trustworthy(classifier, hits, judgement):
    text = said(classifier, hits, 18, 0.15)

    assert judgement in text
    assert "a classifier that looks elsewhere should not be trusted" in text


def test_less_than_chance_is_said(classifier):
    assert "less often than by chance" in said(classifier, 1, 60, 0.5)


def test_each_task_says_what_does_the_pointing(tmp_path):
    one_class = read_run(draw_anomaly_run(tmp_path / "one class"))
    marks = read_run(draw_marking_run(tmp_path / "marks"))

    assert said(one_class, 9, 9, 0.1).startswith("The most suspicious place of the map")
    assert said(marks, 9, 9, 0.1).startswith("The place that is surest to be a defect")
    assert "a score that comes from elsewhere" in said(one_class, 1, 9, 0.1)
    assert "marks that lie elsewhere" in said(marks, 1, 9, 0.1)


def test_without_masks_nothing_is_said(classifier):
    assert pointing_sentences(classifier, {}) == []


def test_the_page_has_sentence_rows_and_picture(tmp_path):
    folder = draw_run(tmp_path / "run")
    draw_explanations(folder, [44, 45, 46], hits=[44, 45])
    add_figures(folder, 2, 3, chance=0.1)

    page = write_run_page(folder).read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())

    assert "The network looked at the defect in 2 of 3 images" in text
    assert "highest point of the map on the defect 0.667" in text
    assert "the same for a point at random on the part 0.100 none: computed 3" in text
    assert "Where the network looked, in images with a defect." in text


def test_the_page_of_an_older_run_says_nothing_of_it(tmp_path):
    page = write_run_page(draw_run(tmp_path / "run")).read_text(encoding="utf-8")

    assert "looked at the defect" not in page
    assert "highest point" not in page
