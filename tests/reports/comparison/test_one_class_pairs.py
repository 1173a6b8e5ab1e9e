"""One-class runs against each other and against classifiers, on predictions made to order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_anomaly_runs import draw_folds, draw_one_class_run
from drawn_runs import draw_run, labels_of

from capsule_inspection.metrics.paired import corrected_resampled_t
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.reports.comparison.writing import compare
from capsule_inspection.reports.run_folder import RunFolder, read_run

KFOLD = labels_of(30)


def verdict_of(runs: Sequence[RunFolder]) -> Verdict:
    (verdict,) = compare(runs).verdicts
    return verdict


def areas(runs: Sequence[RunFolder]) -> np.ndarray:
    return np.array([run.figures["test/auroc"].value for run in runs])


def kfold_images(fold: int) -> tuple[np.ndarray, np.ndarray]:
    return 100 * fold + np.arange(30), KFOLD


def classifier_folds(folder: Path) -> list[RunFolder]:
    return [
        read_run(
            draw_run(folder / f"classifier{fold}", model="resnet", fold=fold, label=KFOLD,
                     first_image=100 * fold, wrong=(fold, 22, 25))
        )
        for fold in range(5)
    ]  # fmt: skip


def one_class_kfold(folder: Path, *, offset: float = 0.0) -> list[RunFolder]:
    """An autoencoder on the folds of a classifier, each fold's scores higher by `offset`."""
    return [
        draw_one_class_run(
            folder / f"{offset} {fold}",
            fold=fold,
            images=kfold_images(fold),
            offset=offset * fold,
            settings={"split": {"name": "kfold", "fold": fold, "folds": 5}},
            skill=1.5,
        )
        for fold in range(5)
    ]


def test_two_one_class_models_are_compared_within_folds(tmp_path: Path) -> None:
    better = draw_folds(tmp_path, model="better", skill=2.5)
    worse = draw_folds(tmp_path, model="worse", skill=0.5)
    verdict = verdict_of([*better, *worse])

    assert set(verdict.differences) == {"auroc", "defects_missed", "good_rejected"}
    assert verdict.differences["auroc"].value == pytest.approx(
        np.mean(areas(better) - areas(worse))
    )
    assert verdict.differences["auroc"].test == "paired bootstrap within folds"
    assert verdict.images == verdict.differences["auroc"].n == 5 * 12 + 14
    assert verdict.differences["defects_missed"].n == 14
    assert verdict.differs("auroc")
    assert verdict.differs("defects_missed")
    assert "better is better in AUROC and defects missed" in words.headline(verdict)


def test_equal_one_class_models_are_not_told_apart(tmp_path: Path) -> None:
    runs = [*draw_folds(tmp_path, model="a"), *draw_folds(tmp_path, model="b", offset=7.0)]
    verdict = verdict_of(runs)

    assert "not distinguishable on these 74 images" in words.headline(verdict)
    assert verdict.differences["auroc"].value == 0


def test_a_defect_of_five_folds_is_one_image_of_a_test(tmp_path: Path) -> None:
    """One of 14 defects more is missed by all five models: five judgements, but one photograph."""
    runs = [*draw_folds(tmp_path, model="a", skill=9), *draw_folds(tmp_path, model="b", skill=9)]
    for run in runs[5:]:
        path = run.path / "predictions.csv"
        lines = path.read_text().splitlines()
        lines[-1] = lines[-1].replace(",defect,", ",good,")
        path.write_text("\n".join(lines) + "\n")
    verdict = verdict_of([read_run(run.path) for run in runs])

    assert verdict.differences["defects_missed"].value == pytest.approx(-1 / 14)
    assert verdict.differences["defects_missed"].p_value == 1.0


def test_folds_of_one_class_models_say_whether_it_holds_when_trained_anew(tmp_path: Path) -> None:
    better, worse = (draw_folds(tmp_path, model=m, skill=s) for m, s in (("a", 2.5), ("b", 0.5)))
    verdict = verdict_of([*better, *worse])

    assert verdict.retrained is not None
    found = verdict.retrained["auroc"]
    # Of 26 test images 14 defects are in every fold: 12 change with the fold.
    expected = corrected_resampled_t(areas(better) - areas(worse), test_images=12, train_images=40)
    assert (found.trainings, found.always_tested) == (5, 14)
    assert found.difference.low == pytest.approx(expected.low)
    assert any("of other defects this says nothing" in line for line in words.details(verdict))


