"""Segmentation through the doors: what is learnt from, what is left, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from agreement import check_agreement, evaluate, predict_test_images
from omegaconf import DictConfig
from PIL import Image
from quick import QUICK, check_refusal, draw, draw_mask, draw_mvtec, figures_of, record_of, rows_of
from scipy import ndimage
from small import ONE_THREAD, SMALL, Answer, Door

from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.metrics.marking import Decision, mark
from capsule_inspection.runs import serving

NETWORK = (
    "model=unet",
    "model.encoder=autoencoder",
    "+model.encoder_options.width=4",
    "model.encoder_depth=3",
    "model.decoder_channels=[8,8,8]",
    "model.weights=none",
    "task.window=[32,48]",
    "task.views=1",
    "task.batch_size=8",
    "task.painting.variants=3",
)
HALF = 1e-3
"""Foreground probabilities are kept in half precision, which has eleven bits."""
NOISE_IMAGES = tuple(setting for setting in QUICK if not setting.startswith("model"))


def train(door: Door, folder: Path, *settings: str) -> Answer:
    """A training on drawn capsules, in seconds."""
    return door("train", *SMALL, *NETWORK, *settings, f"hydra.run.dir={folder}")


def train_on(door: Door, root: Path, *settings: str, data: str = "mvtec") -> Answer:
    """A training on a folder of noise images, with run and cache beside it."""
    home = root.parent
    own = [f"data.cache_folder={home / 'cache'}", f"hydra.run.dir={home / 'run'}"]
    quick = [*NOISE_IMAGES, *NETWORK, f"data={data}", f"data.root={root}", "task.window=null"]
    return door("train", *quick, *own, *settings)


@pytest.fixture(scope="module")
def trained_once() -> list[Path]:
    """The run that `run` copies, once there is one."""
    return []


@pytest.fixture
def run(
    door: Door,
    tmp_path: Path,
    trained_once: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A copy of a finished run, to be damaged."""
    if not trained_once:
        folder = tmp_path_factory.mktemp("segmentation") / "run"
        answer = train(door, folder)
        assert answer.status == 0, answer.err
        trained_once.append(folder)
    return shutil.copytree(trained_once[0], tmp_path / "run")


def test_a_run_holds_marked_pixels_a_decision_figures_and_a_page(run: Path) -> None:
    rows = rows_of(run)
    assert {row["split"] for row in rows} == {"val", "test"}
    assert {"p_good", "p_crack", "dice", "iou", "threshold"} <= rows[0].keys()
    for row in rows:
        assert sum(float(row[name]) for name in row if name.startswith("p_")) == pytest.approx(1)
        assert bool(row["dice"]) == (row["label"] != "good")
    known = {"iou_of_pixels/crack", "dice_of_images/poke", "mean_iou_of_pixels", "pixel_auroc"}
    known |= {"foreground_dice_of_pixels", "aupro", "defects_touched", "false_alarm_area"}
    known |= {"auroc", "accuracy", "balanced_accuracy", "recall_at_false_alarm_rate"}
    known |= {"pointing_game", "pointing_game_chance", "pointing_game/crack"}
    figures = figures_of(run)
    assert known <= {key.removeprefix("test/") for key in figures}
    assert not any(key.startswith("val/") for key in figures)  # they chose the decision
    decision = record_of(run)["decision"]
    assert decision["good_images"] > 0
    assert decision["defect_images"] > 0
    assert (run / "report.html").is_file()
    assert (run / "figures" / "examples.png").is_file()


def test_half_of_the_images_are_shown_where_whole_ones_take_the_place_of_windows(run: Path) -> None:
    record = record_of(run)
    batches, last = divmod(record["data"]["images"]["train"], 8)
    in_windows, whole = 8 * batches + last, 4 * batches + (max(1, round(last / 2)) if last else 0)
    assert record["images_shown"] == in_windows + whole
    seconds = record["images_shown"] / record["images_per_second"]
    assert seconds == pytest.approx(record["training_time_s"], rel=1e-2)


