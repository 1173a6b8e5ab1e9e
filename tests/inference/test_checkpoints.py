"""Checkpoints of runs: what is no such file is refused by name, and nothing in it is executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from capsule_inspection.contracts import RunError
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network


def make_network(*, width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def save(path: Path, network: nn.Module, **more: object) -> Path:
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    content = {"state_dict": state, "inspection": {}, "epoch": 1, "seen_sha256": []}
    torch.save(content | more, path)
    return path


def test_weights_come_back_equal(tmp_path: Path) -> None:
    network, restored = make_network(), make_network()
    path = save(tmp_path / "best.ckpt", network)
    restore_network(restored, read_checkpoint(path), path=path)
    for key, value in network.state_dict().items():
        assert torch.equal(restored.state_dict()[key], value)


def test_what_belongs_to_the_task_is_left_out(tmp_path: Path) -> None:
    network = make_network()
    path = save(tmp_path / "best.ckpt", network)
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["loss.class_weights"] = torch.ones(3)
    restore_network(network, checkpoint, path=path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"last\.ckpt: there is no such checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "last.ckpt", make_network(width=300))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(RunError, match=r"last\.ckpt: .*cut short") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"these are words", b"\x80\x04.", b"\x80\x05K\x01.", b"PK\3\4"]
)
def test_another_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"last\.ckpt: "):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(2), {"state_dict": {}}, {"inspection": {"classes": ["good"]}}]
)
def test_what_no_run_wrote_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    with pytest.raises(RunError, match="expected a checkpoint of a run"):
        read_checkpoint(path)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_archive", [True, False])
def test_code_is_refused_and_not_executed(tmp_path: Path, as_archive: bool) -> None:
    path, trap = tmp_path / "last.ckpt", tmp_path / "executed"
    content = {"state_dict": {}, "inspection": Trap(trap), "epoch": 0}
    if as_archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(RunError, match="holds more than tensors and plain values"):
        read_checkpoint(path)
    assert not trap.exists()


def test_layers_of_other_shape_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "best.ckpt", make_network(width=4))
    with pytest.raises(RunError, match=r"another model, it differs in 0\.bias, 0\.weight"):
        restore_network(make_network(), read_checkpoint(path), path=path)


def test_missing_and_surplus_layers_are_named(tmp_path: Path) -> None:
    network = make_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    path = save(tmp_path / "best.ckpt", nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(RunError, match=r"1\.bias, 1\.num_batches_tracked"):
        restore_network(network, read_checkpoint(path), path=path)
    path = save(tmp_path / "best.ckpt", nn.Sequential(*make_network(), nn.Linear(3, 3)))
    with pytest.raises(RunError, match=r"2\.bias, 2\.weight"):
        restore_network(network, read_checkpoint(path), path=path)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
