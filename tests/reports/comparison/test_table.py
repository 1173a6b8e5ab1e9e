"""The table of predictions of each model: which runs are one model, which images count, groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparisons import with_groups
from sample_anomaly_runs import write_one_class_folds
from sample_runs import labels_of, write_classification_run
from sample_segmentation_runs import (
    change_maps,
    images_of_fold,
    write_offset_segmentation_folds,
    write_offset_segmentation_run,
)

from capsule_inspection.reports.comparison.table import NO_FOLD, read_models
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import IGNORE_INDEX, RunError

DEFECTS, GOOD = 14, 12


def write(folder: Path, **changed) -> RunFolder:
    return read_run(write_classification_run(folder, **changed))


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
        write(tmp_path / f"{s}{f}", seed=s, fold=f, images=30, first_image=100 * f)
        for s, f in units
    ]
    (model,) = read_models(runs)
    assert model.name == "custom_resnet"
    assert model.seeds == (0, 1)
    assert model.folds == tuple(dict.fromkeys(f for _, f in units))
    assert (model.rows["seed"].nunique(), len(model.images)) == shape
    assert len(model.rows) == shape[0] * shape[1]
    assert model.num_dropped == dropped


def test_two_runs_of_one_name_fold_and_seed_stay_apart(tmp_path) -> None:
    models = read_models([write(tmp_path / name) for name in ("a", "b")])
    assert [model.name for model in models] == ["custom_resnet", "custom_resnet (2)"]
    assert models[0].folds == (NO_FOLD,)


def test_seeds_that_share_no_image_are_refused(tmp_path) -> None:
    runs = [write(tmp_path / f"{n}", seed=n, first_image=100 * n) for n in range(2)]
    with pytest.raises(RunError, match="no image is in the test split of all 2 seeds"):
        read_models(runs)


def test_an_image_of_two_folds_counts_once_for_a_seed_as_its_first_run_predicted_it(
    tmp_path,
) -> None:
    runs = [
        write(tmp_path / f"{fold}", fold=fold, images=12, wrong=wrong)
        for fold, wrong in enumerate(((0,), (1,)))
    ]
    (model,) = read_models(runs)
    assert len(model.rows) == 12
    assert model.images["correct"].tolist() == [0.0] + [1.0] * 11


def test_a_run_copied_from_elsewhere_pools_with_the_rest_and_correct_is_a_fraction_of_seeds(
    tmp_path,
) -> None:
    here = write_classification_run(tmp_path / "a", seed=0, wrong=(0, 1))
    there = write_classification_run(tmp_path / "b", seed=1, wrong=(0,))
    record = json.loads((there / "run.json").read_text())
    record["data"]["root"] = "/elsewhere"
    (there / "run.json").write_text(json.dumps(record))
    (model,) = read_models([read_run(here), read_run(there)])
    np.testing.assert_allclose(model.images["correct"][:3], [0.0, 0.5, 1.0])


def test_equal_files_are_two_images_and_scores_that_are_not_finite_are_refused(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", images=12)
    path = folder / "predictions.csv"
    text = path.read_text()
    path.write_text(text.replace(f"{1:064x}", f"{0:064x}"))
    (model,) = read_models([read_run(folder)])
    assert len(model.images) == 12

    lines = text.splitlines()
    column = lines[0].split(",").index("score")
    cells = lines[3].split(",")
    cells[column] = "nan"
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    with pytest.raises(RunError, match="1 of 12 scores"):
        read_models([read_run(folder)])


def test_all_predictions_of_a_defect_count_without_class_probabilities(tmp_path) -> None:
    runs = write_one_class_folds(tmp_path, skill=1.0)
    (model,) = read_models(runs)

    assert not model.names_defects
    assert len(model.rows) == 5 * (GOOD + DEFECTS)
    images = model.images
    assert len(images) == 5 * GOOD + DEFECTS
    rejected = np.mean([run.images_of("test")["predicted_defect"][GOOD:] for run in runs], axis=0)
    assert 0 < rejected[0] < 1
    np.testing.assert_allclose(images.loc[images["is_defect"], "rejected"], rejected)
    good = images[~images["is_defect"]]
    np.testing.assert_allclose(good["correct"], 1 - good["rejected"])
    score = runs[2].images_of("test")["score"]
    np.testing.assert_allclose(model.rows_of_run(2)["score"], score)


# --- groups


def pairs_of(index: int) -> str:
    return f"part {index // 2}"


def test_images_of_a_group_in_any_run_are_one_group_for_all_models(tmp_path) -> None:
    grouped = with_groups(write_classification_run(tmp_path / "a", model="a", images=12), pairs_of)
    alone = write(tmp_path / "b", model="b", images=12)
    distinct = write_classification_run(tmp_path / "c", model="c", images=12)
    models = read_models([alone, grouped, with_groups(distinct, lambda index: f"own {index}")])

    for model in models:
        assert model.has_groups
        assert model.images["group"].value_counts().tolist() == [2] * 6
        assert model.images["group"].tolist() == models[0].images["group"].tolist()
    (lone,) = read_models([alone])
    assert not lone.has_groups
    assert lone.images["group"].tolist() == lone.images.index.tolist()


def test_groups_of_other_names_agree_and_groups_of_other_images_do_not_contradict(
    tmp_path,
) -> None:
    first = with_groups(write_classification_run(tmp_path / "a", model="a", images=12), pairs_of)
    other = write_classification_run(tmp_path / "b", model="b", images=12)
    elsewhere = write_classification_run(tmp_path / "c", model="c", images=12, first_image=500)
    models = read_models(
        [
            first,
            with_groups(other, lambda index: f"tray {index // 2}"),
            with_groups(elsewhere, lambda index: f"part {index // 4}"),
        ]
    )
    assert [model.images["group"].nunique() for model in models] == [6, 6, 3]
    assert not set(models[0].images["group"]) & set(models[2].images["group"])


def test_groups_that_contradict_each_other_are_refused_and_both_runs_are_named(tmp_path) -> None:
    first = with_groups(write_classification_run(tmp_path / "a", model="a", images=12), pairs_of)
    other = write_classification_run(tmp_path / "b", model="b", images=12)
    second = with_groups(other, lambda index: "both" if index in (3, 7) else "")
    with pytest.raises(RunError, match="groups contradict those of") as error:
        read_models([first, second])
    assert str(first.path) in str(error.value)
    assert str(second.path) in str(error.value)


# --- masks


def test_mask_counts_have_a_matrix_for_each_seed_and_image(tmp_path) -> None:
    runs = [
        write_offset_segmentation_run(tmp_path / f"{seed}", seed=seed, offset=seed)
        for seed in range(2)
    ]
    (model,) = read_models(runs)
    counts = model.mask_counts
    assert counts is not None
    assert counts.is_complete
    assert counts.counts.shape == (2, 20, 3, 3)
    assert (counts.counts.sum(axis=(2, 3)) == 400).all()
    numbers, labels = images_of_fold(0)
    defect = counts.counts[0, :, 1:].sum(axis=(1, 2)) > 0
    assert model.images["label"].tolist() == [model.classes[label] for label in labels]
    np.testing.assert_array_equal(defect, labels > 0)
    (named,) = read_models([write(tmp_path / "named", label=labels_of(len(numbers)))])
    assert named.mask_counts is None


def test_predictions_on_ignored_pixels_do_not_count(tmp_path) -> None:
    (run,) = write_offset_segmentation_folds(tmp_path, folds=1)
    rows = (slice(None), slice(0, 5))

    def counts() -> np.ndarray:
        (model,) = read_models([run])
        assert model.mask_counts is not None
        return model.mask_counts.counts

    whole = counts()
    change_maps(run.path, "masks", rows=rows, value=IGNORE_INDEX)
    found = counts()
    assert 0 < found.sum() < whole.sum()
    change_maps(run.path, "predicted_mask", rows=rows, value=1)
    np.testing.assert_array_equal(counts(), found)


def test_masks_with_classes_that_the_run_does_not_have_are_refused_with_advice(tmp_path) -> None:
    runs = write_offset_segmentation_folds(tmp_path, folds=2)
    change_maps(runs[0].path, "predicted_mask", value=9)
    (model,) = read_models(runs)
    with pytest.raises(RunError, match=r"classes that the run does not have.*evaluate\.py"):
        _ = model.mask_counts


@pytest.mark.parametrize("is_there", [False, True])
def test_images_without_a_hash_cannot_be_matched(tmp_path, is_there: bool) -> None:
    folder = write_classification_run(tmp_path / "a")
    table = pd.read_csv(folder / "predictions.csv", dtype=str, keep_default_na=False)
    table["sha256"] = ""
    columns = list(table) if is_there else [name for name in table if name != "sha256"]
    table[columns].to_csv(folder / "predictions.csv", index=False)
    with pytest.raises(RunError, match="expected the SHA-256 of each image"):
        read_models([read_run(folder)])


def test_a_fold_that_is_no_number_is_named(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", settings={"split": {"fold": "first"}})
    with pytest.raises(RunError, match=r"an integer or null as split\.fold, found 'first'"):
        read_models([read_run(folder)])
