"""train.py save_weights=true, and a run that begins with what it left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from built import Compose, preparing
from quick import QUICK, draw_mvtec, rows_of, temporary_files
from safetensors.torch import load_file, save_file
from small import Cli

from capsule_inspection.models.model_card import read_card
from capsule_inspection.types import WeightsError


def test_weights_and_their_card_begin_other_runs_but_none_that_their_images_are_to_judge(
    cli: Cli, compose: Compose, tmp_path: Path
) -> None:
    root, run = draw_mvtec(tmp_path / "bottle"), tmp_path / "run"
    places = (f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}")
    settings = (*QUICK, "data=mvtec", *places)
    result = cli("train", *settings, "save_weights=true", f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    assert not temporary_files(run)
    path = run / "weights.safetensors"
    card = read_card(path)
    assert card is not None
    assert (card.name, card.source) == ("custom_resnet", "file")
    assert "save_weights=true" in card.command
    assert card.image_size == (32, 32)
    assert "test/balanced_accuracy" in card.metrics
    assert card.training["epochs"] == 1
    rows = rows_of(run, "split.csv")
    used, selected = ({r["sha256"] for r in rows if r["split"] == x} for x in ("train", "val"))
    assert (set(card.training_hashes), set(card.selection_hashes)) == (used, selected)

    prepare = preparing(compose, tmp_path / "ready", *settings, f"model.weights={path}")
    made = prepare(f"data.root={draw_mvtec(tmp_path / 'other', first_seed=500)}")
    weights = made.weights
    assert (weights.source, weights.path, weights.sha256) == ("file", str(path), card.sha256)
    assert used < set(made.task.training_hashes)  # so its checkpoints have them too
    assert selected < set(made.task.selection_hashes)
    prepare("split=manifest", f"split.path={run / 'split.csv'}")  # val may select again
    with pytest.raises(WeightsError, match=r"were trained on.*split=manifest"):
        prepare("split.seed=5")
    save_file(load_file(path), path)  # and so they are where the file does not say it: its card
    content = path.with_suffix(".json").read_text(encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(content.replace(card.sha256, digest), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"were trained on.*split=manifest"):
        prepare("split.seed=5")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match=r"weights\.safetensors.*do not belong together"):
        prepare()


def test_a_run_leaves_no_weights_for_others_by_default(finished_home: Path) -> None:
    assert (finished_home / "run" / "metrics.json").is_file()
    assert not list((finished_home / "run").glob("weights.*"))
