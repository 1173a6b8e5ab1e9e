import io

from rich.console import Console

from capsule_inspection.reports.run.console import metrics_table
from capsule_inspection.types import Estimate

ONE = Estimate(0.5, 0.25, 0.75, 4)


def render(metrics: dict[str, Estimate]) -> str:
    console = Console(width=100, file=io.StringIO())
    table = metrics_table({f"test/{name}": one for name, one in metrics.items()}, stage="test")
    console.print(table)
    return console.file.getvalue()


def test_metric_has_its_interval_and_number_of_images():
    text = render(
        {
            "accuracy": Estimate(60 / 66, 0.81551, 0.95767, 66),
            "auroc": Estimate(0.5, None, None, 2),
            "pixel_fpr": Estimate(0.00031, 0.0, 0.0012, 35),
        }
    )
    for expected in ("0.909 (0.816 to 0.958), n=66", "0.500, n=2", "0.031% (0% to 0.12%), n=35"):
        assert expected in text


def test_table_holds_the_metrics_of_its_stage_and_recalls_without_markup():
    metrics = {"test/auroc": ONE, "test/recall/[red]": ONE, "test/precision/poke": ONE,
               "val/macro_f1": ONE}  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(metrics_table(metrics, stage="test"))
    text = console.file.getvalue()

    assert "AUROC" in text
    assert "recall, [red]" in text
    assert "0.500 (0.250 to 0.750), n=4" in text
    assert "macro F1" not in text
    assert "precision" not in text
    assert "nothing was measured" in render({})


def test_metrics_of_all_tasks_have_labels_and_overlap_of_classes_is_left_out():
    one_class = ("f1", "f1_max", "tpr_at_fpr", "pixel_auroc", "aupro")
    text = render(
        dict.fromkeys(one_class, ONE)
        | {
            "pixel_fpr": Estimate(0.00031, 0.0, 0.0012, 35),
            "mean_iou_global": ONE,
            "dice_global/crack": ONE,
            "pointing_game": Estimate(0.75, 0.5, 0.9, 18),
            "pointing_game_chance": Estimate(0.1, None, None, 18),
            "pointing_game/crack": ONE,
        }
    )

    for expected in (
        "F1 of defects",
        "F1 at the best threshold",
        "TPR at the target FPR",
        "AUPRO",
        "pixel false positive rate",
        "0.031%",
        "mean IoU of pixels",
        "pointing game",
        "0.750 (0.500 to 0.900), n=18",
        "pointing game by chance",
        "0.100, n=18",
    ):
        assert expected in text
    assert "crack" not in text
