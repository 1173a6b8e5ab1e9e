import io

import pytest
from rich.console import Console

from capsule_inspection.reports.run.console import metrics_table, reported_stage, verdict
from capsule_inspection.types import Estimate

ONE = Estimate(0.5, 0.25, 0.75, 4)
MISSED = {"false_negative_rate": Estimate(0.24, 0.11, 0.45, 25)}


def render(
    metrics: dict[str, Estimate], *, task: str = "classification", grouped: bool = False
) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    with_stage = {f"test/{name}": one for name, one in metrics.items()}
    console.print(metrics_table(with_stage, task=task, grouped=grouped))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_rates_have_their_counts_and_others_the_number_of_images():
    lines = render(
        MISSED
        | {
            "accuracy": Estimate(60 / 66, 0.81551, 0.95767, 66),
            "auroc": Estimate(0.5, None, None, 2),
        }
    )
    assert lines == [
        "defects missed 24% (6 of 25) 11% to 45%",
        "accuracy .909, n=66 .816 to .958",
        "AUROC .500, n=2",
    ]
    assert render(MISSED, grouped=True) == ["defects missed 24% 11% to 45%"]
    pixels = {"pixel_fpr": Estimate(0.00031, 0.0, 0.0012, 35)}
    expected = ["pixel false positive rate 0.031%, n=35 0% to 0.12%"]
    assert render(pixels, task="segmentation") == expected


@pytest.mark.parametrize("task", ["classification", "anomaly_detection", "segmentation"])
def test_six_metrics_are_shown_and_none_of_single_classes(task: str):
    from capsule_inspection.metrics.registry import metrics_of

    lines = render(dict.fromkeys((*metrics_of(task), "recall/crack"), ONE), task=task)
    assert len(lines) == 6
    assert lines[0].startswith("defects missed")
    assert lines[1].startswith("good parts rejected")
    assert not any("crack" in line for line in lines)


def test_metrics_are_those_of_the_test_where_there_are_any():
    both = {"val/auroc": ONE, "test/auroc": ONE}
    assert reported_stage(both) == "test"
    assert reported_stage({"val/auroc": ONE}) == "val"
    assert reported_stage({}) == "test"
    assert render({}) == ["none nothing was measured here"]


def test_the_verdict_is_that_of_the_page():
    from capsule_inspection.reports.run.usability import verdict_of

    metrics = MISSED | {"false_positive_rate": Estimate(0.0, 0.0, 0.08, 44)}
    text = verdict({f"test/{name}": one for name, one in metrics.items()})
    assert text == f"Verdict: {verdict_of(metrics)}."
    assert "not usable as it is" in text
