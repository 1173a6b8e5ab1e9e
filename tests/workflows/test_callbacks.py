"""Selection of the best epoch, early stopping, and metrics.csv."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from capsule_inspection.workflows.callbacks import (
    DelayedEarlyStopping,
    RunCheckpoint,
)
from capsule_inspection.workflows.epochs import EpochMetricsWriter
from capsule_inspection.workflows.trainer import AtomicCheckpointIO

WORSE, BETTER = torch.tensor(0.4), torch.tensor(0.9)


def trainer_at(epoch: int, *, every: int = 1, value: float = 0.4) -> Any:
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision)
    return SimpleNamespace(
        current_epoch=epoch,
        global_step=10 * (epoch + 1),
        max_epochs=5,
        is_global_zero=True,
        strategy=strategy,
        check_val_every_n_epoch=every,
        val_check_interval=1.0,
        callback_metrics={"val/dice": torch.tensor(value)},
        should_stop=False,
        fast_dev_run=False,
        sanity_checking=False,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
    )


def checkpoint_of(folder: Path, select_from_epoch: int) -> RunCheckpoint:
    best = RunCheckpoint(
        folder, "best", monitor="val/dice", mode="max", select_from_epoch=select_from_epoch
    )
    best.kth_best_model_path = str(folder / "best.ckpt")
    best.best_k_models = {best.kth_best_model_path: torch.tensor(0.8)}
    return best


def test_of_equally_good_epochs_the_last_is_kept(tmp_path: Path) -> None:
    best = checkpoint_of(tmp_path, 0)
    best.has_selected = True
    best.best_model_score = torch.tensor(0.8)
    assert best.check_monitor_top_k(trainer_at(5), torch.tensor(0.8))
    assert not best.check_monitor_top_k(trainer_at(6), torch.tensor(0.79))


def test_epochs_of_crops_are_not_compared_with_epochs_of_full_images(tmp_path: Path) -> None:
    best = checkpoint_of(tmp_path, 3)
    assert not best.check_monitor_top_k(trainer_at(2), WORSE)
    assert best.check_monitor_top_k(trainer_at(2), BETTER)
    assert not best.check_monitor_top_k(trainer_at(3), None)
    assert best.check_monitor_top_k(trainer_at(3), WORSE)
    assert not best.check_monitor_top_k(trainer_at(4), WORSE)
    best = checkpoint_of(tmp_path, 2)  # an epoch without validation is not the first that counts
    assert not best.check_monitor_top_k(trainer_at(2, every=2), WORSE)
    assert best.check_monitor_top_k(trainer_at(3, every=2), WORSE)


def test_the_best_epoch_of_a_finished_run_stays_where_it_is_resumed_for_longer(
    tmp_path: Path,
) -> None:
    first = checkpoint_of(tmp_path, 3)
    assert first.check_monitor_top_k(trainer_at(3), BETTER)
    longer = checkpoint_of(tmp_path / "moved", 6)
    longer.load_state_dict(first.state_dict())
    assert not longer.check_monitor_top_k(trainer_at(6), WORSE)
    assert list(longer.best_k_models) == [str(tmp_path / "moved" / "best.ckpt")]


def test_a_checkpoint_names_no_file_that_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    state = checkpoint_of(folder, 0).state_dict()
    state |= {"best_k_models": {"x/..": WORSE}, "kth_best_model_path": "x/..",
              "best_model_path": "/", "last_model_path": "x/.."}  # fmt: skip
    crafted = checkpoint_of(folder, 0)
    crafted.load_state_dict(state)
    own = str(folder / "best.ckpt")
    assert (crafted.kth_best_model_path, crafted.last_model_path) == (own, own)
    assert list(crafted.best_k_models) == [own]
    AtomicCheckpointIO().remove_checkpoint(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("every", [1, 2])
def test_patience_begins_with_full_images_but_divergence_stops_at_once(every: int) -> None:
    """Lightning checks after the epoch, or after validation where that is not in each epoch."""

    def stopping() -> DelayedEarlyStopping:
        stop = DelayedEarlyStopping("val/dice", mode="max", patience=1, select_from_epoch=2)
        stop.setup(trainer_at(0, every=every), module, "fit")
        return stop

    def finish(stop: DelayedEarlyStopping, trainer: Any) -> None:
        stop.on_validation_end(trainer, module)
        stop.on_train_epoch_end(trainer, module)

    module: Any = None
    stop = stopping()
    for epoch in range(3):
        finish(stop, trainer_at(epoch, every=every))
        assert torch.isfinite(stop.best_score) == (epoch == 2)
        assert stop.wait_count == 0
    trainer = trainer_at(0, every=every, value=float("nan"))
    finish(stopping(), trainer)
    assert trainer.should_stop


def test_a_training_that_stopped_early_continues_with_new_patience_for_more_epochs_only() -> None:
    before = DelayedEarlyStopping("val/dice", mode="max", patience=1, select_from_epoch=0)
    before.on_train_start(SimpleNamespace(max_epochs=20), None)  # type: ignore[arg-type]
    before.wait_count = 1
    for epochs, ends in ((20, True), (40, False)):
        stop = DelayedEarlyStopping("val/dice", mode="max", patience=1, select_from_epoch=0)
        stop.load_state_dict(before.state_dict())
        trainer: Any = SimpleNamespace(max_epochs=epochs, should_stop=False)
        stop.on_train_start(trainer, None)  # type: ignore[arg-type]
        assert trainer.should_stop is ends
        assert ends or stop.wait_count == 0


@pytest.mark.parametrize("damage", [b"", b"epoch\n7\n", b"\xff\xfe", None])
def test_a_resumed_run_has_the_rows_of_its_checkpoint_whatever_the_file_holds(
    tmp_path: Path, damage: bytes | None
) -> None:
    path, module, state = tmp_path / "metrics.csv", None, None
    for first_epoch, epochs in ((0, (0, 1)), (1, (1, 2))):
        writer = EpochMetricsWriter(path)
        if state is not None:
            writer.load_state_dict(state)
        writer.on_fit_start(trainer_at(first_epoch), module)  # type: ignore[arg-type]
        writer.on_train_start(trainer_at(first_epoch), module)  # type: ignore[arg-type]
        for epoch in epochs:
            trainer = trainer_at(epoch, value=epoch + first_epoch / 4)
            writer.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
            state = state or copy.deepcopy(writer.state_dict())
        if first_epoch == 0 and damage is not None:
            path.write_bytes(damage)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["epoch", "step", "seconds", "val/dice"]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [
        ("0", "10", "0.0"),
        ("1", "20", "1.25"),
        ("2", "30", "2.25"),
    ]
    assert writer.training_time_s == pytest.approx(sum(float(row[2]) for row in rows[1:]))
