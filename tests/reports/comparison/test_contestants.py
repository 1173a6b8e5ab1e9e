from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_segmentation_run

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.run_folder import read_run


def test_runs_that_differ_in_fold_and_seed_only_are_one_contestant(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{s}{f}", seed=s, fold=f, images=30, first_image=100 * f))
        for s in (0, 1)
        for f in range(3)
    ]
    (contestant,) = gather(runs)
    assert contestant.name == "custom_resnet"
    assert contestant.seeds == (0, 1)
    assert contestant.prediction.shape == (2, 90)
    assert len(set(contestant.image.tolist())) == 90


def test_other_settings_make_other_contestants_named_by_what_differs(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{n}", settings={"optimizer": {"lr": lr, "eps": 1e-8}}))
        for n, lr in enumerate((0.1, 0.2))
    ]
    assert [one.name for one in gather(runs)] == ["custom_resnet, lr=0.1", "custom_resnet, lr=0.2"]


def test_machine_and_place_of_the_data_make_no_other_contestant(tmp_path: Path) -> None:
    runs = [
        read_run(
            draw_run(
                tmp_path / f"{n}",
                seed=n,
                settings={"data": {"root": f"/{n}"}, "trainer": {"threads": n}},
            )
        )
        for n in range(2)
    ]
    assert len(gather(runs)) == 1


def test_whole_numbers_of_two_types_make_no_other_contestant(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{n}", seed=n, settings={"task": {"whole_from": start}}))
        for n, start in enumerate((0, 0.0))
    ]
    assert len(gather(runs)) == 1


def test_a_setting_that_did_nothing_and_is_gone_makes_no_other_contestant(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{n}", seed=n, settings={"callbacks": {"ema": ema}}))
        for n, ema in enumerate(({"decay": 0.9}, {"decay": 0.9, "start_epoch": 2}))
    ]
    assert len(gather(runs)) == 1


def test_two_runs_of_one_name_fold_and_seed_stay_apart(tmp_path: Path) -> None:
    runs = [read_run(draw_run(tmp_path / name)) for name in ("a", "b")]
    assert [one.name for one in gather(runs)] == ["custom_resnet", "custom_resnet (2)"]


def test_a_seed_that_lacks_a_fold_leaves_the_images_that_all_seeds_have(tmp_path: Path) -> None:
    units = [(0, 0), (0, 1), (1, 0)]
    runs = [
        read_run(draw_run(tmp_path / f"{s}{f}", seed=s, fold=f, images=30, first_image=100 * f))
        for s, f in units
    ]
    (contestant,) = gather(runs)
    assert contestant.prediction.shape == (2, 30)
    assert contestant.dropped == 30


def test_correct_is_the_share_of_seeds(tmp_path: Path) -> None:
    runs = [
        read_run(draw_run(tmp_path / f"{s}", seed=s, wrong=wrong))
        for s, wrong in enumerate(((0, 1), (0,)))
    ]
    (contestant,) = gather(runs)
    np.testing.assert_allclose(contestant.correct[:3], [0.0, 0.5, 1.0])


def test_equal_files_are_two_images(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "a", images=12)
    path = folder / "predictions.csv"
    text = path.read_text().replace(f"{1:064x}", f"{0:064x}")
    path.write_text(text)
    (contestant,) = gather([read_run(folder)])
    assert len(set(contestant.image.tolist())) == 12


def test_a_run_copied_from_another_machine_pools_with_the_rest(tmp_path: Path) -> None:
    here = draw_run(tmp_path / "a", seed=0)
    there = draw_run(tmp_path / "b", seed=1)
    record = json.loads((there / "run.json").read_text())
    record["data"]["root"] = "/elsewhere"
    (there / "run.json").write_text(json.dumps(record))
    assert len(gather([read_run(here), read_run(there)])) == 1


def test_scores_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "a", images=12)
    path = folder / "predictions.csv"
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    cells[7] = "nan"
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    with pytest.raises(RunError, match="1 of 12 scores"):
        gather([read_run(folder)])


def test_encoder_and_weights_of_the_loss_stand_in_the_names(tmp_path: Path) -> None:
    changed: list[dict[str, Any]] = [
        {"model": {"encoder": "resnet18"}, "task": {"loss_weights": {"dice": 0.5, "focal": 0.0}}},
        {"model": {"encoder": "resnet18"}, "task": {"loss_weights": {"dice": 1.0, "focal": 0.0}}},
    ]
    runs = [
        draw_segmentation_run(tmp_path / f"{n}", settings=settings)
        for n, settings in enumerate(changed)
    ]
    assert [one.name for one in gather(runs)] == [
        "unet, loss_weights.dice=0.5",
        "unet, loss_weights.dice=1.0",
    ]


def test_other_architectures_tell_their_encoders_where_those_differ_too(tmp_path: Path) -> None:
    def names(*encoders: str) -> list[str]:
        runs = [
            draw_segmentation_run(
                tmp_path / f"{architecture} {' '.join(encoders)}",
                model=architecture,
                settings={"model": {"encoder": encoder, "architecture": architecture}},
            )
            for architecture, encoder in zip(("unet", "fpn"), encoders, strict=True)
        ]
        return [one.name for one in gather([*runs, read_run(draw_run(tmp_path / encoders[1]))])]

    assert names("resnet18", "resnet18") == ["unet", "fpn", "custom_resnet"]
    assert names("resnet18", "atto") == [
        "unet, encoder=resnet18",
        "fpn, encoder=atto",
        "custom_resnet",
    ]


def test_shares_that_data_takes_up_are_told_once(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(
            tmp_path / f"{share}", settings={"task": {"painted": share}, "data": {"painted": share}}
        )
        for share in (0.2, 0.4)
    ]
    assert [one.name for one in gather(runs)] == ["unet, painted=0.2", "unet, painted=0.4"]