def test_what_is_called_and_scored_follows_from_the_maps_and_the_decision(run: Path) -> None:
    decision = Decision.from_dict(record_of(run)["decision"])
    test = {int(row["index"]): row for row in rows_of(run) if row["split"] == "test"}
    with np.load(run / "maps.npz") as maps:
        assert maps["index"].tolist() == list(test)
        for index, foreground, marked in zip(
            maps["index"].tolist(), maps["maps"], maps["marked"], strict=True
        ):
            again = mark(foreground, np.full((1, *foreground.shape), 255, np.uint8), decision)
            assert np.array_equal(again.mask > 0, marked > 0)
            is_called = float(test[index]["score"]) > float(test[index]["threshold"])
            assert is_called == (test[index]["prediction"] != "good") == bool(marked.any())


def test_a_run_is_resumed_to_what_an_undisturbed_one_gives(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    # Neither the rate nor the windows depend on how many epochs there will be.
    same = ("scheduler=none", "task.whole_from=1")
    answer = train(door, tmp_path / "short", "task.epochs=1", *same)
    assert answer.status == 0, answer.err
    answer = door("train", f"resume={tmp_path / 'short'}", "task.epochs=2")
    assert answer.status == 0, answer.err
    whole = train(door, tmp_path / "whole", *same)
    assert whole.status == 0, whole.err
    assert figures_of(tmp_path / "short") == figures_of(tmp_path / "whole")


def test_a_finished_run_is_evaluated_to_the_same_figures(
    door: Door, run: Path, tmp_path: Path
) -> None:
    answer = door("evaluate", f"run={run}", f"output={tmp_path / 'again'}", ONE_THREAD)
    assert answer.status == 0, answer.err
    again, first = figures_of(tmp_path / "again"), figures_of(run)
    assert again == {key: value for key, value in first.items() if key.startswith("test/")}


def test_photographs_get_the_answers_that_the_run_gave_for_its_test_images(
    door: Door,
    compose: Callable[..., DictConfig],
    run: Path,
    tmp_path: Path,
    without_pictures: None,
) -> None:
    predictor = check_predictions(door, compose, run, tmp_path)
    inspect = serving.answering(predictor, None, count=0)
    for row in rows_of(tmp_path / "predicted"):
        words, picture, _ = inspect(row["path"])
        called = row["prediction"].replace("_", " ")
        verdict = "Good: no defect is seen" if called == "good" else f"Defect: {called}<"
        assert verdict in words
        assert words.count("region: ") == min(6, len(json.loads(row["regions"] or "[]")))
        assert picture is not None


def check_predictions(
    door: Door, compose: Callable[..., DictConfig], run: Path, folder: Path
) -> Predictor:
    """Photographs are answered as evaluate.py does, by a decision that finds some defects."""
    evaluate(door, run, folder / "before")
    decide_in_the_middle(run, folder / "before")
    evaluate(door, run, folder / "evaluated")
    predict_test_images(door, run, folder / "predicted")
    check_agreement(folder / "predicted", folder / "evaluated", tolerance=HALF)
    is_good = {row["prediction"] == "good" for row in rows_of(folder / "predicted")}
    assert is_good == {True, False}
    predictor = open_for_photographs(run, compose)
    check_regions(folder / "predicted", folder / "evaluated", predictor)
    return predictor


def decide_in_the_middle(run: Path, evaluated: Path) -> None:
    """Let a run that has learnt little call half of its images a defect."""
    import torch

    scores = sorted({float(row["score"]) for row in rows_of(evaluated)})
    middle = len(scores) // 2
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    decision = checkpoint["inspection"]["fitted"]["decision"]
    decision |= {"probability": (scores[middle - 1] + scores[middle]) / 2, "extent": None}
    torch.save(checkpoint, path)


def open_for_photographs(run: Path, compose: Callable[..., DictConfig]) -> Predictor:
    """A run as predict.py and the page use it."""
    from capsule_inspection.runs import machine
    from capsule_inspection.runs.opening import open_predictor

    config = compose("app", f"run={run}", "trainer=cpu", "trainer.threads=1")
    return open_predictor(run, machine.choose(config.trainer), explain="none")


def check_regions(predicted: Path, evaluated: Path, predictor: Predictor) -> None:
    """Regions of photographs are those of evaluate's marks, in the photographs' own pixels."""
    with np.load(evaluated / "maps.npz") as maps:
        marks = dict(zip(maps["index"].tolist(), maps["marked"], strict=True))
    for found, row in zip(rows_of(predicted), rows_of(evaluated), strict=True):
        prepared = predictor.read(Path(found["path"])).prepared
        assert prepared is not None
        marked = marks[int(row["index"])]
        parts, _ = ndimage.label(marked > 0, np.ones((3, 3)))
        expected = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            name = predictor.description.classes[marked[parts == number][0]]
            area_px = round(np.count_nonzero(parts == number) * prepared.source_px_per_px)
            box = prepared.to_source((columns.start, rows.start, columns.stop, rows.stop))
            expected.append((name, area_px, *box))
        regions = json.loads(found["regions"] or "[]")
        assert sorted((r["class"], r["area_px"], *r["box"]) for r in regions) == sorted(expected)


def test_defects_whose_mask_is_not_known_do_not_count_as_good_where_a_run_is_evaluated(
    door: Door, run: Path, tmp_path: Path, without_pictures: None
) -> None:
    root = tmp_path / "parts"
    for number in range(3):
        for place, name in enumerate(("good", "crack")):
            draw(root / name / f"{number}.png", seed=2 * number + place)
    data = ["data=folder", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}"]
    answer = door("evaluate", f"run={run}", f"output={tmp_path / 'again'}", *data, "split=all_test")
    assert answer.status == 0, answer.err
    figures = figures_of(tmp_path / "again")
    assert figures["test/accuracy"]["n"] == 6
    assert figures["test/false_alarm_area"]["n"] == 3
    assert "test/foreground_dice_of_pixels" not in figures
    assert "test/pointing_game" not in figures
    assert "test/pixel_auroc" not in figures


def test_validation_images_chose_the_decision_so_their_figures_are_not_told(
    door: Door, run: Path, tmp_path: Path
) -> None:
    answer = door("evaluate", f"run={run}", f"output={tmp_path / 'again'}", "stage=val")
    assert answer.status == 0, answer.err
    assert figures_of(tmp_path / "again") == {}
    assert rows_of(tmp_path / "again")
    assert "There are no figures: on these very images the run's threshold or" in answer.out


def test_validation_images_of_other_data_have_figures(
    door: Door, run: Path, tmp_path: Path, without_pictures: None
) -> None:
    root = draw_mvtec(tmp_path / "other", first_seed=100)
    data = ["data=mvtec", f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}"]
    settings = [*data, "split=holdout", "stage=val"]
    answer = door("evaluate", f"run={run}", *settings, f"output={tmp_path / 'again'}")
    assert answer.status == 0, answer.err
    assert "val/foreground_dice_of_pixels" in figures_of(tmp_path / "again")
    assert "There are no figures" not in answer.out


def test_a_checkpoint_without_a_decision_is_refused(door: Door, run: Path, tmp_path: Path) -> None:
    import torch

    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["inspection"]["fitted"]
    torch.save(checkpoint, path)
    answer = door("evaluate", f"run={run}", f"output={tmp_path / 'again'}")
    check_refusal(answer, "which pixels count", "resume=")


def test_binary_networks_call_every_defect_a_defect(door: Door, tmp_path: Path) -> None:
    answer = train(door, tmp_path / "run", "model.classes=binary", "task.epochs=1")
    assert answer.status == 0, answer.err
    rows = rows_of(tmp_path / "run")
    assert {row["prediction"] for row in rows} <= {"good", "defect"}
    assert not any(name.startswith("p_") for name in rows[0])
    assert "test/iou_of_pixels/defect" in figures_of(tmp_path / "run")


def test_binary_networks_that_are_shown_no_defect_are_refused(door: Door, tmp_path: Path) -> None:
    nothing = ("data.real_defects=0", "data.painted=0", "data.pasted=0")
    answer = train(door, tmp_path / "run", "model.classes=binary", *nothing)
    check_refusal(answer, "no training image shows a defect", "Set data.painted")


def test_tiles_keep_the_photographs_resolution_and_are_evaluated_and_predicted_alike(
    door: Door, compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    settings = ("data.mode=tiles", "data.tile=[32,48]", "task.epochs=1", "data.size_px=160")
    run = tmp_path / "run"
    own = ("trainer.precision=bf16-mixed", f"data.root={tmp_path / 'drawn'}")
    answer = train(door, run, *settings, *own)
    assert answer.status == 0, answer.err
    with np.load(run / "maps.npz") as maps:
        height, width = maps["maps"].shape[1:]
    assert height % 32 == width % 32 == 0
    assert f"- {height}" in (run / "config.yaml").read_text()
    predictor = check_predictions(door, compose, run, tmp_path)
    assert figures_of(tmp_path / "before") == figures_of(run)
    assert not predictor.description.recipe.enlarge


def test_an_encoder_begins_with_what_a_classifier_of_the_same_split_has_learnt(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    settings = (*SMALL, "model=custom_resnet", "model.width=8", "model.depths=[1,1]")
    first = door("train", *settings, "task.epochs=1", f"hydra.run.dir={tmp_path / 'first'}")
    assert first.status == 0, first.err
    network = [
        "model=unet",
        "model.encoder=custom_resnet",
        "+model.encoder_options.width=8",
        "+model.encoder_options.depths=[1,1]",
        "model.encoder_depth=3",
        f"model.weights={tmp_path / 'first'}",
        "task.window=[32,48]",
        "task.painting.variants=3",
    ]
    run = tmp_path / "run"
    answer = door("train", *SMALL, *network, "task.epochs=1", f"hydra.run.dir={run}")
    assert answer.status == 0, answer.err
    assert record_of(run)["weights"]["path"] == str(tmp_path / "first" / "checkpoints/best.ckpt")


def test_an_encoder_that_has_seen_the_images_that_judge_it_is_refused(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    first = door(
        "train",
        *SMALL,
        "model=autoencoder",
        "model.width=4",
        "model.depth=3",
        "model.corruption=noise",
        "task.window=null",
        "task.epochs=1",
        f"hydra.run.dir={tmp_path / 'first'}",
    )
    assert first.status == 0, first.err
    answer = train(door, tmp_path / "run", f"model.weights={tmp_path / 'first'}", "task.epochs=1")
    check_refusal(answer, "these weights were trained on", "split=manifest")


# Bad input.


def test_a_data_set_without_masks_is_refused_with_the_tasks_that_need_none(
    door: Door, tmp_path: Path
) -> None:
    root = tmp_path / "parts"
    for number in range(8):
        for place, name in enumerate(("good", "dent")):
            draw(root / name / f"{number}.png", seed=2 * number + place)
    answer = train_on(door, root, data="folder")
    check_refusal(answer, "has a mask", "data.masks", "model=resnet18", "model=autoencoder")


def test_defects_without_a_mask_are_refused_or_left_out(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    root = tmp_path / "parts"
    for number in range(10):
        for place, name in enumerate(("good", "dent")):
            draw(root / name / f"{number}.png", seed=2 * number + place)
        if number:
            draw_mask(tmp_path / "masks" / "dent" / f"{number}.png")
    masks = f"data.masks={tmp_path / 'masks'}"
    answer = train_on(door, root, masks, data="folder")
    check_refusal(answer, "dent/0.png", "data.on_bad_file=skip")
    shutil.rmtree(tmp_path / "run")
    answer = train_on(door, root, masks, "data.on_bad_file=skip", data="folder")
    assert answer.status == 0, answer.err
    assert "1 files were skipped" in answer.out
    assert "none can be painted" in answer.out
    assert all(row["path"] != "dent/0.png" for row in rows_of(tmp_path / "run", "split.csv"))


def test_defects_whose_mask_is_not_known_are_refused_or_left_out_of_every_part(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    root = draw_mvtec(tmp_path / "bottle")
    lines = ["path,label,mask"]
    lines += [f"train/good/{number:03}.png,good," for number in range(8)]
    for name in ("crack", "poke"):
        for number in range(5):
            mask = f"ground_truth/{name}/{number:03}_mask.png" if number else ""
            lines.append(f"test/{name}/{number:03}.png,{name},{mask}")
    manifest = root / "images.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    quick = [*NOISE_IMAGES, *NETWORK, "data=manifest", f"data.path={manifest}", "task.window=null"]
    home = [f"data.cache_folder={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    answer = door("train", *quick, *home)
    check_refusal(answer, "2 of 10 images", "test/crack/000.png", "data.on_bad_file=skip")
    shutil.rmtree(tmp_path / "run")
    answer = door("train", *quick, *home, "data.on_bad_file=skip")
    assert answer.status == 0, answer.err
    assert "left out" in answer.out
    rows = rows_of(tmp_path / "run", "split.csv")
    left_out = [row["path"] for row in rows if not row["split"]]
    assert left_out == ["test/crack/000.png", "test/poke/000.png"]
    answer = door("train", f"resume={tmp_path / 'run'}", "task.epochs=2")
    assert answer.status == 0, answer.err


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ("empty", "is empty"),
        ("larger", "mask is 60x60"),
        ("levels", "0, 128 and 255"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused_by_name(
    door: Door, tmp_path: Path, pixels: str, expected: str
) -> None:
    root = draw_mvtec(tmp_path / "bottle")
    path = root / "ground_truth" / "crack" / "000_mask.png"
    if pixels == "levels":
        levels = np.zeros((40, 40), np.uint8)
        levels[5:15, 5:15], levels[20:30, 5:15] = 128, 255
        Image.fromarray(levels).save(path)
    else:
        draw_mask(path, size_px=60 if pixels == "larger" else 40, empty=pixels == "empty")
    check_refusal(train_on(door, root), "000_mask.png", expected)


def test_masks_with_soft_edges_and_with_several_defects_are_read(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    import cv2

    root = draw_mvtec(tmp_path / "bottle")
    soft = np.zeros((40, 40), np.uint8)
    soft[5:20, 5:20] = 255
    folder = root / "ground_truth" / "crack"
    Image.fromarray(cv2.GaussianBlur(soft, (0, 0), 1.5)).save(folder / "000_mask.png")
    several = np.zeros((40, 40), np.uint8)
    several[5:15, 5:15], several[20:30, 20:30] = 1, 2
    Image.fromarray(several).save(folder / "001_mask.png")
    answer = train_on(door, root)
    assert answer.status == 0, answer.err
    found, data = tmp_path / "found", ("data=mvtec", f"data.root={root}", "split=all_test")
    answer = door("evaluate", f"run={tmp_path / 'run'}", f"output={found}", *data)
    assert answer.status == 0, answer.err
    row_of = {row["path"]: row["index"] for row in rows_of(found)}
    with np.load(found / "maps.npz") as maps:
        masks = dict(zip(map(str, maps["index"]), maps["masks"], strict=True))
    classes_in = {path: set(np.unique(masks[row]).tolist()) for path, row in row_of.items()}
    assert classes_in["train/good/000.png"] == {0}
    assert classes_in["test/crack/000.png"] == {0, 1}
    assert classes_in["test/crack/001.png"] == {0, 1, 2}
    assert classes_in["test/poke/000.png"] == {0, 2}


def test_a_class_that_is_absent_from_training_is_refused_unless_names_do_not_matter(
    door: Door, tmp_path: Path, without_pictures: None
) -> None:
    root = draw_mvtec(tmp_path / "bottle")
    lines = ["path,label,mask,split"]
    for number in range(8):
        part = ("train", "train", "val", "test")[number % 4]
        lines.append(f"train/good/{number:03}.png,good,,{part}")
    for name in ("crack", "poke"):
        for number in range(5):
            part = "test" if name == "poke" and number else ("train", "val")[number % 2]
            part = "val" if name == "poke" and part == "train" else part
            mask = f"ground_truth/{name}/{number:03}_mask.png"
            lines.append(f"test/{name}/{number:03}.png,{name},{mask},{part}")
    manifest = root / "images.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    home = [f"data.cache_folder={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    quick = [*NOISE_IMAGES, *NETWORK, "data=manifest", f"data.path={manifest}", "task.window=null"]
    split = ["split=manifest", f"split.path={manifest}", *home]
    answer = door("train", *quick, *split)
    check_refusal(answer, "no image of poke is in train", "model.classes=binary")
    shutil.rmtree(tmp_path / "run")
    answer = door("train", *quick, *split, "model.classes=binary")
    assert answer.status == 0, answer.err


@pytest.mark.parametrize(
    ("settings", "expected", "status"),
    [
        (["model.encoder=resnet81"], "resnet18", 2),
        (["model.architecture=unett"], "unet", 2),
        (["model.encoder=vit_tiny_patch16_224", "model.encoder_depth=5"], "model.encoder", 2),
        (["data.painted=0.9"], "data.painted=0.9", 2),
        (["data.painted=-1"], "data.painted=-1", 2),
        (["model.classes=several"], "model.classes=several", 2),
        (["task.painting.natural=0.5"], "model.classes=binary", 2),
        (["data.mode=tile"], "data.mode=tile", 2),
        (["data.mode=tiles", "data.tile=[640,640]"], "larger than the images", 2),
        (["data.tile=[8,8]"], "data.tile=[8, 8]", 2),
        (["task.whole_from=2"], "expected a value from 0 to 1, or auto", 2),
        (["task.whole_from=never"], "task.whole_from=never", 2),
        (["task.whole_from=null"], "expected a value from 0 to 1, or auto", 2),
        (["task.monitor=val/dice"], "val/foreground_dice", 2),
        (
            [f"task.loss_weights.{name}=0" for name in ("cross_entropy", "dice")],
            "task.loss_weights",
            2,
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    door: Door, tmp_path: Path, settings: list[str], expected: str, status: int
) -> None:
    network = [
        setting
        for setting in NETWORK
        if "encoder" not in setting
        or not any(
            setting.partition("=")[0].lstrip("+").startswith(given.partition("=")[0])
            for given in settings
        )
    ]
    if any(given.startswith("model.encoder=") for given in settings):
        network = ["model=unet", "model.weights=none", "task.window=[32,48]"]
    answer = door("train", *SMALL, *network, *settings, f"hydra.run.dir={tmp_path / 'run'}")
    check_refusal(answer, expected, status=status)


def test_encoder_weights_that_do_not_fit_name_their_layers(door: Door, tmp_path: Path) -> None:
    import torch

    state = {"encoder.blocks.0.0.weight": torch.zeros(7, 12, 3, 3)}
    torch.save(state, tmp_path / "other.pt")
    answer = train(door, tmp_path / "run", f"model.weights={tmp_path / 'other.pt'}")
    check_refusal(answer, "blocks.0.0.weight", "do not fit")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("data.mode=tiles", "model=unet")],
)
def test_settings_of_segmentation_are_refused_for_other_tasks(
    door: Door, tmp_path: Path, setting: str, expected: str
) -> None:
    answer = door("train", *SMALL, setting, f"hydra.run.dir={tmp_path / 'run'}")
    check_refusal(answer, expected, status=2)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_the_comparison_of_encoders_and_losses_ends_with_a_table_of_overlaps(
    door: Door, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    settings = ["task.epochs=1", "task.views=1", "task.window=null", "task.painting.variants=2"]
    answer = door(
        "train",
        "experiment=segmentation_comparison",
        *SMALL,
        "model.weights=none",
        *settings,
        "split=kfold",
        "split.folds=2",
        "split.fold=0,1",
        f"hydra.sweep.dir={sweep}",
        f"data.root={tmp_path / 'drawn'}",
        f"data.cache_folder={tmp_path / 'cache'}",
    )
    assert answer.status == 0, answer.err
    assert len(list(sweep.glob("*/run.json"))) == 8
    table = rows_of(sweep / "comparison", "comparison.csv")
    assert len(table) == 4
    assert len({row["model"] for row in table}) == 4
    for row in table:
        assert row["runs"] == "2"
        assert 0 <= float(row["foreground_dice_of_pixels"]) <= 1
        assert 0 <= float(row["aupro"]) <= 1
