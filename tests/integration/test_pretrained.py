"""train.py save_weights=true, and a run that begins with what it left."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from quick import QUICK, check_refusal, draw_mvtec, record_of, rows_of, strays
from safetensors.torch import load_file, save_file
from small import SMALL, SMALL_NETWORK, Answer, Door

from capsule_inspection.networks.weight_cards import read_card

pytestmark = pytest.mark.usefixtures("without_pictures")

SEGMENTATION = (
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


def train(door: Door, run: Path, *settings: str) -> Answer:
    """A small training on drawn capsules."""
    answer = door("train", *SMALL, *settings, f"hydra.run.dir={run}")
    assert answer.status == 0, answer.err + answer.out
    return answer


def test_a_run_leaves_weights_with_a_card_and_another_begins_with_them(
    door: Door, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(door, first, *SMALL_NETWORK, "save_weights=true")
    card = read_card(first / "weights.safetensors")
    assert card is not None
    assert (card.name, card.source, card.seen_sha256) == ("custom_resnet", "painted", ())
    assert "save_weights=true" in card.command
    assert card.image_size == (32, 96)
    assert "test/balanced_accuracy" in card.figures
    assert card.training["epochs"] == 2
    assert not strays(first)

    train(door, second, *SMALL_NETWORK, f"model.weights={first / 'weights.safetensors'}")
    record = record_of(second)["weights"]
    assert (record["source"], record["sha256"]) == ("painted", card.sha256)
    assert not (second / "weights.safetensors").exists()
    assert not (second / "weights.json").exists()


def test_a_segmentation_network_is_named_after_architecture_and_encoder(
    door: Door, tmp_path: Path
) -> None:
    train(door, tmp_path / "run", *SEGMENTATION, "task.epochs=1", "save_weights=true")
    path = tmp_path / "run" / "weights.safetensors"
    card = read_card(path)
    assert card is not None
    assert card.name == "unet_autoencoder"
    answer = train(door, tmp_path / "next", *SEGMENTATION, "task.epochs=1", f"model.weights={path}")
    assert "starts anew" not in answer.out
    for run, share in (("run", 0.5), ("next", 0.0)):  # one that marks already needs no windows
        assert OmegaConf.load(tmp_path / run / "config.yaml").task.whole_from == share
    assert record_of(tmp_path / "next")["weights"]["source"] == "painted"


def test_weights_of_photographs_are_refused_where_these_are_to_judge_them(
    door: Door, tmp_path: Path
) -> None:
    own = [
        f"data.root={draw_mvtec(tmp_path / 'bottle')}",
        f"data.cache_folder={tmp_path / 'cache'}",
    ]
    quick = [*QUICK, "data=mvtec", *own]
    run = tmp_path / "run"
    answer = door("train", *quick, "save_weights=true", f"hydra.run.dir={run}")
    assert answer.status == 0, answer.err
    path = run / "weights.safetensors"
    card = read_card(path)
    assert card is not None
    assert card.source == "file"
    used = {row["sha256"] for row in rows_of(run, "split.csv") if row["split"] in ("train", "val")}
    assert set(card.seen_sha256) == used

    settings = [f"model.weights={path}", "split.seed=5", f"hydra.run.dir={tmp_path / 'other'}"]
    check_refusal(door("train", *quick, *settings), "were trained on", "split=manifest")
    save_file(load_file(path), path)  # and so they are where the file does not say it: its card
    card_path = path.with_suffix(".json")
    card_path.write_text(
        card_path.read_text(encoding="utf-8").replace(card.sha256, _sha256(path)), encoding="utf-8"
    )
    settings[-1] += "_too"
    check_refusal(door("train", *quick, *settings), "were trained on", "split=manifest")


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_and_a_card_that_do_not_belong_together_are_refused(
    door: Door, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(door, run, *SMALL_NETWORK, "save_weights=true")
    path = run / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    settings = [*SMALL_NETWORK, f"model.weights={path}", f"hydra.run.dir={tmp_path / 'other'}"]
    check_refusal(door("train", *SMALL, *settings), str(path), "do not belong together")
