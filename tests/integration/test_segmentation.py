"""Segmentation: training data, run folder, predictions, and refused settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from agreement import (
    check_agreement,
    check_resumed,
    evaluate,
    metrics_of_test,
    page_model,
    predict_test_images,
    rows_of_test,
)
from built import Compose, Prepare, drawn_in, evaluate_made, preparing
from omegaconf import OmegaConf
from quick import (
    QUICK_DATA,
    UNET,
    accept_changes,
    check_error,
    draw,
    draw_mask,
    draw_mvtec,
    metrics_of,
    record_of,
    rows_of,
)
from scipy import ndimage
from small import SMALL, Cli

from capsule_inspection.data.given_split import from_manifest
from capsule_inspection.data.manifest import write_split_csv
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationModule
from capsule_inspection.types import (
    ConfigurationError,
    DataError,
    InspectionError,
    WeightsError,
)
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.load_run import load_predictor

NOTHING_SHOWN = ("data.defect_fraction=0", "data.synthetic_defects=0", "data.copy_paste=0")


@pytest.fixture
def prepare(compose: Compose, drawn_folder: Path, tmp_path: Path) -> Prepare:
    """A small training on drawn capsules made ready: `prepare("split=holdout")`."""
    return preparing(compose, tmp_path / "ready", *SMALL, *UNET, *drawn_in(drawn_folder))


@pytest.fixture
def noise(tmp_path: Path) -> tuple[str, ...]:
    """Settings of a training on noise images, all but where these are."""
    own = ("task.crop_size=null", f"data.cache_folder={tmp_path / 'cache'}")
    return (*QUICK_DATA, *UNET, *own)


def test_a_run_holds_masks_thresholds_metrics_and_a_page(unet_home: Path) -> None:
    run = unet_home / "run"
    rows = rows_of(run)
    assert {row["split"] for row in rows} == {"val", "test"}
    assert {"p_good", "p_crack", "dice", "iou", "threshold"} <= rows[0].keys()
    for row in rows:
        assert sum(float(row[name]) for name in row if name.startswith("p_")) == pytest.approx(1)
        assert bool(row["dice"]) == (row["label"] != "good")
    known = {"iou_global/crack", "dice_samplewise/poke", "mean_iou_global", "pixel_auroc"}
    known |= {"binary_dice_global", "aupro", "defect_hit_rate", "pixel_fpr"}
    known |= {"auroc", "accuracy", "balanced_accuracy", "tpr_at_fpr"}
    known |= {"pointing_game", "pointing_game_chance", "pointing_game/crack"}
    figures = metrics_of(run)
    assert known <= {key.removeprefix("test/") for key in figures}
    assert not any(key.startswith("val/") for key in figures)  # they chose the decision
    decision = record_of(run)["mask_postprocessing"]
    assert decision["good_images"] > 0
    assert decision["defect_images"] > 0
    assert (run / "report.html").is_file()
    assert (run / "figures" / "examples.png").is_file()


def test_half_as_many_images_are_shown_where_full_images_replace_crops(
    unet_home: Path,
) -> None:
    record = record_of(unet_home / "run")
    batches, last = divmod(record["data"]["images"]["train"], 8)
    in_windows, whole = 8 * batches + last, 4 * batches + (max(1, round(last / 2)) if last else 0)
    assert record["training_samples"] == in_windows + whole
    seconds = record["training_samples"] / record["images_per_second"]
    assert seconds == pytest.approx(record["training_time_s"], rel=1e-2)


def test_labels_and_scores_follow_from_the_maps_and_the_thresholds(unet_home: Path) -> None:
    run = unet_home / "run"
    decision = MaskPostProcessor.from_state_dict(record_of(run)["mask_postprocessing"])
    test = {int(row["index"]): row for row in rows_of_test(run)}
    with np.load(run / "maps.npz") as maps:
        assert maps["index"].tolist() == list(test)
        for index, foreground, marked in zip(
            maps["index"].tolist(), maps["anomaly_map"], maps["predicted_mask"], strict=True
        ):
            again = decision(foreground, np.full((1, *foreground.shape), 255, np.uint8))
            assert np.array_equal(again.mask > 0, marked > 0)
            is_called = float(test[index]["score"]) > float(test[index]["threshold"])
            assert is_called == (test[index]["predicted_label"] != "good") == bool(marked.any())


def test_a_resumed_training_ends_as_an_undisturbed_one(
    cli: Cli, unet_home: Path, tmp_path: Path
) -> None:
    whole = unet_home / "run"
    sizes = check_resumed(cli, SegmentationModule, whole, tmp_path / "again", *SMALL, *UNET)
    assert set(sizes) == {(32, 48), (32, 96)}


def test_run_evaluation_prediction_and_page_agree(
    cli: Cli, compose: Compose, unet_run: Path, tmp_path: Path
) -> None:
    evaluate(cli, unet_run, tmp_path / "before")
    assert rows_of(tmp_path / "before") == rows_of_test(unet_run)
    assert metrics_of(tmp_path / "before") == metrics_of_test(unet_run)
    predictor = check_predictions(cli, compose, unet_run, tmp_path)
    model = page_model(predictor, unet_run, tmp_path)
    for row in rows_of(tmp_path / "predicted"):
        shown = model.predict(Path(row["path"]))
        assert shown.row["predicted_label"] == row["predicted_label"]
        assert len(shown.row["regions"]) == len(json.loads(row["regions"] or "[]"))
        assert shown.image is not None
        assert (shown.overlay is None) == (row["predicted_label"] == "good")
        assert set(shown.colours) == {region["class"] for region in shown.row["regions"]}


def test_tiles_keep_the_images_resolution_and_are_evaluated_and_predicted_alike(
    cli: Cli, compose: Compose, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tiles = ("data.tiling.size=[32,48]", "task.epochs=1", "data.size_px=160")
    own = ("trainer.precision=bf16-mixed", f"data.root={tmp_path / 'drawn'}")
    result = cli("train", *SMALL, *UNET, *tiles, *own, f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    predictor = check_predictions(cli, compose, run, tmp_path)
    assert not predictor.metadata.preprocessing.enlarge
    with np.load(run / "maps.npz") as first, np.load(tmp_path / "evaluated/maps.npz") as again:
        height, width = first["anomaly_map"].shape[1:]
        assert np.array_equal(first["anomaly_map"], again["anomaly_map"])
    assert height % 32 == width % 32 == 0
    assert f"- {height}" in (run / "config.yaml").read_text()


def check_predictions(cli: Cli, compose: Compose, run: Path, folder: Path) -> Predictor:
    """Check predict.py against evaluate.py, with thresholds that find some defects."""
    set_median_thresholds(run)
    evaluate(cli, run, folder / "evaluated")
    scores = [row["score"] for row in rows_of(folder / "evaluated")]
    assert scores == [row["score"] for row in rows_of_test(run)]
    predict_test_images(cli, run, folder / "predicted")
    check_agreement(folder / "predicted", folder / "evaluated")
    is_good = {row["predicted_label"] == "good" for row in rows_of(folder / "predicted")}
    assert is_good == {True, False}
    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    predictor = load_predictor(run, hardware.resolve_runtime(config.trainer))
    check_regions(folder / "predicted", folder / "evaluated", predictor)
    return predictor


def set_median_thresholds(run: Path) -> None:
    """Let a run of little training predict half of its images as defects."""
    scores = sorted({float(row["score"]) for row in rows_of_test(run)})
    middle = len(scores) // 2
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["inspection"]["fitted"]["post_processor"] |= dict.fromkeys(
        ("low_threshold", "high_threshold"), (scores[middle - 1] + scores[middle]) / 2
    )
    torch.save(checkpoint, path)
    accept_changes(run)


def check_regions(predicted: Path, evaluated: Path, predictor: Predictor) -> None:
    """Check that regions are those of evaluate.py's masks, in pixels of the image."""
    with np.load(evaluated / "maps.npz") as maps:
        marks = dict(zip(maps["index"].tolist(), maps["predicted_mask"], strict=True))
    for found, row in zip(rows_of(predicted), rows_of(evaluated), strict=True):
        image = predictor.read(Path(found["path"])).image
        assert image is not None
        marked = marks[int(row["index"])]
        parts, _ = ndimage.label(marked > 0, np.ones((3, 3)))
        expected = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            name = predictor.metadata.classes[marked[parts == number][0]]
            area_px = round(np.count_nonzero(parts == number) * image.source_px_per_px)
            box = image.to_source((columns.start, rows.start, columns.stop, rows.stop))
            expected.append((name, area_px, *box))
        regions = json.loads(found["regions"] or "[]")
        assert sorted((r["class"], r["area_px"], *r["box"]) for r in regions) == sorted(expected)


