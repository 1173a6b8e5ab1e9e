import io

from rich.console import Console

from capsule_inspection.contracts import Figure
from capsule_inspection.reports.summary import as_text, summary_table


def printed(table) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_figure_is_written_with_interval_and_number():
    assert as_text(Figure(60 / 66, 0.81551, 0.95767, 66)) == "0.909 (0.816 to 0.958), n=66"
    assert as_text(Figure(0.5, None, None, 2)) == "0.500, n=2"


def test_table_holds_the_figures_of_its_stage_and_recalls_without_markup():
    one = Figure(0.5, 0.25, 0.75, 4)
    figures = {
        "test/auroc": one,
        "test/recall/[red]": one,
        "test/precision/poke": one,
        "val/macro_f1": one,
    }

    text = printed(summary_table(figures, stage="test"))

    assert "AUROC, good against defect" in text
    assert "recall, [red]" in text
    assert "0.500 (0.250 to 0.750), n=4" in text
    assert "macro F1" not in text
    assert "precision" not in text


def test_stage_without_figures_says_so():
    assert "nothing was measured" in printed(summary_table({}, stage="test"))


def test_figures_of_one_class_runs_have_words():
    one = Figure(0.5, 0.25, 0.75, 4)
    names = ("f1", "f1_best", "recall_at_false_alarm_rate", "pixel_auroc", "aupro")

    text = printed(summary_table({f"test/{name}": one for name in names}, stage="test"))

    for said in (
        "F1 of defects at the threshold",
        "optimistic",
        "at the false-alarm rate",
        "AUPRO",
    ):
        assert said in text


def test_share_of_marked_pixels_is_written_in_percent():
    share = Figure(0.00031, 0.0, 0.0012, 35)

    assert as_text(share, "false_alarm_area") == "0.031% (0% to 0.12%), n=35"
    text = printed(summary_table({"test/false_alarm_area": share}, stage="test"))
    assert "marked share of a good image (lower is better)" in text
    assert "0.031%" in text


def test_overlap_of_classes_stays_in_the_picture():
    one = Figure(0.5, 0.25, 0.75, 4)
    figures = {"test/mean_iou_of_pixels": one, "test/dice_of_pixels/crack": one}

    text = printed(summary_table(figures, stage="test"))

    assert "mean IoU of the defects, pooled over pixels" in text
    assert "crack" not in text


def test_pointing_game_has_words_for_all_tasks_and_its_classes_stay_away():
    game = Figure(0.75, 0.5, 0.9, 18)
    chance = Figure(0.1, None, None, 18)
    figures = {
        "test/pointing_game": game,
        "test/pointing_game_chance": chance,
        "test/pointing_game/crack": game,
    }

    text = printed(summary_table(figures, stage="test"))

    assert "highest point of the map on the defect" in text
    assert "0.750 (0.500 to 0.900), n=18" in text
    assert "the same for a point at random on the part" in text
    assert "0.100, n=18" in text
    assert "crack" not in text
