"""evaluate.py: the figures of a finished run on its own and on other images."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from quick import check_refusal, move_images
from small import ONE_THREAD, SMALL, SMALL_NETWORK, Door


@pytest.fixture
def run(door: Door, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    answer = door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={folder}")
    assert answer.status == 0, answer.err
    return folder


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn_root(run: Path) -> Path:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return Path(record["data"]["root"])


def test_evaluation_repeats_the_figures_of_the_run(door: Door, run: Path, tmp_path: Path) -> None:
    for stage in ("test", "val"):
        output = tmp_path / stage
        settings = (f"stage={stage}", f"output={output}", ONE_THREAD)
        answer = door("evaluate", f"run={run}", *settings)
        assert answer.status == 0, answer.err
        expected = [row for row in predictions(run) if row["split"] == stage]
        assert predictions(output) == expected
        whole = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        own = {key: value for key, value in whole.items() if key.startswith(f"{stage}/")}
        assert json.loads((output / "metrics.json").read_text(encoding="utf-8")) == own


def test_how_sure_it_may_be_is_fitted_kept_and_evaluated(
    door: Door, run: Path, tmp_path: Path
) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    scaling = checkpoint["inspection"]["fitted"]["temperature_scaling"]
    assert record["temperature_scaling"] == scaling
    assert scaling["images"] == record["data"]["images"]["val"]
    assert scaling["temperature"] > 0
    assert scaling["temperature"] != 1
    del checkpoint["inspection"]["fitted"]  # as in runs of before
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    output = tmp_path / "unscaled"
    assert door("evaluate", f"run={run}", "stage=test", f"output={output}").status == 0
    fitted = [row for row in predictions(run) if row["split"] == "test"]
    for before, after in zip(predictions(output), fitted, strict=True):
        raw, scaled = ([math.log(float(value)) for key, value in row.items() if key[:2] == "p_"]
                       for row in (before, after))  # fmt: skip
        expected = [value / scaling["temperature"] for value in raw]
        expected[0] += scaling["good_shift"]
        assert [value - scaled[1] for value in scaled] == pytest.approx(
            [value - expected[1] for value in expected], abs=1e-4
        )


def test_networks_that_shall_speak_for_themselves_do(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "unscaled"
    setting = "task.temperature_scaling=false"
    assert door("train", *SMALL, *SMALL_NETWORK, setting, f"hydra.run.dir={folder}").status == 0
    assert "temperature_scaling" not in json.loads((folder / "run.json").read_text("utf-8"))


def test_by_default_it_goes_into_the_run(door: Door, run: Path) -> None:
    assert door("evaluate", f"run={run}").status == 0
    (folder,) = (run / "evaluation").iterdir()
    assert (folder / "predictions.csv").is_file()
    assert (folder / "figures" / "confusion_matrix.png").is_file()


def test_other_images_of_the_same_classes_are_all_test_images(
    door: Door, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other capsules (膠囊)"
    shutil.copytree(drawn_root(run), other)
    shutil.rmtree(other / "test" / "poke")
    shutil.rmtree(other / "train")
    (other / "test" / "good").mkdir()
    shutil.copy(next((drawn_root(run) / "train" / "good").iterdir()), other / "test" / "good")
    output = tmp_path / "figures"
    answer = door(
        "evaluate",
        f"run={run}",
        "data=mvtec",
        f"data.root={other}",
        "split=all_test",
        f"output={output}",
    )
    assert answer.status == 0, answer.err
    found = predictions(output)
    assert len(found) == 21
    assert {row["split"] for row in found} == {"test"}
    assert "p_poke" in found[0]
    assert "were seen in training" in answer.out
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert record["optimistic"] is True
    assert record["seen_in_training"] >= 1
    assert "were seen in training: optimistic" in (output / "report.html").read_text("utf-8")


def test_a_run_that_moved_is_evaluated_with_its_data_elsewhere(
    door: Door, run: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(run, elsewhere)
    data = shutil.copytree(drawn_root(run), tmp_path / "data")
    cache = tmp_path / "cache"
    moved = [f"data.root={data}", f"data.cache_folder={cache}", "data.workers=1"]
    answer = door("evaluate", f"run={elsewhere}", *moved, f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err
    assert cache.is_dir()


def test_a_run_whose_images_have_moved_is_evaluated_with_their_new_place(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    there = move_images(finished, tmp_path)
    answer = door("evaluate", f"run={finished}", f"output={tmp_path / 'refused'}")
    check_refusal(answer, f"{tmp_path / 'gone'}: there is no such folder")
    output = tmp_path / "out"
    settings = (f"data.root={there}", f"output={output}", ONE_THREAD)
    answer = door("evaluate", f"run={finished}", *settings)
    assert answer.status == 0, answer.err
    assert predictions(output) == [r for r in predictions(finished) if r["split"] == "test"]
    assert drawn_root(output) == there


def test_a_full_output_folder_is_refused(door: Door, run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    answer = door("evaluate", f"run={run}", f"output={run}")
    assert answer.status == 1
    assert "Nothing is overwritten" in answer.err
    assert sorted(path.name for path in run.iterdir()) == before


def test_other_images_may_lack_a_class_in_their_training_part(
    door: Door, run: Path, tmp_path: Path
) -> None:
    other, output = tmp_path / "other", tmp_path / "figures"
    shutil.copytree(drawn_root(run), other)
    shutil.rmtree(other / "test" / "poke")
    answer = door(
        "evaluate",
        f"run={run}",
        "data=mvtec",
        f"data.root={other}",
        "split=holdout",
        f"output={output}",
    )
    assert answer.status == 0, answer.err
    assert "poke" not in {row["label"] for row in predictions(output)}


def test_training_without_an_image_of_a_class_names_the_class(door: Door, tmp_path: Path) -> None:
    settings = [*SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / 'run'}"]
    answer = door("train", *settings, "data.real_defects=0")
    assert answer.status == 1
    assert "crack, faulty_imprint, poke, scratch, squeeze have no training image" in answer.err
