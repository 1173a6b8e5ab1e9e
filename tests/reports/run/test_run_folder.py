"""What is read of a run, and what is refused: damaged files, and never unpickled ones."""

import json

import numpy as np
import pandas as pd
import pytest
from quick import accept_changes
from sample_explanations import write_explanations
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.metrics.detection import DEFAULT_TARGET_FPR
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.reports.run.maps import read_maps
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import IGNORE_INDEX, Estimate, RunError

HEADER = "index,split,label,predicted_label,score"


def test_run_folder_is_read_back_with_classes_in_index_order_and_empty_cells_nan(run_folder):
    run = read_run(run_folder)

    assert run.classes == ("good", "007", "膠囊 $x$")
    assert run.record["status"] == "finished"
    assert run.metrics["test/recall/007"] == Estimate(0.0, None, None, 2)
    assert run.stages() == ("val", "test")
    assert run.image_path(20).is_file()
    assert np.isnan(run.epochs["val/loss"].to_numpy()).tolist() == [False, True, False, True]
    assert run.predictions["dice"].isna().all()
    assert not run.has_masks
    assert run.mask_postprocessor is run.threshold is run.maps is run.explanations is None

    images = run.images_of("test")
    assert images["index"].tolist() == [20, 21, 22, 23, 24, 25]
    assert images["label"].tolist() == ["good"] * 3 + ["007"] * 2 + ["膠囊 $x$"]
    assert images["correct"].tolist() == [True, True, False, False, True, True]
    assert images["p_007"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.8, 0.1])
    assert run.score_threshold is None
    assert images["is_defect"].tolist() == [False, False, False, True, True, True]
    assert images["predicted_defect"].tolist() == [False, False, True, False, True, True]


def test_images_of_a_group_are_one_observation_and_others_stand_alone(run_folder):
    assert read_run(run_folder).images_of("test")["observation"].is_unique

    path = run_folder / "predictions.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    # The last image has the number of a group.
    table.loc[table["split"] == "test", "group"] = ["25", "25", "", "a", "a", ""]
    table.to_csv(path, index=False)

    first, second, *others = read_run(run_folder).images_of("test")["observation"]
    assert first == second
    assert others[1] == others[2]
    assert len({first, *others}) == 4


def test_task_follows_from_what_a_run_predicts(run_folder, anomaly_run, segmentation_run):
    tasks = [read_run(folder).task for folder in (run_folder, anomaly_run, segmentation_run)]
    assert tasks == ["classification", "anomaly_detection", "segmentation"]
    named = [read_run(f).names_defects for f in (run_folder, anomaly_run, segmentation_run)]
    assert named == [True, False, True]


def test_class_called_na_stays_a_class_and_a_run_without_epochs_is_read(run_folder):
    path = run_folder / "predictions.csv"
    path.write_text(path.read_text("utf-8").replace("007", "NA"), "utf-8")
    (run_folder / "metrics.csv").unlink()

    run = read_run(run_folder)

    assert run.predictions["label"].tolist().count("NA") == 4
    assert len(run.epochs) == 0


def test_run_without_probabilities_is_read(run_folder):
    (run_folder / "predictions.csv").write_text(f"{HEADER}\n0,test,good,defect,0.5\n")

    run = read_run(run_folder)

    assert run.classes == ()
    assert run.score_threshold is None
    with pytest.raises(RunError, match=r"expected data\.classes"):
        run.images_of("test")


def test_one_class_run_has_scores_and_decisions(anomaly_run):
    run = read_run(anomaly_run)
    images = run.images_of("test")

    assert run.normal_class == "good"
    assert not run.has_masks
    assert run.stages() == ("val", "calibration", "test")
    assert run.score_threshold == 1.0
    assert images["is_defect"].tolist() == [False] * 12 + [True] * 9
    assert images["predicted_defect"].tolist() == [True] + [False] * 11 + [True] * 8 + [False]
    assert images["correct"].tolist() == [False] + [True] * 19 + [False]
    assert len(run.images_of("calibration")) == 20
    assert run.images_of("train").empty
    threshold = run.threshold
    assert (threshold.rule, threshold.good_images, threshold.required_images) == (
        "conformal",
        20,
        9,
    )


