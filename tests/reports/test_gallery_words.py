import pytest

from capsule_inspection.reports.gallery_words import answer, cautions, explanation


def counts(images: int, defects: int = 0, errors: int = 0, unlike: int = 0) -> dict[str, int]:
    return {
        "images": images,
        "defects": defects,
        "good": images - defects - errors,
        "errors": errors,
        "unlike": unlike,
    }


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (
            counts(210, 12, errors=1, unlike=3),
            "12 of 210 images show a defect, 1 could not be read, 3 look unlike the training "
            "photographs.",
        ),
        (counts(10_000, 1, unlike=1), "1 of 10,000 images shows a defect, 1 looks unlike the "
         "training photographs."),
        (counts(5), "None of 5 images shows a defect."),
        (counts(1, 1), "1 of 1 image shows a defect."),
        (counts(3, errors=3), "None of 3 images could be read."),
        (counts(0), "There are no images here."),
    ],
)  # fmt: skip
def test_answer_is_one_sentence(counted, expected):
    assert answer(counted) == expected


def test_only_what_happened_is_cautioned_against():
    assert cautions(counts(5, 2)) == []
    assert "not inspected" in " ".join(cautions(counts(5, errors=1)))
    assert "look at these yourself" in " ".join(cautions(counts(5, unlike=1)))


@pytest.mark.parametrize("task", ["classification", "reconstruction", "segmentation"])
def test_every_task_is_explained_and_its_colours_where_there_are_any(task):
    alone, with_colours = (explanation(task, colours=colours) for colours in (False, True))

    assert with_colours.startswith(f"{alone} ")
    assert "Bright" not in alone
