"""Which runs are one model, and what a model is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_segmentation_run

from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.types import RunError


def names_of(folder: Path, *settings: dict[str, Any], draw=draw_run) -> list[str]:
    """Of runs that differ in seed and settings."""
    runs = [draw(folder / f"{seed}", seed=seed, settings=of) for seed, of in enumerate(settings)]
    return [one.name for one in gather([read_run(folder / f"{n}") for n in range(len(runs))])]


@pytest.mark.parametrize(
    ("units", "shape", "dropped"),
    [
        ([(s, f) for s in (0, 1) for f in range(3)], (2, 90), 0),
        ([(0, 0), (0, 1), (1, 0)], (2, 30), 30),  # a fold that one seed lacks
    ],
)
def test_runs_that_differ_in_fold_and_seed_only_are_one_contestant(
    tmp_path, units, shape, dropped
) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{s}{f}", seed=s, fold=f, images=30, first_image=100 * f))
        for s, f in units
    ]
    (contestant,) = gather(runs)
    assert contestant.name == "custom_resnet"
    assert contestant.seeds == (0, 1)
    assert contestant.prediction.shape == shape
    assert len(set(contestant.image.tolist())) == shape[1]
    assert contestant.dropped == dropped


def test_only_settings_that_matter_make_other_contestants(tmp_path) -> None:
    lone = ["custom_resnet"]
    for number, settings in enumerate(
        (
            [{"data": {"root": f"/{n}"}, "trainer": {"threads": n}} for n in range(2)],
            [{"task": {"whole_from": start}} for start in (0, 0.0)],
            [{"callbacks": {"ema": {"decay": 0.9, **more}}} for more in ({}, {"start_epoch": 2})],
        )
    ):
        assert names_of(tmp_path / f"{number}", *settings) == lone
    rates = [{"optimizer": {"lr": lr, "eps": 1e-8}} for lr in (0.1, 0.2)]
    told = names_of(tmp_path / "rates", *rates)
    assert told == ["custom_resnet, lr=0.1", "custom_resnet, lr=0.2"]


def test_two_runs_of_one_name_fold_and_seed_stay_apart(tmp_path) -> None:
    runs = [read_run(draw_run(tmp_path / name)) for name in ("a", "b")]
    assert [one.name for one in gather(runs)] == ["custom_resnet", "custom_resnet (2)"]


def test_a_run_copied_from_elsewhere_pools_with_the_rest_and_correct_is_the_share_of_seeds(
    tmp_path,
) -> None:
    here = draw_run(tmp_path / "a", seed=0, wrong=(0, 1))
    there = draw_run(tmp_path / "b", seed=1, wrong=(0,))
    record = json.loads((there / "run.json").read_text())
    record["data"]["root"] = "/elsewhere"
    (there / "run.json").write_text(json.dumps(record))
    (contestant,) = gather([read_run(here), read_run(there)])
    np.testing.assert_allclose(contestant.correct[:3], [0.0, 0.5, 1.0])


def test_equal_files_are_two_images_and_scores_that_are_no_numbers_are_refused(tmp_path) -> None:
    folder = draw_run(tmp_path / "a", images=12)
    path = folder / "predictions.csv"
    text = path.read_text()
    path.write_text(text.replace(f"{1:064x}", f"{0:064x}"))
    (contestant,) = gather([read_run(folder)])
    assert len(set(contestant.image.tolist())) == 12

    lines = text.splitlines()
    cells = lines[3].split(",")
    cells[7] = "nan"
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    with pytest.raises(RunError, match="1 of 12 scores"):
        gather([read_run(folder)])


def test_weights_of_the_loss_stand_in_the_names_and_shares_of_the_data_once(tmp_path) -> None:
    weights = [
        {"model": {"encoder": "resnet18"}, "task": {"loss_weights": {"dice": dice, "focal": 0.0}}}
        for dice in (0.5, 1.0)
    ]
    told = names_of(tmp_path / "weights", *weights, draw=draw_segmentation_run)
    assert told == ["unet, loss_weights.dice=0.5", "unet, loss_weights.dice=1.0"]
    shares = [{"task": {"painted": share}, "data": {"painted": share}} for share in (0.2, 0.4)]
    told = names_of(tmp_path / "shares", *shares, draw=draw_segmentation_run)
    assert told == ["unet, painted=0.2", "unet, painted=0.4"]


def test_other_architectures_tell_their_encoders_where_those_differ_too(tmp_path) -> None:
    def names(*encoders: str) -> list[str]:
        folder = tmp_path / " ".join(encoders)
        runs = [
            draw_segmentation_run(
                folder / architecture,
                model=architecture,
                settings={"model": {"encoder": encoder, "architecture": architecture}},
            )
            for architecture, encoder in zip(("unet", "fpn"), encoders, strict=True)
        ]
        return [one.name for one in gather([*runs, read_run(draw_run(folder / "classifier"))])]

    assert names("resnet18", "resnet18") == ["unet", "fpn", "custom_resnet"]
    assert names("resnet18", "atto") == [
        "unet, encoder=resnet18",
        "fpn, encoder=atto",
        "custom_resnet",
    ]
