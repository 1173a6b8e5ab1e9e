"""Which settings make other models, and the names of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample_runs import write_classification_run
from sample_segmentation_runs import write_offset_segmentation_run

from capsule_inspection.reports.comparison.settings import model_names as names_of
from capsule_inspection.reports.comparison.table import read_models
from capsule_inspection.reports.run.run_folder import read_run


def model_names(
    folder: Path, *settings: dict[str, Any], write=write_classification_run
) -> list[str]:
    """Names of the models of runs that differ in seed and settings."""
    runs = [write(folder / f"{seed}", seed=seed, settings=of) for seed, of in enumerate(settings)]
    return [
        model.name for model in read_models([read_run(folder / f"{n}") for n, _ in enumerate(runs)])
    ]


def test_only_settings_that_matter_make_other_models(tmp_path) -> None:
    lone = ["custom_resnet"]
    for number, settings in enumerate(
        (
            [{"data": {"root": f"/{n}"}, "trainer": {"threads": n}} for n in range(2)],
            [{"task": {"full_image_from": start}} for start in (0, 0.0)],
            [{"compare": {"primary": metric, "margin": 0.1}} for metric in (None, "accuracy")],
        )
    ):
        assert model_names(tmp_path / f"{number}", *settings) == lone
    rates = [{"optimizer": {"lr": lr, "eps": 1e-8}} for lr in (0.1, 0.2)]
    names = model_names(tmp_path / "rates", *rates)
    assert names == ["custom_resnet, lr=0.1", "custom_resnet, lr=0.2"]


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
        classifier = read_run(write_classification_run(folder / "classifier"))
        return [model.name for model in read_models([*runs, classifier])]

    assert names("resnet18", "resnet18") == ["unet", "fpn", "custom_resnet"]
    assert names("resnet18", "atto") == [
        "unet, encoder=resnet18",
        "fpn, encoder=atto",
        "custom_resnet",
    ]


def test_models_of_other_tasks_need_no_encoder_in_their_names() -> None:
    models = [
        {"model.name": name, "task.name": task, "model.encoder": encoder}
        for name, task, encoder in (
            ("unet", "segmentation", "autoencoder"),
            ("patchcore", "anomaly_detection", "resnet18"),
        )
    ]
    assert names_of(models) == ["unet", "patchcore"]


def test_a_name_is_one_line(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a", model="two\n\nlines"))
    assert [model.name for model in read_models([run])] == ["two lines"]