def test_a_classifier_and_a_one_class_model_share_kfold_images(tmp_path: Path) -> None:
    named, anomaly = classifier_folds(tmp_path), one_class_kfold(tmp_path)
    verdict = verdict_of([*named, *anomaly])

    assert verdict.images == 150
    assert set(verdict.differences) == {"auroc", "defects_missed", "good_rejected"}
    assert verdict.differences["auroc"].value == pytest.approx(
        np.mean(areas(named) - areas(anomaly))
    )
    assert verdict.retrained is not None
    assert verdict.retrained["auroc"].always_tested == 0


def test_scores_of_folds_are_not_pooled_against_a_classifier(tmp_path: Path) -> None:
    named = classifier_folds(tmp_path)
    plain, moved = (
        verdict_of([*named, *one_class_kfold(tmp_path, offset=offset)]) for offset in (0.0, 50.0)
    )
    assert moved.differences == plain.differences


def test_seeds_that_differ_in_number_are_averaged_within_folds(tmp_path: Path) -> None:
    two = [
        run
        for seed in range(2)
        for run in draw_folds(tmp_path / f"{seed}", model="a", seed=seed, skill=2.0, folds=3)
    ]
    one = draw_folds(tmp_path, model="b", skill=1.0, folds=3)
    verdict = verdict_of([*two, *one])

    mean = areas(two).reshape(2, 3).mean(axis=0)
    assert verdict.differences["auroc"].value == pytest.approx(np.mean(mean - areas(one)))


def test_single_runs_of_other_seeds_are_compared_on_what_they_share(tmp_path: Path) -> None:
    images = (np.arange(30), KFOLD)
    runs = [
        draw_one_class_run(tmp_path / model, model=model, seed=seed, fold=None, images=images)
        for seed, model in enumerate("ab")
    ]
    verdict = verdict_of(runs)

    assert verdict.differences["auroc"].value == pytest.approx(areas(runs)[0] - areas(runs)[1])


def test_one_class_models_of_different_folds_are_refused_in_words(tmp_path: Path) -> None:
    runs = [
        draw_one_class_run(tmp_path / model, model=model, fold=fold)
        for fold, model in enumerate("ab")
    ]
    verdict = verdict_of(runs)

    assert verdict.differences == {}
    assert "share no good images" in words.details(verdict)[0]
    assert "split.fold" in words.details(verdict)[0]


def test_without_a_fold_that_both_have_auroc_is_left_out_in_words(tmp_path: Path) -> None:
    whole = draw_one_class_run(
        tmp_path / "holdout", model="b", fold=None, images=(np.arange(60), labels_of(60, good=40))
    )
    parts = [
        draw_one_class_run(
            tmp_path / f"{fold}", model="a", fold=fold,
            images=(np.arange(60)[fold::2], labels_of(60, good=40)[fold::2]),
        )
        for fold in range(2)
    ]  # fmt: skip
    verdict = verdict_of([*parts, whole])

    assert set(verdict.differences) == {"defects_missed", "good_rejected"}
    assert any(line.startswith("AUROC is not compared: a has") for line in words.details(verdict))


def test_other_partitions_are_compared_on_what_a_fold_shares(tmp_path: Path) -> None:
    """The second tests half of each fold's good images and other ones."""
    first = draw_folds(tmp_path, model="a", folds=2)
    label = np.array([0] * 12 + [1] * 14)
    second = [
        draw_one_class_run(
            tmp_path / f"b{fold}", model="b", fold=fold,
            images=(np.append(12 * fold + np.r_[:6, 500:506], 1000 + np.arange(14)), label),
        )
        for fold in range(2)
    ]  # fmt: skip
    verdict = verdict_of([*first, *second])

    assert verdict.differences["auroc"].n == 2 * 6 + 14
    assert verdict.retrained is None