def test_threshold_and_scores_that_are_not_as_expected_are_named(anomaly_run):
    record = json.loads((anomaly_run / "run.json").read_text())
    for stored in ({"value": 1.0}, {"value": None, "rule": 3}, {"value": 1.0, "rules": "sigma"}):
        (anomaly_run / "run.json").write_text(json.dumps({**record, "threshold": stored}))
        with pytest.raises(RunError, match="threshold is not as expected"):
            _ = read_run(anomaly_run).threshold

    path = anomaly_run / "predictions.csv"
    path.write_text(path.read_text().replace(",1.2,", ",,"))
    with pytest.raises(RunError, match="1 of 21 scores of test are missing"):
        read_run(anomaly_run).images_of("test")


def test_segmentation_run_has_post_processing_and_its_threshold(tmp_path):
    for binary in (False, True):
        run = read_run(write_segmentation_run(tmp_path / f"{binary}", binary=binary))

        assert run.has_masks
        assert run.mask_postprocessor == MaskPostProcessor(
            0.5, 0.5, 5, good_images=2, defect_images=2
        )
        assert run.score_threshold == 0.5
        assert bool(run.classes) != binary
        assert run.normal_class == "good"
        assert run.target_fpr == DEFAULT_TARGET_FPR


def test_explanations_do_not_make_a_run_one_with_maps(run_folder):
    run = read_run(write_explanations(run_folder, [23]))

    assert run.maps is None
    assert np.array_equal(run.explanations.index, [23])


def test_missing_folder_and_files_and_bytes_that_are_no_text_are_named(run_folder, tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        read_run(tmp_path / "nowhere")
    for name in ("run.json", "metrics.json", "predictions.csv"):
        kept = (run_folder / name).read_bytes()
        (run_folder / name).write_bytes(b"\xff\xfe\x00\x81" * 20)
        with pytest.raises(RunError, match=name):
            read_run(run_folder)
        (run_folder / name).unlink()
        with pytest.raises(RunError, match=rf"{name}: missing.*resume="):
            read_run(run_folder)
        (run_folder / name).write_bytes(kept)
    read_run(run_folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", "[]", "expected an object"),
        ("run.json", "{}", "format_version, found None"),
        ("run.json", '{"format_version": 99}', "Update capsule-inspection"),
        ("metrics.json", '{"test/accuracy": 0.5}', "test/accuracy must hold value, low"),
        ("metrics.json", '{"a": {"value": 1, "low": 0, "high": 1}}', "a must hold"),
        ("metrics.json", '{"a": {"value": NaN, "low": null, "high": null, "n": 1}}', "finite"),
        ("metrics.json", '{"a": {"value": 1, "low": 2, "high": 1, "n": 1}}', "finite numbers"),
        ("metrics.csv", "epoch,val/loss\n0,high\n", "found text in val/loss"),
        ("metrics.csv", "step\n0\n", "column epoch is missing"),
        ("predictions.csv", "", "cannot be read as a table"),
        ("predictions.csv", "index,label\n0,good\n",
         "columns missing: split, predicted_label, score"),
        ("predictions.csv", f"{HEADER},p_good\n0,test,good,bad,0.5,1\n",
         "no column of probabilities for 'bad'; it has good"),
        ("predictions.csv", f"{HEADER},p_good\n0,test,good,good,0.5\n",
         "probabilities are missing or not from 0 to 1 for good"),
        ("predictions.csv", f"{HEADER},p_good\n0,test,good,good,0.5,1.2\n", "from 0 to 1 for good"),
        ("predictions.csv", f"{HEADER},p_good\n0,test,good,good,a lot,1\n",
         "column score must hold numbers"),
        ("predictions.csv", f"{HEADER}\n,test,good,good,0.5\n", "index has empty cells"),
        ("predictions.csv", f"{HEADER}\n1.5,test,good,good,0.5\n", "must hold whole numbers"),
        ("predictions.csv", f"{HEADER}\n" + 2 * "7,test,good,good,0.5\n",
         "image 7 is in split test more than once"),
        ("run.json", '{"format_version": 1, "seed": null}', "whole number as seed, found None"),
        ("run.json", '{"format_version": 1, "data": {"images": 5}}', "as data.images, found 5"),
        ("run.json", '{"format_version": 1, "monitor": "loss"}', "as monitor, found 'loss'"),
        ("run.json", '{"format_version": 1, "data": {"classes": ["good", 3]}}', "texts as data"),
        ("run.json", '{"format_version": 1, "training_time_s": NaN}', "as training_time_s"),
        ("run.json", '{"format_version": 1, "files": {"a": 1}}', "as files"),
        ("run.json", '{"format_version": 1, "seed": 3, "checksum": "0"}', "damaged.*verify=skip"),
        ("run.json", "[" * 100_000, "cannot be read"),
        ("metrics.csv", "epoch,val/loss\n0,1\n,2\n", "numbers of epochs"),
        ("metrics.csv", "epoch,val/loss\n1,1\n0,2\n", "numbers of epochs"),
        ("predictions.csv", f"{HEADER}\n-1,test,good,good,0.5\n", "must hold whole numbers"),
        ("predictions.csv", f"{HEADER}\n1e300,test,good,good,0.5\n", "must hold whole numbers"),
    ],
)  # fmt: skip
def test_broken_file_is_named_with_what_is_wrong(run_folder, name, content, message):
    (run_folder / name).write_text(content)

    with pytest.raises(RunError, match=message) as raised:
        read_run(run_folder)
    assert str(run_folder / name) in str(raised.value)


