"""When whole images are shown, and from which epoch on the best is looked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.runs.building import LateStopping, MovableCheckpoint
from capsule_inspection.runs.windows import judged_from, settle, whole_from


def config_of(*, share: Any, task: str = "segmentation", mode: str = "resize") -> DictConfig:
    return OmegaConf.create(
        {
            "task": {"name": task, "epochs": 10, "whole_from": share},
            "trainer": {"max_epochs": None},
            "data": {"mode": mode},
        }
    )


@pytest.mark.parametrize(("has_learnt", "share"), [(True, 0.0), (False, 0.5)])
def test_auto_shows_windows_first_to_networks_that_must_learn_all(
    has_learnt: bool, share: float
) -> None:
    config = config_of(share="auto")
    assert settle(config, SimpleNamespace(has_learnt=has_learnt))  # type: ignore[arg-type]
    assert config.task.whole_from == share
    assert whole_from(config) == judged_from(config) == 10 * share


def test_what_was_asked_for_stays() -> None:
    config = config_of(share=0.3)
    assert not settle(config, SimpleNamespace(has_learnt=True))  # type: ignore[arg-type]
    assert config.task.whole_from == 0.3
    assert whole_from(config) == judged_from(config) == 3


@pytest.mark.parametrize("never", [{"share": 1}, {"share": 0.5, "mode": "tiles"}])
def test_where_windows_are_shown_throughout_every_epoch_is_judged(never: dict[str, Any]) -> None:
    assert whole_from(config_of(**never)) is None
    assert judged_from(config_of(**never)) == 0


def test_other_tasks_judge_every_epoch() -> None:
    assert judged_from(config_of(share=0.5, task="reconstruction")) == 0
    classification = OmegaConf.create({"task": {"name": "classification"}})
    assert judged_from(classification) == 0
    assert not settle(classification, SimpleNamespace())  # type: ignore[arg-type]


def trainer_at(epoch: int) -> Any:
    strategy = SimpleNamespace(reduce_boolean_decision=bool)
    return SimpleNamespace(current_epoch=epoch, strategy=strategy, sanity_checking=False)


def test_the_best_of_the_windows_is_not_held_against_whole_images(tmp_path: Path) -> None:
    best = MovableCheckpoint(
        dirpath=tmp_path, monitor="val/dice", mode="max", save_top_k=1, judged_from=3
    )
    best.best_k_models = {"best.ckpt": torch.tensor(0.8)}
    best.kth_best_model_path = "best.ckpt"
    worse, better = torch.tensor(0.4), torch.tensor(0.9)
    assert not best.check_monitor_top_k(trainer_at(2), worse)
    assert best.check_monitor_top_k(trainer_at(2), better)
    assert best.check_monitor_top_k(trainer_at(3), worse)
    assert not best.check_monitor_top_k(trainer_at(3), None)
    assert not best.check_monitor_top_k(trainer_at(4), worse)


def test_patience_begins_with_whole_images() -> None:
    from lightning.pytorch.trainer.states import TrainerFn

    stop = LateStopping("val/dice", mode="max", patience=1, judged_from=2)
    for epoch, skipped in ((0, True), (1, True), (2, False)):
        trainer = trainer_at(epoch)
        trainer.state = SimpleNamespace(fn=TrainerFn.FITTING)
        assert stop._should_skip_check(trainer) == skipped