def draw_folder(root: Path, defect: str, count: int) -> Path:
    """So many good images and as many of a defect, by folders and without masks."""
    for number in range(count):
        for place, name in enumerate(("good", defect)):
            draw(root / name / f"{number}.png", seed=2 * number + place)
    return root


def test_validation_images_selected_the_thresholds_so_they_have_no_metrics(
    cli: Cli, unet_home: Path, tmp_path: Path
) -> None:
    result = evaluate(cli, unet_home / "run", tmp_path / "again", "subset=val")
    assert metrics_of(tmp_path / "again") == {}
    assert rows_of(tmp_path / "again")
    assert "There are no metrics: the run's threshold was fitted on these very images" in result.out


def test_other_images_have_metrics_in_which_defects_without_a_mask_do_not_count_as_good(
    cli: Cli, unet_home: Path, tmp_path: Path
) -> None:
    root, output = draw_folder(tmp_path / "parts", "crack", 10), tmp_path / "again"
    data = ["data=folder", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}"]
    settings = [*data, "split=holdout", "subset=val"]
    result = evaluate(cli, unet_home / "run", output, *settings)
    assert "There are no metrics" not in result.out
    figures, labels = metrics_of(output), [row["label"] for row in rows_of(output)]
    assert set(labels) == {"good", "crack"}
    assert figures["val/accuracy"]["n"] == len(labels)
    assert figures["val/pixel_fpr"]["n"] == labels.count("good")
    assert "val/binary_dice_global" not in figures
    assert "val/pixel_auroc" not in figures


