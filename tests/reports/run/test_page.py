"""The page of a run: self-contained and escaped, whatever is missing."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from sample_anomaly_runs import write_anomaly_run
from sample_explanations import add_pointing_game, write_explanations
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.config.quoting import format_command
from capsule_inspection.metrics.registry import metric_description
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run.page import find_mixture, list_next_steps, write_run_page
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.summary import summarize
from capsule_inspection.types import RunError

pytestmark = pytest.mark.usefixtures("unrendered")

TEXT = environment(autoescape=False).get_template("run_text.j2").module

RAISED = {"temperature": 1.25, "good_shift": 0.5, "images": 31}


def page_of(folder: Path) -> str:
    path = write_run_page(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """The text of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def in_order(text: str, *parts: str) -> None:
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


def tiles_of(page: str) -> dict[str, str]:
    """Label and text of each tile."""
    tiles = re.findall(r'<div class="tile"><dt>(.*?)</dt>(.*?)</div>', page, re.DOTALL)
    return {label: text_of(content) for label, content in tiles}


def test_page_of_a_one_class_run_starts_with_the_verdict_and_is_self_contained(anomaly_run):
    page = page_of(anomaly_run)
    text = text_of(page)

    in_order(page, 'id="verdict"', 'id="decision"', 'id="metrics"', 'id="results"',
             'id="examples"', 'id="training"', 'id="files"')  # fmt: skip
    assert tiles_of(page)["defects missed"].startswith("11% (1 of 9) 95% interval 2% to ")
    assert tiles_of(page)["good parts rejected"].endswith("; 12 good images")
    for name in ("auroc", "f1_max", "pixel_average_precision", "aupro"):
        assert metric_description(name) in text
    assert "just keep to 10%" in text
    assert "The model learned to remove synthetic defects" in text
    assert "python train.py model=autoencoder" in text
    assert "“Of pixels”" not in text
    assert "calibration 20 Good images that set the threshold, and nothing else." in text
    assert page.count("data:image/png;base64,") == len(list((anomaly_run / "figures").iterdir()))
    assert "http" not in page
    links = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert {link for link in links if not link.startswith(("data:", "#"))} == {
        "predictions.csv",
        "metrics.json",
        "metrics.csv",
        "run.json",
    }  # fmt: skip - of the files that it lists, those that there are

    # Existing plots are not drawn again; a record may have hardly any fields.
    (anomaly_run / "figures" / "roc.png").unlink()
    record = {"format_version": 1, "data": {"classes": ["good", "crack", "poke"]}}
    (anomaly_run / "run.json").write_text(json.dumps(record))
    assert "task unknown" in text_of(page_of(anomaly_run))
    assert not (anomaly_run / "figures" / "roc.png").exists()


def test_text_from_files_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = write_anomaly_run(
        tmp_path / "a <b>run",
        classes=("good", evil, "a & b"),
        record={"model": evil, "command": ["train.py", evil], "hardware": {"device": evil}},
    )
    page = page_of(folder)

    assert page.count("<script") == 1  # the page's own
    assert "<b>" not in page
    assert page.count("&lt;script&gt;") > 5
    assert "a &amp; b" in page


def test_page_of_a_classification_has_what_it_has(tmp_path):
    folder = write_classification_run(tmp_path / "run", wrong=[3, 50])
    text = text_of(page_of(folder))

    for expected in ("Confusion matrix, test images", "The model learned from them.",
                     "most probable class (argmax) in use"):  # fmt: skip
        assert expected in text
    for absent in ("AUPRO", "on the defect", "highest point"):
        assert absent not in text

    write_explanations(folder, [44, 45, 46], hits=[44, 45])
    add_pointing_game(folder, 2, 3, chance=0.1)
    shutil.rmtree(folder / "figures")
    text = text_of(page_of(folder))
    for expected in ("The peak of the explanation map lay on the defect in 67% (2 of 3 images)",
                     "pointing game by chance", ".100 none: computed 3"):  # fmt: skip
        assert expected in text


def test_page_of_segmentation_starts_with_the_verdict_and_explains_both_aggregations(
    segmentation_run,
):
    page = page_of(segmentation_run)
    text = text_of(page)

    in_order(text, "Verdict:", "touches the defect", "A pixel counts", "“Of pixels”: ",
             "Overlap of predicted and target masks by class", "The worst image of each class",
             "The model learned from them.")  # fmt: skip
    assert list(tiles_of(page)) == [
        "defects missed", "good parts rejected", "defect hit rate", "binary Dice of pixels",
    ]  # fmt: skip
    assert page.count("data:image/png;base64,") == len(
        list((segmentation_run / "figures").iterdir())
    )


def test_binary_segmentation_has_a_page(tmp_path):
    text = text_of(page_of(write_segmentation_run(tmp_path / "run", binary=True)))

    assert "binary IoU of pixels" in text
    assert "mean IoU of pixels" not in text
    assert "Confusion matrix" not in text


def test_run_without_any_prediction_is_refused(run_folder):
    path = run_folder / "predictions.csv"
    path.write_text(path.read_text("utf-8").splitlines()[0] + "\n", "utf-8")

    with pytest.raises(RunError, match="there are no predictions"):
        write_run_page(run_folder)


