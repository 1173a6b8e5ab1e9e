"""Arithmetic of the benchmarks, and the images of the plain loop; nothing is timed here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import REPOSITORY, SMALL, SMALL_NETWORK
from small_tasks import optimization

from benchmarks import kill_loop, power_cut, results
from benchmarks.dataset_scaling import memory_measurements, time_measurements
from benchmarks.image_copies import write_copies
from benchmarks.initial_weights import main
from benchmarks.kill_cases import make_cases, normalised_content
from benchmarks.measurements import Measurement, format_line, interleave, is_met, ratios
from benchmarks.optimizer_steps import compute_loss
from benchmarks.plain_loop import MEAN, STD, FolderImages, make_loader
from benchmarks.run import SUBJECTS, parse
from capsule_inspection.models.factory import build_custom_resnet
from capsule_inspection.models.losses.segmentation import SegmentationLoss
from capsule_inspection.tasks.classification.lightning_module import ClassificationModule, MaskLoss
from capsule_inspection.types import Batch


def test_functions_alternate_after_the_warm_up_and_ratios_are_of_each_round() -> None:
    order: list[str] = []

    def record(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = interleave({"a": lambda: record("a"), "b": lambda: record("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert values == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert ratios([1.0, 9.0], [2.0, 3.0]) == (0.5, 3.0)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        ratios([1.0], [1.0, 2.0])


def test_the_median_over_rounds_is_compared_to_the_target() -> None:
    samples = (0.3, 0.35, 9.0)
    assert Measurement("x", samples).value == 0.35
    assert is_met(Measurement("x", samples, target=0.38)) is True
    assert is_met(Measurement("x", samples, target=0.34)) is False
    assert is_met(Measurement("x", samples, target=0.38, at_least=True)) is False
    assert is_met(Measurement("x", samples)) is None
    assert is_met(Measurement("x", (), target=0.38)) is None
    row = Measurement("epoch", (0.3, 0.35, 0.4), target=0.38, note="no bf16")
    assert format_line(row) == "epoch | 0.35 (0.3 to 0.4, 3 rounds); no bf16 | at most 0.38 | yes"
    fast = Measurement("gpu", (7000.0,), "images/s", target=8000, at_least=True)
    assert format_line(fast) == "gpu | 7,000 images/s | at least 8,000 images/s | NO"
    assert format_line(Measurement("gpu", (), note="no GPU")) == "gpu | skipped: no GPU | - | -"


def test_scaling_compares_the_time_of_an_image_between_the_two_largest_numbers() -> None:
    *_, last = time_measurements("index", {300: [9.0], 30_000: [3.0], 3_000: [2.0]})
    assert last.samples == (1.5,)
    assert last.metric == "index, 30,000 : 3,000 images, per image"
    starts = {
        count: [{"images": count, "end_bytes": 1e6 + 1024 * count, "peak_bytes": 4096 * count}]
        for count in (300, 3_000, 30_000)
    }
    end, peak = memory_measurements("cold", starts)
    assert end.samples == pytest.approx((1.0,))
    assert peak.samples == pytest.approx((4.0,))


def test_results_of_one_day_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks" / "today.json"
    results.append_results(
        file, "epoch", [Measurement("a", (1.0, 2.0, 4.0), target=3.0)], quick=True
    )
    results.append_results(file, "memory", [Measurement("b", ())], quick=False)
    first, second = json.loads(file.read_text())
    assert (first["subject"], first["quick"], second["subject"]) == ("epoch", True, "memory")
    assert first["rows"][0]["value"] == 2.0
    assert first["rows"][0]["met"] is True
    assert first["machine"]["cores"] >= 1


def test_an_unknown_subject_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["epochs"])
    assert "epochs: expected names of startup" in capsys.readouterr().err
    assert parse([]).names == []
    assert all((REPOSITORY / "benchmarks" / f"{name}.py").is_file() for name in SUBJECTS)


def test_the_plain_loop_reads_each_file_once_and_normalises_it(tmp_path: Path) -> None:
    files = [(tmp_path / f"{number}.png", number) for number in range(5)]
    for path, number in files:
        Image.fromarray(np.full((8, 12), 50 * number, np.uint8)).save(path)
    loader = make_loader(files, image_size=(4, 6), batch_size=2, shuffle=True, workers=0)
    batches = [label for _, label in loader]
    assert [len(label) for label in batches] == [2, 2, 1]
    assert sorted(torch.cat(batches).tolist()) == [0, 1, 2, 3, 4]
    image, label = FolderImages(files, image_size=(4, 6))[3]
    assert label == 3
    assert image.shape == (3, 4, 6)
    assert image.dtype == torch.float32
    expected = (150 / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(image, expected[:, None, None].expand(3, 4, 6))


def test_image_copies_differ_and_keep_their_masks(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "copies"
    for name in ("train/good/000.png", "test/crack/000.png", "ground_truth/crack/000_mask.png"):
        (source / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(source / name)
    write_copies(source, folder, count=6)
    images = sorted(folder.glob("t*/*/*.png"))
    assert len(images) == 6
    assert len({path.read_bytes() for path in images}) == 6
    assert len(list(folder.glob("ground_truth/crack/*_mask.png"))) == 3


@pytest.mark.parametrize("mask_weight", [0.0, 2.0])
def test_optimizer_steps_minimise_the_loss_of_the_training_step(mask_weight: float) -> None:
    size, mask_loss = (32, 48), None
    if mask_weight:
        criterion = SegmentationLoss({"cross_entropy": 1.0}, class_weights=torch.ones(3))
        mask_loss = MaskLoss(criterion, weight=mask_weight)
    network = {"depths": [1, 1], "width": 8, "image_size": size, "mask_loss_weight": mask_weight}
    task = ClassificationModule(
        build_custom_resnet(num_classes=3, weights="none", **network).model,
        loss=torch.nn.CrossEntropyLoss(),
        num_classes=3,
        optimization=optimization(),
        mask_loss=mask_loss,
    )
    mask = torch.zeros(2, *size, dtype=torch.uint8)
    mask[1, 4:9, 4:9] = 2
    batch = Batch(
        image=torch.rand(2, 3, *size),
        label=torch.tensor([0, 2]),
        mask=mask,
        index=torch.arange(2),
        valid=mask == mask,
        label_weight=torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.0, 1.0]]),
    )
    torch.testing.assert_close(compute_loss(task, batch), task.training_step(batch, 0))


@pytest.mark.parametrize(
    "network",
    [
        "classifier",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("segmenter", "binary")),
    ],
)
def test_initial_weights_are_measured_on_all_images_without_training(
    network: str, drawn_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = ["model=unet", "model.weights=none"]
    settings = {
        "classifier": [*SMALL_NETWORK],
        "segmenter": segmenter,
        "binary": [*segmenter, "model.classes=binary"],
    }[network]
    folders = [f"data.{key}={drawn_folder / key}" for key in ("root", "cache_folder")]
    assert main([*SMALL, *settings, *folders]) == 0
    printed = capsys.readouterr().out
    assert "initial weights: random" in printed
    assert "AUROC, good vs. defect: 0." in printed
    assert "n=45" in printed  # every image, whatever the split would have made of it
    found = re.search(r"accuracy on defects: 0\.\d+ \(.*\), n=25", printed)
    assert bool(found) == ("accuracy on defects" in printed) == (network != "binary")


def test_a_run_without_measurable_initial_weights_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [*SMALL[2:], *SMALL_NETWORK, "data=mvtec", f"data.root={tmp_path / 'nowhere'}"]
    for settings, expected in (
        (missing, "nowhere"),
        ([*SMALL, "model=autoencoder"], "Expected a classifier or model=unet"),
    ):
        assert main(settings) == 1
        assert expected in capsys.readouterr().err


def test_a_trial_is_lost_where_it_has_a_fault() -> None:
    trials = [
        kill_loop.Trial("predict", ["0.5 s"], recovered=kill_loop.SAME),
        kill_loop.Trial("predict", ["operation 3", "0.1 s"], kill_loop.RESUMED, "a.csv differs"),
        kill_loop.Trial("compare"),
    ]
    header, predict, compare, total, kills = kill_loop.table(trials).splitlines()
    assert header.split("  ")[0] == "command"
    assert predict.split() == ["predict", "2", "2", "0", "1", "1", "0", "1", "1"]
    assert compare.split() == ["compare", "1", "0", "1", "0", "0", "0", "1", "0"]
    assert total.split() == ["all", "3", "2", "1", "1", "1", "0", "2", "1"]
    assert kills == "3 kills in 3 trials"
    shares = kill_loop.share_trials(8, ["a", "b", "c"])
    assert shares == {"a": 3, "b": 3, "c": 2}


def test_files_are_compared_without_times_messages_and_unfinished_files(tmp_path: Path) -> None:
    for name, seconds in (("one", "0.123"), ("other", "4.567")):
        run = tmp_path / name
        (run / "figures" / f".{seconds}.part").mkdir(parents=True)
        (run / "train.log").write_text(seconds)
        (run / f"events.out.tfevents.{seconds}").write_text(seconds)
        (run / "metrics.csv").write_text(f"epoch,step,seconds,val/loss\n0,3,{seconds},0.250\n")
        record = {
            "status": "finished",
            "training_time_s": seconds,
            "command": ["train.py", seconds],
        }
        (run / "run.json").write_text(json.dumps(record, indent=2))
        torch.save({"rows": [{"seconds": seconds, "loss": torch.ones(2)}]}, run / "last.ckpt")
    one, other = tmp_path / "one", tmp_path / "other"
    found = normalised_content(one)
    assert found == normalised_content(other)
    assert sorted(found) == ["last.ckpt", "metrics.csv", "run.json"]
    torch.save({"rows": [{"seconds": "1", "loss": torch.zeros(2)}]}, other / "last.ckpt")
    (other / "metrics.csv").write_text("epoch,step,seconds,val/loss\n0,3,0.123,0.251\n")
    (other / "run.json").write_text((other / "run.json").read_text().replace("finished", "failed"))
    changed = normalised_content(other)
    assert all(found[name] != changed[name] for name in found)


def test_a_power_cut_may_cut_only_what_is_appended_to_or_has_no_name_yet(tmp_path: Path) -> None:
    for name in ("run.json", "train.log", "run.lock", "predictions.jsonl", ".run.json.x.part"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".export.x.part").mkdir()
    (tmp_path / ".export.x.part" / "model.onnx").write_text("half")
    assert power_cut.named_content(tmp_path) == {"run.json": b"run.json"}


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """Of all commands but the parallel sweep, whose processes take long to begin."""
    command = [sys.executable, "-m", "benchmarks.kill_loop", "--trials", "110", "--jobs", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, total, kills = done.stdout.splitlines()
    assert total.split()[-2:] == ["110", "0"]
    assert int(kills.split()[0]) >= 100, done.stdout
    assert set(make_cases(tmp_path, tmp_path)) - {"parallel"} <= set(done.stdout.split())