def test_a_checkpoint_without_thresholds_is_refused(
    cli: Cli, unet_run: Path, tmp_path: Path
) -> None:
    path = unet_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["inspection"]["fitted"]
    torch.save(checkpoint, path)
    accept_changes(unet_run)
    result = cli("evaluate", f"run={unet_run}", f"output={tmp_path / 'again'}")
    check_error(result, "best.ckpt", "has no threshold", "python train.py resume=")


def test_binary_networks_predict_one_class_of_defects(prepare: Prepare) -> None:
    made = prepare("model.classes=binary")
    assert "test/iou_global/defect" in evaluate_made(made)
    rows = rows_of(made.folder)
    assert {row["predicted_label"] for row in rows} <= {"good", "defect"}
    assert not any(name.startswith("p_") for name in rows[0])


def test_a_network_begins_with_what_another_run_has_learnt(
    compose: Compose, drawn_folder: Path, tmp_path: Path, finished_home: Path, unet_home: Path
) -> None:
    common = (*SMALL, *(name for name in UNET if "encoder" not in name), *drawn_in(drawn_folder))
    encoder = ["model.encoder=custom_resnet", "model.encoder_depth=3"]
    encoder += ["+model.encoder_options.width=8", "+model.encoder_options.depths=[1,1]"]
    first, marking = finished_home / "run", unet_home / "run"
    prepare = preparing(compose, tmp_path / "ready", *common)
    made = prepare(*encoder, f"model.weights={first}")
    assert made.weights.path == str(first / "checkpoints" / "best.ckpt")
    learnt = torch.load(made.weights.path, weights_only=True)["state_dict"]
    key = "stages.0.0.branch.0.1.running_var"
    found = made.task.network.state_dict()[f"model.encoder.{key}"]
    assert torch.equal(found, learnt[f"network.backbone.{key}"])
    assert OmegaConf.load(marking / "config.yaml").task.full_image_from == 0.5
    encoder = [name for name in UNET if "encoder" in name]
    made = prepare(*encoder, f"model.weights={marking}")
    assert made.config.task.full_image_from == 0  # one that marks already needs no windows


