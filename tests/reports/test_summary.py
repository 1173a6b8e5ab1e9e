import io

from rich.console import Console

from capsule_inspection.reports.summary import as_text, summary_table
from capsule_inspection.types import Figure

ONE = Figure(0.5, 0.25, 0.75, 4)


def printed(figures: dict[str, Figure]) -> str:
    console = Console(width=100, file=io.StringIO())
    table = summary_table({f"test/{name}": one for name, one in figures.items()}, stage="test")
    console.print(table)
    return console.file.getvalue()


def test_figure_is_written_with_interval_and_number():
    assert as_text(Figure(60 / 66, 0.81551, 0.95767, 66)) == "0.909 (0.816 to 0.958), n=66"
    assert as_text(Figure(0.5, None, None, 2)) == "0.500, n=2"
    share = Figure(0.00031, 0.0, 0.0012, 35)
    assert as_text(share, "false_alarm_area") == "0.031% (0% to 0.12%), n=35"


def test_table_holds_the_figures_of_its_stage_and_recalls_without_markup():
    figures = {"test/auroc": ONE, "test/recall/[red]": ONE, "test/precision/poke": ONE,
               "val/macro_f1": ONE}  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(summary_table(figures, stage="test"))
    text = console.file.getvalue()

    assert "AUROC, good against defect" in text
    assert "recall, [red]" in text
    assert "0.500 (0.250 to 0.750), n=4" in text
    assert "macro F1" not in text
    assert "precision" not in text
    assert "nothing was measured" in printed({})


def test_figures_of_all_tasks_have_words_and_overlap_of_classes_stays_in_the_picture():
    one_class = ("f1", "f1_best", "recall_at_false_alarm_rate", "pixel_auroc", "aupro")
    text = printed(
        dict.fromkeys(one_class, ONE)
        | {
            "false_alarm_area": Figure(0.00031, 0.0, 0.0012, 35),
            "mean_iou_of_pixels": ONE,
            "dice_of_pixels/crack": ONE,
            "pointing_game": Figure(0.75, 0.5, 0.9, 18),
            "pointing_game_chance": Figure(0.1, None, None, 18),
            "pointing_game/crack": ONE,
        }
    )

    for told in (
        "F1 of defects at the threshold",
        "optimistic",
        "at the false-alarm rate",
        "AUPRO",
        "marked share of a good image (lower is better)",
        "0.031%",
        "mean IoU of the defects, pooled over pixels",
        "highest point of the map on the defect",
        "0.750 (0.500 to 0.900), n=18",
        "the same for a point at random on the part",
        "0.100, n=18",
    ):
        assert told in text
    assert "crack" not in text
