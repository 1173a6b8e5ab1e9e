"""Grouping runs into models, and the names of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_runs import write_classification_run
from sample_segmentation_runs import write_offset_segmentation_run

from capsule_inspection.reports.comparison.run_groups import group_runs
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import RunError


def model_names(
    folder: Path, *settings: dict[str, Any], write=write_classification_run
) -> list[str]:
    """Names of the models of runs that differ in seed and settings."""
    runs = [write(folder / f"{seed}", seed=seed, settings=of) for seed, of in enumerate(settings)]
    return [
        result.name for result in group_runs([read_run(folder / f"{n}") for n in range(len(runs))])
    ]


@pytest.mark.parametrize(
    ("units", "shape", "dropped"),
    [
        ([(s, f) for s in (0, 1) for f in range(3)], (2, 90), 0),
        ([(0, 0), (0, 1), (1, 0)], (2, 30), 30),  # a fold that one seed lacks
    ],
)
def test_runs_that_differ_in_fold_and_seed_only_are_one_model(
    tmp_path, units, shape, dropped
) -> None:
    runs = [
        read_run(
            write_classification_run(
                tmp_path / f"{s}{f}", seed=s, fold=f, images=30, first_image=100 * f
            )
        )
        for s, f in units
    ]
    (model,) = group_runs(runs)
    assert model.name == "custom_resnet"
    assert model.seeds == (0, 1)
    assert model.predicted_labels.shape == shape
    assert len(set(model.image_ids.tolist())) == shape[1]
    assert model.num_dropped == dropped


def test_only_settings_that_matter_make_other_models(tmp_path) -> None:
    lone = ["custom_resnet"]
    for number, settings in enumerate(
        (
            [{"data": {"root": f"/{n}"}, "trainer": {"threads": n}} for n in range(2)],
            [{"task": {"full_image_from": start}} for start in (0, 0.0)],
        )
    ):
        assert model_names(tmp_path / f"{number}", *settings) == lone
    rates = [{"optimizer": {"lr": lr, "eps": 1e-8}} for lr in (0.1, 0.2)]
    names = model_names(tmp_path / "rates", *rates)
    assert names == ["custom_resnet, lr=0.1", "custom_resnet, lr=0.2"]


def test_two_runs_of_one_name_fold_and_seed_stay_apart(tmp_path) -> None:
    runs = [read_run(write_classification_run(tmp_path / name)) for name in ("a", "b")]
    assert [result.name for result in group_runs(runs)] == ["custom_resnet", "custom_resnet (2)"]


def test_a_run_copied_from_elsewhere_pools_with_the_rest_and_correct_is_a_fraction_of_seeds(
    tmp_path,
) -> None:
    here = write_classification_run(tmp_path / "a", seed=0, wrong=(0, 1))
    there = write_classification_run(tmp_path / "b", seed=1, wrong=(0,))
    record = json.loads((there / "run.json").read_text())
    record["data"]["root"] = "/elsewhere"
    (there / "run.json").write_text(json.dumps(record))
    (model,) = group_runs([read_run(here), read_run(there)])
    np.testing.assert_allclose(model.fraction_correct[:3], [0.0, 0.5, 1.0])


def test_equal_files_are_two_images_and_scores_that_are_not_finite_are_refused(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", images=12)
    path = folder / "predictions.csv"
    text = path.read_text()
    path.write_text(text.replace(f"{1:064x}", f"{0:064x}"))
    (model,) = group_runs([read_run(folder)])
    assert len(set(model.image_ids.tolist())) == 12

    lines = text.splitlines()
    cells = lines[3].split(",")
    cells[7] = "nan"
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    with pytest.raises(RunError, match="1 of 12 scores"):
        group_runs([read_run(folder)])


def test_loss_weights_stand_in_the_names_and_fractions_of_the_data_once(tmp_path) -> None:
    weights = [
        {"model": {"encoder": "resnet18"}, "task": {"loss_weights": {"dice": dice, "focal": 0.0}}}
        for dice in (0.5, 1.0)
    ]
    names = model_names(tmp_path / "weights", *weights, write=write_offset_segmentation_run)
    assert names == ["unet, loss_weights.dice=0.5", "unet, loss_weights.dice=1.0"]
    fractions = [
        {"task": {"synthetic_defects": value}, "data": {"synthetic_defects": value}}
        for value in (0.2, 0.4)
    ]
    names = model_names(tmp_path / "fractions", *fractions, write=write_offset_segmentation_run)
    assert names == ["unet, synthetic_defects=0.2", "unet, synthetic_defects=0.4"]


def test_names_have_the_encoder_where_other_architectures_have_another(tmp_path) -> None:
    def names(*encoders: str) -> list[str]:
        folder = tmp_path / " ".join(encoders)
        runs = [
            write_offset_segmentation_run(
                folder / architecture,
                model=architecture,
                settings={"model": {"encoder": encoder, "architecture": architecture}},
            )
            for architecture, encoder in zip(("unet", "fpn"), encoders, strict=True)
        ]
        return [
            result.name
            for result in group_runs(
                [*runs, read_run(write_classification_run(folder / "classifier"))]
            )
        ]

    assert names("resnet18", "resnet18") == ["unet", "fpn", "custom_resnet"]
    assert names("resnet18", "atto") == [
        "unet, encoder=resnet18",
        "fpn, encoder=atto",
        "custom_resnet",
    ]