READ = ("predictions.csv", "metrics.json", "metrics.csv", "config.yaml")


@pytest.mark.parametrize("name", [*READ, "maps.npz"])
def test_a_file_that_is_not_as_it_was_written_is_named(anomaly_run, name):
    (anomaly_run / "config.yaml").write_text("seed: 0\n")
    accept_changes(anomaly_run, files=dict.fromkeys([*READ, "maps.npz"]))
    assert read_run(anomaly_run).maps is not None
    path = anomaly_run / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(RunError, match=f"{name}: damaged or changed.*verify=skip"):
        _ = read_run(anomaly_run).maps
    if name != "maps.npz":
        assert read_run(anomaly_run, verify=False).path == anomaly_run
    path.unlink()
    with pytest.raises(RunError, match=f"{name}: missing.*verify=skip"):
        _ = read_run(anomaly_run).maps


def test_files_without_checksums_are_read(anomaly_run):
    accept_changes(anomaly_run, files={})
    assert read_run(anomaly_run).maps is not None


@pytest.mark.parametrize("split", ["val", "calibration", "test"])
def test_predictions_cut_between_two_lines_of_any_split_are_named(anomaly_run, split):
    path = anomaly_run / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if f",{split}," in line)
    path.write_text("".join(lines[:last] + lines[last + 1 :]))
    with pytest.raises(RunError, match=rf"expected \d+ {split} images.*found \d+"):
        read_run(anomaly_run)


def test_a_label_of_no_class_of_the_record_is_named(anomaly_run):
    path = anomaly_run / "predictions.csv"
    path.write_text(path.read_text().replace(",crack,", ",cr4ck,", 1))
    with pytest.raises(RunError, match=r"expected the classes good, crack, poke.*'cr4ck'"):
        read_run(anomaly_run)


def test_predictions_of_validation_as_test_are_as_many_as_of_validation(run_folder):
    record, path = json.loads((run_folder / "run.json").read_text()), run_folder / "predictions.csv"
    header, *lines = path.read_text("utf-8").splitlines()
    test = [line for line in lines if ",test," in line]
    val = [line.replace(",test,", ",val,") for line in test]
    data = {"images": {"train": 5, "val": 6, "test": 0}}
    changed = {**record, "data": data, "optimistic": True}
    (run_folder / "run.json").write_text(json.dumps(changed))
    path.write_text("\n".join([header, *test, *val]), "utf-8")
    assert len(read_run(run_folder).predictions) == 12
    path.write_text("\n".join([header, *test[1:], *val]), "utf-8")
    with pytest.raises(RunError, match="expected 6 test images"):
        read_run(run_folder)


# --- maps


def arrays(**changed) -> dict[str, np.ndarray]:
    whole = {
        "index": np.array([7, 3]),
        "anomaly_map": np.arange(2 * 4 * 6, dtype=np.float16).reshape(2, 4, 6),
        "masks": np.ones((2, 4, 6), np.uint8),
        "content_box": np.array([[0, 0, 6, 4], [2, 1, 6, 3]], np.int32),
    }
    return {name: array for name, array in {**whole, **changed}.items() if array is not None}


