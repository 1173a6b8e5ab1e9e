"""When whole images are shown, and from which epoch on the best is looked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.workflows.building import LateStopping, MovableCheckpoint
from capsule_inspection.workflows.windows import (
    epochs_of,
    judged_from,
    seen_sizes,
    settle,
    whole_from,
)


def config_of(*, share: Any, task: str = "segmentation", mode: str = "resize") -> DictConfig:
    return OmegaConf.create(
        {
            "task": {"name": task, "epochs": 10, "whole_from": share},
            "trainer": {"max_epochs": None},
            "data": {"mode": mode},
        }
    )


def network(*, has_learnt: bool) -> Any:
    return SimpleNamespace(has_learnt=has_learnt)


def test_auto_shows_windows_first_to_networks_that_must_learn_all_and_tells_few_epochs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for has_learnt, epochs, share, is_told in (
        (True, 10, 0.0, False),
        (False, 10, 0.5, True),
        (False, 90, 0.5, False),
    ):
        caplog.clear()
        config = config_of(share="auto")
        config.task.epochs = epochs
        assert settle(config, network(has_learnt=has_learnt))
        assert config.task.whole_from == share
        assert whole_from(config) == judged_from(config) == epochs * share
        told = [record.getMessage() for record in caplog.records]
        assert [f"task.epochs={epochs}:" in message for message in told] == [True] * is_told
    config = config_of(share=0.3)
    assert not settle(config, network(has_learnt=True))
    assert config.task.whole_from == 0.3
    assert whole_from(config) == judged_from(config) == 3


def test_every_epoch_is_judged_where_windows_are_shown_throughout_or_never() -> None:
    for never in ({"share": 1}, {"share": 0.5, "mode": "tiles"}):
        assert whole_from(config_of(**never)) is None
        assert judged_from(config_of(**never)) == 0
    assert judged_from(config_of(share=0.5, task="reconstruction")) == 0
    classification = OmegaConf.create({"task": {"name": "classification"}})
    assert judged_from(classification) == 0
    assert not settle(classification, network(has_learnt=False))


def test_epochs_are_those_of_the_task_where_the_trainer_has_no_limit() -> None:
    for most, expected in ((None, 30), (-1, 30), (7, 7)):
        config = OmegaConf.create({"trainer": {"max_epochs": most}, "task": {"epochs": 30}})
        assert epochs_of(config) == expected


def test_what_a_network_is_shown_are_windows_or_tiles_and_whole_images() -> None:
    for task, data, sizes in (
        ({"window": [96, 160]}, {}, [[96, 160], [192, 512]]),
        ({"window": [96, 160], "whole_from": 1}, {}, [[96, 160]]),
        ({"window": [96, 900]}, {}, [[96, 512], [192, 512]]),  # never larger than the image
        ({"window": None}, {}, [[192, 512]]),
        ({"window": [96, 160]}, {"mode": "tiles", "tile": [128, 128]}, [[128, 128]]),
        ({}, {}, [[192, 512]]),
    ):
        config = OmegaConf.create({"task": task, "data": {"image_size": [192, 512], **data}})
        assert seen_sizes(config) == sizes


def trainer_at(epoch: int, *, every: int = 1, value: float = 0.4) -> Any:
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision)
    return SimpleNamespace(
        current_epoch=epoch,
        strategy=strategy,
        check_val_every_n_epoch=every,
        callback_metrics={"val/dice": torch.tensor(value)},
        should_stop=False,
        fast_dev_run=False,
    )


def best_of(folder: Path, judged_from: int) -> MovableCheckpoint:
    best = MovableCheckpoint(
        dirpath=folder, monitor="val/dice", mode="max", save_top_k=1, judged_from=judged_from
    )
    best.kth_best_model_path = str(folder / "best.ckpt")
    best.best_k_models = {best.kth_best_model_path: torch.tensor(0.8)}
    return best


WORSE, BETTER = torch.tensor(0.4), torch.tensor(0.9)


def test_of_equally_good_epochs_the_last_is_kept(tmp_path: Path) -> None:
    best = best_of(tmp_path, 0)
    best.has_judged = True
    best.best_model_score = torch.tensor(0.8)
    assert best.check_monitor_top_k(trainer_at(5), torch.tensor(0.8))
    assert not best.check_monitor_top_k(trainer_at(6), torch.tensor(0.79))


def test_the_best_of_the_windows_is_not_held_against_whole_images(tmp_path: Path) -> None:
    best = best_of(tmp_path, 3)
    assert not best.check_monitor_top_k(trainer_at(2), WORSE)
    assert best.check_monitor_top_k(trainer_at(2), BETTER)
    assert not best.check_monitor_top_k(trainer_at(3), None)
    assert best.check_monitor_top_k(trainer_at(3), WORSE)
    assert not best.check_monitor_top_k(trainer_at(4), WORSE)
    best = best_of(tmp_path, 2)  # an epoch without validation is not the first that counts
    assert not best.check_monitor_top_k(trainer_at(2, every=2), WORSE)
    assert best.check_monitor_top_k(trainer_at(3, every=2), WORSE)


def test_the_best_of_a_finished_run_stays_where_it_goes_on_for_longer(tmp_path: Path) -> None:
    first = best_of(tmp_path, 3)
    assert first.check_monitor_top_k(trainer_at(3), BETTER)
    longer = best_of(tmp_path, 6)
    longer.load_state_dict(first.state_dict())
    assert not longer.check_monitor_top_k(trainer_at(6), WORSE)
    of_before = best_of(tmp_path, 6)
    state = {key: value for key, value in first.state_dict().items() if key != "has_judged"}
    of_before.load_state_dict(state)
    assert of_before.has_judged


def test_patience_begins_with_whole_images_but_divergence_stops_at_once() -> None:
    stop = LateStopping("val/dice", mode="max", patience=1, judged_from=2)
    for epoch in range(3):
        stop._run_early_stopping_check(trainer_at(epoch))
        assert torch.isfinite(stop.best_score) == (epoch == 2)
    trainer = trainer_at(0, value=float("nan"))
    LateStopping("val/dice", mode="max", judged_from=2)._run_early_stopping_check(trainer)
    assert trainer.should_stop


def test_a_training_that_stopped_early_goes_on_with_new_patience_for_more_epochs_only() -> None:
    before = LateStopping("val/dice", mode="max", patience=1, judged_from=0)
    assert before.state_key == EarlyStopping("val/dice", mode="max").state_key  # of old runs
    before.on_train_start(SimpleNamespace(max_epochs=20), None)  # type: ignore[arg-type]
    before.wait_count = 1
    for epochs, ends in ((20, True), (40, False)):
        stop = LateStopping("val/dice", mode="max", patience=1, judged_from=0)
        stop.load_state_dict(before.state_dict())
        trainer: Any = SimpleNamespace(max_epochs=epochs, should_stop=False)
        stop.on_train_start(trainer, None)  # type: ignore[arg-type]
        assert trainer.should_stop is ends
        assert ends or stop.wait_count == 0