def test_weights_that_do_not_fit_or_have_seen_what_judges_them_are_refused(
    prepare: Prepare, autoencoder_home: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"these weights were trained on.*split=manifest"):
        prepare(f"model.weights={autoencoder_home / 'run'}")
    path = tmp_path / "other.pt"
    torch.save({"encoder.blocks.0.0.weight": torch.zeros(7, 12, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"(?s)do not fit.*blocks\.0\.0\.weight"):
        prepare(f"model.weights={path}")


def test_defects_without_a_mask_are_refused_or_left_out(
    cli: Cli, compose: Compose, noise: tuple[str, ...], tmp_path: Path
) -> None:
    root = draw_folder(tmp_path / "parts", "dent", 10)
    for number in range(1, 10):
        draw_mask(tmp_path / "masks" / "dent" / f"{number}.png")
    data = (*noise, "data=folder", f"data.root={root}", f"data.masks={tmp_path / 'masks'}")
    result = cli("train", *data, f"hydra.run.dir={tmp_path / 'run'}")
    check_error(result, "dent/0.png", "data.on_bad_file=skip")
    made = preparing(compose, tmp_path / "ready", *data)("data.on_bad_file=skip")
    assert [file.path for file in made.data.index.skipped] == ["dent/0.png"]
    assert "dent/0.png" not in {record.path for record in made.data.index.samples}
    assert made.data.batch_transform.added_classes() == {1}  # pasted: no dent can be rendered


def test_defects_whose_mask_is_not_known_are_refused_or_left_out_of_every_part(
    compose: Compose, noise: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, lines = draw_mvtec(tmp_path / "bottle"), ["path,label,mask"]
    for path in sorted(root.glob("t*/*/*.png")):
        mask = f"ground_truth/{path.parent.name}/{path.stem}_mask.png"
        known = (root / mask).exists() and path.stem != "000"
        lines.append(f"{path.relative_to(root)},{path.parent.name},{mask if known else ''}")
    (root / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = ("data=manifest", f"data.path={root / 'images.csv'}")
    prepare = preparing(compose, tmp_path / "ready", *noise, *data)
    with pytest.raises(DataError, match=r"2 of 10 .*test/crack/000\.png.*data\.on_bad_file=skip"):
        prepare()
    made = prepare("data.on_bad_file=skip")
    assert "left out" in caplog.text
    write_split_csv(made.data.index, made.folder / "split.csv")
    left_out = [row["path"] for row in rows_of(made.folder, "split.csv") if not row["split"]]
    assert left_out == ["test/crack/000.png", "test/poke/000.png"]
    again = from_manifest(made.data.index, made.folder / "split.csv")
    assert again.samples == made.data.index.samples  # as a resumed training has them


def test_a_class_that_is_absent_from_training_is_refused_unless_names_do_not_matter(
    prepare: Prepare,
) -> None:
    with pytest.raises(DataError, match=r"no image of crack, .* is in train.*=binary"):
        prepare("split=one_class")
    assert set(prepare("split=one_class", "model.classes=binary").data.class_counts()[1:]) == {0}


@pytest.mark.parametrize(
    ("settings", "error", "expected"),
    [
        (["model.classes=binary", *NOTHING_SHOWN], DataError,
         "no training image shows a defect, and none is added"),
        (["data.synthetic_defects=0.9"], ConfigurationError, "data.synthetic_defects=0.9"),
        (["data.synthetic_defects=-1"], ConfigurationError, "data.synthetic_defects=-1"),
        (["model.classes=several"], ConfigurationError, "model.classes=several"),
        (["data.synthesis.nsa_fraction=0.5"], ConfigurationError, "model.classes=binary"),
        (["data.tiling.size=[640,640]"], ConfigurationError, "larger than the images"),
        (["data.tiling.size=[8,8]"], ConfigurationError, "data.tiling.size=[8, 8]"),
        *(([f"task.full_image_from={value}"], ConfigurationError, "a value from 0 to 1, or auto")
          for value in ("2", "never", "null")),
        ([f"task.loss_weights.{name}=0" for name in ("cross_entropy", "dice")],
         ConfigurationError, "task.loss_weights"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(
    prepare: Prepare, settings: list[str], error: type[InspectionError], expected: str
) -> None:
    with pytest.raises(error, match=re.escape(expected)):
        prepare(*settings)


def test_tiles_are_refused_for_other_tasks(cli: Cli) -> None:
    check_error(
        cli("train", "data.tiling.size=[160,256]"),
        "data.tiling.size=[160, 256]",
        "model=unet",
        status=2,
    )


@pytest.mark.slow
def test_the_comparison_of_encoders_and_losses_ends_with_a_table_of_overlaps(
    cli: Cli, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    settings = [
        "task.epochs=1",
        "task.repeats=1",
        "task.crop_size=null",
        "data.synthesis.variants=2",
    ]
    result = cli(
        "train",
        "experiment=segmentation_comparison",
        *SMALL,
        "model.weights=none",
        *settings,
        *("split=kfold", "split.folds=2", "split.fold=0,1"),
        f"hydra.sweep.dir={sweep}",
        f"data.root={tmp_path / 'drawn'}",
        f"data.cache_folder={tmp_path / 'cache'}",
    )
    assert result.status == 0, result.err
    assert len(list(sweep.glob("*/run.json"))) == 8
    table = rows_of(sweep / "comparison", "comparison.csv")
    assert len({row["model"] for row in table}) == len(table) == 4
    for row in table:
        assert row["runs"] == "2"
        assert 0 <= float(row["binary_dice_global"]) <= 1
        assert 0 <= float(row["aupro"]) <= 1