def test_maps_and_masks_are_returned_without_padding(tmp_path):
    path = tmp_path / "maps.npz"
    assert read_maps(path) is None
    np.savez_compressed(path, **arrays())
    maps = read_maps(path)
    assert maps.predicted_mask is None
    assert maps.predicted_mask_of(0) is None

    masks = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)
    np.savez(path, **arrays(masks=masks, predicted_mask=masks + np.uint8(1)))
    maps = read_maps(path)
    row = maps.row_of(3)
    assert maps.map_of(row).tolist() == [[32, 33, 34, 35], [38, 39, 40, 41]]
    assert maps.map_of(row).dtype == np.float32
    assert maps.mask_of(row).shape == (2, 4)
    assert maps.target_mask_of(row).tolist() == [[32, 33, 34, 35], [38, 39, 40, 41]]
    assert maps.predicted_mask_of(row).tolist() == [[33, 34, 35, 36], [39, 40, 41, 42]]
    assert maps.relative_content_box(row) == (2 / 6, 1 / 4, 1.0, 3 / 4)
    assert maps.row_of(8) is None
    assert not maps.has_ignored


def test_ignored_pixels_are_kept_and_are_no_defect(tmp_path):
    masks = np.zeros((2, 4, 6), np.uint8)
    masks[0, :, :2], masks[0, :, 2:], masks[1] = 2, IGNORE_INDEX, IGNORE_INDEX
    np.savez(tmp_path / "maps.npz", **arrays(masks=masks))
    maps = read_maps(tmp_path / "maps.npz")
    assert maps.has_ignored
    assert maps.mask_of(0).tolist() == [[True] * 2 + [False] * 4] * 4
    assert maps.target_mask_of(0).tolist() == masks[0].tolist()
    assert maps.annotated_rows(pd.Series({7: True, 3: True})) == [0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"masks": None}, "no array masks"),
        ({"masks": np.ones((2, 4, 5), np.uint8)}, r"W is 6, found uint8 \(2, 4, 5\)"),
        ({"predicted_mask": np.ones((2, 4, 5), np.uint8)}, r"expected predicted_mask.*\(2, 4, 5\)"),
        ({"predicted_mask": np.ones((1, 4, 6), np.uint8)}, r"T is 2.*found uint8 \(1, 4, 6\)"),
        ({"predicted_mask": np.uint8(1)}, r"predicted_mask of integers.*found uint8 \(\)"),
        ({"predicted_mask": np.ones((2, 4, 6))}, "predicted_mask of integers.*found float64"),
        ({"index": np.array([1, 2, 3])}, r"T is 3"),
        ({"content_box": np.zeros((2, 3), np.int32)}, r"content_box.*found int32 \(2, 3\)"),
        ({"index": np.array([1.0, 2.0])}, "index of integers.*found float64"),
        ({"index": np.array([7, 7])}, "two rows"),
        ({"anomaly_map": np.full((2, 4, 6), np.nan, np.float16)}, "finite numbers in anomaly_map"),
        ({"content_box": np.array([[0, 0, 7, 4]] * 2, np.int32)}, "boxes within 6 x 4"),
        ({"content_box": np.array([[3, 0, 3, 4]] * 2, np.int32)}, "boxes within 6 x 4"),
        ({"index": np.array([{}, {}], dtype=object)}, "cannot be read"),  # never unpickled
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, changed, message):
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays(**changed))

    with pytest.raises(RunError, match=message) as raised:
        read_maps(path)
    assert str(path) in str(raised.value)
    assert "evaluate.py" in str(raised.value)


def test_maps_have_the_size_of_the_network_and_rows_of_known_images_only(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays())
    assert read_maps(path, known={3, 7, 8}, image_size=(4, 6)) is not None
    with pytest.raises(RunError, match=r"shape \(T <= 2, 8, 6\), where T is 2, found float16"):
        read_maps(path, known={3, 7}, image_size=(8, 6))
    with pytest.raises(RunError, match="a row is of no image of the test split"):
        read_maps(path, known={3, 4, 5})
    with pytest.raises(RunError, match=r"index of integers and shape \(T <= 1\)"):
        read_maps(path, known={3})


def test_damaged_maps_are_named_when_they_are_needed_and_not_before(anomaly_run):
    path = anomaly_run / "maps.npz"
    whole = path.read_bytes()
    for damage in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damage)
        run = read_run(anomaly_run)
        with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
            _ = run.maps


def test_predictions_that_are_cut_short_between_two_lines_are_noticed(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", images=12)
    lines = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    for kept in (6, 1):
        (folder / "predictions.csv").write_text("".join(lines[:kept]))
        with pytest.raises(RunError, match=f"expected 12 test images, .*; found {kept - 1}"):
            read_run(folder)