def test_without_test_images_the_page_shows_those_of_validation(tmp_path):
    folder = write_classification_run(tmp_path / "run", wrong=[3, 50])
    table = folder / "predictions.csv"
    rows = [line for line in table.read_text().splitlines() if ",val," not in line]
    table.write_text("\n".join(rows).replace(",test,", ",val,") + "\n")
    metrics = json.loads((folder / "metrics.json").read_text())
    renamed = {key.replace("test/", "val/"): of for key, of in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(renamed))
    record = json.loads((folder / "run.json").read_text())
    record["data"]["images"] = {"train": 200, "val": 66}
    (folder / "run.json").write_text(json.dumps(record))

    text = text_of(page_of(folder))
    for expected in ("Confusion matrix, val images", "The most confident mistakes",
                     "There are no test images", "keep images for a test"):  # fmt: skip
        assert expected in text
    assert text.count("Confusion matrix") == 1


def test_next_steps_are_commands_for_a_run_and_none_for_an_evaluation(tmp_path):
    folder = write_classification_run(tmp_path / "a run")
    assert "Next steps" not in text_of(page_of(folder))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").touch()
    steps = list_next_steps(read_run(folder))
    assert [shlex.split(of)[1:3] for of in steps.values()] == [
        [script, f"run={folder}"] for script in ("predict.py", "app.py", "export.py")
    ]
    assert "Next steps Predict images of your own:" in text_of(page_of(folder))


@pytest.mark.parametrize(
    ("metrics", "colour"),
    [
        ({}, ""),
        ({"false_negative_rate": (0, 0.1, 40), "false_positive_rate": (0, 0.1, 40)}, "good"),
        ({"false_negative_rate": (0, 0.2, 40), "false_positive_rate": (0, 0.1, 40)}, "caution"),
        ({"false_negative_rate": (0.2, 0.3, 40), "false_positive_rate": (0, 0.1, 40)}, "caution"),
        ({"false_negative_rate": (0.21, 0.3, 40), "false_positive_rate": (0, 0.1, 40)}, "bad"),
        ({"auroc": (0.2, 0.46, 40)}, "bad"),
        ({"auroc": (0.5, 0.6, 40)}, "bad"),
    ],
)
def test_colour_follows_the_verdict(tmp_path, metrics, colour):
    folder = write_classification_run(tmp_path / "run")
    values = {
        f"test/{name}": {"value": value, "low": 0.0, "high": high, "n": n}
        for name, (value, high, n) in metrics.items()
    }
    (folder / "metrics.json").write_text(json.dumps(values))
    assert f'<div class="verdict {colour}">' in page_of(folder)


# --- training


def purposes(run) -> dict[str, str]:
    return {stage: TEXT.purpose(run, stage).strip() for stage in ("train", "val", "test")}


def facts(run) -> list[str]:
    return TEXT.history(run, find_mixture(run)).strip().splitlines()


def test_history_has_the_temperature_scaling_and_its_images(tmp_path):
    for shift, change in ((0.5, "raised by 0.50"), (-0.25, "lowered by 0.25")):
        record = {"temperature_scaling": {**RAISED, "good_shift": shift}}
        run = read_run(write_classification_run(tmp_path / change, record=record))
        text = " ".join(facts(run))
        assert (
            "Probabilities were calibrated on 31 validation images (temperature 1.25, logit of "
            f"“good” {change})." in text
        )
        assert (
            purposes(run)["val"]
            == "Selected the best epoch, and fitted the temperature of the probabilities."
        )

    run = read_run(write_classification_run(tmp_path / "unscaled"))
    assert "calibrated" not in " ".join(facts(run))
    assert purposes(run)["val"] == "Selected the best epoch."

    run = read_run(
        write_classification_run(tmp_path / "other", record={"temperature_scaling": {"warmth": 2}})
    )
    with pytest.raises(RunError, match="temperature_scaling is not as expected"):
        facts(run)


def test_history_has_what_test_images_selected_where_they_are_validation_images_too(tmp_path):
    record = {"optimistic": True, "temperature_scaling": RAISED}
    run = read_run(write_classification_run(tmp_path / "run", record=record))
    assert purposes(run)["test"] == (
        "Measured the metrics on this page, and, which is optimistic, selected the best epoch, "
        "and fitted the temperature of the probabilities."
    )
    for key, use in {
        "training_overlap": "were used for training",
        "selection_overlap": "were used to select",
    }.items():
        run = read_run(write_classification_run(tmp_path / key, record={key: 3}))
        assert f"3 {use}" in purposes(run)["test"]
        assert "Optimistic" in TEXT.warnings(run, summarize(run, "test"))


def test_history_of_segmentation_has_the_mixture_and_the_purpose_of_validation(tmp_path):
    run = read_run(write_segmentation_run(tmp_path / "run", binary=True))

    assert purposes(run)["train"] == "The model learned from them."
    assert "smallest area of the masks" in purposes(run)["val"]
    assert facts(run)[0] == (
        "Of 100 training images, there were 40 good ones with a synthetic defect, 20 good ones "
        "with a defect copied from another image, 25 real defects and 15 unchanged good ones."
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train.py", "model=resnet18"], "python train.py model=resnet18"),
        (["train.py", "data.root='/a b'"], """python train.py "data.root='/a b'\""""),
        (["train.py", "seed=1,2", "a=$(b)"], "python train.py seed=1,2 'a=$(b)'"),
        (["train.py", "a='$b'"], """python train.py 'a='"'"'$b'"'"''"""),
        (None, ""),
    ],
)
def test_command_can_be_pasted_into_a_shell(tmp_path, arguments, expected):
    run = read_run(write_classification_run(tmp_path / "run", record={"command": arguments}))

    assert format_command(run.record.get("command") or ()) == expected
    if arguments:
        assert shlex.split(expected) == ["python", *arguments]
